//! Many modules from one: the test guest `load` carries a label in its data, which is rewritten here.

use std::{ops::Range, path::Path};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

/// Begins the label, and is nowhere else in the module (`guests/load/src/lib.rs`).
const MARK: &[u8] = b"dormouse-load-label:";
const AGENTS: Range<usize> = 20..22;
const PREFIX: Range<usize> = 23..32;
const REVISION: Range<usize> = 33..40;

/// Section ids of the WebAssembly core specification, binary format 5.5.2.
const FUNCTION_SECTION: u8 = 3;
const CODE_SECTION: u8 = 10;
const PREAMBLE_BYTES: usize = 8;

/// Agents of one module, at most (SPECIFICATION.md, section 1).
pub const MAX_AGENTS: u8 = 64;

/// A module whose label can be rewritten.
#[derive(Debug)]
pub struct Template {
    bytes: Vec<u8>,
    label_at: usize,
}

/// What a module says: how many agents it has, what they are called, and a number that makes its bytes differ.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// 1 to [`MAX_AGENTS`].
    pub agents: u8,
    /// The first letter of the names: agents of different workloads are different agents.
    pub kind: char,
    /// 0 to 9,999,999.
    pub number: u32,
    /// 0 to 9,999,999.
    pub revision: u32,
}

impl Label {
    fn prefix(&self) -> String {
        format!("{}-{:07}", self.kind, self.number)
    }
}

impl Template {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Template::new(bytes).with_context(|| format!("{} cannot be used", path.display()))
    }

    pub fn new(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let mut found = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(MARK));
        let label_at = found
            .next()
            .context("it has no label: it is not the test guest `load`")?;
        ensure!(found.next().is_none(), "it has more than one label");
        ensure!(
            bytes.len() >= label_at + REVISION.end,
            "its label is cut off"
        );
        Ok(Template { bytes, label_at })
    }

    /// The module with this label.
    pub fn module(&self, label: &Label) -> Bytes {
        let mut bytes = self.bytes.clone();
        let mut write = |place: Range<usize>, text: String| {
            bytes[self.label_at + place.start..self.label_at + place.end]
                .copy_from_slice(text.as_bytes());
        };
        write(AGENTS, format!("{:02}", label.agents));
        write(PREFIX, label.prefix());
        write(REVISION, format!("{:07}", label.revision));
        bytes.into()
    }

    /// The same module with copies of its own functions, which nobody calls, until it has this many bytes. They
    /// are compiled all the same, so a larger module costs what a larger program would.
    pub fn grown(&self, bytes: usize) -> anyhow::Result<Self> {
        let sections = sections(&self.bytes).context("it is not a WebAssembly module")?;
        let section = |id| {
            let mut all = sections.iter();
            all.find(|(found, _)| *found == id)
                .map(|(_, at)| at.clone())
        };
        let (Some(types), Some(code)) = (section(FUNCTION_SECTION), section(CODE_SECTION)) else {
            bail!("it has no functions");
        };
        let types = items(&self.bytes[types], |rest| leb(rest).map(|(_, n)| n));
        let code = items(&self.bytes[code], |rest| {
            leb(rest).and_then(|(size, n)| n.checked_add(size))
        });
        let (types, code) = types.zip(code).context("its functions cannot be read")?;
        ensure!(
            types.len() == code.len() && !code.is_empty(),
            "its functions do not match"
        );
        let missing = bytes.saturating_sub(self.bytes.len());
        let mut added = 0;
        let copies = (0..code.len()).cycle().take_while(|&at| {
            let more = added < missing;
            added += types[at].len() + code[at].len();
            more
        });
        let all: Vec<usize> = (0..code.len()).chain(copies).collect();
        let mut grown = self.bytes[..PREAMBLE_BYTES].to_vec();
        for (id, at) in &sections {
            let payload = match *id {
                FUNCTION_SECTION => joined(&all, &types),
                CODE_SECTION => joined(&all, &code),
                _ => self.bytes[at.clone()].to_vec(),
            };
            grown.push(*id);
            push_leb(&mut grown, payload.len());
            grown.extend(payload);
        }
        Template::new(grown)
    }
}

/// Ids and payloads of the sections; `None` if the bytes are no module.
fn sections(module: &[u8]) -> Option<Vec<(u8, Range<usize>)>> {
    let mut sections = Vec::new();
    let mut at = PREAMBLE_BYTES;
    while at < module.len() {
        let (size, width) = leb(module.get(at + 1..)?)?;
        let payload = at + 1 + width..(at + 1 + width).checked_add(size)?;
        at = payload.end;
        sections.push((module[payload.start - width - 1], payload));
    }
    (at == module.len()).then_some(sections)
}

/// The items of a vector, cut where `length` says how many bytes the next one has.
fn items(vector: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Option<Vec<&[u8]>> {
    let (count, width) = leb(vector)?;
    let mut rest = &vector[width..];
    let mut items = Vec::new();
    for _ in 0..count {
        let (item, after) = rest.split_at_checked(length(rest)?)?;
        items.push(item);
        rest = after;
    }
    Some(items)
}

/// A vector of the items at these places.
fn joined(places: &[usize], items: &[&[u8]]) -> Vec<u8> {
    let mut vector = Vec::new();
    push_leb(&mut vector, places.len());
    for &place in places {
        vector.extend(items[place]);
    }
    vector
}

/// An unsigned LEB128 number of at most 32 bits, and its width in bytes.
fn leb(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

fn push_leb(to: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
