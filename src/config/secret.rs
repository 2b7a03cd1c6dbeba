//! Passwords, keys and certificates: read from files, the environment and docker's configuration.
//!
//! The only file that holds a password as plain text, and only until it is wrapped.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use docker_credential::{CredentialRetrievalError as DockerError, DockerCredential};
use secrecy::SecretString;
use x509_parser::pem::Pem;

use super::file::{CredentialsEntry, TlsEntry};
use super::files::{MAX_NAMED, expand, read_file};
use super::problem::{Mistake, Problems, ReadError};
use super::read::{At, good};
use super::settings::{ClientIdentity, Credentials, PasswordSource, Sources, TlsSettings};
use super::url::PublicUrl;

/// How long a docker credential helper may take.
const HELPER_LIMIT: Duration = Duration::from_secs(10);

/// The credentials of a registry, if they are complete.
pub(super) fn credentials(
    at: &At<CredentialsEntry>,
    url: Option<&PublicUrl>,
    directory: &Path,
    sources: &mut Sources,
    problems: &mut Problems,
) -> Option<Credentials> {
    let entry = at.value.as_ref()?;
    let CredentialsEntry { username, password_file, password_env, docker_config } = entry;
    if let Some(docker_config) = docker_config {
        for (key, place) in [
            ("username", username.as_ref().map(|at| at.place)),
            ("password_file", password_file.as_ref().map(|at| at.place)),
            ("password_env", password_env.as_ref().map(|at| at.place)),
        ] {
            if let Some(place) = place {
                problems.add(place, Mistake::Both(key, "docker_config"));
            }
        }
        let (path, place) = good(Some(docker_config))?;
        sources.password = Some(PasswordSource::DockerConfig(path.into()));
        let result = from_docker(&expand(directory, path), url?);
        return problems.note(place, result);
    }

    if username.is_none() {
        let key = "username (or docker_config)";
        problems.add(at.place, Mistake::Missing { key, thing: "credentials" });
    }
    let username = good(username.as_ref())
        .and_then(|(name, place)| problems.note(place, check_username(name)));
    let password = match (password_file, password_env) {
        (Some(_), Some(env)) => {
            problems.add(env.place, Mistake::Both("password_env", "password_file"));
            None
        }
        (None, None) => {
            let key = "password_file (or password_env, or docker_config)";
            problems.add(at.place, Mistake::Missing { key, thing: "credentials" });
            None
        }
        (Some(file), None) => good(Some(file)).and_then(|(path, place)| {
            sources.password = Some(PasswordSource::File(path.into()));
            let text = named(directory, "password_file", path, password);
            let text = problems.note(place, text)?;
            Some(SecretString::from(without_line_end(&text)))
        }),
        (None, Some(name)) => good(Some(name)).and_then(|(name, place)| {
            sources.password = Some(PasswordSource::Environment(name.clone()));
            problems.note(place, from_environment(name))
        }),
    };
    Some(Credentials { username: username?, password: password? })
}

/// Basic authentication ends the user name at the first colon (RFC 7617 section 2).
pub(super) fn check_username(name: &str) -> Result<String, Mistake> {
    // The name is not repeated: what follows a colon is likely to be a password.
    let found = match name.chars().find(|c| *c == ':' || c.is_control()) {
        Some(wrong) => format!("one with {wrong:?}"),
        None if name.is_empty() => "none".to_owned(),
        None => return Ok(name.to_owned()),
    };
    let expected = "a user name without ':' and control characters";
    Err(Mistake::Expected { expected, found })
}

/// Trust and client certificate.
pub(super) fn tls(
    entry: &TlsEntry,
    directory: &Path,
    sources: &mut Sources,
    problems: &mut Problems,
) -> TlsSettings {
    let mut load = |what, key: Option<&At<String>>, check: Check| {
        let (path, place) = good(key)?;
        let content = problems.note(place, named(directory, what, path, check))?;
        Some((PathBuf::from(path), content))
    };
    let (ca_file, extra_roots) = load("ca_file", entry.ca_file.as_ref(), certificates).unzip();
    let (cert_file, chain) = load("cert_file", entry.cert_file.as_ref(), certificates).unzip();
    let (key_file, key) = load("key_file", entry.key_file.as_ref(), private_key).unzip();
    match (&entry.cert_file, &entry.key_file) {
        (Some(at), None) => problems.add(at.place, Mistake::Alone("cert_file", "key_file")),
        (None, Some(at)) => problems.add(at.place, Mistake::Alone("key_file", "cert_file")),
        _ => {}
    }

    sources.ca_file = ca_file;
    sources.cert_file = cert_file;
    sources.key_file = key_file;
    TlsSettings {
        extra_roots: extra_roots.map(String::into_bytes),
        insecure_skip_verify: good(entry.insecure_skip_verify.as_ref()).is_some_and(|(on, _)| *on),
        client: chain.zip(key).map(|(chain, key)| ClientIdentity {
            certificates: chain.into_bytes(),
            key: SecretString::from(key),
        }),
    }
}

/// What a file must hold.
type Check = fn(&str) -> Result<(), ReadError>;

/// The text of a file that the configuration names.
fn named(
    directory: &Path,
    what: &'static str,
    path: &str,
    check: Check,
) -> Result<String, Mistake> {
    let path = expand(directory, path);
    read_file(&path, MAX_NAMED)
        .and_then(|content| String::from_utf8(content).map_err(|_| ReadError::NotUtf8))
        .and_then(|text| check(&text).map(|()| text))
        .map_err(|error| Mistake::File { what, path: path.display().to_string(), error })
}

/// A password is everything but the line end that editors and `echo` leave.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn password(text: &str) -> Result<(), ReadError> {
    if without_line_end(text).is_empty() { Err(ReadError::Empty) } else { Ok(()) }
}

fn certificates(text: &str) -> Result<(), ReadError> {
    let mut count = 0;
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let damaged = ReadError::BadCertificate(count + 1);
        let Ok(block) = block else { return Err(damaged) };
        if block.label == "CERTIFICATE" {
            block.parse_x509().map_err(|_| damaged)?;
            count += 1;
        }
    }
    if count == 0 { Err(ReadError::NoCertificate) } else { Ok(()) }
}

fn private_key(text: &str) -> Result<(), ReadError> {
    let mut labels = Pem::iter_from_buffer(text.as_bytes()).flatten().map(|block| block.label);
    match labels.find(|label| label.ends_with("PRIVATE KEY")) {
        Some(label) if label.starts_with("ENCRYPTED") => Err(ReadError::EncryptedKey),
        Some(_) => Ok(()),
        None => Err(ReadError::NoKey),
    }
}

fn from_environment(name: &str) -> Result<SecretString, Mistake> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(SecretString::from(value)),
        _ => Err(Mistake::Environment),
    }
}

/// The account that `docker login` left for a registry, and the file that holds it; none without such
/// a file or without an entry for the registry in it.
///
/// # Errors
/// There is an entry, and it cannot be used.
pub fn docker_account(url: &PublicUrl) -> Result<Option<(Credentials, PathBuf)>, Mistake> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".docker")));
    let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
    match from_docker(&path, url) {
        Ok(credentials) => Ok(Some((credentials, path))),
        Err(Mistake::Docker { why: NO_ENTRY, .. } | Mistake::File { .. }) => Ok(None),
        Err(mistake) => Err(mistake),
    }
}

/// What is said of a file that does not know the registry.
const NO_ENTRY: &str = "no entry for the registry; run docker login";

/// Asks docker's configuration, and the credential helper it names, for the registry's account.
///
/// A helper is another program and may hang or print secrets: it gets a limit, after which its
/// thread is left behind, and nothing it prints is passed on.
fn from_docker(path: &Path, url: &PublicUrl) -> Result<Credentials, Mistake> {
    let shown = path.display().to_string();
    let content = read_file(path, MAX_NAMED).map_err(|error| Mistake::File {
        what: "docker_config",
        path: shown.clone(),
        error,
    })?;
    let server = url.authority().host_header();
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || {
        // Fails only if the other side has given up.
        let _ =
            answer.send(docker_credential::get_credential_from_reader(content.as_slice(), &server));
    });
    let why = match answered.recv_timeout(HELPER_LIMIT) {
        Ok(Ok(DockerCredential::UsernamePassword(username, password))) => {
            return Ok(Credentials { username, password: SecretString::from(password) });
        }
        Ok(Ok(DockerCredential::IdentityToken(_))) => {
            "the registry's entry is an identity token; a user name and a password are needed"
        }
        Ok(Err(DockerError::NoCredentialConfigured)) => NO_ENTRY,
        Ok(Err(DockerError::ConfigReadError)) => "not docker's JSON",
        Ok(Err(
            DockerError::HelperFailure { .. }
            | DockerError::HelperCommunicationError
            | DockerError::MalformedHelperResponse,
        )) => "the credential helper it names failed",
        Ok(Err(_)) => "the registry's entry is damaged",
        Err(_) => "the credential helper it names did not answer within 10 s",
    };
    Err(Mistake::Docker { path: shown, why })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn only_the_last_line_end_is_not_the_password() {
        for (text, expected) in
            [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), (" p w \n\n", " p w \n")]
        {
            assert_eq!(without_line_end(text), expected);
        }
    }

    #[test]
    fn docker_entries_are_found_by_the_authority_docker_login_writes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let auth = "cm9ib3QkcDpzM2NyZXQ="; // robot$p:s3cret
        std::fs::write(
            &path,
            format!(r#"{{"auths":{{"hub.example.com:8443":{{"auth":"{auth}"}}}}}}"#),
        )
        .unwrap();
        let found = from_docker(&path, &PublicUrl::parse("https://hub.example.com:8443").unwrap());
        let found = found.unwrap();
        assert_eq!(found.username, "robot$p");
        assert_eq!(found.password.expose_secret(), "s3cret");

        let other = from_docker(&path, &PublicUrl::parse("https://hub.example.com").unwrap());
        assert!(other.unwrap_err().to_string().contains(": no entry"));
    }
}
