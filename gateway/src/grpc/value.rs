//! JSON values and times in protobuf's well-known types. Protobuf has one kind of number, the double:
//! a whole number beyond 2^53 loses its last digits here, which no binding over protobuf can help.

use crate::errors::A2aError;
use dormouse_services::model::Metadata;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Timestamp};
use serde_json::{Map, Number, Value};
use std::time::SystemTime;

/// The seconds of 0001-01-01 and of the last second of 9999, between which a Timestamp is.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Up to here a double is the only one that rounds to its whole number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// # Errors
/// As of [`json`].
pub(super) fn metadata(fields: Struct) -> Result<Metadata, A2aError> {
    let members = fields.fields.into_iter();
    members
        .map(|(name, value)| Ok((name, json(value)?)))
        .collect()
}

/// # Errors
/// InvalidParams for a value with no member set and for a number that JSON does not have.
pub(super) fn json(value: prost_types::Value) -> Result<Value, A2aError> {
    let kind = value
        .kind
        .ok_or_else(|| A2aError::params("a google.protobuf.Value has no member set"))?;
    Ok(match kind {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(bool) => Value::Bool(bool),
        Kind::StringValue(text) => Value::String(text),
        Kind::NumberValue(number) => Value::Number(json_number(number)?),
        Kind::ListValue(list) => {
            let values = list.values.into_iter();
            Value::Array(values.map(json).collect::<Result<_, _>>()?)
        }
        Kind::StructValue(fields) => {
            let members = fields.fields.into_iter();
            let members = members.map(|(name, value)| Ok((name, json(value)?)));
            Value::Object(members.collect::<Result<Map<_, _>, A2aError>>()?)
        }
    })
}

/// What a value takes in memory (`weight.rs` of the services says why that matters).
pub(super) fn weight(value: &prost_types::Value) -> usize {
    64 + match &value.kind {
        Some(Kind::StringValue(text)) => text.len(),
        Some(Kind::ListValue(list)) => list.values.iter().map(weight).sum(),
        Some(Kind::StructValue(fields)) => weight_of_fields(fields),
        _ => 0,
    }
}

pub(super) fn weight_of_fields(fields: &Struct) -> usize {
    let members = fields.fields.iter();
    let members = members.map(|(name, value)| 64 + name.len() + weight(value));
    640 + members.sum::<usize>()
}

/// A whole number is written as one, as a JSON client would have: 5, not 5.0.
fn json_number(number: f64) -> Result<Number, A2aError> {
    let is_negative_zero = number == 0.0 && number.is_sign_negative();
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT && !is_negative_zero {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number)
        .ok_or_else(|| A2aError::params(format!("a google.protobuf.Value is {number}")))
}

pub(super) fn protobuf(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(bool) => Kind::BoolValue(bool),
        Value::String(text) => Kind::StringValue(text),
        // Always there: serde_json's numbers are i64, u64 or f64.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(protobuf).collect(),
        }),
        Value::Object(members) => Kind::StructValue(fields(members)),
    };
    prost_types::Value { kind: Some(kind) }
}

pub(super) fn fields(members: impl IntoIterator<Item = (String, Value)>) -> Struct {
    let fields = members
        .into_iter()
        .map(|(name, value)| (name, protobuf(value)))
        .collect();
    Struct { fields }
}

/// # Errors
/// InvalidParams for what the definition of Timestamp excludes.
pub(super) fn time(timestamp: Timestamp) -> Result<SystemTime, A2aError> {
    let is_valid =
        TIMES.contains(&timestamp.seconds) && (0..1_000_000_000).contains(&timestamp.nanos);
    let time = is_valid.then(|| SystemTime::try_from(timestamp).ok());
    time.flatten().ok_or_else(|| {
        A2aError::params("a google.protobuf.Timestamp is not between the years 1 and 9999")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json as value;

    #[test]
    fn numbers_are_exact_up_to_2_to_the_53rd() {
        for number in [
            value!(0),
            value!(-1),
            value!(9_007_199_254_740_992_u64),
            value!(-9_007_199_254_740_992_i64),
            value!(0.1),
            value!(-0.0),
            value!(1e300),
        ] {
            assert_eq!(json(protobuf(number.clone())).unwrap(), number);
        }
        let beyond = json(protobuf(value!(9_007_199_254_740_993_u64))).unwrap();
        assert_eq!(beyond, value!(9_007_199_254_740_992_u64));
        assert_eq!(json(protobuf(value!(5.0))).unwrap(), value!(5));
    }

    #[test]
    fn what_json_does_not_have_is_refused() {
        for kind in [
            None,
            Some(Kind::NumberValue(f64::NAN)),
            Some(Kind::NumberValue(f64::INFINITY)),
            Some(Kind::ListValue(ListValue {
                values: vec![prost_types::Value { kind: None }],
            })),
        ] {
            assert!(json(prost_types::Value { kind }).is_err());
        }
    }

    #[test]
    fn times_are_those_of_the_definition() {
        let check = |seconds, nanos| time(Timestamp { seconds, nanos }).is_ok();
        assert!(check(0, 0) && check(-62_135_596_800, 0) && check(253_402_300_799, 999_999_999));
        assert!(!check(-62_135_596_801, 0) && !check(253_402_300_800, 0) && !check(i64::MAX, 0));
        assert!(!check(0, -1) && !check(0, 1_000_000_000));
    }
}
