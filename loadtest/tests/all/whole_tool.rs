use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::fake::{self, GOOD, Manners};

/// Runs the tool without blocking the fake server, which lives on this runtime.
pub(crate) async fn loadtest(arguments: Vec<String>) -> Output {
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(arguments)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Runs the tool in JSON against a fake platform with these manners; answers exit code, report and folder.
async fn against(manners: Manners, more: &str) -> (Option<i32>, Value, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let program = fake::program(folder.path(), fake::serve(manners).await);
    let module = folder.path().join("agents.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let fixed = format!(
        "--json --rounds 2 --duration 200ms --connections 4 --dormouse {} --agent-wasm {} --data-root {} {more}",
        program.display(),
        module.display(),
        folder.path().display()
    );
    let output = loadtest(fixed.split_whitespace().map(str::to_owned).collect()).await;
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report, folder)
}

fn row<'a>(report: &'a Value, workload: &str) -> &'a Value {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().find(|row| row["workload"] == workload).unwrap()
}

fn assert_no_child_is_left(folder: &Path) {
    for pid in fs::read_to_string(folder.join("pids")).unwrap().lines() {
        assert!(
            !Path::new("/proc").join(pid).exists(),
            "process {pid} is still there"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bare_echo_alone_makes_a_table() {
    let arguments = [
        "--workloads",
        "baseline",
        "--duration",
        "300ms",
        "--connections",
        "8",
    ];
    let output = loadtest(arguments.map(str::to_owned).to_vec()).await;
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{table}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((cells[0], cells[2]), ("baseline", "1.00"), "{table}");
    assert!(
        cells[1].replace(',', "").parse::<u64>().unwrap() > 100,
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_has_every_number_and_leaves_no_child() {
    let (code, report, folder) =
        against(GOOD, "--workloads hot,task --task-agent-wasm /dev/null").await;
    assert_eq!(code, Some(1), "an empty module must be refused");
    let task = row(&report, "task");
    assert!(
        task["problems"][0].as_str().unwrap().contains("not_wasm"),
        "{task}"
    );

    let hot = row(&report, "hot");
    assert_eq!(hot["valid"], true, "{hot}");
    assert_eq!(hot["temperature_share"], 1.0);
    assert_eq!(hot["rounds"].as_array().unwrap().len(), 2);
    for number in [
        "requests_per_second",
        "requests_ratio",
        "server_cpu_us_per_request",
        "generator_cpu_us_per_request",
        "one_connection_p50_ratio",
        "open_loop_rate",
        "resident_kib",
    ] {
        assert!(hot[number].is_number(), "{number}: {hot}");
    }
    for loops in ["closed_loop", "one_connection", "open_loop"] {
        let quantiles = &hot[loops];
        let ordered = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"]
            .map(|q| quantiles[q].as_f64().unwrap());
        assert!(ordered[0] > 0.0 && ordered.is_sorted(), "{quantiles}");
    }
    assert_eq!(row(&report, "baseline")["requests_ratio"], 1.0);
    let verdicts = report["verdicts"].as_array().unwrap();
    let of_hot = verdicts.iter().filter(|v| v["workload"] == "hot");
    let measured: Vec<&Value> = of_hot.map(|verdict| &verdict["measured"]).collect();
    assert_eq!(
        measured,
        [&hot["requests_ratio"], &hot["one_connection_p50_ratio"]]
    );
    assert!(
        report["machine"]["kernel"]
            .as_str()
            .unwrap()
            .starts_with("Linux")
    );
    assert_no_child_is_left(folder.path());
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with("loadtest-")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temperature_that_the_server_does_not_confirm_makes_the_row_invalid() {
    let (code, report, folder) = against(GOOD, "--workloads hot,cold").await;
    assert_eq!(code, Some(1));
    assert_eq!(
        (&report["valid"], &row(&report, "hot")["valid"]),
        (&false.into(), &true.into())
    );
    let cold = row(&report, "cold");
    assert_eq!(
        (&cold["valid"], &cold["temperature_share"]),
        (&false.into(), &0.0.into())
    );
    assert!(
        cold["problems"][0].as_str().unwrap().contains("only 0.0 %"),
        "{cold}"
    );

    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    let flags = |line: usize| {
        arguments
            .lines()
            .nth(line)
            .unwrap()
            .split_once("/hot")
            .map(|(_, flags)| flags.to_owned())
    };
    assert_eq!(flags(0).as_deref(), Some(""), "{arguments}");
    assert!(
        arguments
            .lines()
            .nth(1)
            .unwrap()
            .ends_with("/cold --idle-timeout 0s --code-idle-timeout 0s"),
        "{arguments}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_shown_and_make_the_run_fail() {
    let manners = Manners {
        error_every: 50,
        ..GOOD
    };
    let (code, report, _folder) = against(manners, "--workloads hot --rate 1000").await;
    assert_eq!(code, Some(1));
    let hot = row(&report, "hot");
    assert!(hot["errors"].as_u64().unwrap() > 0, "{hot}");
    assert!(
        hot["error_samples"][0]
            .as_str()
            .unwrap()
            .contains("broken on purpose"),
        "{hot}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_must_be_completed_and_hot() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("tasks.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let more = format!("--workloads task --task-agent-wasm {}", module.display());
    let (code, report, _folder) = against(GOOD, &more).await;
    assert_eq!(
        (code, &row(&report, "task")["valid"]),
        (Some(0), &true.into()),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_ends_the_servers_too() {
    let folder = tempfile::tempdir().unwrap();
    let program = fake::program(folder.path(), fake::serve(GOOD).await);
    let module = folder.path().join("agents.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "--workloads",
            "hot",
            "--rounds",
            "20",
            "--duration",
            "20s",
            "--connections",
            "2",
        ])
        .arg("--dormouse")
        .arg(program)
        .arg("--agent-wasm")
        .arg(module)
        .arg("--data-root")
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = tokio::io::BufReader::new(tool.stderr.take().unwrap());
    let mut line = String::new();
    while !(line.contains("capacity") && folder.path().join("pids").exists()) {
        line.clear();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut progress, &mut line)
            .await
            .unwrap();
        assert!(read > 0, "the tool ended early");
    }
    let pid = rustix::process::Pid::from_raw(tool.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut progress, &mut rest)
        .await
        .unwrap();
    assert_eq!(tool.wait().await.unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
    assert_no_child_is_left(folder.path());
}
