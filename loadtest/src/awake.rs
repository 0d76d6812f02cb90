//! Cores that do not sleep while something is measured. A core of a virtual machine that sleeps is given back to the host, and
//! has other caches and another clock when it wakes: with one connection both ends sleep for each call.

use std::{
    fs::{File, OpenOptions},
    io::Write,
};

use anyhow::Context;

/// Where a program says which latency of wake-ups it can bear, for as long as it has the file open (Linux,
/// `Documentation/power/pm_qos_interface.rst`).
const LATENCY: &str = "/dev/cpu_dma_latency";

/// Keeps the cores awake until it is dropped.
#[derive(Debug)]
pub struct Awake(#[expect(dead_code, reason = "what counts is that it is open")] File);

/// Asks for no latency at all, as cyclictest does: idle cores wait in a loop.
///
/// # Errors
/// When the file is not there, or is not this user's to write.
pub fn hold() -> anyhow::Result<Awake> {
    let file = OpenOptions::new().write(true).open(LATENCY);
    let mut file = file.context("--awake needs the right to write /dev/cpu_dma_latency")?;
    file.write_all(&0_i32.to_ne_bytes())
        .context("the system does not keep its cores awake")?;
    Ok(Awake(file))
}
