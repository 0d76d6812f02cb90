#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn machine(maps: u64) -> Machine {
    Machine {
        maps: Some(maps),
        ..Machine::default()
    }
}

#[test]
fn the_kernels_default_is_enough_for_the_default_and_not_for_ten_thousand() {
    let usual = machine(65_530);
    let (mut instances, mut code) = (1_000, 4_096);
    assert_eq!(usual.fit(&mut instances, &mut code), None);
    assert_eq!((instances, code), (1_000, 4_095));
    let (mut instances, mut code) = (10_000, 4_096);
    let lowered = usual.fit(&mut instances, &mut code).unwrap();
    assert_eq!(lowered.bound, Bound::Maps);
    assert_eq!((lowered.wanted, lowered.instances), (10_000, instances));
    assert!((5_000..7_000).contains(&instances), "{instances}");
    let raised = lowered.mend();
    let raised = raised.split(['=', ' ']).find_map(|word| word.parse().ok());
    let (mut instances, mut code) = (10_000, 4_096);
    let raised = machine(raised.unwrap());
    assert_eq!(raised.fit(&mut instances, &mut code), None, "{raised:?}");
}

#[test]
fn each_limit_can_be_the_narrowest() {
    let roomy = Machine {
        maps: Some(1 << 20),
        open_files: None,
        address_space: None,
        cgroup_memory: None,
        physical_memory: Some(64 << 30),
    };
    for (machine, bound) in [
        (machine(10_000), Bound::Maps),
        (
            Machine {
                address_space: Some(100 << 30),
                ..roomy
            },
            Bound::AddressSpace,
        ),
        (
            Machine {
                cgroup_memory: Some(128 << 20),
                ..roomy
            },
            Bound::Memory,
        ),
    ] {
        let (mut instances, mut code) = (10_000, 4_096);
        let lowered = machine.fit(&mut instances, &mut code).unwrap();
        assert_eq!(lowered.bound, bound);
        assert_eq!(lowered.instances, instances);
        assert!((1..1_000).contains(&instances), "{bound}: {instances}");
    }
    let (mut instances, mut code) = (10_000, 4_096);
    assert_eq!(roomy.fit(&mut instances, &mut code), None);
}

/// Room for as many parts as each may have, and still for the ten thousand of the promise.
#[test]
fn addresses_are_reckoned_for_all_parts() {
    let one = addresses_needed(10_001) - addresses_needed(10_000);
    let tables = (TABLES * crate::config::Preset::Generous.limits().table_elements * 8) as u64;
    assert!(
        one >= 2 * ADDRESSES_PER_MEMORY + tables + (2 << 20),
        "{one}"
    );
    let rooms = Machine::default().rooms(1);
    assert_eq!(rooms[0].bound, Bound::AddressSpace);
    let instances = rooms[0].instances;
    assert!((15_000..17_000).contains(&instances), "{instances}");
}

#[test]
fn every_connection_is_an_open_file() {
    let connections = |files| {
        let machine = Machine {
            open_files: files,
            ..Machine::default()
        };
        machine.connections(10_000)
    };
    assert_eq!(connections(None), 10_000);
    assert_eq!(connections(Some(1 << 20)), 10_000);
    assert_eq!(connections(Some(4_096)), 3_584);
    assert_eq!(connections(Some(256)), 128);
}

#[test]
fn a_group_has_the_limits_of_those_above_it() {
    let root = Path::new("/cg");
    let files = memory_files("0::/a/b\n", root);
    let expected = ["/cg/a/b/memory.max", "/cg/a/memory.max", "/cg/memory.max"];
    assert_eq!(files, expected.map(PathBuf::from));
    let files = memory_files(
        "5:cpu,cpuacct:/x\n4:memory:/docker/1\n1:name=systemd:/\n",
        root,
    );
    let expected = [
        "/cg/memory/docker/1/memory.limit_in_bytes",
        "/cg/memory/docker/memory.limit_in_bytes",
        "/cg/memory/memory.limit_in_bytes",
    ];
    assert_eq!(files, expected.map(PathBuf::from));
}

#[test]
fn limits_are_read_as_the_kernel_writes_them() {
    assert_eq!(memory_limit("max\n"), None);
    assert_eq!(memory_limit("536870912\n"), Some(512 << 20));
    assert_eq!(memory_limit("9223372036854771712\n"), None);
    assert_eq!(
        total_memory("MemTotal:        8052472 kB\nMemFree: 1 kB\n"),
        Some(8_052_472 << 10)
    );
    let here = Machine::read();
    assert!(here.maps.is_some() && here.physical_memory.is_some());
    assert!(resident().unwrap() > 1 << 20);
}

proptest! {
    #[test]
    fn what_fits_is_the_most_that_fits(maps in 0u64..4_000_000, code in 1u64..10_000) {
        let code = machine(maps).loaded_code(code);
        prop_assert!(code == 1 || code * MAPS_PER_CODE * CODE_SHARE <= maps);
        let room = machine(maps).rooms(code)[0];
        prop_assert_eq!(room.bound, Bound::Maps);
        let instances = room.instances as u64;
        prop_assert!(instances == 0 || maps_needed(instances, code) <= maps);
        prop_assert!(maps_needed(instances + 1, code) > maps);
    }

    #[test]
    fn fitting_only_lowers_and_keeps_one(
        maps in proptest::option::of(0u64..1_000_000),
        space in proptest::option::of(0u64..1 << 48),
        memory in proptest::option::of(0u64..1 << 40),
        wanted in 1usize..200_000,
        code in 1u64..10_000,
    ) {
        let machine = Machine { maps, address_space: space, cgroup_memory: memory, ..Machine::default() };
        let (mut instances, mut loaded) = (wanted, code);
        let lowered = machine.fit(&mut instances, &mut loaded);
        prop_assert!((1..=wanted).contains(&instances));
        prop_assert!((1..=code).contains(&loaded));
        prop_assert_eq!(lowered.is_none(), instances == wanted && lowered.is_none());
        for room in machine.rooms(loaded) {
            prop_assert!(instances <= room.instances.max(1));
        }
        // A second time there is nothing left to do.
        let again = machine.fit(&mut instances, &mut loaded);
        prop_assert!(again.is_none() || instances == 1);
    }
}
