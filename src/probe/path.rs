//! The path of a request, and who may have named it. A [`Path`] is put together from words of this
//! program and names of the configuration, or it passed a check: there is no other way to one, and
//! nothing is sent without one. So no server leads a request out of where it belongs, however it
//! writes it.

use std::borrow::Cow;
use std::fmt;

use url::Url;

use crate::registry::UploadPlace;

/// Path and query of a request. It may hold the state of an upload, so there is no `Display`, and
/// `Debug` leaves out the query.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Path(Cow<'static, str>);

impl From<&'static str> for Path {
    fn from(own: &'static str) -> Self {
        Self(Cow::Borrowed(own))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.split('?').next().unwrap_or_default())
    }
}

impl Path {
    /// A path of a repository.
    pub(super) fn of(repository: &str) -> Self {
        let mut path = "/v2".to_owned();
        for part in repository.split('/') {
            path.push('/');
            path.extend(word(part));
        }
        Self(path.into())
    }

    /// With more words of our own.
    pub(super) fn then(self, own: &'static str) -> Self {
        Self(self.0 + own)
    }

    /// With a tag or digest.
    pub(super) fn reference(self, reference: &str) -> Self {
        let mut path = self.0.into_owned();
        path.extend(word(reference));
        Self(path.into())
    }

    /// With a number.
    pub(super) fn number(self, number: u64) -> Self {
        Self(format!("{}{number}", self.0).into())
    }

    /// Where an upload goes on.
    pub(super) fn upload(place: &UploadPlace) -> Self {
        Self(place.target().to_owned().into())
    }

    /// Where an upload is ended with this blob.
    pub(super) fn closed_upload(place: &UploadPlace, digest: &str) -> Self {
        Self(place.with("digest", &word(digest).collect::<String>()).into())
    }

    /// The root of the registry's API, where a redirect of it leads there.
    pub(super) fn root(url: &Url) -> Option<Self> {
        matches!(url.path(), "/v2" | "/v2/").then(|| Self(path_of(url).into()))
    }

    /// A token endpoint, where a redirect of one leads there.
    pub(super) fn token(url: &Url) -> Option<Self> {
        TokenUrl::check(url.clone()).map(|url| url.with([]))
    }

    /// Whether it lies in the API that every registry has.
    pub(super) fn is_of_a_registry(&self) -> bool {
        self.0.starts_with("/v2/")
    }

    /// Whether it leads to a blob.
    pub(super) fn is_of_a_blob(&self) -> bool {
        self.0.contains("/blobs/")
    }

    /// The text, as it is sent.
    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }
}

/// What tags, digests and parts of repository names consist of; none begins with a dot.
fn word(text: &str) -> impl Iterator<Item = char> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    text.chars().filter(allowed).skip_while(|c| *c == '.')
}

/// The URL of a token endpoint, named by a server: anywhere but in the registry's content and in
/// the management of Harbor, which a request with a password must never meet.
#[derive(Debug, Clone)]
pub(super) struct TokenUrl(Url);

impl TokenUrl {
    pub(super) fn check(url: Url) -> Option<Self> {
        is_token_endpoint(url.path()).then_some(Self(url))
    }

    /// Path and query with more parameters.
    pub(super) fn with<'p>(&self, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Path {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        Path(path_of(&url).into())
    }
}

fn is_token_endpoint(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    if path.contains(['\\', ';']) || path.split('%').skip(1).any(hides) {
        return false;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let content = ["manifests", "blobs", "tags", "referrers", "_catalog"];
    let after_v2 = parts.iter().skip_while(|part| **part != "v2");
    let versioned = |part: &&str| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let management = match parts.as_slice() {
        ["api", next, ..] if versioned(next) => true,
        ["api", .., last] => !matches!(*last, "token" | "auth"),
        ["api" | "c", ..] => true,
        _ => false,
    };
    !management
        && !parts.iter().any(|part| part.starts_with('.'))
        && !after_v2.into_iter().any(|part| content.contains(part))
}

/// Whether what follows a `%` stands for something that a path has in clear, or that another server
/// could resolve to another path than we see.
fn hides(after: &str) -> bool {
    let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    byte.is_none_or(|byte| byte.is_ascii_alphanumeric() || b"./\\;%".contains(&byte))
}

pub(super) fn path_of(url: &Url) -> String {
    match url.query() {
        Some(query) if !query.is_empty() => format!("{}?{query}", url.path()),
        _ => url.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_our_own_stays_in_its_repository_whatever_names_it() {
        let path = Path::of("probe/scratch").then("/manifests/").reference("v1.0_x");
        assert_eq!(path.into_string(), "/v2/probe/scratch/manifests/v1.0_x");
        for (repository, reference, expected) in [
            ("../api", "..", "/v2//api/manifests/"),
            ("a/..", "../../x?y#z", "/v2/a//manifests/xyz"),
            ("a%2e", "%2e%2e%2f", "/v2/a2e/manifests/2e2e2f"),
        ] {
            let path = Path::of(repository).then("/manifests/").reference(reference);
            assert_eq!(path.into_string(), expected);
        }
        let path = Path::from("/api/x/").number(7).then("/log");
        assert_eq!(path.into_string(), "/api/x/7/log");
    }

    #[test]
    fn token_endpoints_of_known_servers_are_told_from_what_is_none() {
        for (path, expected) in [
            ("/service/token", true),
            ("/token", true),
            ("/auth", true),
            ("/v2/auth", true),
            ("/v2/token", true),
            ("/jwt/auth", true),
            ("/artifactory/api/docker/x/v2/token", true),
            ("/api/docker/x/v2/token", true),
            ("/auth/realms/a%20b/protocol/docker-v2/auth", true),
            ("/v2/x/y/manifests/token", false),
            ("/V2/x/%62lobs/uploads/", false),
            ("/prefix/v2/x/tags/list", false),
            ("/v2/_catalog", false),
            ("/api/v2.0/users/token", false),
            ("/api/projects", false),
            ("//api//v2.0/x", false),
            ("/c/login", false),
            ("/a/..%2fapi", false),
            ("/a/%252e%252e/b", false),
            ("/a/..;/b", false),
        ] {
            let url = Url::parse(&format!("http://h{path}")).unwrap();
            assert_eq!(TokenUrl::check(url).is_some(), expected, "{path}");
        }
        let url = Url::parse("http://h/token?a=b").unwrap();
        let path = TokenUrl::check(url).unwrap().with([("scope", "x:y z")]);
        assert_eq!(path.into_string(), "/token?a=b&scope=x%3Ay+z");
    }
}
