//! Compiled code of filters: beside that of agents, in the same files, so that a start does not compile it again.

use crate::code::CodeCache;
use dormouse_filters::Compile;
use dormouse_store::Digest;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::Engine;
use wasmtime::component::Component;

pub(crate) struct FilterCode(pub(crate) Arc<CodeCache>);

/// The same bytes may be an agent's, whose code is made otherwise: a filter's has a name of its own.
fn name(digest: &Digest) -> Digest {
    Digest::of(format!("filter {digest}").as_bytes())
}

impl FilterCode {
    /// Removes the code of a filter's module.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.0.files.remove(&name(digest));
    }

    fn made(&self, engine: &Engine, name: &Digest, bytes: &[u8]) -> wasmtime::Result<Component> {
        let begun = Instant::now();
        let code = engine.precompile_component(bytes)?;
        let metrics = &self.0.metrics;
        metrics.compiles.inc();
        let took = begun.elapsed().as_secs_f64();
        metrics.compile_seconds.observe(took);
        let kept = self.0.files.write(name, &code);
        let loaded = kept.and_then(|()| self.0.map(engine, name));
        loaded.or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the code of a filter cannot be kept on disk");
            Component::new(engine, bytes)
        })
    }
}

impl Compile for FilterCode {
    fn compile(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        let name = name(&Digest::of(bytes));
        if self.0.files.is_whole(&name) {
            match self.0.map(engine, &name) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the code of a filter is damaged and is made again");
                }
            }
        }
        self.made(engine, &name, bytes)
    }
}
