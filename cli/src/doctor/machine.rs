//! The checks that ask the operating system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use dormouse_gateway::MAX_CONNECTIONS;
use dormouse_scheduler::SchedulerConfig;
use dormouse_scheduler::machine::{self, Bound, Machine, Room};
use indicatif::HumanBytes;
use rustix::process::{Resource, getrlimit};

use super::{Check, Level};

/// First kernel with PAGEMAP_SCAN, with which the pool resets only the pages that a call wrote.
const PAGEMAP_SCAN_SINCE: (u32, u32) = (6, 7);
/// The doctor says how to get so many live instances on one node; `serve` asks for fewer by itself.
const MANY_INSTANCES: usize = 10_000;
const LITTLE_DISK: u64 = 1 << 30;

pub(super) fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    match version(&release) {
        Some(found) if found >= PAGEMAP_SCAN_SINCE => Check::ok("kernel", release),
        _ => Check::bad(
            "kernel",
            Level::Warn,
            format!("{release} has no PAGEMAP_SCAN"),
            "reusing memory of instances is slower; Linux 6.7 or newer has it",
        ),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What each limit of this machine allows, against what `serve` wants if nobody says otherwise.
pub(super) fn limits() -> [Check; 4] {
    let machine = Machine {
        // `serve` raises the soft limit itself.
        open_files: getrlimit(Resource::Nofile).maximum,
        ..Machine::read()
    };
    let usual = SchedulerConfig::new(PathBuf::new());
    let code = machine.loaded_code(usual.max_loaded_code);
    let rooms = machine.rooms(code);
    let room = |name, bound, is: String| {
        let room = rooms.iter().find(|room| room.bound == bound);
        judge(
            name,
            room.copied(),
            is,
            (usual.max_instances, usual.max_loaded_code),
        )
    };
    let memory = match (machine.cgroup_memory, machine.physical_memory) {
        (Some(group), _) => format!("this control group may use {}", HumanBytes(group)),
        (None, Some(all)) => format!("{}, without a control group's limit", HumanBytes(all)),
        (None, None) => "unknown".to_owned(),
    };
    [
        match machine.maps {
            Some(maps) => room(
                "map count",
                Bound::Maps,
                format!("vm.max_map_count is {maps}"),
            ),
            None => Check::bad(
                "map count",
                Level::Warn,
                format!("cannot read {}", machine::MAX_MAP_COUNT),
                "Dormouse is made for Linux",
            ),
        },
        room(
            "address space",
            Bound::AddressSpace,
            (machine.address_space)
                .map_or("no limit".to_owned(), |bytes| HumanBytes(bytes).to_string()),
        ),
        room("memory", Bound::Memory, memory),
        open_files(&machine),
    ]
}

fn judge(name: &'static str, room: Option<Room>, is: String, usual: (usize, u64)) -> Check {
    let Some(room) = room else {
        return Check::ok(name, is);
    };
    let (instances, code) = usual;
    let found = format!("{is}: enough for {} live instances", room.instances);
    if room.instances >= MANY_INSTANCES {
        return Check::ok(name, found);
    }
    let mut check = Check::ok(name, found);
    check.mend = Some(format!(
        "for {MANY_INSTANCES}: {}",
        room.bound.mend(MANY_INSTANCES as u64, code)
    ));
    if room.instances < instances {
        check.level = Level::Warn;
    }
    check
}

fn open_files(machine: &Machine) -> Check {
    let connections = machine.connections(MAX_CONNECTIONS);
    let is = machine
        .open_files
        .map_or("no limit".to_owned(), |files| files.to_string());
    let found = format!("{is}: enough for {connections} connections");
    if connections < MAX_CONNECTIONS {
        Check::bad("open files", Level::Warn, found, machine::OPEN_FILES_MEND)
    } else {
        Check::ok("open files", found)
    }
}

pub(super) fn disk(data_dir: &Path) -> Check {
    let existing = nearest(data_dir);
    let Ok(disk) = rustix::fs::statvfs(existing) else {
        let found = format!("cannot look at {}", existing.display());
        return Check::bad(
            "disk",
            Level::Fail,
            found,
            "choose another folder with --data-dir",
        );
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{} free for {}", HumanBytes(free), data_dir.display());
    if free < LITTLE_DISK {
        return Check::bad(
            "disk",
            Level::Warn,
            found,
            "make room: uploads and tasks are refused when it is full",
        );
    }
    Check::ok("disk", found)
}

/// Whether `serve` could use the folder. Leaves nothing behind.
pub(super) fn data_dir(data_dir: &Path, running: bool) -> Check {
    let name = "data folder";
    let existing = nearest(data_dir);
    let probe = existing.join(format!(".dormouse-doctor-{}", std::process::id()));
    let outcome = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .map(|file| file.try_lock());
    // Only what this check made: if it could not be made, there is nothing to remove.
    if outcome.is_ok() {
        let _ = fs::remove_file(&probe);
    }
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => {
            return Check::bad(
                name,
                Level::Fail,
                format!("files in {} cannot be locked", existing.display()),
                "choose a folder on a local disk with --data-dir",
            );
        }
        Err(error) => {
            return Check::bad(
                name,
                Level::Fail,
                format!("cannot write in {}: {error}", existing.display()),
                "change its owner, or choose another folder with --data-dir",
            );
        }
    }
    if existing != data_dir {
        return Check::ok(name, format!("{} will be made", data_dir.display()));
    }
    match (in_use(data_dir), running) {
        (true, true) => Check::ok(
            name,
            format!("{} is in use, and a server is running", data_dir.display()),
        ),
        (true, false) => Check::bad(
            name,
            Level::Warn,
            format!("{} is in use by another process", data_dir.display()),
            "only one server can use a data folder at a time",
        ),
        (false, _) => Check::ok(
            name,
            format!("{} can be written and locked", data_dir.display()),
        ),
    }
}

/// Whether a store has the folder locked. The lock is released again at once.
fn in_use(data_dir: &Path) -> bool {
    let lock = File::open(data_dir.join("lock"));
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The folder itself, or the nearest one above it that exists.
fn nearest(folder: &Path) -> &Path {
    let mut ancestors = folder
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty());
    ancestors
        .find(|path| path.exists())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read() {
        assert_eq!(version("6.7.0-rc1"), Some((6, 7)));
        assert_eq!(version("5.15.0-91-generic"), Some((5, 15)));
        assert_eq!(version("6.12+deb"), Some((6, 12)));
        assert_eq!(version("x"), None);
    }
}
