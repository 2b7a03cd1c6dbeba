//! The JSON Schema of the configuration file, for editors.

use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, generate::SchemaSettings};
use serde_json::Value;

use super::file::File;

/// The JSON Schema (draft 2020-12) of the configuration file, as indented text.
pub fn schema_json() -> String {
    let schema = SchemaSettings::draft2020_12()
        .with_transform(WithoutNull)
        .into_generator()
        .into_root_schema_for::<File>();
    format!("{:#}\n", schema.to_value())
}

/// A key is there with a value or not at all: null, which stands for "not there" in the types, is
/// not allowed in the file.
#[derive(Debug, Clone)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|one| one != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(any)) = object.get_mut("anyOf") {
            any.retain(|one| one.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(only)] = any.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                object.extend(only);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn file(path: &str) -> Option<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        serde_saphyr::from_str(&String::from_utf8(fs::read(path).unwrap()).ok()?).ok()
    }

    fn validator() -> jsonschema::Validator {
        jsonschema::validator_for(&serde_json::from_str(&schema_json()).unwrap()).unwrap()
    }

    #[test]
    fn the_example_fits_the_schema() {
        let example = file("deploy/examples/prober.yml").unwrap();
        let errors: Vec<_> =
            validator().iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// What a schema can see: keys, types, forms and limits. Not what compares two places, looks
    /// into a file or asks what an address means.
    #[test]
    fn the_schema_refuses_what_it_can_see() {
        let validator = validator();
        let refused: BTreeSet<String> = fs::read_dir("tests/data/config")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| {
                let case = name.strip_prefix("invalid-")?.strip_suffix(".yml")?;
                let value = file(&format!("tests/data/config/{name}"))?;
                (!validator.is_valid(&value)).then(|| case.to_owned())
            })
            .collect();
        let expected = "
            alias bad-duration bad-name both-backends-and-discovery cert-without-key
            check-name discovery empty empty-backends empty-discovery empty-registries
            key-without-cert list matrix missing-keys misspelt-keys neither-backends-nor-discovery nesting
            no-registries null-registries password-inline password-none password-twice rate-zero
            reserved-name samples scope several tag token-method unknown-key unknown-key-nested
            url-scheme username-none wrong-type-mapping wrong-types";
        let expected: BTreeSet<_> = expected.split_whitespace().map(str::to_owned).collect();
        assert_eq!(refused, expected);
    }
}
