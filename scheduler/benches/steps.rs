//! What each step of a call costs, from compiled code on disk to the end of the instance:
//! `cargo bench --package dormouse-scheduler --bench steps`. Build the guests first (`cargo xtask guests`).
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dormouse_scheduler::steps::Steps;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn guest(name: &str) -> Vec<u8> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/target/wasm32-wasip1/release");
    let path = folder.join(name).with_extension("wasm");
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask guests`", path.display()))
}

fn steps(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let steps = runtime
        .block_on(Steps::new(guest("echo"), folder.path()))
        .unwrap();
    let linked = steps.link(&steps.map().unwrap()).unwrap();
    let start = || runtime.block_on(steps.start(&linked)).unwrap();
    let mut group = criterion.benchmark_group("steps");

    group.bench_function("1 map compiled code from disk", |bench| {
        bench.iter_with_large_drop(|| steps.map().unwrap());
    });
    group.bench_function("2 link", |bench| {
        bench.iter_batched(
            || steps.map().unwrap(),
            |mapped| (steps.link(&mapped).unwrap(), mapped),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("3 start an instance", |bench| {
        bench.iter_batched(|| (), |()| start(), BatchSize::PerIteration);
    });
    group.bench_function("4 first call", |bench| {
        bench.iter_batched(
            || (start(), steps.request()),
            |(mut instance, request)| {
                let answer = runtime
                    .block_on(steps.call(&mut instance, request))
                    .unwrap();
                (instance, answer)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("5 further call", |bench| {
        let mut instance = start();
        bench.iter_batched(
            || steps.request(),
            |request| {
                runtime
                    .block_on(steps.call(&mut instance, request))
                    .unwrap()
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("6 drop an instance that was called", |bench| {
        bench.iter_batched(
            || {
                let mut instance = start();
                let answer = runtime.block_on(steps.call(&mut instance, steps.request()));
                black_box(answer.unwrap());
                instance
            },
            drop,
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Through the scheduler: place, pool and lanes included.
fn calls(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let steps = runtime
        .block_on(Steps::new(guest("echo"), folder.path()))
        .unwrap();
    let scheduler = runtime.block_on(async { steps.scheduler().unwrap() });
    let call = || {
        runtime
            .block_on(scheduler.call(steps.request()))
            .result
            .unwrap()
    };
    let mut group = criterion.benchmark_group("calls");
    group.bench_function("hot", |bench| {
        call();
        bench.iter(call);
    });
    let measure = |calls, timed: fn() -> bool| {
        let mut took = Duration::ZERO;
        for _ in 0..calls {
            let begun = Instant::now();
            if timed() {
                runtime.block_on(scheduler.drain());
                took += begun.elapsed();
                call();
            } else {
                call();
                took += begun.elapsed();
                runtime.block_on(scheduler.drain());
            }
        }
        took
    };
    group.bench_function("warm", |bench| {
        runtime.block_on(scheduler.drain());
        bench.iter_custom(|calls| measure(calls, || false));
    });
    group.bench_function("evict", |bench| {
        call();
        bench.iter_custom(|calls| measure(calls, || true));
    });
    group.finish();
}

criterion_group!(benches, steps, calls);
criterion_main!(benches);
