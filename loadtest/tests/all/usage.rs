use clap::Parser;
use dormouse_loadtest::{options::Options, workload::Workload};

fn workloads(arguments: &str) -> Result<Vec<Workload>, String> {
    let arguments = ["loadtest"].into_iter().chain(arguments.split_whitespace());
    let options = Options::try_parse_from(arguments).map_err(|e| e.to_string())?;
    options.plan().map(|plan| plan.workloads)
}

#[test]
fn the_baseline_is_always_there_and_leads() {
    use Workload::{Baseline, Cold, Hot, Soak, Storm, Task, Warm};
    let chosen = |arguments| workloads(arguments).unwrap();
    assert_eq!(chosen("--agent-wasm a"), [Baseline, Hot, Warm, Cold]);
    assert_eq!(
        chosen("--agent-wasm a --task-agent-wasm b"),
        [Baseline, Hot, Task, Warm, Cold]
    );
    assert_eq!(
        chosen("--agent-wasm a --workloads cold,hot,hot"),
        [Baseline, Hot, Cold]
    );
    assert_eq!(chosen("--workloads baseline"), [Baseline]);
    assert_eq!(
        chosen("--workloads soak,storm --load-wasm c"),
        [Baseline, Storm, Soak]
    );
}

#[test]
fn what_cannot_be_measured_is_wrong_usage() {
    for (arguments, reason) in [
        ("", "--agent-wasm"),
        ("--workloads cold", "--agent-wasm"),
        ("--workloads task --agent-wasm a", "--task-agent-wasm"),
        ("--workloads storm --agent-wasm a", "--load-wasm"),
        ("--workloads baseline --agents 0", "--agents"),
        (
            "--workloads baseline --agents-per-module 65",
            "--agents-per-module",
        ),
        ("--workloads lukewarm", "lukewarm"),
        ("--workloads baseline --duration 1ms", "--duration"),
        ("--workloads baseline --connections 0", "--connections"),
        ("--workloads baseline --rate 0", "--rate"),
    ] {
        let problem = workloads(arguments).unwrap_err();
        assert!(problem.contains(reason), "{arguments}: {problem}");
    }
}
