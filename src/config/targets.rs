//! The backends that another program wrote into a file, in the format of Prometheus' `file_sd`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use thiserror::Error;

use super::files::{MAX_NAMED, read_file};
use super::node::{self, Node, Value};
use super::problem::{Problems, ReadError, quoted};
use super::resolve::address;
use super::source::{Backend, FileSource};
use super::url::{Authority, Scheme};
use crate::model::{BackendName, NameError};

/// The label that names the only target of its group.
const NAME: &str = "backend";
/// Prometheus' own label for a scheme.
const SCHEME: &str = "__scheme__";

/// Why a file holds no list of backends.
#[derive(Debug, Error)]
pub enum TargetsError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] ReadError),
    /// Not text.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// Neither JSON nor YAML.
    #[error("{0}")]
    Syntax(String),
    /// Another shape.
    #[error(
        "expected a list of groups, each with targets (a list of text) and labels (text by name)"
    )]
    Shape,
    /// A target that is no address.
    #[error("target {0}")]
    Target(super::UrlError),
    /// A label that is no name.
    #[error("label backend: {0}")]
    Name(#[from] NameError),
    /// A scheme that is neither.
    #[error("label __scheme__: expected http or https, found {0}")]
    Scheme(String),
    /// One name for several.
    #[error("two targets have the name {0}; each needs another one")]
    Twice(BackendName),
    /// Credentials would cross a network in the clear.
    #[error(
        "{0} is unencrypted, and credentials would be sent there; use https or allow_plaintext"
    )]
    Plaintext(Authority),
}

/// The backends of a file, in its order.
///
/// # Errors
/// [`TargetsError`] says what is wrong with the file.
pub fn targets(source: &FileSource) -> Result<Vec<Backend>, TargetsError> {
    let content = read_file(&source.path, MAX_NAMED)?;
    let text = String::from_utf8(content).map_err(|_| TargetsError::NotUtf8)?;
    let mut problems = Problems::default();
    let tree = node::parse(&text, &mut problems);
    let mistake = problems.sorted().into_iter().next();
    let tree = match (tree, mistake) {
        (Some(tree), None) => tree,
        (_, mistake) => {
            let said = mistake.map(|problem| format!("{} {}", problem.mistake, problem.place));
            return Err(TargetsError::Syntax(said.unwrap_or_default()));
        }
    };
    let Value::List(groups) = &tree.value else { return Err(TargetsError::Shape) };
    let mut found = Vec::new();
    for group in groups {
        group_of(group, source, &mut found)?;
    }
    named(found)
}

/// A target before it has its name, and the name that its label gives it.
type Target = (Authority, Option<BackendName>);

fn group_of(
    group: &Node,
    source: &FileSource,
    found: &mut Vec<Target>,
) -> Result<(), TargetsError> {
    let Value::Mapping(entries) = &group.value else { return Err(TargetsError::Shape) };
    let entry = |key: &str| entries.iter().find(|(_, name, _)| name == key).map(|(.., node)| node);
    let Some(Node { value: Value::List(targets), .. }) = entry("targets") else {
        return Err(TargetsError::Shape);
    };
    let label = |key: &str| match entry("labels").map(|node| &node.value) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Mapping(labels)) => {
            let label = labels.iter().find(|(_, name, _)| name == key);
            label.map(|(.., node)| text(node)).transpose()
        }
        Some(_) => Err(TargetsError::Shape),
    };
    let scheme = match label(SCHEME)? {
        None => source.scheme,
        Some(text) => Scheme::parse(text).ok_or_else(|| TargetsError::Scheme(quoted(text)))?,
    };
    let name = match (label(NAME)?, targets.len()) {
        (Some(name), 1) => Some(BackendName::parse(name)?),
        _ => None,
    };
    for target in targets {
        let authority = address(text(target)?, scheme).map_err(TargetsError::Target)?;
        if source.confidential && authority.scheme == Scheme::Http && !authority.is_loopback() {
            return Err(TargetsError::Plaintext(authority));
        }
        found.push((authority, name.clone()));
    }
    Ok(())
}

fn text(node: &Node) -> Result<&str, TargetsError> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(TargetsError::Shape),
    }
}

/// Gives each target its name: that of its label, its host, or where several are on one host, host
/// and port.
fn named(mut found: Vec<Target>) -> Result<Vec<Backend>, TargetsError> {
    // Prometheus takes a target that stands twice as one.
    let mut seen = HashSet::new();
    found.retain(|(authority, _)| seen.insert(authority.to_string()));
    let mut hosts: BTreeMap<String, usize> = BTreeMap::new();
    for (authority, _) in found.iter().filter(|(_, name)| name.is_none()) {
        *hosts.entry(authority.host_port.host.clone()).or_default() += 1;
    }
    let (mut backends, mut names) = (Vec::new(), BTreeSet::new());
    for (authority, name) in found {
        let Authority { scheme, host_port: address } = authority;
        let alone = hosts.get(&address.host).is_none_or(|count| *count == 1);
        let name = match (name, address.host.parse()) {
            (Some(name), _) => name,
            (None, Ok(ip)) if alone => BackendName::of_address(ip),
            (None, _) if alone => BackendName::parse(&address.host)?,
            (None, _) => {
                // A colon is no character of a name.
                BackendName::parse(&format!("{}_{}", address.host.replace(':', "_"), address.port))?
            }
        };
        if !names.insert(name.clone()) {
            return Err(TargetsError::Twice(name));
        }
        backends.push(Backend { name, scheme, address, ready: true });
    }
    Ok(backends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_owned();
        let source = FileSource { path, scheme: Scheme::Https, confidential: true };
        let line = |b: &Backend| format!("{} {}://{}", b.name, b.scheme, b.address);
        targets(&source)
            .map(|all| all.iter().map(line).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_read_as_prometheus_writes_it_in_json_and_yaml() {
        let json = r#"[
            {"targets": ["10.0.0.1:443"], "labels": {"backend": "core-1", "zone": "a"}},
            {"targets": ["node-b", "10.0.0.3:8443", "[fd00::4]:443"], "labels": {}},
            {"targets": ["http://127.0.0.1:5000", "127.0.0.1:5001"]}
        ]"#;
        let expected = [
            "core-1 https://10.0.0.1:443",
            "node-b https://node-b:443",
            "10.0.0.3 https://10.0.0.3:8443",
            "[fd00::4] https://[fd00::4]:443",
            "127.0.0.1_5000 http://127.0.0.1:5000",
            "127.0.0.1_5001 https://127.0.0.1:5001",
        ];
        assert_eq!(read(json).unwrap(), expected);
        let yaml = "- targets: [10.0.0.1:80]\n  labels: {backend: a, __scheme__: https}\n";
        assert_eq!(read(yaml).unwrap(), ["a https://10.0.0.1:80"]);
        assert_eq!(read("[]").unwrap(), [""; 0]);
    }

    #[test]
    fn each_way_of_being_wrong_is_said() {
        for (text, said) in [
            ("[", "not valid YAML: "),
            ("{}", "expected a list of groups"),
            ("[{\"targets\": [5]}]", "expected a list of groups"),
            ("[{\"targets\": [\"a:b\"]}]", "target \"a:b\" is not host:port"),
            (
                "[{\"targets\": [\"a\"], \"labels\": {\"backend\": \"lb\"}}]",
                "label backend: \"lb\"",
            ),
            (
                "[{\"targets\": [\"a\"], \"labels\": {\"__scheme__\": \"ftp\"}}]",
                "label __scheme__: ",
            ),
            ("[{\"targets\": [\"http://10.0.0.1\"]}]", "http://10.0.0.1 is unencrypted"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(said), "{text}: {error}");
        }
        let twice =
            "- {targets: [a:1], labels: {backend: x}}\n- {targets: [b:1], labels: {backend: x}}";
        assert!(read(twice).unwrap_err().contains("the name x"));
        let missing =
            FileSource { path: "/no/such/file".into(), scheme: Scheme::Https, confidential: false };
        assert_eq!(targets(&missing).unwrap_err().to_string(), "no such file");
    }
}
