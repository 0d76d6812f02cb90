//! What agents of the world `dormouse:filter@1.0.0` see and say.

pub use crate::world::message::dormouse::filter::types::{
    Annotation, Answer, Audit, Content, Decision, Info, Kind, Part, PartContent, Redaction, Subject,
};

impl PartContent {
    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Url(text) | Self::Data(text) => text.len(),
            Self::Raw(bytes) => bytes.len(),
        }
    }
}

impl Content {
    /// Bytes of its parts.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.iter();
        parts.map(|part| part.content.bytes()).sum()
    }
}
