//! The message of a request, as it is on the wire.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use dormouse_services::model::{Message, Metadata, Part, PartContent, Role};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireMessage {
    #[serde(alias = "message_id")]
    message_id: String,
    #[serde(default, alias = "context_id")]
    context_id: Option<String>,
    #[serde(default, alias = "task_id")]
    task_id: Option<String>,
    role: Role,
    parts: Vec<StrictPart>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    extensions: Option<Vec<String>>,
    #[serde(default, alias = "reference_task_ids")]
    reference_task_ids: Option<Vec<String>>,
}

impl From<WireMessage> for Message {
    fn from(wire: WireMessage) -> Self {
        Self {
            message_id: wire.message_id,
            context_id: wire.context_id,
            task_id: wire.task_id,
            role: wire.role,
            parts: wire
                .parts
                .into_iter()
                .map(|StrictPart(part)| part)
                .collect(),
            metadata: wire.metadata,
            extensions: wire.extensions,
            reference_task_ids: wire.reference_task_ids,
        }
    }
}

/// A part with exactly one content member, as the oneof of a2a.proto demands.
struct StrictPart(Part);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePart {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    raw: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Value>,
    #[serde(default)]
    filename: Option<String>,
    #[serde(default, alias = "media_type")]
    media_type: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// `null` is a value of `data`, not its absence.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for StrictPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = WirePart::deserialize(deserializer)?;
        let members = usize::from(wire.text.is_some())
            + usize::from(wire.raw.is_some())
            + usize::from(wire.url.is_some())
            + usize::from(wire.data.is_some());
        if members != 1 {
            return Err(D::Error::custom(format!(
                "a part has exactly one of text, raw, url and data, but this one has {members}"
            )));
        }
        let content = if let Some(text) = wire.text {
            PartContent::Text(text)
        } else if let Some(raw) = wire.raw {
            PartContent::Raw(base64(&raw).map_err(D::Error::custom)?)
        } else if let Some(url) = wire.url {
            PartContent::Url(url)
        } else {
            PartContent::Data(wire.data.unwrap_or_default())
        };
        Ok(Self(Part {
            content,
            // An empty text is none, as in protobuf.
            filename: wire.filename.filter(|name| !name.is_empty()),
            media_type: wire.media_type.filter(|kind| !kind.is_empty()),
            metadata: wire.metadata,
        }))
    }
}

/// ProtoJSON takes the standard and the URL-safe alphabet, with and without padding.
fn base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let engine = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    engine.decode(text)
}
