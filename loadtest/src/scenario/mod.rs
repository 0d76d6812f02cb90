//! The workloads that have a course of their own.

mod burst;
mod density;
mod deploy;
mod filters;
mod mixed;
mod neighbour;
mod soak;
mod storm;

use std::{path::Path, sync::Arc};

use anyhow::Context;

use crate::{
    finding::Finding, module::Template, options::Plan, scene::Scene, server::Server,
    workload::Workload,
};

/// Measures one of them. What goes wrong on the way is a problem of the finding, so that the others still have
/// their turn; the server is stopped in either case.
///
/// # Errors
/// The module cannot be used, or the server cannot be stopped.
pub async fn measure(
    plan: &Plan,
    workload: Workload,
    folder: &Path,
    running: &mut Option<Server>,
) -> anyhow::Result<Finding> {
    let module = plan.load_wasm.as_deref();
    let template = Template::read(module.context("the plan has no module to make many of")?)?;
    let mut scene = Scene::new(plan, Arc::new(template), workload, folder, running);
    let done = match workload {
        Workload::Storm => storm::run(&mut scene).await,
        Workload::Burst => burst::run(&mut scene).await,
        Workload::Neighbour => neighbour::run(&mut scene).await,
        Workload::Mixed => mixed::run(&mut scene).await,
        Workload::Filters => filters::run(&mut scene).await,
        Workload::Deploy => deploy::run(&mut scene).await,
        Workload::Density => density::run(&mut scene).await,
        Workload::Soak => soak::run(&mut scene).await,
        Workload::Baseline | Workload::Hot | Workload::Task | Workload::Warm | Workload::Cold => {
            unreachable!("rows of the table are measured in rounds")
        }
    };
    if let Err(failure) = done {
        eprintln!("  failed: {failure:#}");
        scene.finding.problems.push(format!("{failure:#}"));
    }
    scene.stop().await?;
    Ok(scene.finding)
}
