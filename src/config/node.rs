//! YAML text as a tree of values that know their line and column.
//!
//! The only file that knows the YAML crate. A tree is read first and interpreted afterwards
//! (`read`), because a derived reader stops at the first wrong value and everything wrong in a
//! file is to be reported at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::problem::{Mistake, Place, Problems, quoted};

/// A value and where it stands.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What YAML can say. No `Debug`: a password may stand in it by mistake.
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(Place, String, Node)>),
}

impl Node {
    /// What kind of value stands here.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// The value itself if it is a simple one, for places where no one writes a secret.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => quoted(text),
            Value::Null | Value::List(_) | Value::Mapping(_) => self.kind().to_owned(),
        }
    }
}

/// Reads one YAML document.
///
/// A key that stands twice is noted, and the tree goes on with the first of the two, so that all
/// other problems of the file are found as well. `None` after text that is not YAML.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let read = |duplicates| {
        serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options(duplicates))
    };
    let tree = match read(DuplicateKeyPolicy::Error) {
        Err(error @ Error::DuplicateMappingKey { .. }) => {
            note(&error, problems);
            read(DuplicateKeyPolicy::FirstWins)
        }
        other => other,
    };
    tree.map_err(|error| note(&error, problems)).ok().map(Node::from)
}

/// Snippets are off: they would print the neighbouring lines of the file. The ratio of aliases to
/// anchors is not limited, because a hundred registries may share one anchored mapping.
fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, enforce_alias_anchor_ratio: false },
        duplicate_keys: duplicate_keys,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 50_000 },
        strict_booleans: true,
        ignore_binary_tag_for_string: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// Says in our own words what the YAML crate found; only its parser's texts, which are fixed and
/// hold nothing of the file, are passed on.
fn note(error: &Error, problems: &mut Problems) {
    let mistake = match error {
        Error::DuplicateMappingKey { .. } => Mistake::DuplicateKey,
        Error::MultipleDocuments { .. } => {
            Mistake::Yaml("a second document starts here; one is allowed".to_owned())
        }
        Error::ExternalMessage { msg, .. } => Mistake::Yaml(msg.clone()),
        Error::Eof { .. } => Mistake::Yaml("the text ends too early".to_owned()),
        Error::UnknownAnchor { .. } => Mistake::Yaml("an alias without its anchor".to_owned()),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => Mistake::Bomb,
        Error::AliasError { error, .. } => return note(error, problems),
        _ => Mistake::Yaml(
            "something other than text, numbers, booleans, lists and mappings".to_owned(),
        ),
    };
    problems.add(error.location().map_or(Place::Whole, place), mistake);
}

fn place(location: Location) -> Place {
    if location == Location::UNKNOWN {
        return Place::Whole;
    }
    Place::At(location.line(), location.column())
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { place: place(spanned.referenced), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(item.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Value>>()? {
            mapping.push((place(key.referenced), key.value, value.into()));
        }
        Ok(Value::Mapping(mapping))
    }
}
