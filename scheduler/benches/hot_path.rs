//! So many hot calls, one after another, and nothing else: for tools that count instructions. The difference between
//! two runs is what calls cost, without what starting costs (`cargo xtask instructions`).
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use dormouse_scheduler::steps::Steps;
use std::path::Path;
use tokio::runtime::Builder;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(module), Some(calls)) = (arguments.next(), arguments.next()) else {
        // `cargo bench` and `cargo test` run every bench, and give this one nothing to do.
        return;
    };
    let Ok(calls) = calls.parse::<u32>() else {
        return;
    };
    let module = std::fs::read(Path::new(&module)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let steps = Steps::new(module, folder.path()).await.unwrap();
        let scheduler = steps.scheduler().unwrap();
        for _ in 0..calls {
            scheduler.call(steps.request()).await.result.unwrap();
        }
    });
}
