//! Spans as OTLP has them over HTTP, in JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>):
//! ids in hexadecimal, 64-bit numbers as texts, names in lowerCamelCase, enumerations as numbers.

use super::parent::text;
use super::{Ended, Value};
use serde_json::{Value as Json, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// An `ExportTraceServiceRequest`.
pub(super) fn request(spans: &[Ended]) -> Json {
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", &Value::Text("dormouse".to_owned())),
            attribute("service.version", &Value::Text(version.to_owned())),
        ]},
        "scopeSpans": [{
            "scope": {"name": "dormouse", "version": version},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}

fn span(ended: &Ended) -> Json {
    let open = &ended.open;
    let attributes = open.attributes.iter();
    let mut span = json!({
        "traceId": text(&ended.parent.trace),
        "spanId": text(&ended.parent.span),
        "flags": ended.parent.flags,
        "name": open.name,
        "kind": open.kind as u8,
        "startTimeUnixNano": nanoseconds(open.begun),
        "endTimeUnixNano": nanoseconds(open.begun + ended.took),
        "attributes": attributes.map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
    });
    if open.above != [0; 8] {
        span["parentSpanId"] = text(&open.above).into();
    }
    if let Some(state) = &ended.state {
        span["traceState"] = (**state).into();
    }
    if let Some(why) = &open.failed {
        span["status"] = json!({"code": ERROR, "message": why});
    }
    span
}

fn attribute(key: &str, value: &Value) -> Json {
    let text = |text: &String| json!({"stringValue": text});
    let value = match value {
        Value::Text(one) => text(one),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Real(real) => json!({"doubleValue": real}),
        Value::Texts(texts) => {
            json!({"arrayValue": {"values": texts.iter().map(text).collect::<Vec<_>>()}})
        }
    };
    json!({"key": key, "value": value})
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_nanos().to_string()
}
