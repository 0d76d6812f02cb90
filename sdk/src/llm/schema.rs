//! JSON schemas of Rust types, in the form that models take: the root is an object.

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{AgentError, Json};

/// The member that holds what is no object by itself.
const VALUE: &str = "value";

/// The schema of `T`, and whether it is wrapped into an object.
pub(super) fn of<T: JsonSchema>() -> (Value, bool) {
    let mut schema = SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("$schema");
    }
    if schema["type"] == "object" {
        return (schema, false);
    }
    // Its references lead to the root, so what they mean has to stay there.
    let definitions = schema.as_object_mut().and_then(|root| root.remove("$defs"));
    let mut wrapped = json!({"type": "object", "properties": {VALUE: schema}, "required": [VALUE]});
    if let Some(definitions) = definitions {
        wrapped["$defs"] = definitions;
    }
    (wrapped, true)
}

/// What a model's text says, by that schema.
pub(super) fn read<T: DeserializeOwned>(text: &str, wrapped: bool) -> Result<T, AgentError> {
    let json = Json::parse(text.trim())?;
    if !wrapped {
        return json.deserialize();
    }
    let mut value: Value = json.deserialize()?;
    let held = value.get_mut(VALUE).map(Value::take);
    Json::from(held.unwrap_or_default()).deserialize()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[derive(serde::Deserialize, JsonSchema, PartialEq, Debug)]
    struct Point {
        x: i32,
    }

    #[test]
    fn the_root_of_a_schema_is_an_object() {
        let (schema, wrapped) = of::<Point>();
        assert!(
            !wrapped && schema["properties"]["x"]["type"] == "integer",
            "{schema}"
        );
        assert_eq!(
            read::<Point>(" {\"x\": 1} ", wrapped).unwrap(),
            Point { x: 1 }
        );
        let (schema, wrapped) = of::<Vec<Point>>();
        assert!(
            wrapped && schema["$defs"]["Point"]["type"] == "object",
            "{schema}"
        );
        let points: Vec<Point> = read("{\"value\": [{\"x\": 2}]}", wrapped).unwrap();
        assert_eq!(points, [Point { x: 2 }]);
        assert!(read::<Vec<Point>>("{\"value\": 1}", wrapped).is_err());
        assert!(read::<Vec<Point>>("[]", wrapped).is_err());
    }
}
