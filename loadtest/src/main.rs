//! The `loadtest` binary: options, run, print, exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, error::ErrorKind};
use dormouse_loadtest::{
    awake, baseline, native,
    options::{Hidden, Options, Plan},
    plot,
    report::Report,
    suite, table,
};
use tokio::signal::unix::{SignalKind, signal};

/// The exit code when everything was measured and a promise was missed.
const MISSED: u8 = 3;

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    match &options.command {
        None => {}
        Some(Hidden::Baseline { worker_threads }) => {
            baseline::serve(*worker_threads)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Hidden::Native { threads }) => {
            native::run(*threads)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Hidden::Callers(callers)) => {
            callers.run()?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (json, check, plot) = (options.json, options.check, options.plot.clone());
    let plan = match options.plan() {
        Ok(plan) => plan,
        Err(problem) => Options::command()
            .error(ErrorKind::ValueValidation, problem)
            .exit(),
    };
    let _awake = plan.awake.then(awake::hold).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.threads)
        .enable_all()
        .build()?;
    let Some(report) = runtime.block_on(run_unless_interrupted(&plan))? else {
        eprintln!("interrupted: the servers it started are stopped, nothing is reported");
        return Ok(ExitCode::FAILURE);
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table::render(&report));
    }
    if let Some(folder) = plot {
        plot::draw(&report, &folder)?;
    }
    Ok(if !report.valid {
        ExitCode::FAILURE
    } else if check && !report.keeps_promises() {
        MISSED.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs the plan; on SIGINT or SIGTERM stops the server that is running and answers `None`.
async fn run_unless_interrupted(plan: &Plan) -> anyhow::Result<Option<Report>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Both outlive the run: the folder may only go when no server writes to it any more.
    let folder = tempfile::Builder::new()
        .prefix("loadtest-")
        .disable_cleanup(plan.keep_data)
        .tempdir_in(&plan.data_root)?;
    if plan.keep_data {
        eprintln!("data and logs: {}", folder.path().display());
    }
    let mut running = None;
    let outcome = tokio::select! {
        report = suite::run(plan, folder.path(), &mut running) => Some(report),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    if let Some(server) = running.take() {
        server.stop().await?;
    }
    outcome.transpose()
}
