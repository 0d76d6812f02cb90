//! Compiled code: damage, what is missing, and who is compiled first.

use crate::harness::{Deployed, Platform, answer, guest_wasm, text};
use dormouse_scheduler::{NoPlace, Temperature, VersionRef};
use dormouse_store::Digest;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The file of a module's code.
fn file(dir: &Path, digest: Digest) -> PathBuf {
    let engine = fs::read_dir(dir.join("code")).unwrap();
    let mut engine = engine.map(|entry| entry.unwrap().path());
    let engine = engine.find(|path| path.is_dir()).unwrap();
    let hex = digest.hex();
    engine.join(&hex[..2]).join(format!("{hex}.cwasm"))
}

/// Ends the platform, and leaves its folder.
async fn ended(platform: Platform) -> TempDir {
    platform.scheduler.drain().await;
    let Platform { dir, scheduler, .. } = platform;
    drop(scheduler);
    dir
}

/// A platform that goes on with a folder and has these guests' bytes.
async fn again(dir: TempDir, guests: &[&str]) -> Platform {
    let platform = Platform::at(dir, |_| {}).await;
    for guest in guests {
        platform.store.modules.put(&guest_wasm(guest)).unwrap();
    }
    platform
}

/// Puts other bytes where a file of code is. Not into the file itself: what still has it mapped would be killed.
fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    let other = path.with_extension("other");
    fs::write(&other, bytes).unwrap();
    fs::rename(other, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_noticed_before_the_code_runs() {
    let platform = Platform::new(|_| {}).await;
    let echo = platform.deploy("echo").await;
    let mut dir = ended(platform).await;
    let path = file(dir.path(), echo.version.digest);
    let whole = fs::read(&path).unwrap();
    let places = [0, whole.len() / 3, whole.len() * 2 / 3, whole.len() - 1];
    for place in places {
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        replace(&path, damaged);
        let platform = again(dir, &["echo"]).await;
        let (report, said) = platform.call(&echo, "echo", text("hello")).await;
        assert!(answer(&said).contains("hello"), "{said:?}");
        assert_eq!(report.start.unwrap().0, Temperature::Stored, "{place}");
        assert_eq!(platform.metric("dormouse_compiles_total", &[]), 1.0);
        dir = ended(platform).await;
    }
    for length in [0, 31, 32, whole.len() - 1] {
        replace(&path, &whole[..length]);
        let platform = again(dir, &["echo"]).await;
        // An upload of the same bytes mends it, too.
        platform.prepare(guest_wasm("echo")).await.unwrap();
        assert_eq!(platform.metric("dormouse_compiles_total", &[]), 1.0);
        let (report, _) = platform.call(&echo, "echo", text("hello")).await;
        assert_eq!(report.start.unwrap().0, Temperature::Cold, "{length}");
        dir = ended(platform).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_before_anybody_calls() {
    let platform = Platform::new(|_| {}).await;
    let (echo, counter) = (
        platform.deploy("echo").await,
        platform.deploy("counter").await,
    );
    let dir = ended(platform).await;
    let path = file(dir.path(), echo.version.digest);
    let mut code = fs::read(&path).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    replace(&path, code);
    let platform = again(dir, &["echo", "counter"]).await;
    let all = [counter.version.digest, echo.version.digest];
    assert_eq!(platform.scheduler.compile_missing(all.to_vec()).await, 1);
    let (report, said) = platform.call(&echo, "echo", text("hello")).await;
    assert!(answer(&said).contains("hello"), "{said:?}");
    assert_eq!(report.start.unwrap().0, Temperature::Cold);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_has_left_is_removed() {
    let platform = Platform::new(|_| {}).await;
    let echo = platform.deploy("echo").await;
    let dir = ended(platform).await;
    let code = file(dir.path(), echo.version.digest);
    let folder = code.ancestors().nth(2).unwrap().join("unfinished");
    fs::write(folder.join(".tmpHalf"), b"half").unwrap();
    let platform = again(dir, &["echo"]).await;
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let (report, _) = platform.call(&echo, "echo", text("x")).await;
    assert_eq!(report.start.unwrap().0, Temperature::Cold);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_of_an_upload_that_its_process_did_not_survive_is_removed() {
    let platform = Platform::new(|_| {}).await;
    let (echo, counter) = (
        platform.deploy("echo").await,
        platform.deploy("counter").await,
    );
    let dir = ended(platform).await;
    let code = |agent: &Deployed| file(dir.path(), agent.version.digest);
    let (kept, left) = (code(&echo), code(&counter));
    assert!(kept.exists() && left.exists());
    let platform = again(dir, &["echo"]).await;
    let named = vec![echo.version.digest];
    assert_eq!(platform.scheduler.compile_missing(named).await, 0);
    assert!(kept.exists() && !left.exists());
    // What this process has made is not asked about.
    let counter = platform.deploy("counter").await;
    platform.scheduler.compile_missing(Vec::new()).await;
    assert!(left.exists());
    let (report, _) = platform.call(&counter, "counter", text("x")).await;
    assert!(report.result.is_ok());
}

const GUESTS: [&str; 4] = ["hostile", "conformance", "counter", "echo"];

/// All guests, deployed, and then without their code.
async fn without_code() -> (Platform, Vec<Deployed>) {
    let platform = Platform::new(|_| {}).await;
    let mut all = Vec::new();
    for guest in GUESTS {
        all.push(platform.deploy(guest).await);
    }
    for agent in &all {
        platform.scheduler.forget(&agent.version.digest);
    }
    (platform, all)
}

/// Whether a thread compiles at the lowest priority (field 19 of `/proc/self/task/*/stat` is its nice value).
fn is_compiling_slowly() -> bool {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let stats = threads.filter_map(|thread| {
        let path = thread.ok()?.path().join("stat");
        fs::read_to_string(path).ok()
    });
    let mut stats = stats.filter(|stat| stat.contains("(compile) "));
    stats.any(|stat| {
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16) == Some("19")
    })
}

fn digests(agents: &[Deployed]) -> Vec<Digest> {
    agents.iter().map(|agent| agent.version.digest).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_compiled_before_all_that_nobody_waits_for() {
    let (platform, agents) = without_code().await;
    let before = platform.metric("dormouse_compiles_total", &[]);
    let echo = agents.last().unwrap();
    let call = async {
        while !is_compiling_slowly() {
            tokio::task::yield_now().await;
        }
        let (report, said) = platform.call(echo, "echo", text("hello")).await;
        (
            report,
            said,
            platform.metric("dormouse_compiles_pending", &[]),
        )
    };
    let missing = platform.scheduler.compile_missing(digests(&agents));
    let (compiled, (report, said, pending)) = tokio::join!(missing, call);
    assert_eq!(report.start.unwrap().0, Temperature::Stored);
    assert!(answer(&said).contains("hello"), "{said:?}");
    assert!(
        pending >= 1.0,
        "the last of four was ready before the first three"
    );
    assert_eq!(compiled, 4);
    let after = platform.metric("dormouse_compiles_total", &[]);
    assert_eq!(
        (
            after - before,
            platform.metric("dormouse_compiles_pending", &[])
        ),
        (4.0, 0.0)
    );
    let again = platform.scheduler.compile_missing(digests(&agents)).await;
    assert_eq!(again, 0, "nothing is missing any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_most_is_compiled_first_also_after_a_restart() {
    let platform = Platform::new(|_| {}).await;
    let (counter, echo) = (
        platform.deploy("counter").await,
        platform.deploy("echo").await,
    );
    let hostile = platform.deploy("hostile").await;
    for _ in 0..3 {
        platform.call(&echo, "echo", text("x")).await;
    }
    platform.call(&hostile, "counter", text("x")).await;
    let all = [counter, echo, hostile];
    for agent in &all {
        platform.scheduler.retire(&agent.version.agent, None);
        platform.scheduler.forget(&agent.version.digest);
    }
    let dir = ended(platform).await;
    let platform = again(dir, &["counter", "echo", "hostile"]).await;
    assert_eq!(platform.scheduler.compile_missing(digests(&all)).await, 3);
    let written = all.each_ref().map(|agent| {
        let path = file(platform.dir.path(), agent.version.digest);
        fs::metadata(path).unwrap().modified().unwrap()
    });
    let [counter, echo, hostile] = written;
    assert!(echo < hostile && hostile < counter, "{written:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_is_gone_is_not_waited_for() {
    let platform = Platform::new(|_| {}).await;
    let gone = Digest::of(b"never stored");
    assert_eq!(platform.scheduler.compile_missing(vec![gone]).await, 0);
    assert_eq!(platform.metric("dormouse_compiles_pending", &[]), 0.0);
}

/// Modules that differ in a number that nobody reads (`guests/load`).
fn modules(count: u32) -> Vec<Vec<u8>> {
    let wasm = guest_wasm("load");
    let mark = b"dormouse-load-label:";
    let at = wasm.windows(mark.len()).position(|bytes| bytes == mark);
    let at = at.unwrap() + 33;
    let module = |number: u32| {
        let mut wasm = wasm.clone();
        wasm[at..at + 7].copy_from_slice(format!("{number:07}").as_bytes());
        wasm
    };
    (0..count).map(module).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_would_wait_too_long_for_its_code_is_refused() {
    let platform = Platform::new(|config| config.max_instances = 256).await;
    let echo = platform.deploy("echo").await;
    let uncompiled: Vec<Deployed> = modules(160)
        .iter()
        .map(|wasm| {
            let digest = platform.store.modules.put(wasm).unwrap().digest;
            let version = VersionRef {
                agent: "load-0000-00".into(),
                declared: "load-0000-00".into(),
                digest,
                ..(*echo.version).clone()
            };
            Deployed {
                definition: echo.definition.clone(),
                version: Arc::new(version),
            }
        })
        .collect();
    let (late, early) = uncompiled.split_last().unwrap();
    let calls = early
        .iter()
        .map(|agent| platform.call(agent, "echo", text("x")));
    let calls = futures_util::future::join_all(calls);
    let rejected = || platform.metric("dormouse_rejected_total", &[("reason", "compiling")]);
    let refused = async {
        while platform.metric("dormouse_compiles_pending", &[]) < 70.0 {
            tokio::task::yield_now().await;
        }
        let enter = |agent: &Deployed| {
            let place = platform.scheduler.enter(&agent.version, "anonymous", None);
            place.map(drop)
        };
        // Some of the calls may have come too late themselves.
        let before = rejected();
        assert_eq!(enter(late), Err(NoPlace::Compiling));
        assert_eq!(rejected(), before + 1.0);
        assert_eq!(enter(&echo), Ok(()), "it is compiled");
        assert_eq!(enter(&early[0]), Ok(()), "its code is on its way, or there");
    };
    tokio::select! {
        biased;
        () = refused => {}
        _ = calls => panic!("all modules were compiled before anybody looked"),
    }
}
