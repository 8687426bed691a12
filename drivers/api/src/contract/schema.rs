//! What the contract asks of a config's JSON schema.

use schemars::JsonSchema;
use serde_json::Value;

/// Panics unless the schema of `C` refuses unknown keys and describes every key, at any depth.
///
/// A config that is `()` (of a part that only its parent makes) has no keys and passes.
pub fn check_schema<C: JsonSchema>() {
    let schema = schemars::schema_for!(C).to_value();
    if schema["type"] == "null" {
        return;
    }
    let refuses = refuses_unknown_keys(&schema) || has_variants(&schema);
    assert!(
        refuses,
        "config {} must be an object that refuses unknown keys: #[serde(deny_unknown_fields)]",
        C::schema_name()
    );
    check_node(&schema, &C::schema_name());
}

fn refuses_unknown_keys(schema: &Value) -> bool {
    schema["additionalProperties"] == false || schema["unevaluatedProperties"] == false
}

fn has_variants(schema: &Value) -> bool {
    ["oneOf", "anyOf"].iter().any(|key| schema[key].is_array())
}

fn check_node(node: &Value, place: &str) {
    match node {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                assert!(
                    refuses_unknown_keys(node),
                    "{place} must refuse unknown keys: #[serde(deny_unknown_fields)]"
                );
                for (key, property) in properties {
                    // The tag of an enum is described by its variant.
                    let is_tag = property.get("const").is_some();
                    let described = property["description"]
                        .as_str()
                        .is_some_and(|text| !text.trim().is_empty());
                    assert!(
                        is_tag || described,
                        "{place}.{key} needs a doc comment: it is the key's documentation"
                    );
                }
            }
            for (key, member) in members {
                check_node(member, &format!("{place}.{key}"));
            }
        }
        Value::Array(members) => {
            for member in members {
                check_node(member, place);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(dead_code, reason = "only the schemas of these types are looked at")]

    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::check_schema;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Good {
        /// Said.
        inner: Inner,
        /// Said.
        choice: Option<Choice>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        /// Said.
        number: u8,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        System,
        Session,
    }

    #[derive(Deserialize, JsonSchema)]
    struct Open {
        /// Said.
        number: u8,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Silent {
        /// Said.
        inner: SilentInner,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct SilentInner {
        number: u8,
    }

    #[test]
    fn documented_strict_configs_pass() {
        check_schema::<Good>();
        check_schema::<()>();
    }

    #[test]
    #[should_panic(expected = "refuses unknown keys")]
    fn a_config_that_takes_any_key_fails() {
        check_schema::<Open>();
    }

    #[test]
    #[should_panic(expected = "number needs a doc comment")]
    fn a_key_without_description_fails_at_any_depth() {
        check_schema::<Silent>();
    }
}
