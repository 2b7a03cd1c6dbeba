//! From positioned values to the typed raw file, noting every wrong type and unknown key.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{Node, Value};
use super::problem::{Mistake, Place, Problems, did_you_mean, quoted};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) place: Place,
    /// `None` where something else stands, which has been noted.
    pub(super) value: Option<T>,
}

impl<T: Read> At<T> {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Self {
        Self { place: node.place, value: T::read(node, problems) }
    }
}

/// The good value of a key that may be absent or wrong.
pub(super) fn good<T>(key: Option<&At<T>>) -> Option<(&T, Place)> {
    key.and_then(|at| at.value.as_ref().map(|value| (value, at.place)))
}

/// The place does not show in the schema.
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A type that can be read from a positioned value.
pub(super) trait Read: Sized {
    /// Reads it, or notes what is wrong.
    fn read(node: &Node, problems: &mut Problems) -> Option<Self>;
}

/// Notes that something else was expected, without repeating what stands there.
fn wrong(node: &Node, problems: &mut Problems, expected: &'static str) {
    let found = node.kind().to_owned();
    problems.add(node.place, Mistake::Expected { expected, found });
}

/// Notes that something else was expected, and repeats what stands there.
fn wrong_shown(node: &Node, problems: &mut Problems, expected: &'static str) {
    problems.add(node.place, Mistake::Expected { expected, found: node.shown() });
}

impl Read for String {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                wrong(node, problems, "text (put it in quotes)");
                None
            }
            _ => {
                wrong(node, problems, "text");
                None
            }
        }
    }
}

/// A duration as it is written, for instance `15s`.
pub(super) struct DurationText(pub(super) String);

impl Read for DurationText {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            return Some(Self(text.clone()));
        }
        wrong_shown(node, problems, "a duration, for instance 15s or 500ms");
        None
    }
}

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+ *[a-z]+ *)+$" })
    }
}

impl Read for bool {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        wrong_shown(node, problems, "true or false");
        None
    }
}

impl<T: Read> Read for Vec<At<T>> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::List(items) = &node.value else {
            wrong(node, problems, "a list");
            return None;
        };
        Some(items.iter().map(|item| At::read(item, problems)).collect())
    }
}

impl Read for u32 {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if let Value::Integer(value) = node.value
            && let Ok(value) = Self::try_from(value)
        {
            return Some(value);
        }
        wrong_shown(node, problems, "a whole number, 0 or greater");
        None
    }
}

/// The entries of a mapping, taken one key after the other.
pub(super) struct Entries<'a> {
    entries: Vec<&'a (Place, String, Node)>,
    known: Vec<&'static str>,
}

impl<'a> Entries<'a> {
    /// The entries of a mapping; anything else is noted.
    pub(super) fn of(node: &'a Node, problems: &mut Problems) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            wrong(node, problems, "a mapping");
            return None;
        };
        Some(Self { entries: entries.iter().collect(), known: Vec::new() })
    }

    /// The value of a key, if the key is there.
    pub(super) fn take<T: Read>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<T>> {
        self.known.push(key);
        let index = self.entries.iter().position(|(_, name, _)| name == key)?;
        let (_, _, node) = self.entries.remove(index);
        Some(At::read(node, problems))
    }

    /// Notes every key that was not asked for.
    pub(super) fn finish(&mut self, problems: &mut Problems) {
        for (place, key, _) in self.entries.drain(..) {
            if key == "password" {
                problems.add(*place, Mistake::InlinePassword);
            } else {
                let allowed = match self.known.as_slice() {
                    [] => "none".to_owned(),
                    known => known.join(", "),
                };
                let meant = did_you_mean(key, &self.known);
                problems.add(*place, Mistake::UnknownKey { key: quoted(key), meant, allowed });
            }
        }
    }
}

/// A mapping of the file: its keys with their documentation, from which both the reader and the
/// JSON Schema follow. Every key is optional here; `resolve` knows which ones are needed, and
/// `#[schemars(required)]` tells the schema.
macro_rules! mapping {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$key_meta:meta])* $key:ident: $type:ty,)*
    }) => {
        #[derive(Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$meta])*
        pub(super) struct $name {
            $($(#[$key_meta])* pub(super) $key: Option<$crate::config::read::At<$type>>,)*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::node::Node,
                problems: &mut $crate::config::problem::Problems,
            ) -> Option<Self> {
                let mut entries = $crate::config::read::Entries::of(node, problems)?;
                let mapping = Self { $($key: entries.take(stringify!($key), problems),)* };
                entries.finish(problems);
                Some(mapping)
            }
        }
    };
}

pub(super) use mapping;
