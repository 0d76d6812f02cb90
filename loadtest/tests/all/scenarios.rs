//! The workloads that are not rows, against fakes that behave, and against some that do not.

use std::{fs, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    fake::{self, GOOD, Manners},
    whole_tool::loadtest,
};

const SMALL: &str = "--json --duration 200ms --connections 4 --agents 20 --live 8 \
                     --burst 20 --waiting 8 --redeploys 3 --calls 2000 --soak-agents 20";

/// Runs one workload in JSON; answers the exit code, the workload's finding, and the report.
async fn run(manners: Manners, workload: &str, more: &str) -> (Option<i32>, Value, Value) {
    let folder = TempDir::new().unwrap();
    let program = fake::program(folder.path(), fake::serve(manners).await);
    let module = folder.path().join("load.wasm");
    let mut bytes =
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b".to_vec();
    bytes.extend(b"\0\x2a\x01ldormouse-load-label:01:load-0000:0000000");
    fs::write(&module, bytes).unwrap();
    let layout = if more.contains("--shared-module") {
        ""
    } else {
        "--agents-per-module 8"
    };
    let rounds = if more.contains("--rounds") {
        ""
    } else {
        "--rounds 1"
    };
    let arguments = format!(
        "{SMALL} {rounds} {layout} --workloads {workload} --dormouse {} --load-wasm {} --data-root {} {more}",
        program.display(),
        module.display(),
        folder.path().display()
    );
    let output = loadtest(arguments.split_whitespace().map(str::to_owned).collect()).await;
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let finding = report["findings"][0].clone();
    assert_eq!(finding["workload"], workload);
    (output.status.code(), finding, report)
}

fn figure(finding: &Value, name: &str) -> f64 {
    let figures = finding["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {finding}"))["value"]
        .as_f64()
        .unwrap()
}

fn problems(finding: &Value) -> String {
    finding["problems"].to_string()
}

async fn assert_measured(workload: &str, figures: &[&str]) -> (Value, Value) {
    let (code, finding, report) = run(GOOD, workload, "").await;
    assert_eq!(code, Some(0), "{finding}");
    for name in figures {
        assert!(figure(&finding, name) >= 0.0, "{name}: {finding}");
    }
    for phase in finding["phases"].as_array().unwrap() {
        assert!(phase["replies"].as_u64().unwrap() > 0, "{phase}");
    }
    let verdicts = report["verdicts"].as_array().unwrap();
    assert!(
        verdicts.iter().all(|v| v["measured"].is_number()),
        "{report}"
    );
    (finding, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_wakes_every_agent_once_and_waits_until_memory_is_back() {
    let figures = ["woken_per_second", "woken_warm_per_second", "memory_after"];
    let (finding, _) = assert_measured("storm", &figures).await;
    for once in 0..2 {
        let phase = &finding["phases"][once];
        assert_eq!(
            (&phase["replies"], &phase["starts"]["warm"]),
            (&20.into(), &20.into())
        );
    }
    assert_eq!(
        figure(&finding, "memory_after"),
        1.0,
        "a shell does not grow"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_due_at_once() {
    let (finding, _) = assert_measured("burst", &["one_agent_us", "many_agents_us"]).await;
    assert_eq!(finding["phases"][0]["replies"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_filters_are_measured_beside_none() {
    let folder = TempDir::new().unwrap();
    for file in ["allow_list", "header_rules", "enrich", "rate_limit", "pii"] {
        fs::write(folder.path().join(format!("{file}.wasm")), b"a filter").unwrap();
    }
    // The second round begins without the filters of the first.
    let more = format!("--filters {} --rounds 2", folder.path().display());
    let (_, finding, report) = run(GOOD, "filters", &more).await;
    assert_eq!(problems(&finding), "[]");
    assert_eq!(finding["phases"].as_array().unwrap().len(), 8);
    // Each of the fake's takes a millisecond.
    let filtered = figure(&finding, "filtered_us");
    assert!(filtered >= 5_000.0, "{finding}");
    let added = figure(&finding, "added_us");
    let difference = filtered - figure(&finding, "alone_us");
    assert!((added - difference).abs() < 0.01, "{finding}");
    assert_eq!(report["verdicts"][0]["measured"], added);

    let missing = format!("--filters {}", folder.path().join("none").display());
    let (code, finding, _) = run(GOOD, "filters", &missing).await;
    assert_eq!(code, Some(1));
    assert!(problems(&finding).contains("allow_list.wasm"), "{finding}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_spins_beside_the_victim() {
    let folder = TempDir::new().unwrap();
    let mut more = String::new();
    for name in ["hostile", "endless"] {
        let file = folder.path().join(name);
        fs::write(&file, format!("\0asm{name}")).unwrap();
        more += &format!("--{name}-wasm {} ", file.display());
    }
    let (_, finding, report) = run(GOOD, "neighbour", &more).await;
    assert_eq!(problems(&finding), "[]");
    let failing = ["memory_bomb", "log_flood", "endless_entrypoint"].map(|kind| {
        let ratio = figure(&finding, &format!("{kind}_p99_ratio"));
        assert!(ratio > 0.0, "{kind}: {finding}");
        ratio
    });
    let worst = figure(&finding, "worst_p99_ratio");
    assert!(failing.into_iter().all(|ratio| ratio <= worst), "{finding}");
    assert!(figure(&finding, "p99_ratio") > 0.0, "{finding}");
    let native = ["native_p99_ratio", "p99_of_native"].map(|name| figure(&finding, name));
    assert!(native.into_iter().all(|ratio| ratio > 0.0), "{finding}");
    let peaceful =
        ["peaceful_p99_ratio", "worst_p99_of_peaceful"].map(|name| figure(&finding, name));
    assert!(peaceful.into_iter().all(|ratio| ratio > 0.0), "{finding}");
    assert_eq!(finding["phases"].as_array().unwrap().len(), 17);
    assert_eq!(report["verdicts"][1]["measured"], worst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_calls_are_beside_the_measured_ones() {
    let (finding, _) = assert_measured("mixed", &["throughput_ratio"]).await;
    assert_eq!(finding["phases"][1]["name"], "beside 8 waiting calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redeploys_end_the_load_that_is_beside_them() {
    let figures = ["failed_calls", "upload_p50_us", "upload_to_answer_us"];
    let (finding, _) = assert_measured("deploy", &figures).await;
    assert_eq!(figure(&finding, "failed_calls"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn density_counts_what_is_asleep_and_what_lives() {
    let figures = [
        "start_us",
        "first_answer_p50_us",
        "kib_per_live_instance",
        "memory_after",
    ];
    let (finding, report) = assert_measured("density", &figures).await;
    assert_eq!(
        (figure(&finding, "agents"), figure(&finding, "modules")),
        (20.0, 3.0)
    );
    assert_eq!(figure(&finding, "live"), 8.0);
    let verdicts = report["verdicts"].as_array().unwrap();
    let verdicts: Vec<&Value> = verdicts.iter().map(|v| &v["verdict"]).collect();
    // Twenty agents say nothing about a hundred thousand.
    assert_eq!(verdicts, ["not_judged", "not_judged", "met"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_may_all_be_names_of_one() {
    let (code, finding, _) = run(GOOD, "density", "--shared-module").await;
    assert_eq!(code, Some(0), "{finding}");
    assert_eq!(
        (figure(&finding, "agents"), figure(&finding, "modules")),
        (20.0, 1.0)
    );
    assert_eq!(figure(&finding, "live"), 8.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_makes_exactly_its_calls_and_finds_the_counters_right() {
    let slow = Manners {
        delay: Duration::from_millis(1),
        ..GOOD
    };
    // A gap that is there while instances go, and then no more, is none.
    let slow = Manners {
        misread: true,
        ..slow
    };
    let (code, finding, _) = run(slow, "soak", "--check").await;
    assert_eq!(code, Some(0), "{finding}");
    assert_eq!(finding["phases"][0]["replies"], 2_000);
    assert_eq!(figure(&finding, "counter_gaps"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_that_lose_calls_break_a_promise() {
    let forgetful = Manners {
        delay: Duration::from_millis(1),
        forgets_every: 100,
        ..GOOD
    };
    let (code, finding, report) = run(forgetful, "soak", "--check").await;
    assert_eq!(code, Some(3), "{finding}");
    assert_eq!(figure(&finding, "lost_calls"), 20.0);
    let verdicts = report["verdicts"].as_array().unwrap();
    let missed = verdicts
        .iter()
        .filter(|verdict| verdict["verdict"] == "missed");
    let missed: Vec<&Value> = missed.map(|verdict| &verdict["figure"]).collect();
    assert_eq!(missed, ["counter_gaps"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_misses_promises_but_is_measured() {
    let slow = Manners {
        delay: Duration::from_millis(20),
        ..GOOD
    };
    let (code, finding, _) = run(slow, "storm", "").await;
    assert_eq!(code, Some(0), "{finding}");
    assert!(figure(&finding, "woken_per_second") < 200.0, "{finding}");
    let (code, ..) = run(slow, "storm", "--check").await;
    assert_eq!(code, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_errors_are_counted_and_fail_the_run() {
    let wrong = Manners {
        delay: Duration::from_millis(1),
        error_every: 50,
        ..GOOD
    };
    let (code, finding, _) = run(wrong, "soak", "").await;
    assert_eq!(code, Some(1));
    // The first call of each of the four connections is spared.
    assert!(
        (36.0..=40.0).contains(&figure(&finding, "failed_calls")),
        "{finding}"
    );
    assert!(
        problems(&finding).contains("broken on purpose"),
        "{finding}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_ends_the_workload_with_its_reason() {
    let mortal = Manners {
        delay: Duration::from_millis(1),
        dies_at: 100,
        ..GOOD
    };
    for workload in ["soak", "storm", "deploy"] {
        let (code, finding, _) = run(mortal, workload, "").await;
        assert_eq!(code, Some(1), "{finding}");
        let problems = problems(&finding);
        assert!(problems.contains("connection"), "{problems}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_is_kept_only_on_request() {
    let root = TempDir::new().unwrap();
    let left = || fs::read_dir(root.path()).unwrap().count();
    let data_root = root.path().display();
    for (more, count) in [("", 0), ("--keep-data", 1)] {
        let arguments = format!("--workloads baseline --quick --data-root {data_root} {more}");
        loadtest(arguments.split_whitespace().map(str::to_owned).collect()).await;
        assert_eq!(left(), count, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plots_are_drawn_for_what_was_measured() {
    let folder = TempDir::new().unwrap();
    let plots = folder.path().join("plots");
    let (code, ..) = run(GOOD, "burst", &format!("--plot {}", plots.display())).await;
    assert_eq!(code, Some(0));
    for (name, phase) in [
        ("baseline", "open loop"),
        ("burst", "20 calls to one agent"),
    ] {
        let svg = fs::read_to_string(plots.join(format!("{name}.svg"))).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.contains(phase),
            "{name}: {svg}"
        );
        assert!(!svg.contains("NaN"), "{name}");
    }
}
