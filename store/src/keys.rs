//! Keys of records. The first byte says what a record is; numbers are big-endian, so keys sort as numbers do.

use crate::Digest;

/// Longer parts of a key are replaced by their digest. sled writes up to 256 keys as one index node, which must
/// stay under 128 KiB.
const MAX_PART_BYTES: usize = 128;
const HASHED: u8 = 0xff;

#[derive(Clone)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// A part of any content, told apart from what follows it.
    pub(crate) fn part(mut self, part: &[u8]) -> Self {
        if part.len() <= MAX_PART_BYTES {
            self.0.push(part.len() as u8);
            self.0.extend_from_slice(part);
        } else {
            self.0.push(HASHED);
            self.0.extend_from_slice(Digest::of(part).as_bytes());
        }
        self
    }

    /// A part of constant length, or the last one.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
