//! What the machine allows: its limits, and how many instances fit into them. The arithmetic is pure; only
//! [`Machine::read`] and [`raise_open_files`] ask the system.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel says how many memory mappings a process may have.
pub const MAX_MAP_COUNT: &str = "/proc/sys/vm/max_map_count";

/// Mappings that a slot of the pool takes once it has been used: its linear memory with the module's image in
/// it, and its tables. They stay when the instance is gone. A test counts them.
const MAPS_PER_INSTANCE: u64 = 4;
/// A stack and its guard page; the pool makes all of them at start.
const MAPS_PER_STACK: u64 = 2;
/// Parts of a file of compiled code that are protected differently. A test counts them.
const MAPS_PER_CODE: u64 = 4;
/// Mappings of the program itself: libraries, the stacks of threads, the heap, deploys.
const MAPS_RESERVE: u64 = 2_048;
/// Loaded code may take this share of the mappings; it is loaded again in 100 microseconds.
const CODE_SHARE: u64 = 4;

/// How an operator gets more open files than the hard limit, to which `serve` raises the soft one.
pub const OPEN_FILES_MEND: &str =
    "ulimit -n 65536 before `dormouse serve` (systemd: LimitNOFILE=65536)";

/// What wasmtime reserves for one linear memory so that compiled code needs no bounds checks: 4 GiB and a guard
/// of 32 MiB.
const ADDRESSES_PER_MEMORY: u64 = (4 << 30) + (32 << 20);
/// Stacks and tables of a slot: sixteen tables of the most generous preset, and a stack of 2 MiB.
const ADDRESSES_BESIDE: u64 = 10 << 20;
/// Addresses of the program itself; compiled code and caches included.
const ADDRESSES_RESERVE: u64 = 2 << 30;
/// Addresses of a process on x86-64 and AArch64 with four levels of page tables.
const ADDRESSES: u64 = 1 << 47;

/// Resident memory of a small agent's instance: the promise of SPECIFICATION.md, section 9. Larger ones are
/// the business of the memory budget.
const BYTES_PER_INSTANCE: u64 = 80 << 10;
/// Resident memory of a server without instances.
const BYTES_RESERVE: u64 = 96 << 20;

/// Instances that deploys may hold while they ask a module for its definitions.
const DISCOVERY_SLOTS: usize = 8;
/// Slots for filters (`docs/decisions/0018`) where there is room: sixteen filters with two instances each, and what
/// takes the place of one of them.
const FILTER_SLOTS: usize = 40;
/// Small machines have a slot for filters for so many instances of agents.
const INSTANCES_PER_FILTER: usize = 8;

/// Slots of the pool for filters, beside so many instances.
pub(crate) fn filter_slots(instances: usize) -> usize {
    FILTER_SLOTS.min(instances / INSTANCES_PER_FILTER)
}

/// Slots of the pool for agents: also those that are not for their calls.
pub(crate) fn agent_slots(instances: usize) -> usize {
    instances + DISCOVERY_SLOTS
}

/// Linear memories, tables and core instances that one instance of a component may have. The engine's pool has as many for
/// each of its slots, so that it never runs out of one before it runs out of slots: then every instance that has a place
/// can start, and whoever has none waits in the queue. A lifted module has one memory, three tables and four core
/// instances (itself, the WASI adapter and two shims), components from JavaScript have two memories. The room of parts
/// that an instance does not have costs addresses only.
pub(crate) const MEMORIES: usize = 2;
pub(crate) const TABLES: usize = 16;
pub(crate) const CORE_INSTANCES: usize = 32;

/// All slots of both pools.
fn slots(instances: usize) -> usize {
    agent_slots(instances) + filter_slots(instances)
}

/// Stacks for so many instances. An instance that is parked or runs holds one fiber: wasmtime 48 keeps the
/// worker on which guest code ran (`concurrent_state.worker` in `run_on_worker`, concurrent.rs), and a new
/// store's last stack becomes that of its worker. It takes a second one only while that worker is blocked in a
/// host call and another call of the same guest has an answer, so an eighth more is plenty.
pub(crate) fn stacks(instances: usize) -> usize {
    instances + instances / 8 + 32
}

/// The limits that the system sets. `None`: there is none, or it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machine {
    /// Mappings of a process (`vm.max_map_count`).
    pub maps: Option<u64>,
    /// Open files and connections of this process (`RLIMIT_NOFILE`, soft).
    pub open_files: Option<u64>,
    /// Bytes of addresses of this process (`RLIMIT_AS`, soft).
    pub address_space: Option<u64>,
    /// Bytes that this process's control group, or one above it, may use.
    pub cgroup_memory: Option<u64>,
    /// Bytes of physical memory.
    pub physical_memory: Option<u64>,
}

/// What bounds the number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Maps,
    AddressSpace,
    Memory,
}

/// So many instances fit into one of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub bound: Bound,
    pub instances: usize,
}

/// Files of the program itself: the store, the pools of the runtime, outgoing connections.
const FILES_RESERVE: u64 = 512;

/// What had to be lowered at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lowered {
    pub bound: Bound,
    pub wanted: usize,
    pub instances: usize,
    pub loaded_code: u64,
}

impl Machine {
    /// The limits of this process.
    pub fn read() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let groups = memory_files(&groups, Path::new("/sys/fs/cgroup"));
        let texts = groups
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok());
        Self {
            maps: number(MAX_MAP_COUNT),
            open_files: getrlimit(Resource::Nofile).current,
            address_space: getrlimit(Resource::As).current,
            cgroup_memory: texts.filter_map(|text| memory_limit(&text)).min(),
            physical_memory: fs::read_to_string("/proc/meminfo")
                .ok()
                .and_then(|text| total_memory(&text)),
        }
    }

    /// Resident memory above which instances are evicted, unless the operator says otherwise: nine tenths of the
    /// control group's limit, which the kernel enforces by killing; three quarters of the physical memory,
    /// which others use too. `None` if neither is known.
    pub fn memory_budget(&self) -> Option<u64> {
        let of_group = self.cgroup_memory.map(|bytes| bytes / 10 * 9);
        let of_machine = self.physical_memory.map(|bytes| bytes / 4 * 3);
        of_group.into_iter().chain(of_machine).min()
    }

    /// How many instances each limit allows, with room for so many modules' code.
    pub fn rooms(&self, loaded_code: u64) -> Vec<Room> {
        let room = |bound, instances: u64| Room {
            bound,
            instances: usize::try_from(instances).unwrap_or(usize::MAX),
        };
        let maps = self
            .maps
            .map(|maps| room(Bound::Maps, most(|n| maps_needed(n, loaded_code) <= maps)));
        let addresses = self.address_space.unwrap_or(ADDRESSES).min(ADDRESSES);
        let fits = |n: u64| usize::try_from(n).is_ok_and(|n| addresses_needed(n) <= addresses);
        let addresses = room(Bound::AddressSpace, most(fits));
        let memory = [self.cgroup_memory, self.physical_memory];
        let memory = memory.into_iter().flatten().min().map(|bytes| {
            let instances = bytes.saturating_sub(BYTES_RESERVE) / BYTES_PER_INSTANCE;
            room(Bound::Memory, instances)
        });
        maps.into_iter().chain([addresses]).chain(memory).collect()
    }

    /// The code that may stay loaded, so that instances have mappings left.
    pub fn loaded_code(&self, wanted: u64) -> u64 {
        let most = self.maps.map(|maps| maps / CODE_SHARE / MAPS_PER_CODE);
        wanted.min(most.unwrap_or(u64::MAX)).max(1)
    }

    /// The connections that open files allow.
    pub fn connections(&self, wanted: usize) -> usize {
        let most = self.open_files.map_or(u64::MAX, |files| {
            files.saturating_sub(FILES_RESERVE).max(files / 2).max(1)
        });
        wanted.min(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// Lowers the two numbers to what fits, and says why if it had to. One instance is always tried.
    pub fn fit(&self, instances: &mut usize, loaded_code: &mut u64) -> Option<Lowered> {
        *loaded_code = self.loaded_code(*loaded_code);
        let rooms = self.rooms(*loaded_code);
        let least = rooms.into_iter().min_by_key(|room| room.instances)?;
        if least.instances >= *instances {
            return None;
        }
        let wanted = std::mem::replace(instances, least.instances.max(1));
        Some(Lowered {
            bound: least.bound,
            wanted,
            instances: *instances,
            loaded_code: *loaded_code,
        })
    }
}

/// Addresses that a server with so many live instances has.
fn addresses_needed(instances: usize) -> u64 {
    let memories = (agent_slots(instances) * MEMORIES + filter_slots(instances)) as u64;
    let beside = slots(instances) as u64 * ADDRESSES_BESIDE;
    let needed = memories.saturating_mul(ADDRESSES_PER_MEMORY);
    needed.saturating_add(beside + ADDRESSES_RESERVE)
}

/// Mappings that a server with so many live instances and so much loaded code has. The code of what is live
/// is loaded too: at worst each instance has code of its own.
pub fn maps_needed(instances: u64, loaded_code: u64) -> u64 {
    let slots = slots(usize::try_from(instances).unwrap_or(usize::MAX / 2));
    MAPS_RESERVE
        + loaded_code.max(instances) * MAPS_PER_CODE
        + slots as u64 * MAPS_PER_INSTANCE
        + stacks(slots) as u64 * MAPS_PER_STACK
}

impl Lowered {
    /// How the operator gets what was wanted.
    pub fn mend(&self) -> String {
        self.bound.mend(self.wanted as u64, self.loaded_code)
    }
}

impl Bound {
    /// What raises this limit so far that so many instances fit.
    pub fn mend(self, instances: u64, loaded_code: u64) -> String {
        match self {
            Self::Maps => format!(
                "sudo sysctl -w vm.max_map_count={} (and the same in /etc/sysctl.d/ to keep it)",
                maps_needed(instances, loaded_code)
                    .next_power_of_two()
                    .max(1 << 18)
            ),
            Self::AddressSpace => {
                "ulimit -v unlimited before `dormouse serve` (systemd: LimitAS=infinity)".to_owned()
            }
            Self::Memory => format!(
                "give it {} MiB (systemd: MemoryMax=, containers: --memory)",
                (instances.saturating_mul(BYTES_PER_INSTANCE) + BYTES_RESERVE).div_ceil(1 << 20)
            ),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Maps => "vm.max_map_count",
            Self::AddressSpace => "the address space (ulimit -v)",
            Self::Memory => "memory",
        })
    }
}

/// Raises the soft limit of open files to the hard one, which needs no privilege. Returns what holds now;
/// `None` is no limit.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_refused) => limit.current,
    }
}

/// The largest number that is still possible, where all smaller ones are possible too; below 2^32.
fn most(possible: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0_u64, 1 << 32);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if possible(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// The files with the memory limits of the groups in `/proc/self/cgroup`, those above them included: the
/// smallest counts (kernel: admin-guide/cgroup-v2 and cgroup-v1/memory). In a container the groups' paths may
/// be those of the host, so the root is always among them.
fn memory_files(groups: &str, root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(group.ancestors().map(|above| root.join(above).join(file)));
    }
    files
}

/// The limit in a file of a control group. Without one, v2 says `max` and v1 a number of nearly 2^63.
fn memory_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Resident memory of this process in bytes, from `/proc/self/status` (proc_pid_status(5)), which, unlike `statm`, does not
/// count in pages: rustix looks for their size where valgrind has nothing.
pub fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
