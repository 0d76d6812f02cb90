//! What is refused before it is compiled. These limits are of the bytes, so they are exact.

use crate::config::Limits;
use crate::error::WasmRuntimeError;
use wasmparser::{Encoding, MemoryType, Parser, Payload, TableType};

/// Bytes of a page of linear memory.
const PAGE: u64 = 64 << 10;

/// Looks at every module in a component.
///
/// # Errors
/// When it is no component, or over a limit.
pub(crate) fn check(bytes: &[u8], limits: &Limits) -> Result<(), WasmRuntimeError> {
    let size = bytes.len();
    at_most(
        "component bytes",
        size as u64,
        limits.max_component_size as u64,
    )?;
    if !Parser::is_component(bytes) {
        let what = "it has not the first bytes of one; build it for wasm32-wasip2";
        return Err(WasmRuntimeError::InvalidModule(what.into()));
    }
    // Of the modules that are open, those inside others included.
    let mut open: Vec<Module> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding, .. } => open.push(Module {
                is_core: encoding == Encoding::Module,
                ..Module::default()
            }),
            Payload::End(_) => drop(open.pop()),
            Payload::TableSection(tables) => {
                for table in tables {
                    let table = table.map_err(malformed)?;
                    top(&mut open)?.table(&table.ty, limits)?;
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory.map_err(malformed)?;
                    top(&mut open)?.memory(&memory, limits)?;
                }
            }
            Payload::CodeSectionEntry(body) => {
                let size = body.range().len() as u64;
                at_most("bytes of a function", size, limits.max_function_size as u64)?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[derive(Default)]
struct Module {
    is_core: bool,
    tables: u64,
    memories: u64,
}

impl Module {
    fn table(&mut self, table: &TableType, limits: &Limits) -> Result<(), WasmRuntimeError> {
        self.tables += u64::from(self.is_core);
        at_most("tables of a module", self.tables, limits.max_tables.into())?;
        at_most(
            "table elements",
            table.initial,
            limits.max_table_elements as u64,
        )
    }

    fn memory(&mut self, memory: &MemoryType, limits: &Limits) -> Result<(), WasmRuntimeError> {
        self.memories += u64::from(self.is_core);
        at_most(
            "memories of a module",
            self.memories,
            limits.max_memories.into(),
        )?;
        let bytes = memory.initial.saturating_mul(PAGE);
        at_most("bytes of memory", bytes, limits.max_memory as u64)
    }
}

fn top(open: &mut [Module]) -> Result<&mut Module, WasmRuntimeError> {
    let last = open.last_mut();
    last.ok_or_else(|| WasmRuntimeError::InvalidModule("a section is outside of a module".into()))
}

fn at_most(what: &str, given: u64, limit: u64) -> Result<(), WasmRuntimeError> {
    if given <= limit {
        return Ok(());
    }
    let sentence = format!("{limit} {what}: it has {given}");
    Err(WasmRuntimeError::ResourceLimit(sentence))
}

fn malformed(error: wasmparser::BinaryReaderError) -> WasmRuntimeError {
    WasmRuntimeError::InvalidModule(error.to_string())
}
