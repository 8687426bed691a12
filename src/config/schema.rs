//! The JSON Schema of `exporter.yaml`, for editors.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::listen::ListenTls;
use super::model::{FailureDetection, Hook, MissingDrivers, Tls};
use super::safety::{CallShape, InterlockShape};

/// The schema (draft 2020-12) with the configuration of every driver type given: its name and the schema of its
/// `config`.
pub fn exporter_schema(driver_schemas: &[(&str, Value)]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let top = top_level(&mut generator);
    let mut defs: Map<String, Value> = generator.take_definitions(true);
    let mut cases = Vec::new();
    let mut names = Vec::new();
    for (type_name, schema) in driver_schemas {
        let key = format!("driver:{type_name}");
        let config = with_generic(schema, &mut defs, &key);
        defs.insert(key.clone(), config);
        names.push(json!({ "const": type_name }));
        cases.push(json!({
            "if": { "properties": { "type": { "const": type_name } }, "required": ["type"] },
            "then": { "properties": { "config": { "anyOf": [
                { "$ref": format!("#/$defs/{}", pointer(&key)) }, { "type": "null" }
            ] } } },
        }));
    }
    names.push(json!({ "type": "string", "minLength": 1 }));
    defs.insert("entry".to_owned(), entry(names, cases));
    defs.insert(
        "entries".to_owned(),
        json!({ "type": "object", "additionalProperties": { "$ref": "#/$defs/entry" } }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "exporter.yaml",
        "description": "One exporter: a board and its instruments.",
        "type": "object",
        "properties": top,
        "required": ["metadata"],
        "additionalProperties": false,
        "$defs": defs,
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// The same schema, or null.
fn or_null(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn top_level(generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": ["string", "null"] });
    let texts = json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } });
    let hook = or_null(&of::<Hook>(generator));
    let call = of::<CallShape>(generator);
    json!({
        "apiVersion": { "const": "jumpstarter.dev/v1alpha1" },
        "kind": { "const": "ExporterConfig" },
        "alias": text,
        "path": text,
        "metadata": {
            "type": "object",
            "properties": { "name": { "type": "string", "minLength": 1 }, "namespace": text },
            "additionalProperties": false,
        },
        "endpoint": described(&text, "host:port of the controller; none for the embedded one."),
        "token": described(&text, "Bearer token for the controller."),
        "tokenFile": described(&text, "File that holds the token."),
        "tls": of::<Tls>(generator),
        "grpcOptions": {
            "type": ["object", "null"],
            "additionalProperties": { "type": ["string", "integer", "boolean"] },
        },
        "description": described(&text, "Description of the exporter."),
        "motd": described(&text, "Text that a client is greeted with."),
        "labels": described(&texts, "Labels for the embedded controller."),
        "export": { "$ref": "#/$defs/entries" },
        "hooks": {
            "type": "object",
            "properties": { "beforeLease": hook, "before_lease": hook, "afterLease": hook, "after_lease": hook },
            "additionalProperties": false,
        },
        "failureDetection": of::<FailureDetection>(generator),
        "exitOnLeaseEnd": { "type": "boolean", "default": false },
        "listen": {
            "type": "object",
            "properties": {
                "unix": described(&text, "Path of a unix socket."),
                "tcp": described(&text, "HOST:PORT."),
                "tls": of::<ListenTls>(generator),
                "passphraseFile": described(&text, "File that holds the passphrase that clients must know."),
            },
            "additionalProperties": false,
        },
        "missingDrivers": of::<MissingDrivers>(generator),
        "safeState": {
            "type": "array",
            "items": { "anyOf": [call, { "type": "array", "items": call }] },
        },
        "interlocks": { "type": "array", "items": of::<InterlockShape>(generator) },
    })
}

fn described(schema: &Value, text: &str) -> Value {
    let mut schema = schema.clone();
    schema["description"] = text.into();
    schema
}

fn entry(type_names: Vec<Value>, cases: Vec<Value>) -> Value {
    let methods =
        json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } });
    let children = json!({ "anyOf": [{ "$ref": "#/$defs/entries" }, { "type": "null" }] });
    let description = json!({ "type": ["string", "null"] });
    json!({
        "oneOf": [
            {
                "title": "An instance of a driver",
                "type": "object",
                "properties": {
                    "type": { "anyOf": type_names },
                    "description": description,
                    "methods_description": methods,
                    "config": { "type": ["object", "null"] },
                    "children": children,
                },
                "required": ["type"],
                "additionalProperties": false,
                "allOf": cases,
            },
            {
                "title": "A group",
                "type": "object",
                "properties": { "children": children, "description": description },
                "additionalProperties": false,
            },
            {
                "title": "Another name for an instance",
                "type": "object",
                "properties": { "ref": { "type": "string", "minLength": 1 } },
                "required": ["ref"],
                "additionalProperties": false,
            },
        ],
    })
}

/// A driver's schema with the keys that every driver accepts. Its definitions move to the top, under names of their
/// own, and its references follow them.
fn with_generic(schema: &Value, defs: &mut Map<String, Value>, key: &str) -> Value {
    let mut schema = schema.clone();
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    object.remove("$schema");
    let own = object.remove("$defs");
    if let Some(Value::Object(own)) = own {
        for (name, mut definition) in own {
            redirect(&mut definition, key);
            defs.insert(format!("{key}:{name}"), definition);
        }
    }
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        let generic = [
            (
                "uuid",
                json!({ "type": ["string", "null"], "format": "uuid" }),
            ),
            (
                "labels",
                json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } }),
            ),
            ("description", json!({ "type": ["string", "null"] })),
            (
                "methods_description",
                json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } }),
            ),
            ("log_level", json!({ "type": ["string", "null"] })),
        ];
        for (name, generic) in generic {
            properties.insert(name.to_owned(), generic);
        }
    }
    redirect(&mut schema, key);
    schema
}

fn redirect(schema: &mut Value, key: &str) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref") {
                if let Some(name) = target.strip_prefix("#/$defs/") {
                    *target = format!("#/$defs/{}:{name}", pointer(key));
                } else if target == "#" {
                    *target = format!("#/$defs/{}", pointer(key));
                }
            }
            object.values_mut().for_each(|value| redirect(value, key));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, key)),
        _ => {}
    }
}

/// A key inside of a JSON pointer.
fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Relay {
        line: u32,
        mode: Mode,
    }

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    enum Mode {
        High,
        Low,
    }

    fn collect_refs(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(
                    object
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                object.values().for_each(|value| collect_refs(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect_refs(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        let relay = schemars::schema_for!(Relay).to_value();
        let schema = exporter_schema(&[("power.gpio", relay)]);
        let mut refs = Vec::new();
        collect_refs(&schema, &mut refs);
        assert!(
            refs.iter()
                .any(|target| target == "#/$defs/driver:power.gpio:Mode"),
            "{refs:?}"
        );
        for target in refs {
            let path = target.strip_prefix('#').unwrap();
            assert!(schema.pointer(path).is_some(), "{target}");
        }
        let config = &schema["$defs"]["driver:power.gpio"]["properties"];
        assert!(config["line"].is_object() && config["log_level"].is_object());
        assert_eq!(
            schema["properties"]["hooks"]["properties"]["beforeLease"],
            schema["properties"]["hooks"]["properties"]["before_lease"]
        );
    }
}
