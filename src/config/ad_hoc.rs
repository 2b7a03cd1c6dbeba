//! A registry from the command line: `check URL --backend NAME=ADDR`, without a file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::file::{BackendEntry, BalancerEntry, Discovery, DnsDiscovery, RegistryEntry, TlsEntry};
use super::pace::Pace;
use super::problem::{AdHocErrors, Mistake, Place, Problems};
use super::read::At;
use super::resolve::registry;
use super::secret;
use super::settings::{Credentials, Registry};
use super::url::PublicUrl;
use crate::model::RegistryName;

/// What the command line says about one registry.
#[derive(Debug, Clone, Default)]
pub struct AdHoc {
    /// The public URL.
    pub url: String,
    /// `--backend`: names and addresses; without any, every address behind the URL's host.
    pub backends: Vec<(String, String)>,
    /// `--username`; needs a password.
    pub username: Option<String>,
    /// From `--password-stdin` or `--password-file`; needs a user name.
    pub password: Option<SecretString>,
    /// `--scope`.
    pub scope: Option<String>,
    /// `--ca-file`, relative to the working directory.
    pub ca_file: Option<PathBuf>,
    /// `--cert-file`: chain of the client certificate.
    pub cert_file: Option<PathBuf>,
    /// `--key-file`: key of the client certificate.
    pub key_file: Option<PathBuf>,
    /// `--insecure-skip-verify`.
    pub insecure_skip_verify: bool,
    /// `--balancer-address`.
    pub balancer_address: Option<String>,
    /// `--samples`: independent pairs through the balancer.
    pub samples: Option<u32>,
    /// `--matrix`: `auto`, `full` or `sampled:K`.
    pub matrix: Option<String>,
    /// `--token-method`: `get` or `post`.
    pub token_method: Option<String>,
    /// `--allowed-realm`: authorities other than the URL's own that may see credentials.
    pub allowed_realms: Vec<String>,
    /// `--user-agent`: what requests say in that header.
    pub user_agent: Option<String>,
    /// `--allow-plaintext`: credentials may cross a network unencrypted.
    pub allow_plaintext: bool,
}

/// Makes a registry of it by the same rules as from a file. Its name is the URL's host.
///
/// # Errors
/// [`AdHocErrors`] holds every problem, each with the option it comes from.
pub fn ad_hoc(given: AdHoc) -> Result<Registry, AdHocErrors> {
    let mut problems = Problems::default();
    let credentials = credentials(given.username, given.password, &mut problems);
    let backends: Vec<_> = given
        .backends
        .into_iter()
        .map(|(name, address)| {
            let flag = "--backend";
            at(flag, BackendEntry { name: Some(at(flag, name)), address: Some(at(flag, address)) })
        })
        .collect();
    let dns = Discovery { dns: Some(at("URL", DnsDiscovery::default())), ..Discovery::default() };
    let entry = RegistryEntry {
        name: Some(at("URL", name(&given.url))),
        url: Some(at("URL", given.url)),
        discovery: backends.is_empty().then(|| at("URL", dns)),
        backends: (!backends.is_empty()).then(|| at("--backend", backends)),
        scope: given.scope.map(|scope| at("--scope", scope)),
        tls: Some(at(
            "--ca-file",
            TlsEntry {
                ca_file: file("--ca-file", given.ca_file),
                cert_file: file("--cert-file", given.cert_file),
                key_file: file("--key-file", given.key_file),
                insecure_skip_verify: Some(at(
                    "--insecure-skip-verify",
                    given.insecure_skip_verify,
                )),
            },
        )),
        balancer: Some(at(
            "--balancer-address",
            BalancerEntry {
                address: given.balancer_address.map(|address| at("--balancer-address", address)),
                samples: given.samples.map(|samples| at("--samples", samples)),
            },
        )),
        matrix: given.matrix.map(|matrix| at("--matrix", matrix)),
        token_method: given.token_method.map(|method| at("--token-method", method)),
        allowed_realms: (!given.allowed_realms.is_empty()).then(|| {
            let flag = "--allowed-realm";
            at(flag, given.allowed_realms.into_iter().map(|realm| at(flag, realm)).collect())
        }),
        user_agent: given.user_agent.map(|agent| at("--user-agent", agent)),
        allow_plaintext: Some(at("--allow-plaintext", given.allow_plaintext)),
        ..RegistryEntry::default()
    };
    let registry =
        registry(&at("URL", entry), &Pace::default(), credentials, Path::new(""), &mut problems);
    match registry {
        Some(registry) if problems.0.is_empty() => Ok(named_by_address(registry)),
        _ => Err(AdHocErrors(problems.sorted())),
    }
}

fn file(flag: &'static str, path: Option<PathBuf>) -> Option<At<String>> {
    path.map(|path| at(flag, path.to_string_lossy().into_owned()))
}

fn at<T>(flag: &'static str, value: T) -> At<T> {
    At { place: Place::Flag(flag), value: Some(value) }
}

fn credentials(
    username: Option<String>,
    password: Option<SecretString>,
    problems: &mut Problems,
) -> Option<Credentials> {
    let place = Place::Flag("--username");
    match (username, password) {
        (None, None) => None,
        (Some(username), Some(password)) => {
            let username = problems.note(place, secret::check_username(&username))?;
            Some(Credentials { username, password })
        }
        (Some(_), None) => {
            problems
                .add(place, Mistake::Alone("--username", "--password-stdin or --password-file"));
            None
        }
        (None, Some(_)) => {
            problems.add(place, Mistake::Alone("a password", "--username"));
            None
        }
    }
}

/// The URL's host as a name: a long one is cut.
fn name(url: &str) -> String {
    let host = PublicUrl::parse(url).map(|url| url.authority().host_port.host.clone());
    // A bad URL is noted as such, and an address gets its name later: this only has to be one.
    let host = host.unwrap_or_else(|_| "registry".to_owned());
    host.replace(':', "-").chars().take(63).collect()
}

/// What a registry is called whose host is an address.
fn named_by_address(registry: Registry) -> Registry {
    match registry.url.authority().host_port.host.parse::<IpAddr>() {
        Ok(address) => Registry { name: RegistryName::of_address(address), ..registry },
        Err(_) => registry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, BackendSource, HostPort, Scheme};
    use crate::model::BackendName;

    #[test]
    fn without_backends_they_come_from_dns_and_the_host_is_the_name() {
        for (url, name) in [
            ("https://hub.example.com:8443", "hub.example.com"),
            ("http://[fd00::1]:5000", "[fd00::1]"),
            ("https://10.0.0.1", "10.0.0.1"),
        ] {
            let registry = ad_hoc(AdHoc { url: url.to_owned(), ..AdHoc::default() }).unwrap();
            assert_eq!(registry.name.as_str(), name);
            assert!(matches!(registry.backends, BackendSource::Dns(_)), "{:?}", registry.backends);
        }
    }

    #[test]
    fn backends_and_credentials_are_taken_as_given() {
        let registry = ad_hoc(AdHoc {
            url: "https://hub.example.com".to_owned(),
            backends: vec![("a".to_owned(), "http://10.0.0.1:5000".to_owned())],
            username: Some("robot$prober".to_owned()),
            password: Some(SecretString::from("hunter2")),
            allow_plaintext: true,
            ..AdHoc::default()
        })
        .unwrap();
        let backend = Backend {
            name: BackendName::parse("a").unwrap(),
            scheme: Scheme::Http,
            address: HostPort { host: "10.0.0.1".to_owned(), port: 5000 },
            ready: true,
        };
        assert_eq!(registry.backends, BackendSource::Static(vec![backend]));
        assert_eq!(registry.credentials.unwrap().username, "robot$prober");
    }

    #[test]
    fn every_problem_names_its_option() {
        let errors = ad_hoc(AdHoc {
            url: "http://hub.example.com".to_owned(),
            backends: vec![
                ("lb".to_owned(), "10.0.0.1:443".to_owned()),
                ("b".to_owned(), "10.0.0.1:443".to_owned()),
            ],
            username: Some("robot".to_owned()),
            password: Some(SecretString::from("hunter2")),
            scope: Some("probe/canary".to_owned()),
            ca_file: Some("does-not-exist.pem".into()),
            samples: Some(5000),
            matrix: Some("half".to_owned()),
            token_method: Some("put".to_owned()),
            allowed_realms: vec!["ftp://auth.example.com".to_owned()],
            ..AdHoc::default()
        })
        .unwrap_err();
        assert_eq!(
            errors.to_string(),
            "--allowed-realm: scheme \"ftp\" is not supported; expected http or https\n\
             --backend: \"lb\" is reserved; it means something else in metrics\n\
             --backend: backend address 10.0.0.1:443 is already used with --backend; each must be \
             different\n\
             --ca-file: ca_file does-not-exist.pem: no such file\n\
             --matrix: expected auto, full or sampled:K with K from 1, found \"half\"\n\
             --samples: expected a whole number from 0 to 1000, found the number 5000\n\
             --scope: expected repository:NAME:pull with a NAME in lower case, found \
             \"probe/canary\"\n\
             --token-method: expected get or post, found \"put\"\n\
             URL: credentials would be sent to http://hub.example.com unencrypted; use https, or \
             accept that with allow_plaintext"
        );
    }

    #[test]
    fn a_user_agent_is_what_a_header_can_hold() {
        let of = |agent: &str| {
            let url = "https://h".to_owned();
            ad_hoc(AdHoc { url, user_agent: Some(agent.to_owned()), ..AdHoc::default() })
        };
        assert_eq!(
            of("docker/27.0.0 (linux)").unwrap().user_agent.unwrap(),
            "docker/27.0.0 (linux)"
        );
        for bad in ["", " x", "x ", "a\nb", "a\tb", "ä", &"x".repeat(201)] {
            let told = of(bad).unwrap_err().to_string();
            assert!(told.starts_with("--user-agent: expected 1 to 200 printable"), "{told}");
        }
    }

    #[test]
    fn a_user_name_needs_a_password_and_the_reverse() {
        let url = "https://h".to_owned();
        let alone = AdHoc { url: url.clone(), username: Some("u".to_owned()), ..AdHoc::default() };
        assert!(
            ad_hoc(alone).unwrap_err().to_string().starts_with("--username: --username also needs")
        );
        let alone = AdHoc { url, password: Some("p".into()), ..AdHoc::default() };
        assert!(
            ad_hoc(alone).unwrap_err().to_string().contains("a password also needs --username")
        );
    }
}
