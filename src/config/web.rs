//! The file of `--web.config.file`, in the format of Prometheus' exporters: TLS of the port, and
//! who may use it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::files::{MAX_NAMED, directory, expand, read_file};
use super::node::{self, Node, Value};
use super::problem::{ConfigErrors, Mistake, Place, Problems, ReadError, quoted};
use super::read::{At, Read, good, mapping};

/// Keys of the file that exporters know and this program does not, with what to do instead. None is
/// passed over: who wrote one relies on it.
const NOT_SUPPORTED: [(&str, &str); 2] = [
    ("http_server_config", "remove it: the port speaks HTTP/1.1 and sets headers of its own"),
    ("rate_limit", "remove it, and limit requests in a proxy before the port"),
];

/// The same of `tls_server_config`.
const NOT_SUPPORTED_OF_TLS: [(&str, &str); 8] = [
    ("cert", "write the certificate to a file and name that in cert_file"),
    ("key", "write the key to a file and name that in key_file"),
    ("client_ca", "write the certificate to a file and name that in client_ca_file"),
    (
        "client_allowed_sans",
        "remove it: client_ca_file may name an authority of these clients alone",
    ),
    ("max_version", "remove it: TLS 1.3 is spoken with all who know it"),
    ("cipher_suites", SUITES),
    ("curve_preferences", SUITES),
    ("prefer_server_cipher_suites", SUITES),
];

const SUITES: &str = "remove it: only TLS 1.2 and 1.3 with their safe suites and curves are spoken";

/// The highest cost of a hash. Above it, each login would take many seconds.
const MAX_COST: u32 = 14;

mapping! {
    /// The whole file.
    WebFile {
        /// TLS; without it the port speaks http.
        tls_server_config: TlsServer,
        /// The users of the port, with the bcrypt hash of each password. Without it everyone may
        /// use the port.
        basic_auth_users: Users,
    }
}

mapping! {
    /// TLS of the port.
    TlsServer {
        /// The certificate chain, PEM.
        cert_file: String,
        /// Its key, PEM.
        key_file: String,
        /// Whether clients show a certificate.
        client_auth_type: String,
        /// Who signs for clients, PEM.
        client_ca_file: String,
        /// The oldest version that is spoken.
        min_version: String,
    }
}

/// Users by name.
#[derive(schemars::JsonSchema)]
pub(super) struct Users(#[schemars(skip)] BTreeMap<String, String>);

impl Read for Users {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            let expected = "a mapping of user names to bcrypt hashes";
            problems.add(node.place, Mistake::Expected { expected, found: node.kind().to_owned() });
            return None;
        };
        let mut users = BTreeMap::new();
        for (place, name, node) in entries {
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
                let expected = "a user name without ':' and control characters";
                problems.add(*place, Mistake::Expected { expected, found: quoted(name) });
            }
            match &node.value {
                Value::Text(hash) if is_bcrypt(hash) => {
                    users.insert(name.clone(), hash.clone());
                }
                // What stands there may be the password itself, and is not repeated.
                _ => {
                    let expected = "a bcrypt hash ($2a$, $2b$ or $2y$) of a cost of at most 14";
                    let found = "something else (not shown)".to_owned();
                    problems.add(node.place, Mistake::Expected { expected, found });
                }
            }
        }
        Some(Self(users))
    }
}

fn is_bcrypt(text: &str) -> bool {
    let mut parts = text.split('$');
    let (start, version, cost, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    let cost = cost.filter(|cost| cost.len() == 2).and_then(|cost| cost.parse::<u32>().ok());
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/');
    start == Some("")
        && matches!(version, Some("2a" | "2b" | "2y"))
        && cost.is_some_and(|cost| (4..=MAX_COST).contains(&cost))
        && rest.is_some_and(|rest| rest.len() == 53 && rest.chars().all(inside))
        && parts.next().is_none()
}

/// How the port is protected.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// TLS, if it is spoken.
    pub tls: Option<WebTls>,
    /// Bcrypt hashes by user; without any, everyone may use the port.
    pub users: BTreeMap<String, SecretString>,
}

/// TLS of the port.
#[derive(Debug, Clone)]
pub struct WebTls {
    /// The certificate chain, PEM.
    pub certificates: Vec<u8>,
    /// Its key, PEM.
    pub key: SecretString,
    /// Who signs for clients, PEM.
    pub client_ca: Option<Vec<u8>>,
    /// Whether a client must show a certificate, where one is asked for.
    pub client_required: bool,
    /// Whether TLS 1.2 is refused.
    pub only_1_3: bool,
}

/// Reads the file and all that it names.
///
/// # Errors
/// [`ConfigErrors`] holds every problem.
pub fn web_config(path: &Path) -> Result<WebConfig, ConfigErrors> {
    let mut problems = Problems::default();
    let read = read(path, &mut problems);
    match read {
        Some(config) if problems.0.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(path, problems)),
    }
}

fn read(path: &Path, problems: &mut Problems) -> Option<WebConfig> {
    let content = read_file(path, MAX_NAMED).map_err(Mistake::Unreadable);
    let content = problems.note(Place::Whole, content)?;
    let text = String::from_utf8(content).map_err(|_| Mistake::NotUtf8);
    let text = problems.note(Place::Whole, text)?;
    if text.trim().is_empty() {
        return Some(WebConfig::default());
    }
    let mut tree = node::parse(&text, problems)?;
    refuse(&mut tree, &NOT_SUPPORTED, problems);
    if let Value::Mapping(entries) = &mut tree.value {
        for (_, _, tls) in entries.iter_mut().filter(|(_, name, _)| name == "tls_server_config") {
            refuse(tls, &NOT_SUPPORTED_OF_TLS, problems);
        }
    }
    let file = At::<WebFile>::read(&tree, problems).value?;
    let tls = good(file.tls_server_config.as_ref())
        .and_then(|(entry, place)| tls(entry, place, directory(path), problems));
    let users = good(file.basic_auth_users.as_ref()).map(|(users, _)| {
        let hash = |(name, hash): (&String, &String)| (name.clone(), hash.as_str().into());
        users.0.iter().map(hash).collect()
    });
    Some(WebConfig { tls, users: users.unwrap_or_default() })
}

/// Takes these keys out of a mapping, each as a problem of its own.
fn refuse(node: &mut Node, keys: &[(&'static str, &'static str)], problems: &mut Problems) {
    let Value::Mapping(entries) = &mut node.value else { return };
    entries.retain(|(place, name, _)| {
        let found = keys.iter().find(|(key, _)| key == name);
        if let Some(&(key, instead)) = found {
            problems.add(*place, Mistake::NotSupported { key, instead });
        }
        found.is_none()
    });
}

fn tls(
    entry: &TlsServer,
    place: Place,
    directory: &Path,
    problems: &mut Problems,
) -> Option<WebTls> {
    for (key, missing) in
        [("cert_file", entry.cert_file.is_none()), ("key_file", entry.key_file.is_none())]
    {
        if missing {
            problems.add(place, Mistake::Missing { thing: "tls_server_config", key });
        }
    }
    let mut file = |what: &'static str, at: Option<&At<String>>| {
        let (path, place) = good(at)?;
        let path: PathBuf = expand(directory, path);
        let wrong = |error| Mistake::File { what, path: path.display().to_string(), error };
        problems.note(place, read_file(&path, MAX_NAMED).map_err(wrong))
    };
    let certificates = file("cert_file", entry.cert_file.as_ref());
    let key = file("key_file", entry.key_file.as_ref());
    let client_ca = file("client_ca_file", entry.client_ca_file.as_ref());
    let asked = good(entry.client_auth_type.as_ref()).and_then(|(text, place)| {
        let expected = "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
        let known = match text.as_str() {
            "NoClientCert" | "" => None,
            "VerifyClientCertIfGiven" => Some(false),
            "RequireAndVerifyClientCert" => Some(true),
            _ => {
                problems.add(place, Mistake::Expected { expected, found: quoted(text) });
                None
            }
        };
        let lone = known.is_some() && entry.client_ca_file.is_none();
        if lone {
            problems.add(place, Mistake::Alone("client_auth_type", "client_ca_file"));
        }
        known
    });
    if let (Some((_, place)), None) = (good(entry.client_ca_file.as_ref()), asked) {
        problems.add(place, Mistake::Alone("client_ca_file", "client_auth_type"));
    }
    let only_1_3 = good(entry.min_version.as_ref()).is_some_and(|(text, place)| {
        if !matches!(text.as_str(), "TLS12" | "TLS13") {
            let found = quoted(text);
            problems.add(place, Mistake::Expected { expected: "TLS12 or TLS13", found });
        }
        text == "TLS13"
    });
    let key = String::from_utf8(key?).map_err(|_| Mistake::File {
        what: "key_file",
        path: String::new(),
        error: ReadError::NotUtf8,
    });
    let key = problems.note(place, key)?.into();
    let certificates = certificates?;
    Some(WebTls { certificates, key, client_ca, client_required: asked == Some(true), only_1_3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cert.pem", "key.pem", "ca.pem"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let path = folder.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        match web_config(&path) {
            Ok(config) => format!("{} users, tls {}", config.users.len(), config.tls.is_some()),
            Err(errors) => errors.to_string().replace(&format!("{}/", folder.path().display()), ""),
        }
    }

    const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuhIxm/CK2kSzmUpPbHS.7iFzxRcR9P7C";

    #[test]
    fn the_file_of_an_exporter_is_read() {
        assert_eq!(said(""), "0 users, tls false");
        assert_eq!(
            said(&format!("basic_auth_users: {{prometheus: {HASH}}}\n")),
            "1 users, tls false"
        );
        let tls = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";
        assert_eq!(said(tls), "0 users, tls true");
        let more = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  min_version: TLS13\n";
        assert_eq!(said(&format!("{tls}{more}")), "0 users, tls true");
    }

    #[test]
    fn each_mistake_has_its_place_and_shows_no_password() {
        for (text, expected) in [
            (
                "tls: {}",
                "web.yml:1:1: unknown key \"tls\" (did you mean tls_server_config?); allowed here: tls_server_config, basic_auth_users",
            ),
            (
                "tls_server_config: {cert_file: cert.pem}",
                "web.yml:1:20: missing key key_file of tls_server_config",
            ),
            (
                "tls_server_config: {cert_file: none.pem, key_file: key.pem}",
                "web.yml:1:32: cert_file none.pem: no such file",
            ),
            (
                "tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS10}",
                "web.yml:1:74: expected TLS12 or TLS13, found \"TLS10\"",
            ),
            (
                "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: Verify}",
                "web.yml:1:79: expected NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert, found \"Verify\"",
            ),
            (
                "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem}",
                "web.yml:1:77: client_ca_file also needs client_auth_type",
            ),
            (
                "basic_auth_users: {prometheus: hunter2}",
                "web.yml:1:32: expected a bcrypt hash ($2a$, $2b$ or $2y$) of a cost of at most 14, found something else (not shown)",
            ),
        ] {
            assert_eq!(said(text), expected);
        }
        let slow = HASH.replace("$05$", "$31$");
        assert!(said(&format!("basic_auth_users: {{a: {slow}}}")).contains("at most 14"));
    }
}
