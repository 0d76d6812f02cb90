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

/// What a part takes in a filter's memory besides its fields.
const PART: usize = 32;

impl Part {
    /// Bytes of all its fields, and of the part itself: empty ones are work, too.
    pub fn bytes(&self) -> usize {
        let fields = [&self.filename, &self.media_type, &self.metadata];
        PART + self.content.bytes() + size(fields)
    }
}

impl Content {
    /// Bytes of all its fields.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(Part::bytes).sum::<usize>();
        parts + size([&self.metadata, &self.name, &self.description])
    }
}

fn size(fields: [&Option<String>; 3]) -> usize {
    fields.into_iter().flatten().map(String::len).sum()
}
