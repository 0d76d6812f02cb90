//! Initialising a module once, at deploy: what its exported `wizer-initialize` leaves in memory is what every
//! instance starts with (docs/decisions/0016).

use crate::config::CallLimits;
use crate::deploy::DeployError;
use crate::engine::Engine;
use dormouse_filters::spent::processor_time;
use futures_util::FutureExt;
use std::borrow::Cow;
use std::time::Duration;
use thiserror::Error;
use wasmparser::{ExternalKind, Parser, Payload};
use wasmtime::{
    ExternType, Instance, Linker, Module, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline,
    Val,
};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

/// What a module exports that wants to be initialised: `[] -> []`, by the convention of Wizer.
const EXPORT: &str = "wizer-initialize";
/// What a reactor's runtime wants to be called first, by the convention of WASI preview 1.
const REACTOR: &str = "_initialize";

/// The initialisation has called something that it imports.
#[derive(Debug, Error)]
#[error("`{name}` of `{module}`")]
struct Asked {
    module: String,
    name: String,
}

/// The initialisation has used up its processor time.
#[derive(Debug, Error)]
#[error("the processor time of the initialisation is used up")]
struct Late;

struct Guest {
    limiter: StoreLimits,
    /// Processor time of this thread when the initialisation must have ended.
    until: Duration,
}

/// The module with its initialisation done, or as it is if it has none. It runs on the calling thread, without any
/// import, so it gives the same for the same module.
pub(crate) fn initialised<'a>(
    engine: &Engine,
    limits: &CallLimits,
    module: &'a [u8],
) -> Result<Cow<'a, [u8]>, DeployError> {
    if Parser::is_component(module) || !exports_init(module)? {
        return Ok(Cow::Borrowed(module));
    }
    let wizer = Wizer::new();
    let refused = |error: wasmtime::Error| DeployError::Snapshot(format!("{error:#}"));
    let (context, instrumented) = wizer.instrument(module).map_err(refused)?;
    let instrumented = Module::new(&engine.wasmtime, &instrumented).map_err(refused)?;
    let mut state = run(engine, limits, &instrumented)?;
    let snapshot = wizer.snapshot(&context, &mut state).now_or_never();
    let snapshot = snapshot.expect("nothing in it waits").map_err(refused)?;
    Ok(Cow::Owned(snapshot))
}

fn exports_init(module: &[u8]) -> Result<bool, DeployError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(exports) = payload.map_err(DeployError::Malformed)? {
            for export in exports {
                let export = export.map_err(DeployError::Malformed)?;
                if export.name == EXPORT && export.kind == ExternalKind::Func {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

fn run(engine: &Engine, limits: &CallLimits, module: &Module) -> Result<State, DeployError> {
    let failed = |error: wasmtime::Error| {
        if let Some(asked) = error.downcast_ref::<Asked>() {
            DeployError::InitImport(asked.to_string())
        } else if error.is::<Late>() {
            let seconds = limits.initialisation.as_secs_f32();
            DeployError::InitTimeout { seconds }
        } else {
            let root = error.root_cause();
            crate::code::unless_short(&error, |_text| DeployError::InitTrapped(root.to_string()))
        }
    };
    let limiter = StoreLimitsBuilder::new()
        .memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .build();
    let until = processor_time() + limits.initialisation;
    let mut store = Store::new(&engine.wasmtime, Guest { limiter, until });
    store.limiter(|guest| &mut guest.limiter);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|guest| {
        if processor_time() >= guest.data().until {
            return Err(Late.into());
        }
        Ok(UpdateDeadline::Continue(1))
    });
    let linker = nothing(engine, module).map_err(failed)?;
    let _running = engine.enter();
    let instance = linker.instantiate(&mut store, module).map_err(failed)?;
    for name in [REACTOR, EXPORT] {
        if instance.get_func(&mut store, name).is_none() {
            continue;
        }
        let wrong = |error: wasmtime::Error| DeployError::Snapshot(format!("`{name}`: {error:#}"));
        let function = instance.get_typed_func::<(), ()>(&mut store, name);
        function
            .map_err(wrong)?
            .call(&mut store, ())
            .map_err(failed)?;
    }
    Ok(State { store, instance })
}

/// Imports that end whoever calls them. A clock or a random number would be frozen into every instance, and the
/// rest belongs to a call.
fn nothing(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(&engine.wasmtime);
    for import in module.imports() {
        let ExternType::Func(kind) = import.ty() else {
            continue;
        };
        let (module, name) = (import.module().to_owned(), import.name().to_owned());
        linker.func_new(import.module(), import.name(), kind, move |_, _, _| {
            let (module, name) = (module.clone(), name.clone());
            Err(Asked { module, name }.into())
        })?;
    }
    Ok(linker)
}

/// The instance after its initialisation.
struct State {
    store: Store<Guest>,
    instance: Instance,
}

impl InstanceState for State {
    async fn global_get(&mut self, name: &str, _kind: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut self.store, name);
        match global
            .expect("Wizer exports it by this name")
            .get(&mut self.store)
        {
            Val::I32(x) => SnapshotVal::I32(x),
            Val::I64(x) => SnapshotVal::I64(x),
            Val::F32(x) => SnapshotVal::F32(x),
            Val::F64(x) => SnapshotVal::F64(x),
            Val::V128(x) => SnapshotVal::V128(x.as_u128()),
            _ => unreachable!("Wizer refuses modules with mutable references"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut self.store, name);
        contents(
            memory
                .expect("Wizer exports it by this name")
                .data(&self.store),
        );
    }
}
