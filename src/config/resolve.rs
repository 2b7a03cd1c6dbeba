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
    required(entry, at.place, problems);
    let name = good(entry.name.as_ref())
        .and_then(|(name, place)| problems.note(place, RegistryName::parse(name)));
    let url = good(entry.url.as_ref())
        .and_then(|(url, place)| problems.note(place, PublicUrl::parse(url)));
    let scheme = url.as_ref().map_or(Scheme::Https, |url| url.authority().scheme);
    let backends = backend_source(entry, url.as_ref(), directory, problems);
    let secrets = secrets(entry, given, url.as_ref(), directory, problems);
    let balancer = balancer(entry.balancer.as_ref(), scheme, problems);
    let text_settings = text_settings(entry, problems);
    let allowed_realms = allowed_realms(entry, problems);
    let checks = checks::settings(entry.checks.as_ref(), problems);
    let pace = Pace::of_registry(entry, global, problems);
    let allow_plaintext = good(entry.allow_plaintext.as_ref()).is_some_and(|(allow, _)| *allow);
    let confidential = !allow_plaintext && (entry.credentials.is_some() || secrets.any());
    if confidential {
        plaintext(entry, url.as_ref(), backends.as_ref(), problems);
    }

    Some(Registry {
        credentials: secrets.credentials,
        system_credentials: secrets.system,
        directory_credentials: secrets.directory,
        scope: text_settings.scope,
        tls: secrets.tls,
        balancer,
        matrix: text_settings.matrix.unwrap_or(MatrixMode::Auto),
        token_method: text_settings.token_method.unwrap_or(TokenMethod::Get),
        allowed_realms,
        user_agent: text_settings.user_agent,
        checks,
        interval: pace.interval,
        timeout: pace.timeout,
        max_requests_per_second: pace.max_requests_per_second,
        allow_plaintext,
        sources: secrets.sources,
        ..Registry::new(name?, url?, guarded(backends?, confidential))
    })
}

/// Notes each key that a registry lacks.
fn required(entry: &RegistryEntry, place: Place, problems: &mut Problems) {
    let addresses = entry.backends.is_some() || entry.discovery.is_some();
    for (present, key) in [
        (entry.name.is_some(), "name"),
        (entry.url.is_some(), "url"),
        (addresses, "backends (or discovery)"),
    ] {
        if !present {
            problems.add(place, Mistake::Missing { thing: "a registry", key });
        }
    }
}

/// Everything of a registry that is read from elsewhere: accounts, trust, and where they come from.
struct Secrets {
    credentials: Option<Credentials>,
    system: Option<Credentials>,
    directory: Option<Credentials>,
    tls: TlsSettings,
    sources: Sources,
}

impl Secrets {
    fn any(&self) -> bool {
        self.credentials.is_some() || self.system.is_some() || self.directory.is_some()
    }
}

fn secrets(
    entry: &RegistryEntry,
    given: Option<Credentials>,
    url: Option<&PublicUrl>,
    directory: &Path,
    problems: &mut Problems,
) -> Secrets {
    let mut account = |at: Option<&At<CredentialsEntry>>| {
        let mut own = Sources::default();
        let read = at.and_then(|at| secret::credentials(at, url, directory, &mut own, problems));
        (read, own.password)
    };
    let own = if given.is_some() { None } else { entry.credentials.as_ref() };
    let (credentials, password) = account(own);
    let (system, system_password) = account(entry.system_credentials.as_ref());
    let (of_directory, directory_password) = account(entry.directory_credentials.as_ref());
    let mut sources =
        Sources { password, system_password, directory_password, ..Sources::default() };
    let tls = good(entry.tls.as_ref()).map_or_else(TlsSettings::default, |(entry, _)| {
        secret::tls(entry, directory, &mut sources, problems)
    });
    let credentials = given.or(credentials);
    Secrets { credentials, system, directory: of_directory, tls, sources }
}

/// The settings that are one word or a short text with rules of its own.
struct TextSettings {
    scope: Option<Scope>,
    matrix: Option<MatrixMode>,
    token_method: Option<TokenMethod>,
    user_agent: Option<String>,
}

fn text_settings(entry: &RegistryEntry, problems: &mut Problems) -> TextSettings {
    let repository = "repository:NAME:pull with a NAME in lower case";
    let printable = "1 to 200 printable ASCII characters, without blanks at either end";
    TextSettings {
        scope: meaning(entry.scope.as_ref(), repository, Scope::parse, problems),
        matrix: meaning(
            entry.matrix.as_ref(),
            "auto, full or sampled:K with K from 1",
            matrix_mode,
            problems,
        ),
        token_method: meaning(entry.token_method.as_ref(), "get or post", token_method, problems),
        user_agent: meaning(entry.user_agent.as_ref(), printable, user_agent, problems),
    }
}

/// What a text means. One that means nothing is a problem that says what was expected.
fn meaning<T>(
    at: Option<&At<String>>,
    expected: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
    problems: &mut Problems,
) -> Option<T> {
    let (text, place) = good(at)?;
    let mistake = Mistake::Expected { expected, found: quoted(text) };
    problems.note(place, read(text).ok_or(mistake))
}

/// The same source. One that reads its backends from a file has to refuse plain HTTP itself.
fn guarded(backends: BackendSource, confidential: bool) -> BackendSource {
    match backends {
        BackendSource::File(file) => BackendSource::File(FileSource { confidential, ..file }),
        other => other,
    }
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

fn user_agent(text: &str) -> Option<String> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let fits = printable && (1..=200).contains(&text.len()) && text.trim() == text;
    fits.then(|| text.to_owned())
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
