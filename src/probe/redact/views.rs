//! What a text says when it is decoded: escapes of URLs, JSON and HTML, base64 and hexadecimal.

use std::ops::Range;

/// So often escapes are taken off.
const LAYERS: usize = 3;

/// Collects the places of what is found in a text.
type Find<'a> = dyn Fn(&[u8], &mut Vec<Range<usize>>) + 'a;

/// Shows a text as it is and as it decodes, in lower case, and collects the places of what is found.
/// Nothing shorter than `least` bytes is looked for.
pub(super) fn found(text: &[u8], least: usize, find: &Find<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    find(&text.to_ascii_lowercase(), &mut found);
    // A token alone is hidden as a whole, whatever it decodes to.
    if found.iter().any(|range| range.len() == text.len()) {
        return found;
    }
    decoded(text, least, find, &mut found);
    let mut layer = unescaped(text, |at| at);
    for _ in 0..LAYERS {
        let Some((bytes, places)) = layer else { break };
        let mut within = Vec::new();
        find(&bytes.to_ascii_lowercase(), &mut within);
        decoded(&bytes, least, find, &mut within);
        let place = |at: usize| places.get(at).copied().unwrap_or(text.len());
        found.extend(within.into_iter().map(|range| place(range.start)..place(range.end)));
        layer = unescaped(&bytes, place);
    }
    found
}

fn decoded(text: &[u8], least: usize, find: &Find<'_>, found: &mut Vec<Range<usize>>) {
    let mut holds = |run: Range<usize>, decode: fn(&[u8]) -> Option<Vec<u8>>, width: usize| {
        let mut within = Vec::new();
        for begin in 0..width {
            let decoded = text.get(run.start + begin..run.end).and_then(decode);
            find(&decoded.unwrap_or_default().to_ascii_lowercase(), &mut within);
        }
        if !within.is_empty() {
            found.push(run);
        }
    };
    for run in runs(text, (4 * least).div_ceil(3), |byte| sextet(byte).is_some()) {
        holds(run, base64, 4);
    }
    for run in runs(text, 2 * least, |byte| byte.is_ascii_hexdigit()) {
        holds(run, hex, 2);
    }
}

/// The runs of these letters. One that is shorter decodes to too little.
fn runs(text: &[u8], shortest: usize, of: fn(u8) -> bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut begin = 0;
    for (at, byte) in text.iter().map(Some).chain([None]).enumerate() {
        if byte.is_some_and(|byte| of(*byte)) {
            continue;
        }
        if at - begin >= shortest {
            runs.push(begin..at);
        }
        begin = at + 1;
    }
    runs
}

/// Of both alphabets.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for four in text.chunks(4) {
        let mut bits = 0_u32;
        for byte in four {
            bits = bits << 6 | u32::from(sextet(*byte)?);
        }
        bits <<= 6 * (4 - four.len());
        let [_, decoded @ ..] = bits.to_be_bytes();
        bytes.extend(decoded.into_iter().take(four.len() * 3 / 4));
    }
    Some(bytes)
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    text.chunks_exact(2).map(|two| number(two, 16).and_then(|it| u8::try_from(it).ok())).collect()
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_alphanumeric);
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, radix).ok()
}

/// A text without its escapes, and where each of its bytes stood; none if it has no escapes.
fn unescaped(text: &[u8], place: impl Fn(usize) -> usize) -> Option<(Vec<u8>, Vec<usize>)> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+' | b'\\' | b'&')) {
        return None;
    }
    let (mut bytes, mut places) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
    let (mut at, mut changed) = (0, false);
    while at < text.len() {
        let (decoded, length) = escape(&text[at..]);
        changed |= length > 1 || decoded != Some(char::from(text[at]));
        if let Some(decoded) = decoded.filter(|_| length > 1 || text[at] == b'+') {
            let mut buffer = [0; 4];
            // One byte of a URL is a byte; a character of JSON or HTML is one.
            if text[at] == b'%' || decoded.is_ascii() {
                bytes.push(u8::try_from(u32::from(decoded)).unwrap_or(b'?'));
                places.push(place(at));
            } else {
                for byte in decoded.encode_utf8(&mut buffer).bytes() {
                    bytes.push(byte);
                    places.push(place(at));
                }
            }
        } else {
            bytes.push(text[at]);
            places.push(place(at));
        }
        at += length;
    }
    places.push(place(text.len()));
    changed.then_some((bytes, places))
}

/// What the beginning of a text stands for, and how long it is.
fn escape(text: &[u8]) -> (Option<char>, usize) {
    let coded = |digits: Range<usize>, radix| {
        let length = digits.end;
        let decoded = text.get(digits).and_then(|it| number(it, radix)).and_then(char::from_u32);
        (decoded, if decoded.is_some() { length } else { 1 })
    };
    match text {
        [b'+', ..] => (Some(' '), 1),
        [b'%', ..] => coded(1..3, 16),
        [b'\\', b'u', b'{', ..] => {
            let end = text.iter().take(12).position(|byte| *byte == b'}').unwrap_or(0);
            let (decoded, length) = coded(3..end.max(3), 16);
            (decoded, if decoded.is_some() { length + 1 } else { 1 })
        }
        [b'\\', b'u', ..] => coded(2..6, 16),
        [b'\\', b'x', ..] => coded(2..4, 16),
        [b'\\', other @ (b'"' | b'\\' | b'/' | b'\''), ..] => (Some(char::from(*other)), 2),
        [b'&', rest @ ..] => {
            let Some(end) = rest.iter().take(10).position(|byte| *byte == b';') else {
                return (None, 1);
            };
            let decoded = match &rest[..end] {
                b"amp" => Some('&'),
                b"quot" => Some('"'),
                b"apos" => Some('\''),
                b"lt" => Some('<'),
                b"gt" => Some('>'),
                [b'#', b'x' | b'X', hex @ ..] => number(hex, 16).and_then(char::from_u32),
                [b'#', digits @ ..] => number(digits, 10).and_then(char::from_u32),
                _ => None,
            };
            (decoded, if decoded.is_some() { end + 2 } else { 1 })
        }
        [byte, ..] => (Some(char::from(*byte)), 1),
        [] => (None, 1),
    }
}
