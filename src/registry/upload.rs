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

/// The place that an answer names; none if it is no URL with a path of the registry.
pub fn upload_place(headers: &HeaderMap) -> Option<UploadPlace> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    let absolute = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let (authority, target) = match absolute {
        Some(url) => {
            let origin = url.origin().ascii_serialization();
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            (Some(origin), format!("{}{query}", url.path()))
        }
        None => (None, text.to_owned()),
    };
    let fits = target.starts_with("/v2/") && target.chars().all(|c| c.is_ascii_graphic());
    fits.then_some(UploadPlace { authority, target })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn place(location: &str) -> Option<UploadPlace> {
        let value = HeaderValue::from_str(location).ok()?;
        upload_place(&HeaderMap::from_iter([(LOCATION, value)]))
    }

    /// Every place of an upload in a transcript.
    fn places(text: &str) -> Vec<UploadPlace> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("Location: "));
        lines.filter(|line| line.contains("_state")).map(|line| place(line).unwrap()).collect()
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
    fn a_place_may_be_a_path_and_must_be_one_of_the_registry() {
        let relative = place("/v2/x/blobs/uploads/1?_state=a%3D").unwrap();
        assert_eq!(relative.authority, None);
        assert_eq!(relative.with("digest", "d"), "/v2/x/blobs/uploads/1?_state=a%3D&digest=d");
        assert_eq!(
            place("/v2/x/blobs/uploads/1").unwrap().with("a", "b"),
            "/v2/x/blobs/uploads/1?a=b"
        );
        let port = place("http://h:8443/v2/x?_state=b").unwrap();
        assert_eq!(port.authority.as_deref(), Some("http://h:8443"));
        assert!(!format!("{port:?}").contains("_state"), "{port:?}");
        for other in ["", "v2/x", "/login", "ftp://h/v2/x", "https://h/elsewhere", "/v2/x y"] {
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
