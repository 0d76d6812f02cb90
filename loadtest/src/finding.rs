//! What came of a workload that is not a row of the table.

use serde::Serialize;

use crate::{report::PhaseReport, workload::Workload};

/// Phases, figures, and what went wrong.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub workload: Workload,
    /// Why the figures are not to be believed, or what was found broken; empty if all is well.
    pub problems: Vec<String>,
    pub figures: Vec<Figure>,
    pub phases: Vec<PhaseReport>,
}

/// One number with its meaning.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
    pub unit: Unit,
    pub meaning: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Count,
    PerSecond,
    Ratio,
    Microseconds,
    Kib,
}

impl Finding {
    pub fn new(workload: Workload) -> Self {
        Finding {
            workload,
            problems: Vec::new(),
            figures: Vec::new(),
            phases: Vec::new(),
        }
    }

    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    pub fn count(&mut self, name: &'static str, value: f64, meaning: &'static str) {
        self.figure(name, value, Unit::Count, meaning);
    }

    pub fn rate(&mut self, name: &'static str, per_second: f64, meaning: &'static str) {
        self.figure(name, per_second, Unit::PerSecond, meaning);
    }

    pub fn ratio(&mut self, name: &'static str, value: f64, meaning: &'static str) {
        self.figure(name, value, Unit::Ratio, meaning);
    }

    pub fn time(&mut self, name: &'static str, micros: f64, meaning: &'static str) {
        self.figure(name, micros, Unit::Microseconds, meaning);
    }

    pub fn kib(&mut self, name: &'static str, kib: f64, meaning: &'static str) {
        self.figure(name, kib, Unit::Kib, meaning);
    }

    fn figure(&mut self, name: &'static str, value: f64, unit: Unit, meaning: &'static str) {
        self.figures.push(Figure {
            name,
            value,
            unit,
            meaning,
        });
    }

    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The figure of that name, if it was measured.
    pub fn value(&self, name: &str) -> Option<f64> {
        let mut figures = self.figures.iter();
        figures.find_map(|figure| (figure.name == name).then_some(figure.value))
    }

    /// Keeps a phase. No workload here provokes errors, so a call that failed is a problem.
    pub fn phase(&mut self, phase: PhaseReport) {
        if phase.errors > 0 || phase.replies == 0 {
            let (calls, name) = (phase.replies + phase.errors, &phase.name);
            let errors = phase.errors;
            self.problems
                .push(format!("{name}: {errors} of {calls} calls failed"));
            self.problems.extend(phase.error_samples.iter().cloned());
        }
        self.phases.push(phase);
    }
}
