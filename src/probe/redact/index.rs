//! Secrets that are looked for in texts, in time that does not grow with their number: pieces of
//! fixed length are found in a table, and a find is drawn out as far as text and secret agree. So
//! the part of a secret that was cut out of it is found as well.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use hashbrown::HashTable;

/// The length of a piece.
pub(super) const PIECE: usize = 16;

/// The most secrets of one piece that are looked at; with more, the piece alone is a find. All the
/// tokens of a node have their header and most of their claims in common.
const MOST_OWNERS: usize = 4;

/// A secret as it is looked for: in lower case.
struct Secret {
    text: Box<[u8]>,
    /// A part of at least this length is a find; a shorter one only as a whole word of it.
    least: usize,
}

/// Where a piece is: in which secret, and from which byte of it. Small, for each token has dozens.
#[derive(Clone, Copy, PartialEq)]
struct Place {
    secret: u32,
    at: u32,
}

/// Secrets to look for.
#[derive(Default)]
pub(super) struct Index {
    /// Shorter than a piece, found as a whole only.
    short: Vec<Vec<u8>>,
    secrets: Vec<Secret>,
    /// The numbers of the secrets that servers gave, by their texts.
    known: HashTable<u32>,
    /// The secrets that have a piece, by the piece: one must not hide another by having a part of
    /// it. Table and secret do not both keep its letters.
    pieces: HashTable<Place>,
    hashes: RandomState,
    bytes: usize,
    /// Which beginnings pieces may have, by a bit each, so that most places of a text cost one
    /// look.
    beginnings: Vec<u64>,
}

impl Index {
    /// Adds a secret of our own: any part of a piece's length is a find. What is `public` is none.
    pub(super) fn own(&mut self, secret: &[u8], public: impl Fn(&[u8]) -> bool) {
        let text = secret.to_ascii_lowercase();
        if public(&text) || text.len() < 2 {
            return;
        }
        if text.len() < PIECE {
            self.short.push(text);
            return;
        }
        let places = 0..=text.len() - PIECE;
        let number = self.keep(Secret { text: text.into(), least: PIECE });
        for at in places {
            self.piece(number, at, &public);
        }
    }

    /// Adds what a server gave: a token, a cookie, the state of an upload. The server chose its
    /// letters, so it takes more for a find, and only words of the letters that tokens consist of
    /// count: no server can have the words of others hidden.
    ///
    /// Returns whether it was not known yet.
    pub(super) fn given(&mut self, secret: &[u8], public: impl Fn(&[u8]) -> bool) -> bool {
        let text = secret.to_ascii_lowercase();
        let hash = self.hashes.hash_one(&text);
        let is_it = |number: &u32| *self.secrets[*number as usize].text == *text;
        if text.len() < PIECE || self.known.find(hash, is_it).is_some() {
            return false;
        }
        self.bytes += text.len();
        let places = places_of_words(&text);
        let number = self.keep(Secret { text: text.into(), least: 2 * PIECE });
        for at in places {
            self.piece(number, at, &public);
        }
        let Self { known, secrets, hashes, .. } = self;
        known.insert_unique(hash, number, |it| hashes.hash_one(&secrets[*it as usize].text));
        true
    }

    /// The fewest bytes that can be a find.
    pub(super) fn shortest(&self) -> usize {
        self.short.iter().map(Vec::len).min().unwrap_or(PIECE)
    }

    /// How many bytes of secrets that servers gave there are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a secret and returns its number.
    fn keep(&mut self, secret: Secret) -> u32 {
        self.secrets.push(secret);
        u32::try_from(self.secrets.len() - 1).unwrap_or(u32::MAX)
    }

    fn piece(&mut self, secret: u32, at: usize, public: impl Fn(&[u8]) -> bool) {
        let Self { secrets, pieces, hashes, beginnings, .. } = self;
        let secrets = &*secrets;
        let place = Place { secret, at: u32::try_from(at).unwrap_or(u32::MAX) };
        let Some(piece) = letters(secrets, place).filter(|piece| !public(*piece)) else {
            return;
        };
        let (word, bit) = beginning(piece);
        beginnings.resize(BEGINNINGS, 0);
        beginnings[word] |= bit;
        let hash = hashes.hash_one(Some(piece));
        let there = || pieces.iter_hash(hash).filter(|at| letters(secrets, **at) == Some(piece));
        if there().count() > MOST_OWNERS || there().any(|at| *at == place) {
            return;
        }
        pieces.insert_unique(hash, place, |at| hashes.hash_one(letters(secrets, *at)));
    }

    /// The secrets that have a piece.
    fn owners(&self, piece: &[u8; PIECE]) -> impl Iterator<Item = Place> {
        let is_it = |place: &&Place| letters(&self.secrets, **place) == Some(piece);
        self.pieces.iter_hash(self.hashes.hash_one(Some(piece))).filter(is_it).copied()
    }

    /// Where secrets are in a text, which is in lower case.
    pub(super) fn find(&self, text: &[u8], found: &mut Vec<Range<usize>>) {
        for short in &self.short {
            let places = text.windows(short.len()).enumerate();
            let places = places.filter(|(_, window)| window == short).map(|(at, _)| at);
            // A word of a few letters is everywhere within other words.
            let free = |at: &usize| {
                let is_edge = |byte: Option<&u8>| byte.is_none_or(|it| !it.is_ascii_alphanumeric());
                short.len() >= 6
                    || (is_edge(at.checked_sub(1).and_then(|before| text.get(before)))
                        && is_edge(text.get(at + short.len())))
            };
            found.extend(places.filter(free).map(|at| at..at + short.len()));
        }
        if self.pieces.is_empty() {
            return;
        }
        let (mut at, mut floor) = (0, 0);
        while let Some(piece) = text.get(at..).and_then(|rest| rest.first_chunk::<PIECE>()) {
            at = match self.run(text, at, floor, piece) {
                Some(run) => {
                    floor = run.end;
                    found.push(run);
                    floor
                }
                None => at + 1,
            };
        }
    }

    /// As much around a piece as is of its secret, if that is enough.
    fn run(
        &self,
        text: &[u8],
        at: usize,
        floor: usize,
        piece: &[u8; PIECE],
    ) -> Option<Range<usize>> {
        let (word, bit) = beginning(piece);
        if self.beginnings.get(word)? & bit == 0 {
            return None;
        }
        let mut owners = 0;
        let owners_counted = self.owners(piece).inspect(|_| owners += 1);
        let run = owners_counted
            .filter_map(|owner| self.run_of(owner, text, at, floor))
            .max_by_key(Range::len);
        // Of a piece that more have, no one can say whose it is.
        run.or_else(|| (owners > MOST_OWNERS).then(|| at..at + PIECE))
    }

    /// The same for one secret that has the piece, at an offset.
    fn run_of(&self, owner: Place, text: &[u8], at: usize, floor: usize) -> Option<Range<usize>> {
        let Secret { text: secret, least } = self.secrets.get(owner.secret as usize)?;
        let offset = owner.at as usize;
        let equal = |(a, b): &(&u8, &u8)| a == b;
        let before = text[floor..at].iter().rev().zip(secret[..offset].iter().rev());
        let before = before.take_while(equal).count();
        let after = text[at..].iter().zip(&secret[offset..]).take_while(equal).count();
        let begins = (offset - before).checked_sub(1).and_then(|at| secret.get(at));
        let ends = secret.get(offset + after);
        let whole = |edge: Option<&u8>| edge.is_none_or(|byte| !is_word(*byte));
        let enough = before + after >= *least || (whole(begins) && whole(ends));
        enough.then(|| at - before..at + after)
    }
}

/// The letters of a piece.
fn letters(secrets: &[Secret], place: Place) -> Option<&[u8; PIECE]> {
    secrets.get(place.secret as usize)?.text.get(place.at as usize..)?.first_chunk()
}

/// Where pieces begin that together cover each word of a text that is long enough for one.
fn places_of_words(text: &[u8]) -> Vec<usize> {
    let (mut places, mut at) = (Vec::new(), 0);
    for word in text.split(|byte| !is_word(*byte)) {
        if word.len() >= PIECE {
            let last = at + word.len() - PIECE;
            places.extend((at..last).step_by(PIECE).chain([last]));
        }
        at += word.len() + 1;
    }
    places
}

/// How many words of bits there are.
const BEGINNINGS: usize = 1 << 10;

/// Word and bit of the beginning of a piece.
fn beginning(piece: &[u8; PIECE]) -> (usize, u64) {
    let [a, b, c, d, ..] = *piece;
    let hash = u32::from_be_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b1) >> 16;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
