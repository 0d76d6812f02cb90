//! Threads that compute for ever, in a program of their own, at the lowest priority: what the system itself makes of endless
//! loops, with no server between. Endless loops in guests are compared with that.

use std::{hint, io::Read, process::Stdio, thread};

use anyhow::Context;
use rustix::process::setpriority_process;
use tokio::process::{Child, Command};

/// The lowest priority, at which the platform runs what computes for long (docs/decisions/0011).
const NICE: i32 = 19;

/// Computes on this many threads, and ends when stdin does: so it never outlives the program that started it.
pub fn run(threads: usize) -> anyhow::Result<()> {
    for number in 0..threads {
        let thread = thread::Builder::new().name(format!("loop-{number}"));
        thread.spawn(|| {
            // On Linux this is the priority of the thread that asks.
            if let Err(error) = setpriority_process(None, NICE) {
                eprintln!("the threads will not give way: {error}");
            }
            loop {
                hint::black_box(());
            }
        })?;
    }
    // Whether stdin ends or fails, nobody is left to compute for.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

/// Starts them; they end when this is dropped.
pub fn start(threads: usize) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let command = command.args(["native", "--threads"]);
    let child = command
        .arg(threads.to_string())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    child.context("cannot start the program that computes for ever")
}
