//! Latency distributions as pictures, one for each workload.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use crate::{
    report::{PhaseReport, Report},
    stats::Latencies,
    table::micros,
    workload::Workload,
};

const SIZE: (u32, u32) = (900, 560);
const FONT: &str = "sans-serif";

/// The palette of Okabe and Ito, which people who see few colours can tell apart.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// One curve: the phases of one name, over all rounds.
type Curves<'a> = Vec<(&'a str, Latencies)>;

/// Writes `folder/WORKLOAD.svg` for each workload with an answered call.
pub fn draw(report: &Report, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let rows = report.rows.iter().map(|row| {
        let phases = row.rounds.iter().flat_map(|round| round.phases());
        (row.workload, curves(phases.map(|(_, phase)| phase)))
    });
    let findings = report.findings.iter();
    let findings = findings.map(|found| (found.workload, curves(found.phases.iter())));
    for (workload, curves) in rows
        .chain(findings)
        .filter(|(_, curves)| !curves.is_empty())
    {
        let file = folder.join(format!("{}.svg", workload.name()));
        picture(workload, &curves, &file)
            .with_context(|| format!("cannot draw {}", file.display()))?;
    }
    Ok(())
}

/// The phases with answers, in the order of their first appearance.
fn curves<'a>(phases: impl Iterator<Item = &'a PhaseReport>) -> Curves<'a> {
    let mut places = BTreeMap::new();
    let mut curves: Curves<'a> = Vec::new();
    for phase in phases.filter(|phase| phase.replies > 0) {
        let place = *places.entry(&*phase.name).or_insert(curves.len());
        if place == curves.len() {
            curves.push((&phase.name, Latencies::new()));
        }
        curves[place].1.merge(&phase.latencies);
    }
    curves
}

/// Latency over quantile, both in steps of ten, so that the tail has as much room as the middle.
fn picture(workload: Workload, curves: &Curves<'_>, file: &Path) -> anyhow::Result<()> {
    let points: Vec<Vec<(f64, f64)>> = curves.iter().map(|(_, l)| l.by_nines()).collect();
    let all = || points.iter().flatten();
    let nines = all().map(|(nines, _)| *nines).fold(2.0, f64::max);
    let lowest = all().map(|(_, us)| *us).fold(f64::INFINITY, f64::min);
    let highest = all().map(|(_, us)| *us).fold(lowest, f64::max);
    let failed = |error: DrawingAreaErrorKind<_>| anyhow!("{error}");

    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let title = format!("{}: latency by quantile", workload.name());
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(
            0.0..nines,
            (lowest.max(1.0) * 0.8..highest.max(1.0) * 1.25).log_scale(),
        )
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_labels(nines.floor() as usize + 1)
        .x_label_formatter(&|nines| quantile(*nines))
        .x_desc("share of calls that were at least as fast")
        .y_label_formatter(&|us| micros(*us))
        .label_style((FONT, 13))
        .light_line_style(WHITE)
        .draw()
        .map_err(failed)?;
    for (((name, latencies), points), colour) in
        curves.iter().zip(points).zip(COLOURS.iter().cycle())
    {
        let label = latencies.quantiles().map_or_else(String::new, |q| {
            format!("{name} (p99 {})", micros(q.p99_us))
        });
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))
            .map_err(failed)?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()
        .map_err(failed)?;
    area.present().map_err(failed)
}

/// The quantile with this many nines, as people write it.
fn quantile(nines: f64) -> String {
    let digits = (nines.round() as usize).saturating_sub(2);
    format!("{:.digits$} %", 100.0 * (1.0 - 0.1_f64.powf(nines)))
}
