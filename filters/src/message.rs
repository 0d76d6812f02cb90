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

/// What each further part counts for besides its fields: empty ones are work for a filter, too.
const FURTHER_PART: usize = 32;

impl Part {
    /// Bytes of all its fields.
    pub fn bytes(&self) -> usize {
        let fields = [&self.filename, &self.media_type, &self.metadata];
        self.content.bytes() + size(fields)
    }
}

impl Content {
    /// Bytes of all its fields, and 32 for each part after the first.
    pub fn bytes(&self) -> usize {
        let further = self.parts.len().saturating_sub(1) * FURTHER_PART;
        let parts = further + self.parts.iter().map(Part::bytes).sum::<usize>();
        parts + size([&self.metadata, &self.name, &self.description])
    }
}

fn size(fields: [&Option<String>; 3]) -> usize {
    fields.into_iter().flatten().map(String::len).sum()
}
