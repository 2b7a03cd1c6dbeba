//! A port of a Service, by number or by name.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{Node, Value};
use super::problem::{Mistake, Problems};
use super::read::Read;

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServicePort {
    /// By its name in the Service.
    Name(String),
    /// By its number at the pods.
    Number(u16),
}

/// A port as it is written: a number or a name.
#[derive(Clone)]
pub(super) struct PortText(pub(super) ServicePort);

impl Read for PortText {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let port = match &node.value {
            Value::Integer(number) => {
                u16::try_from(*number).ok().filter(|port| *port > 0).map(ServicePort::Number)
            }
            Value::Text(name) if is_label(name) && name.bytes().any(|c| c.is_ascii_lowercase()) => {
                Some(ServicePort::Name(name.clone()))
            }
            _ => None,
        };
        if port.is_none() {
            let expected = "a port from 1 to 65535, or the name of a Service's port";
            problems.add(node.place, Mistake::Expected { expected, found: node.shown() });
        }
        port.map(Self)
    }
}

impl JsonSchema for PortText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" },
        ]})
    }
}

/// Whether a text can be the name of a Service, a namespace or a port. It becomes a part of a path.
pub(super) fn is_label(text: &str) -> bool {
    let inside = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
