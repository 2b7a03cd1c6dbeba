//! Every text in a JSON document.

use serde_json::Value;

/// Puts another text in the place of each for which there is one; whether there was any. Names of
/// members are left alone: they are not kept.
pub fn each_text(value: &mut Value, change: &dyn Fn(&str) -> Option<String>) -> bool {
    match value {
        Value::String(text) => match change(text) {
            Some(changed) => {
                *text = changed;
                true
            }
            None => false,
        },
        // Every one is looked at, whatever was changed before it.
        Value::Array(list) => {
            list.iter_mut().fold(false, |any, item| each_text(item, change) | any)
        }
        Value::Object(map) => {
            map.values_mut().fold(false, |any, item| each_text(item, change) | any)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_text_is_looked_at_whatever_was_changed_before_it() {
        let hide = |text: &str| (text == "x").then(|| "-".to_owned());
        let mut value = json!({ "a": ["x", "y", "x"], "b": { "x": "x" }, "c": 1, "d": "x" });
        assert!(each_text(&mut value, &hide));
        assert_eq!(value, json!({ "a": ["-", "y", "-"], "b": { "x": "-" }, "c": 1, "d": "-" }));
        assert!(!each_text(&mut value, &hide), "nothing is left to change");
    }
}
