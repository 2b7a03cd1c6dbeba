//! How to reach the API server of Kubernetes: the service account of a pod, or a kubeconfig.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use super::files::{MAX_NAMED, expand, read_file};
use super::problem::ReadError;
use super::settings::ClientIdentity;

/// Where Kubernetes puts the service account of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server, and who the prober is there.
#[derive(Debug, Clone)]
pub struct ClusterAccess {
    /// Its URL, without a slash at the end.
    pub server: String,
    /// The certificates (PEM) that sign for it; those of the system without.
    pub ca: Option<Vec<u8>>,
    /// Accept every certificate.
    pub insecure_skip_verify: bool,
    /// A bearer token.
    pub token: Option<SecretString>,
    /// A client certificate.
    pub identity: Option<ClientIdentity>,
    /// The namespace that is meant when none is named.
    pub namespace: Option<String>,
}

/// Why the way to the API server is not known.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: ReadError,
    },
    /// Not a kubeconfig. What stands in it is not repeated.
    #[error("{0}: not a kubeconfig")]
    Syntax(String),
    /// A part that the current context needs.
    #[error("{path}: has no {what}")]
    Missing {
        /// The kubeconfig.
        path: String,
        /// What is missing.
        what: String,
    },
    /// A setting without which the request would go elsewhere, or come from another user.
    #[error(
        "{path}: has {what}, which is not supported; use a token or a client certificate, and a \
         server that is reached directly under the name in its certificate"
    )]
    Unsupported {
        /// The kubeconfig.
        path: String,
        /// The key in the file.
        what: &'static str,
    },
    /// A list of files, which kubectl would merge.
    #[error(
        "KUBECONFIG names several files: {0}; name one, there or with discovery.kubernetes.kubeconfig"
    )]
    Several(String),
    /// Neither inside a cluster nor with a kubeconfig.
    #[error("not inside a cluster, and neither KUBECONFIG nor ~/.kube/config leads to one")]
    Nowhere,
}

/// The way to the API server: by this kubeconfig; else by the pod's service account; else by
/// KUBECONFIG or ~/.kube/config. Read again for each connection, since tokens are replaced.
///
/// # Errors
/// [`ClusterError`] says what is missing or wrong.
pub fn cluster_access(kubeconfig: Option<&Path>) -> Result<ClusterAccess, ClusterError> {
    if let Some(path) = kubeconfig {
        return of_file(path);
    }
    let host = env::var("KUBERNETES_SERVICE_HOST").ok().filter(|host| !host.is_empty());
    if let Some(host) = host {
        let port = env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
        return of_pod(Path::new(SERVICE_ACCOUNT), &host, &port);
    }
    let named = match env::var_os("KUBECONFIG") {
        Some(list) => one_of(&list)?,
        None => None,
    };
    let usual = || {
        let path = expand(Path::new(""), "~/.kube/config");
        path.is_file().then_some(path)
    };
    of_file(&named.or_else(usual).ok_or(ClusterError::Nowhere)?)
}

/// The one path of a list as KUBECONFIG has it; none if the list is empty.
fn one_of(list: &OsStr) -> Result<Option<PathBuf>, ClusterError> {
    let mut paths = env::split_paths(list).filter(|path| !path.as_os_str().is_empty());
    let first = paths.next();
    if paths.next().is_some() {
        return Err(ClusterError::Several(list.to_string_lossy().into_owned()));
    }
    Ok(first)
}

fn of_pod(directory: &Path, host: &str, port: &str) -> Result<ClusterAccess, ClusterError> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let namespace = fs::read_to_string(directory.join("namespace")).ok();
    Ok(ClusterAccess {
        server: format!("https://{host}:{port}"),
        ca: Some(read(&directory.join("ca.crt"))?),
        insecure_skip_verify: false,
        token: Some(token(&directory.join("token"))?),
        identity: None,
        namespace: namespace.map(|text| text.trim().to_owned()),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ClusterError> {
    let path_text = path.display().to_string();
    read_file(path, MAX_NAMED).map_err(|error| ClusterError::File { path: path_text, error })
}

fn token(path: &Path) -> Result<SecretString, ClusterError> {
    let refused = |error| ClusterError::File { path: path.display().to_string(), error };
    let text = String::from_utf8(read(path)?).map_err(|_| refused(ReadError::NotUtf8))?;
    Ok(SecretString::from(text.trim()))
}

/// A kubeconfig, as far as it is needed. No `Debug`: it holds secrets.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<Named<Context>>,
    #[serde(default)]
    clusters: Vec<Named<Cluster>>,
    #[serde(default)]
    users: Vec<Named<User>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<IgnoredAny>,
    tls_server_name: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    token: Option<SecretString>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<SecretString>,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
    username: Option<IgnoredAny>,
    r#as: Option<IgnoredAny>,
}

fn of_file(path: &Path) -> Result<ClusterAccess, ClusterError> {
    let shown = || path.display().to_string();
    let content = read(path)?;
    let text = String::from_utf8(content).map_err(|_| ClusterError::Syntax(shown()))?;
    let file: Kubeconfig =
        serde_saphyr::from_str(&text).map_err(|_| ClusterError::Syntax(shown()))?;
    let missing = |what: String| ClusterError::Missing { path: shown(), what };
    let context = file.current_context.ok_or_else(|| missing("current-context".to_owned()))?;
    let context =
        find(file.contexts, &context).ok_or_else(|| missing(format!("context {context:?}")))?;
    let cluster = find(file.clusters, &context.cluster)
        .ok_or_else(|| missing(format!("cluster {:?}", context.cluster)))?;
    let user = find(file.users, &context.user)
        .ok_or_else(|| missing(format!("user {:?}", context.user)))?;
    let unsupported = [
        ("exec", &user.exec),
        ("auth-provider", &user.auth_provider),
        ("username", &user.username),
        ("as", &user.r#as),
        ("proxy-url", &cluster.proxy_url),
        ("tls-server-name", &cluster.tls_server_name),
    ];
    if let Some((what, _)) = unsupported.into_iter().find(|(_, given)| given.is_some()) {
        return Err(ClusterError::Unsupported { path: shown(), what });
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    let ca = (cluster.certificate_authority_data, cluster.certificate_authority);
    let ca = data_or_file(ca.0, ca.1, path, directory)?;
    let token = match (user.token, user.token_file) {
        (Some(token), _) => Some(token),
        (None, Some(file)) => Some(token(&expand(directory, &file))?),
        (None, None) => None,
    };
    let certificates =
        data_or_file(user.client_certificate_data, user.client_certificate, path, directory)?;
    let key = user.client_key_data.map(|data| data.expose_secret().to_owned());
    let key = data_or_file(key, user.client_key, path, directory)?;
    let identity = match (certificates, key.map(String::from_utf8)) {
        (Some(certificates), Some(Ok(key))) => {
            Some(ClientIdentity { certificates, key: SecretString::from(key) })
        }
        (Some(_), None) => return Err(missing("client-key".to_owned())),
        (_, Some(Err(_))) => return Err(missing("client-key in PEM".to_owned())),
        (None, _) => None,
    };
    Ok(ClusterAccess {
        server: cluster.server.trim_end_matches('/').to_owned(),
        ca,
        insecure_skip_verify: cluster.insecure_skip_tls_verify,
        token,
        identity,
        namespace: context.namespace,
    })
}

fn find<T>(list: Vec<Named<T>>, name: &str) -> Option<T> {
    list.into_iter().find(|named| named.name == name).map(|named| named.value)
}

/// What stands in the kubeconfig in base64, or in a file that it names.
fn data_or_file(
    data: Option<String>,
    file: Option<String>,
    kubeconfig: &Path,
    directory: &Path,
) -> Result<Option<Vec<u8>>, ClusterError> {
    match (data, file) {
        (Some(data), _) => {
            let decoded = STANDARD.decode(data.trim());
            let wrong = |_| ClusterError::Syntax(kubeconfig.display().to_string());
            decoded.map(Some).map_err(wrong)
        }
        (None, Some(file)) => read(&expand(directory, &file)).map(Some),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    const WHOLE: &str = "
apiVersion: v1
kind: Config
current-context: two
contexts:
- {name: one, context: {cluster: c, user: other}}
- {name: two, context: {cluster: c, user: prober, namespace: harbor}}
clusters:
- name: c
  cluster: {server: 'https://10.0.0.1:6443/', certificate-authority-data: Y2E=, extensions: []}
users:
- {name: prober, user: {tokenFile: token}}
- {name: other, user: {exec: {command: aws}}}
";

    #[test]
    fn the_current_context_is_followed_and_files_are_found_from_the_kubeconfig() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "token", "secret-word\n");
        let path = write(directory.path(), "config", WHOLE);
        let access = cluster_access(Some(&path)).unwrap();
        assert_eq!(access.server, "https://10.0.0.1:6443");
        assert_eq!(access.ca.as_deref(), Some(&b"ca"[..]));
        assert_eq!(access.namespace.as_deref(), Some("harbor"));
        assert_eq!(access.token.as_ref().unwrap().expose_secret(), "secret-word");
        assert!(!format!("{access:?}").contains("secret-word"));
    }

    #[test]
    fn each_way_of_being_wrong_is_said_and_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let error = |text: &str| {
            let path = write(directory.path(), "config", text);
            let error = of_file(&path).unwrap_err().to_string();
            error.strip_prefix(&format!("{}", directory.path().display())).unwrap().to_owned()
        };
        write(directory.path(), "token", "secret-word\n");
        let with = |from: &str, to: &str| error(&WHOLE.replace(from, to));
        assert_eq!(error("token: [secret-word"), "/config: not a kubeconfig");
        assert_eq!(with("Y2E=", "'*'"), "/config: not a kubeconfig");
        assert_eq!(with("current-context: two", ""), "/config: has no current-context");
        assert_eq!(
            with("current-context: two", "current-context: x"),
            "/config: has no context \"x\""
        );
        assert_eq!(with("- name: c\n", "- name: d\n"), "/config: has no cluster \"c\"");
        assert_eq!(with("name: prober", "name: p"), "/config: has no user \"prober\"");
        assert_eq!(with("tokenFile: token", "tokenFile: none"), "/none: no such file");
        for (from, to, what) in [
            ("current-context: two", "current-context: one", "exec"),
            ("tokenFile: token", "tokenFile: token, as: admin", "as"),
            ("tokenFile: token", "username: u, password: secret-word", "username"),
            ("extensions: []", "proxy-url: 'http://p'", "proxy-url"),
            ("extensions: []", "tls-server-name: k", "tls-server-name"),
        ] {
            let said = with(from, to);
            assert!(said.contains(&format!("has {what}, which is not supported")), "{said}");
        }
    }

    #[test]
    fn a_list_of_kubeconfigs_is_not_read_in_part() {
        let one = |list: &str| one_of(OsStr::new(list));
        assert_eq!(one("/a/config").unwrap(), Some("/a/config".into()));
        assert_eq!(one(":/a/config:").unwrap(), Some("/a/config".into()));
        assert_eq!(one("").unwrap(), None);
        let error = one("/a:/b").unwrap_err().to_string();
        assert!(error.contains("several files: /a:/b; name one"), "{error}");
    }

    #[test]
    fn a_pod_has_its_service_account() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("token", "t\n"), ("ca.crt", "ca"), ("namespace", "monitoring\n")] {
            write(directory.path(), name, text);
        }
        let access = of_pod(directory.path(), "fd00::1", "443").unwrap();
        assert_eq!(access.server, "https://[fd00::1]:443");
        assert_eq!(access.namespace.as_deref(), Some("monitoring"));
        fs::remove_file(directory.path().join("token")).unwrap();
        let error = of_pod(directory.path(), "h", "1").unwrap_err().to_string();
        assert!(error.ends_with("token: no such file"), "{error}");
    }
}
