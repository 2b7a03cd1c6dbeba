//! Tags, manifests and digests, as a registry tells them (OCI distribution specification, "Pull"
//! and "Content discovery"; captures/distribution-2.8.2/56-manifest.http).

use http::HeaderMap;
use serde_json::Value;

/// The most tags that are read of a list.
const MAX_TAGS: usize = 1_000;

/// The tags in a tag list, those that are none left out; none if the body is no such list. A
/// repository without tags has `null` there.
pub fn tags_of(body: &[u8]) -> Option<Vec<String>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    match value.get("tags")? {
        Value::Null => Some(Vec::new()),
        Value::Array(tags) => {
            let tags = tags.iter().take(MAX_TAGS).filter_map(Value::as_str);
            Some(tags.filter(|tag| is_tag(tag)).map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// The tag of what the prober pushes.
pub const OWN_TAG: &str = "registry-prober";

/// The tag to read of a repository: one that is usual for a canary, else the first that someone
/// else pushed, else the prober's own, which a push of its own may be writing.
pub fn canary_tag<'a>(tags: impl IntoIterator<Item = &'a String>) -> Option<&'a String> {
    let tags = Vec::from_iter(tags);
    let usual = ["canary", "latest"].iter().find_map(|usual| tags.iter().find(|tag| *tag == usual));
    let foreign = || tags.iter().find(|tag| **tag != OWN_TAG);
    usual.or_else(foreign).or(tags.first()).copied()
}

/// The digest of the configuration blob that a manifest names; none for an index, whose entries
/// are manifests, and for anything else.
pub fn config_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let digest = value.get("config")?.get("digest")?.as_str()?;
    is_digest(digest).then(|| digest.to_owned())
}

/// The digest of the first manifest that an index names; none for anything else.
pub fn first_of_index(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let digest = value.get("manifests")?.get(0)?.get("digest")?.as_str()?;
    is_digest(digest).then(|| digest.to_owned())
}

/// The digest of the content that an answer is about.
pub fn digest_of(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("docker-content-digest")?.to_str().ok()?;
    is_digest(text).then(|| text.to_owned())
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`: it goes into a path.
fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// `sha256:` and its like with lower-case hexadecimal digits.
fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with("sha")
            && algorithm.chars().all(|c| c.is_ascii_alphanumeric())
            && (64..=128).contains(&hex.len())
            && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// The answers of a transcript: header lines and body.
    fn answers(text: &str) -> Vec<(HeaderMap, String)> {
        let answer = |text: &str| {
            let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let headers = lines
                .map(|(name, value)| {
                    let name = http::HeaderName::try_from(name).unwrap();
                    (name, HeaderValue::from_str(value).unwrap())
                })
                .collect();
            (headers, body.split("\n\n").next().unwrap_or_default().trim().to_owned())
        };
        text.split("--- response\n").skip(1).map(answer).collect()
    }

    #[test]
    fn an_image_of_somebody_else_is_read_before_the_one_that_the_prober_pushes() {
        for (tags, expected) in [
            (&["v2", "latest", "canary"][..], Some("canary")),
            (&["registry-prober", "latest"], Some("latest")),
            (&["registry-prober", "v2", "v1"], Some("v2")),
            (&["registry-prober"], Some("registry-prober")),
            (&[], None),
        ] {
            let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
            assert_eq!(canary_tag(&tags).map(String::as_str), expected, "{tags:?}");
        }
    }

    #[test]
    fn captured_manifests_and_tag_lists_are_read() {
        let plain = include_str!("../../tests/captures/distribution-2.8.2/56-manifest.http");
        let digest = "sha256:85796aa5e4595592df4bced1a63a3b38587eb3e2dae036fad0b6f2bda472efb6";
        let config = "sha256:7e122412d05decbd478929a3c0f41d2e82e8a4915a49ac22e8b06dfad6b3a9e1";
        let read = answers(plain);
        assert_eq!(read.iter().filter(|(h, _)| digest_of(h).as_deref() == Some(digest)).count(), 3);
        assert!(read.iter().any(|(_, body)| config_of(body.as_bytes()).as_deref() == Some(config)));
        let tags = read.iter().filter_map(|(_, body)| tags_of(body.as_bytes()));
        assert_eq!(tags.collect::<Vec<_>>(), [["t1".to_owned()]]);

        let harbor = include_str!("../../tests/captures/harbor-2.15.2/67-storage-split.http");
        let tags = answers(harbor).into_iter().filter_map(|(_, body)| tags_of(body.as_bytes()));
        assert_eq!(tags.collect::<Vec<_>>(), [["v1".to_owned()], ["v1".to_owned()]]);
    }

    #[test]
    fn what_could_not_stand_in_a_path_is_left_out() {
        let tags = br#"{"name":"x","tags":["a","../b","c?d","","-e","f.1-2_3",7]}"#;
        assert_eq!(tags_of(tags), Some(vec!["a".to_owned(), "f.1-2_3".to_owned()]));
        assert_eq!(tags_of(br#"{"name":"x","tags":null}"#), Some(Vec::new()));
        for body in ["", "{}", "<html>", r#"{"tags":"a"}"#] {
            assert_eq!(tags_of(body.as_bytes()), None, "{body}");
        }
        for digest in ["sha256:1", "sha256:../../etc", "md5", &format!("SHA256:{}", "0".repeat(64))]
        {
            let body = serde_json::json!({"config": {"digest": digest}}).to_string();
            assert_eq!(config_of(body.as_bytes()), None, "{digest}");
        }
        let index = br#"{"manifests":[{"digest":"sha256:0"}]}"#;
        assert_eq!(config_of(index), None);
    }

    #[test]
    fn an_index_leads_to_its_first_manifest_and_nothing_else_does() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let index = format!(r#"{{"manifests":[{{"digest":"{digest}"}},{{"digest":"x"}}]}}"#);
        assert_eq!(first_of_index(index.as_bytes()), Some(digest));
        for other in [r#"{"manifests":[]}"#, r#"{"manifests":[{"digest":"../../x"}]}"#, "{}", ""] {
            assert_eq!(first_of_index(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body: Vec<u8>) {
            tags_of(&body);
            config_of(&body);
        }
    }
}
