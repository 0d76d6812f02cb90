//! Fuzzing: the targets of `fuzz/`, with the Rust that is here and without cargo-fuzz.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use crate::step::{self, cargo, root};

const FOLDER: &str = "fuzz";
pub(crate) const TARGETS: [&str; 3] = ["jsonrpc", "rest", "grpc"];
/// Longer inputs find nothing more in a parser and are slow.
const MAX_INPUT_BYTES: usize = 4096;

/// Runs the targets one after the other for `seconds` each, beginning with the inputs in the repository.
/// What they find is kept below `fuzz/target/corpus`, and what they break in `fuzz/artifacts`.
pub(crate) fn fuzz(target: Option<&str>, seconds: u64) -> anyhow::Result<()> {
    let folder = root().join(FOLDER);
    let mut build = cargo(&folder, &["build", "--release"]);
    build.env("RUSTC_WRAPPER", folder.join("rustc.sh"));
    step::run("build the fuzz targets", &mut build)?;
    let targets = step::target_dir(&folder)?;
    for name in TARGETS {
        if target.is_some_and(|only| only != name) {
            continue;
        }
        let found = targets.join("corpus").join(name);
        let artifacts = folder.join("artifacts").join(name);
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&artifacts)?;
        let mut prefix = OsString::from("-artifact_prefix=");
        // With a slash at its end.
        prefix.push(artifacts.join(""));
        let mut run = Command::new(targets.join("release").join(name));
        run.arg(found)
            .arg(folder.join("corpus").join(name))
            .arg(prefix)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={MAX_INPUT_BYTES}"))
            .args(["-print_final_stats=1", "-timeout=10"]);
        step::run(&format!("fuzz {name} for {seconds} s"), &mut run)?;
    }
    Ok(())
}
