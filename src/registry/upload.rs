//! The place at which an upload goes on (OCI distribution specification, "Push";
//! captures/distribution-2.8.2/50-upload-ok.http, captures/harbor-2.15.2/40-upload.http).

use std::fmt;

use http::HeaderMap;
use http::header::LOCATION;
use url::Url;

/// Where an upload goes on. Path and query hold the signed state, so there is no `Display`, and
/// `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadPlace {
    /// `scheme://host[:port]` as the registry wrote it; none if it named a path only.
    pub authority: Option<String>,
    target: String,
}

impl UploadPlace {
    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Path and query with one more parameter.
    pub fn with(&self, name: &str, value: &str) -> String {
        let join = if self.target.contains('?') { '&' } else { '?' };
        format!("{}{join}{name}={value}", self.target)
    }
}

impl fmt::Debug for UploadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadPlace").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// The place that an answer names; none if it is not one of an upload to this repository, by
/// letter and before anything in it is resolved: `/v2/<repository>/blobs/uploads/<id>`.
pub fn upload_place(headers: &HeaderMap, repository: &str) -> Option<UploadPlace> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    let (authority, target) = if text.starts_with('/') {
        (None, text)
    } else {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let (_, rest) = text.split_once("://")?;
        let target = &rest[rest.find('/')?..];
        // What the URL makes of it must be what it says.
        let path = target.split('?').next()?;
        (url.path() == path).then_some((Some(url.origin().ascii_serialization()), target))?
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let id =
        path.strip_prefix("/v2/")?.strip_prefix(repository)?.strip_prefix("/blobs/uploads/")?;
    let fits = is_upload_id(id) && query.chars().all(|c| c.is_ascii_graphic() && c != '#');
    fits.then(|| UploadPlace { authority, target: target.to_owned() })
}

/// Unreserved characters, so that there is nothing to decode, and no segment of dots.
fn is_upload_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '=');
    !id.is_empty() && !id.starts_with('.') && id.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn place_in(repository: &str, location: &str) -> Option<UploadPlace> {
        let value = HeaderValue::from_str(location).ok()?;
        upload_place(&HeaderMap::from_iter([(LOCATION, value)]), repository)
    }

    fn place(location: &str) -> Option<UploadPlace> {
        place_in("x/y", location)
    }

    /// Every place of an upload in a transcript.
    fn places(text: &str) -> Vec<UploadPlace> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("Location: "));
        let lines = lines.filter(|line| line.contains("_state"));
        lines.map(|line| place_in("probe/canary", line).unwrap()).collect()
    }

    #[test]
    fn captured_uploads_name_the_authority_that_clients_will_use() {
        let harbor = places(include_str!("../../tests/captures/harbor-2.15.2/40-upload.http"));
        assert_eq!(harbor[0].authority.as_deref(), Some("https://harbor.test"));
        let third = places(include_str!(
            "../../tests/captures/distribution-3.1.1/51-upload-other-http-secret.http"
        ));
        assert_eq!(third[0].authority.as_deref(), Some("http://127.0.0.1:15030"));
    }

    #[test]
    fn a_place_is_one_of_an_upload_to_the_repository_by_letter() {
        let relative = place("/v2/x/y/blobs/uploads/1?_state=a%3D").unwrap();
        assert_eq!(relative.authority, None);
        assert_eq!(relative.with("digest", "d"), "/v2/x/y/blobs/uploads/1?_state=a%3D&digest=d");
        let bare = place("/v2/x/y/blobs/uploads/1").unwrap();
        assert_eq!(bare.with("a", "b"), "/v2/x/y/blobs/uploads/1?a=b");
        let port = place("http://h:8443/v2/x/y/blobs/uploads/1?_state=b").unwrap();
        assert_eq!(port.authority.as_deref(), Some("http://h:8443"));
        assert_eq!(port.target(), "/v2/x/y/blobs/uploads/1?_state=b");
        assert!(!format!("{port:?}").contains("_state"), "{port:?}");
        for other in [
            "",
            "v2/x/y/blobs/uploads/1",
            "ftp://h/v2/x/y/blobs/uploads/1",
            "https://h/elsewhere",
            "/v2/x/blobs/uploads/1",
            "/v2/x/y/blobs/uploads/",
            "/v2/x/y/blobs/uploads/..",
            "/v2/x/y/blobs/uploads/1/2",
            "/v2/x/y/blobs/uploads/%31",
            "/v2/x/y/blobs/uploads/1?a b",
            "/v2/x/y/blobs/uploads/1?a#b",
            "/v2/x/y/z/../blobs/uploads/1",
            "http://h/v2/x/y/z/../blobs/uploads/1",
            "http://h\\@h/v2/x/y/blobs/uploads/1",
            "//h/v2/x/y/blobs/uploads/1",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_location_is_read_without_a_panic(text in "[ -~]*") {
            place(&text);
        }
    }
}
