//! The paths of the registry protocol.

use http::Method;

/// What a path under `/v2/` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    Base,
    Catalog,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    UploadStart(&'a str),
    Upload(&'a str, &'a str),
    Unknown,
}

impl<'a> Resource<'a> {
    /// Reads a path, which begins with `/v2/`.
    pub(super) fn of(path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix("/v2/") else { return Self::Unknown };
        if rest.is_empty() {
            return Self::Base;
        }
        if rest == "_catalog" {
            return Self::Catalog;
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Self::Tags(repository);
        }
        if let Some(repository) =
            rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Self::UploadStart(repository);
        }
        for (infix, make) in [
            ("/blobs/uploads/", Self::Upload as fn(&'a str, &'a str) -> Self),
            ("/manifests/", Self::Manifest as fn(&'a str, &'a str) -> Self),
            ("/blobs/", Self::Blob as fn(&'a str, &'a str) -> Self),
        ] {
            if let Some((repository, name)) = rest.rsplit_once(infix)
                && !name.is_empty()
            {
                return make(repository, name);
            }
        }
        Self::Unknown
    }

    /// The repository, if the path names one.
    pub(super) fn repository(self) -> Option<&'a str> {
        match self {
            Self::Tags(repository)
            | Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::UploadStart(repository)
            | Self::Upload(repository, _) => Some(repository),
            Self::Base | Self::Catalog | Self::Unknown => None,
        }
    }
}

/// The project of a repository: what stands before the first slash.
pub(super) fn project(repository: &str) -> &str {
    repository.split('/').next().unwrap_or_default()
}

/// The action that a method needs.
pub(super) fn action(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "pull",
        Method::DELETE => "delete",
        _ => "push",
    }
}

/// The actions that a challenge asks for: pushing includes pulling.
pub(super) fn challenge_actions(method: &Method) -> &'static [&'static str] {
    match *method {
        Method::GET | Method::HEAD => &["pull"],
        Method::DELETE => &["delete"],
        _ => &["pull", "push"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        for (path, resource) in [
            ("/v2/", Resource::Base),
            ("/v2/_catalog", Resource::Catalog),
            ("/v2/a/b/tags/list", Resource::Tags("a/b")),
            ("/v2/a/b/manifests/v1", Resource::Manifest("a/b", "v1")),
            ("/v2/a/blobs/sha256:0", Resource::Blob("a", "sha256:0")),
            ("/v2/a/blobs/uploads/", Resource::UploadStart("a")),
            ("/v2/a/blobs/uploads/u-1", Resource::Upload("a", "u-1")),
            ("/v2/a/b", Resource::Unknown),
            ("/other", Resource::Unknown),
        ] {
            assert_eq!(Resource::of(path), resource, "{path}");
        }
    }
}
