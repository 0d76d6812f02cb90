//! The report as people read it.

mod blocks;

use std::fmt::Write;

use crate::report::{Report, Row};

const HEAD: [&str; 16] = [
    "workload",
    "requests/s",
    "of echo",
    "CPU/call",
    "1 conn p50",
    "of echo",
    "p99",
    "at rate",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "errors",
    "temperature",
    "memory",
];

/// The table with its notes.
pub fn render(report: &Report) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(report.rows.iter().map(cells));
    let mut text = aligned(&lines);
    for row in &report.rows {
        let name = row.workload.name();
        for problem in &row.problems {
            let _ = writeln!(text, "INVALID {name}: {problem}");
        }
        for sample in &row.error_samples {
            let _ = writeln!(text, "  error: {sample}");
        }
    }
    for finding in &report.findings {
        blocks::block(&mut text, finding);
    }
    blocks::verdicts(&mut text, &report.verdicts);
    text.push_str(&notes(report));
    text
}

fn cells(row: &Row) -> [String; 16] {
    let latency = |us: Option<f64>| cell(us, micros);
    let times = |ratio: Option<f64>| cell(ratio, |ratio| format!("{ratio:.2}"));
    let temperature = row.temperature.zip(row.temperature_share);
    [
        row.workload.name().to_owned(),
        cell(row.requests_per_second, thousands),
        times(row.requests_ratio),
        latency(row.server_cpu_us_per_request),
        latency(row.one_connection.map(|l| l.p50_us)),
        times(row.one_connection_p50_ratio),
        latency(row.one_connection.map(|l| l.p99_us)),
        cell(row.open_loop_rate, thousands),
        latency(row.open_loop.map(|l| l.p50_us)),
        latency(row.open_loop.map(|l| l.p90_us)),
        latency(row.open_loop.map(|l| l.p99_us)),
        latency(row.open_loop.map(|l| l.p999_us)),
        latency(row.open_loop.map(|l| l.max_us)),
        row.errors.to_string(),
        cell(temperature, |(name, share)| {
            format!("{name} {:.1} %", share * 100.0)
        }),
        cell(row.resident_kib, |kib| format!("{:.0} MiB", kib / 1024.0)),
    ]
}

fn notes(report: &Report) -> String {
    let machine = &report.machine;
    let cpu = machine.cpu.as_deref().unwrap_or("unknown processor");
    let awake = if report.plan["awake"] == true {
        ", kept awake"
    } else {
        ""
    };
    let mut text = format!(
        "\n{} cores ({cpu}){awake}, {}, {}; generator and server share them.\n",
        machine.cores, machine.kernel, machine.date
    );
    let generator: Vec<String> = report
        .rows
        .iter()
        .filter_map(|row| {
            Some(format!(
                "{} {}",
                row.workload.name(),
                micros(row.generator_cpu_us_per_request?)
            ))
        })
        .collect();
    let _ = writeln!(
        text,
        "The generator itself used, per call: {}.",
        generator.join(", ")
    );
    text.push_str("At rate: Poisson arrivals; latency from the time a call was due. Medians over rounds, largest max.\n");
    if machine.data_in_memory {
        text.push_str(
            "The data lay in memory: durable tasks cost more on a disk (see --data-root).\n",
        );
    }
    text
}

fn cell<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// Columns padded to their widest cell; the first to the left, numbers to the right.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

/// A time given in microseconds, in the unit that suits it.
pub fn micros(us: f64) -> String {
    match us {
        us if us < 100.0 => format!("{us:.1} µs"),
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 100_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let sign = if number <= -0.5 { "-" } else { "" };
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        let shown = [7.25, 640.0, 1430.0, 143_000.0, 2_100_000.0].map(micros);
        assert_eq!(shown, ["7.2 µs", "640 µs", "1.43 ms", "143 ms", "2.10 s"]);
    }

    #[test]
    fn columns_line_up_though_cells_hold_multibyte_letters() {
        let lines = [["a", "µs", "1"], ["long", "x", "22"]].map(|line| line.map(str::to_owned));
        assert_eq!(aligned(&lines), "a     µs   1\nlong   x  22\n");
    }
}
