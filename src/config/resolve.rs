//! From the raw file to a [`Config`] in which every rule holds, noting all that is wrong.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;

use super::file::{BackendEntry, BalancerEntry, CredentialsEntry, File, RegistryEntry};
use super::pace::Pace;
use super::problem::{Mistake, Place, Problems, quoted};
use super::read::{At, good};
use super::scope::Scope;
use super::settings::{
    BalancerSettings, Config, Credentials, MatrixMode, Registry, Sources, TlsSettings, TokenMethod,
};
use super::source::{Backend, BackendSource, FileSource};
use super::url::{Authority, HostPort, PublicUrl, Scheme, UrlError};
use super::{checks, secret, source};
use crate::model::{BackendName, RegistryName};

const MAX_REGISTRIES: usize = 1000;
const MAX_BACKENDS: usize = 500;
const MAX_SAMPLES: u32 = 1000;

/// The configuration, if it can be built. It is valid only if no problem was noted.
pub(super) fn config(at: &At<File>, directory: &Path, problems: &mut Problems) -> Option<Config> {
    let file = at.value.as_ref()?;
    let global = good(file.global.as_ref())
        .map_or_else(Pace::default, |(entry, _)| Pace::of_global(entry, problems));
    if file.registries.is_none() {
        problems.add(at.place, Mistake::Missing { thing: "the file", key: "registries" });
    }
    let (entries, place) = good(file.registries.as_ref())?;
    count(entries, place, "registries", MAX_REGISTRIES, problems);
    let mut names = Taken::new("registry name");
    let registries = entries
        .iter()
        .filter_map(|entry| {
            let name = entry.value.as_ref().and_then(|entry| entry.name.as_ref());
            if let Some((name, place)) = good(name) {
                names.note(name.clone(), quoted(name), place, problems);
            }
            registry(entry, &global, None, directory, problems)
        })
        .collect();
    Some(Config { registries })
}

/// One registry. `given` are credentials that do not come from the entry.
pub(super) fn registry(
    at: &At<RegistryEntry>,
    global: &Pace,
    given: Option<Credentials>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<Registry> {
    let entry = at.value.as_ref()?;
    let mut needs = |missing: bool, key| {
        if missing {
            problems.add(at.place, Mistake::Missing { thing: "a registry", key });
        }
    };
    needs(entry.name.is_none(), "name");
    needs(entry.url.is_none(), "url");
    needs(entry.backends.is_none() && entry.discovery.is_none(), "backends (or discovery)");

    let name = good(entry.name.as_ref())
        .and_then(|(name, place)| problems.note(place, RegistryName::parse(name)));
    let url = good(entry.url.as_ref())
        .and_then(|(url, place)| problems.note(place, PublicUrl::parse(url)));
    let scheme = url.as_ref().map_or(Scheme::Https, |url| url.authority().scheme);
    let backends = backend_source(entry, url.as_ref(), directory, problems);
    let mut sources = Sources::default();
    let credentials = given.or_else(|| {
        let at = entry.credentials.as_ref()?;
        secret::credentials(at, url.as_ref(), directory, &mut sources, problems)
    });
    let mut further = |at: Option<&At<CredentialsEntry>>| match at {
        Some(at) => {
            let mut own = Sources::default();
            let read = secret::credentials(at, url.as_ref(), directory, &mut own, problems);
            (read, own.password)
        }
        None => (None, None),
    };
    let (system_credentials, system_password) = further(entry.system_credentials.as_ref());
    let (directory_credentials, directory_password) = further(entry.directory_credentials.as_ref());
    (sources.system_password, sources.directory_password) = (system_password, directory_password);
    let tls = good(entry.tls.as_ref()).map_or_else(TlsSettings::default, |(entry, _)| {
        secret::tls(entry, directory, &mut sources, problems)
    });
    let scope = good(entry.scope.as_ref()).and_then(|(text, place)| {
        let expected = "repository:NAME:pull with a NAME in lower case";
        let mistake = Mistake::Expected { expected, found: quoted(text) };
        problems.note(place, Scope::parse(text).ok_or(mistake))
    });
    let balancer = balancer(entry.balancer.as_ref(), scheme, problems);
    let matrix = good(entry.matrix.as_ref()).and_then(|(text, place)| {
        let expected = "auto, full or sampled:K with K from 1";
        let mistake = Mistake::Expected { expected, found: quoted(text) };
        problems.note(place, matrix_mode(text).ok_or(mistake))
    });
    let token_method = good(entry.token_method.as_ref()).and_then(|(text, place)| {
        let mistake = Mistake::Expected { expected: "get or post", found: quoted(text) };
        problems.note(place, token_method(text).ok_or(mistake))
    });
    let allowed_realms = allowed_realms(entry, problems);
    let user_agent = good(entry.user_agent.as_ref()).and_then(|(text, place)| {
        let expected = "1 to 200 printable ASCII characters, without blanks at either end";
        let mistake = Mistake::Expected { expected, found: quoted(text) };
        problems.note(place, is_user_agent(text).then(|| text.clone()).ok_or(mistake))
    });
    let checks = checks::settings(entry.checks.as_ref(), problems);
    let pace = Pace::of_registry(entry, global, problems);
    let allow_plaintext = good(entry.allow_plaintext.as_ref()).is_some_and(|(allow, _)| *allow);
    let secrets = [
        entry.credentials.is_some(),
        credentials.is_some(),
        system_credentials.is_some(),
        directory_credentials.is_some(),
    ];
    let confidential = !allow_plaintext && secrets.contains(&true);
    if confidential {
        plaintext(entry, url.as_ref(), backends.as_ref(), problems);
    }
    let backends = backends.map(|found| match found {
        BackendSource::File(file) => BackendSource::File(FileSource { confidential, ..file }),
        other => other,
    });

    Some(Registry {
        credentials,
        system_credentials,
        directory_credentials,
        scope,
        tls,
        balancer,
        matrix: matrix.unwrap_or(MatrixMode::Auto),
        token_method: token_method.unwrap_or(TokenMethod::Get),
        allowed_realms,
        user_agent,
        checks,
        interval: pace.interval,
        timeout: pace.timeout,
        max_requests_per_second: pace.max_requests_per_second,
        allow_plaintext,
        sources,
        ..Registry::new(name?, url?, backends?)
    })
}

/// Notes every authority to which credentials would travel unencrypted over a network.
fn plaintext(
    entry: &RegistryEntry,
    url: Option<&PublicUrl>,
    found: Option<&BackendSource>,
    problems: &mut Problems,
) {
    let mut check = |authority: &Authority, place| {
        let plain = authority.scheme == Scheme::Http && !authority.is_loopback();
        if plain {
            problems.add(place, Mistake::Plaintext(authority.to_string()));
        }
        plain
    };
    for (text, place) in each(entry.allowed_realms.as_ref()) {
        if let Ok(url) = PublicUrl::parse(text) {
            check(url.authority(), place);
        }
    }
    let scheme = url.map_or(Scheme::Https, |url| url.authority().scheme);
    if let (Some(url), Some(at)) = (url, &entry.url)
        && check(url.authority(), at.place)
    {
        // The addresses take their scheme from the URL, so only the URL is reported.
        return;
    }
    if let (Some(at), Some(found)) = (&entry.discovery, found)
        && let Some(authority) = found.authority()
    {
        check(&authority, at.place);
    }
    let balancer =
        good(entry.balancer.as_ref()).and_then(|(entry, _)| good(entry.address.as_ref()));
    let backends =
        each(entry.backends.as_ref()).filter_map(|(entry, _)| good(entry.address.as_ref()));
    for (text, place) in backends.chain(balancer) {
        if let Ok(authority) = address(text, scheme) {
            check(&authority, place);
        }
    }
}

fn backend_source(
    entry: &RegistryEntry,
    url: Option<&PublicUrl>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<BackendSource> {
    let scheme = url.map_or(Scheme::Https, |url| url.authority().scheme);
    let found = entry.discovery.as_ref().map(|at| {
        if entry.backends.is_some() {
            problems.add(at.place, Mistake::Both("discovery", "backends"));
        }
        source::discovery(at, url, directory, problems)
    });
    let Some(list) = &entry.backends else { return found? };
    let (entries, place) = good(Some(list))?;
    count(entries, place, "backends", MAX_BACKENDS, problems);
    let mut names = Taken::new("backend name");
    let mut addresses = Taken::new("backend address");
    let mut backends = Vec::new();
    for at in entries {
        let Some(entry) = &at.value else { continue };
        backends.extend(backend(entry, at.place, scheme, &mut names, &mut addresses, problems));
    }
    Some(BackendSource::Static(backends))
}

fn backend(
    entry: &BackendEntry,
    place: Place,
    scheme: Scheme,
    names: &mut Taken<String>,
    addresses: &mut Taken<HostPort>,
    problems: &mut Problems,
) -> Option<Backend> {
    for (missing, key) in [(entry.name.is_none(), "name"), (entry.address.is_none(), "address")] {
        if missing {
            problems.add(place, Mistake::Missing { thing: "a backend", key });
        }
    }
    let name = good(entry.name.as_ref()).and_then(|(name, place)| {
        names.note(name.clone(), quoted(name), place, problems);
        problems.note(place, BackendName::parse(name))
    });
    let authority = good(entry.address.as_ref()).and_then(|(text, place)| {
        let authority = problems.note(place, address(text, scheme))?;
        let address = authority.host_port.clone();
        addresses.note(address.clone(), address.to_string(), place, problems);
        Some(authority)
    });
    let Authority { scheme, host_port: address } = authority?;
    Some(Backend { name: name?, scheme, address, ready: true })
}

/// Reads `host:port`, or a URL where the scheme differs from the registry's.
pub(super) fn address(text: &str, scheme: Scheme) -> Result<Authority, UrlError> {
    if text.contains("://") {
        return PublicUrl::parse(text).map(|url| url.authority().clone());
    }
    HostPort::parse(text, scheme.default_port()).map(|host_port| Authority { scheme, host_port })
}

fn balancer(
    at: Option<&At<BalancerEntry>>,
    scheme: Scheme,
    problems: &mut Problems,
) -> BalancerSettings {
    let mut settings = BalancerSettings::default();
    let Some((entry, _)) = good(at) else { return settings };
    if let Some((samples, place)) = good(entry.samples.as_ref()) {
        settings.samples = *samples;
        if *samples > MAX_SAMPLES {
            let expected = "a whole number from 0 to 1000";
            let found = format!("the number {samples}");
            problems.add(place, Mistake::Expected { expected, found });
        }
    }
    settings.address = good(entry.address.as_ref()).and_then(|(text, place)| {
        problems.note(place, HostPort::parse(text, scheme.default_port()))
    });
    settings
}

fn matrix_mode(text: &str) -> Option<MatrixMode> {
    match text {
        "auto" => Some(MatrixMode::Auto),
        "full" => Some(MatrixMode::Full),
        _ => {
            let count = text.strip_prefix("sampled:")?;
            let digits = count.bytes().all(|byte| byte.is_ascii_digit());
            let count = count.parse().ok().filter(|count| digits && *count >= 1)?;
            Some(MatrixMode::Sampled(count))
        }
    }
}

fn token_method(text: &str) -> Option<TokenMethod> {
    match text {
        "get" => Some(TokenMethod::Get),
        "post" => Some(TokenMethod::Post),
        _ => None,
    }
}

fn is_user_agent(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    printable && (1..=200).contains(&text.len()) && text.trim() == text
}

fn allowed_realms(entry: &RegistryEntry, problems: &mut Problems) -> Vec<Authority> {
    each(entry.allowed_realms.as_ref())
        .filter_map(|(text, place)| problems.note(place, PublicUrl::parse(text)))
        .map(|url| url.authority().clone())
        .collect()
}

/// The good entries of a list that may be absent or wrong.
fn each<T>(list: Option<&At<Vec<At<T>>>>) -> impl Iterator<Item = (&T, Place)> {
    good(list).into_iter().flat_map(|(entries, _)| entries).filter_map(|at| good(Some(at)))
}

fn count<T>(
    entries: &[T],
    place: Place,
    things: &'static str,
    limit: usize,
    problems: &mut Problems,
) {
    if entries.is_empty() {
        problems.add(place, Mistake::Empty(things));
    } else if entries.len() > limit {
        problems.add(place, Mistake::TooMany { things, found: entries.len(), limit });
    }
}

/// Values that must differ, and where each was used first.
struct Taken<T> {
    what: &'static str,
    places: HashMap<T, Place>,
}

impl<T: Eq + Hash> Taken<T> {
    fn new(what: &'static str) -> Self {
        Self { what, places: HashMap::new() }
    }

    fn note(&mut self, value: T, shown: String, place: Place, problems: &mut Problems) {
        match self.places.get(&value) {
            Some(by) => {
                let mistake = Mistake::Duplicate { what: self.what, value: shown, by: *by };
                problems.add(place, mistake);
            }
            None => {
                self.places.insert(value, place);
            }
        }
    }
}
