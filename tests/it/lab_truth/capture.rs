//! Reads the transcripts in `tests/captures`. Their form is described in the README of
//! `distribution-2.8.2`.

use std::path::{Path, PathBuf};

/// One request and what a real server said.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) file: String,
    pub(crate) label: String,
    /// What the label says after "at": a node, `lb`, `token server`; empty if it says nothing.
    pub(crate) place: String,
    /// What the label says the answer took; zero if it says nothing.
    pub(crate) milliseconds: u64,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// None where the server did not answer.
    pub(crate) answer: Option<Answer>,
}

/// What a server said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Exchange {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A repository that the lab begins with, and one that it does not.
pub(crate) const EXISTING: &str = "probe/canary";
pub(crate) const UNSEEN: &str = "probe/unseen";

/// Every exchange of a folder, file by file in their order.
pub(crate) fn folder(name: &str) -> Vec<Exchange> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut text = std::fs::read_to_string(path).unwrap();
            if name.starts_with("distribution") {
                // Their storage begins empty; the lab's has the canary. Equal in length.
                text = text.replace(EXISTING, UNSEEN);
                // They were asked in plain HTTP; every port of the lab speaks TLS.
                text = text.replace("Location: http://127.", "Location: https://127.");
            }
            let exchanges = text.split("\n### ").skip(1);
            exchanges.map(|part| exchange(&file, part)).collect::<Vec<_>>()
        })
        .collect()
}

fn exchange(file: &str, text: &str) -> Exchange {
    let (label, rest) = text.split_once('\n').unwrap();
    let (request, response) = rest.split_once("\n--- response\n").unwrap();
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().splitn(3, ' ');
    let (place, milliseconds) = place(label);
    let headers = headers(lines);
    let length = find(&headers, "content-length").and_then(|length| length.parse().ok());
    Exchange {
        file: file.to_owned(),
        label: label.to_owned(),
        place,
        milliseconds,
        method: first.next().unwrap().to_owned(),
        target: first.next().unwrap().to_owned(),
        body: content(body, length),
        headers,
        answer: answer(response),
    }
}

/// A request's body: as written, to its declared length, or a number of bytes of nothing in
/// particular where the transcript leaves them out.
fn content(text: &str, length: Option<usize>) -> Vec<u8> {
    if let Some(elided) = text.trim().strip_prefix('<').and_then(|text| text.split_once(" bytes")) {
        return vec![b'x'; elided.0.parse().unwrap()];
    }
    let mut body = text.as_bytes().to_vec();
    body.truncate(length.unwrap_or(0));
    body
}

fn place(label: &str) -> (String, u64) {
    let Some((_, rest)) = label.rsplit_once(" (at ") else { return (String::new(), 0) };
    let (place, time) = rest.trim_end_matches(')').split_once(", ").unwrap();
    (place.to_owned(), time.trim_end_matches(" ms").parse().unwrap())
}

fn answer(text: &str) -> Option<Answer> {
    if text.trim_start().starts_with('<') {
        return None;
    }
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = headers(lines);
    let length = find(&headers, "content-length").and_then(|length| length.parse().ok());
    let mut body = body.replace("\n<TimeoutError>", "").trim_end().to_owned();
    // Transcripts store CRLF as LF, so only bodies without line ends keep their length.
    if length == Some(0) {
        body.clear();
    }
    Some(Answer { status, headers, body })
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()))
        .collect()
}
