//! What can be read off a module without running it.

use crate::deploy::{DeployError, ModuleKind, check};
use dormouse_store::Digest;
use std::collections::BTreeSet;
use wasmparser::{Parser, Payload};

/// A module as its bytes show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub digest: Digest,
    pub kind: ModuleKind,
    /// Interfaces that it imports; of a core module, the modules of its imports.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// Checks a module, and lists what it imports and exports.
///
/// # Errors
/// What a deploy would refuse it for, as far as that shows without running it.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, DeployError> {
    let kind = check(bytes)?;
    let (mut imports, mut exports) = (BTreeSet::new(), BTreeSet::new());
    // Of a component, what is inside it is its own business.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(DeployError::Malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imports.insert(import.map_err(DeployError::Malformed)?.module.to_owned());
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.insert(export.map_err(DeployError::Malformed)?.name.to_owned());
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    imports.insert(import.map_err(DeployError::Malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    exports.insert(export.map_err(DeployError::Malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(Inspection {
        digest: Digest::of(bytes),
        kind,
        imports: imports.into_iter().collect(),
        exports: exports.into_iter().collect(),
    })
}
