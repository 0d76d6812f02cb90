//! What Linux tells about a process and about the machine.

use std::{fs, num::NonZero, path::Path, thread, time::Duration};

use anyhow::Context;
use rustix::{param::clock_ticks_per_second, system::uname};
use serde::Serialize;

/// User and system time that a process with all its threads has used (`/proc/PID/stat`, see proc(5)); its
/// resolution is a clock tick, mostly 10 ms.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} is not as proc(5) says"))?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / clock_ticks_per_second() as f64,
    ))
}

/// utime + stime, fields 14 and 15. The second field is a name that may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Resident memory of a process in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// `VmRSS`: everything.
    pub all_kib: u64,
    /// `RssAnon`: without files that are mapped, such as compiled code. The kernel can drop those at any time.
    pub anonymous_kib: u64,
}

impl Resident {
    /// How much more there is than `before`, less than zero if there is less.
    pub fn kib_since(self, before: Resident) -> f64 {
        self.all_kib as f64 - before.all_kib as f64
    }

    /// The same without mapped files.
    pub fn anonymous_kib_since(self, before: Resident) -> f64 {
        self.anonymous_kib as f64 - before.anonymous_kib as f64
    }
}

/// Asks the kernel (`/proc/PID/status`, see proc(5)).
pub fn resident(pid: u32) -> anyhow::Result<Resident> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = |name| {
        field(&status, name)
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("{path} has no {name}"))
    };
    Ok(Resident {
        all_kib: kib("VmRSS")?,
        anonymous_kib: kib("RssAnon")?,
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut values = text.lines().filter_map(|line| line.split_once(':'));
    values.find_map(|(key, value)| (key.trim() == name).then_some(value.trim()))
}

/// The machine and the moment, without which numbers mean nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: Option<String>,
    pub memory_kib: Option<u64>,
    pub kernel: String,
    /// UTC, RFC 3339.
    pub date: String,
    pub command_line: Vec<String>,
    /// Whether the servers' data lay in memory, where an fsync costs nothing.
    pub data_in_memory: bool,
}

impl Machine {
    pub fn look(data_root: &Path) -> anyhow::Result<Self> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|v| v.split(' ').next()?.parse().ok());
        let system = uname();
        Ok(Machine {
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            cpu: field(&read("/proc/cpuinfo"), "model name").map(str::to_owned),
            memory_kib: memory,
            kernel: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            date: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
            command_line: std::env::args().collect(),
            data_in_memory: in_memory(data_root)?,
        })
    }
}

fn in_memory(folder: &Path) -> anyhow::Result<bool> {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of statfs(2).
    const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    let found = rustix::fs::statfs(folder)
        .with_context(|| format!("cannot look at {}", folder.display()))?;
    Ok(MEMORY.contains(&(found.f_type as u64)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn processor_time_is_read_past_a_name_with_parentheses() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 1 2 3 4 250 50 7 8 20 0 3 0 99 1 2";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("42 (cut short) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_machine() {
        let pid = std::process::id();
        let resident = resident(pid).unwrap();
        assert!(resident.all_kib > resident.anonymous_kib && resident.anonymous_kib > 100);
        assert!(cpu_time(pid).is_ok());
        let machine = Machine::look(Path::new("/")).unwrap();
        assert!(
            machine.cores >= 1 && machine.kernel.starts_with("Linux "),
            "{machine:?}"
        );
    }
}
