//! Starts, read from the platform's `/metrics`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BYTES: u64 = 16 << 20;

/// Starts since the server began, by temperature.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Starts(BTreeMap<String, Start>);

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Start {
    count: f64,
    /// Until the guest function was entered, of all starts together.
    seconds: f64,
}

impl Starts {
    pub(crate) fn read(server: SocketAddr) -> anyhow::Result<Self> {
        let mut stream =
            TcpStream::connect_timeout(&server, TIMEOUT).context("cannot reach /metrics")?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.take(MAX_BYTES).read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200") {
            bail!(
                "/metrics answered {}",
                answer.lines().next().unwrap_or_default()
            );
        }
        Ok(Self::parse(&answer))
    }

    /// From the Prometheus text format. Lines that are something else are skipped.
    fn parse(text: &str) -> Self {
        let mut starts = BTreeMap::<String, Start>::new();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Some((name, labels)) = series.split_once('{') else {
                continue;
            };
            let temperature = labels
                .split_once("temperature=\"")
                .and_then(|(_, rest)| rest.split_once('"'));
            let (Some((temperature, _)), Ok(value)) = (temperature, value.trim().parse::<f64>())
            else {
                continue;
            };
            let start = starts.entry(temperature.to_owned()).or_default();
            match name {
                "dormouse_starts_total" => start.count += value,
                "dormouse_start_seconds_sum" => start.seconds += value,
                _ => {}
            }
        }
        Self(starts)
    }

    /// The starts after `earlier`, in words: `warm start in 21 µs`.
    pub(crate) fn since(&self, earlier: &Self) -> Vec<String> {
        let started = |(temperature, now): (&String, &Start)| {
            let before = earlier.0.get(temperature).copied().unwrap_or_default();
            let count = now.count - before.count;
            let micros = (now.seconds - before.seconds) * 1e6 / count;
            (count > 0.0).then(|| format!("{temperature} start in {micros:.0} µs"))
        };
        self.0.iter().filter_map(started).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_between_two_readings_are_told() {
        let before = Starts::parse("dormouse_starts_total{agent=\"a\",temperature=\"hot\"} 1\n");
        let after = Starts::parse(
            "# TYPE dormouse_starts_total counter\n\
             dormouse_starts_total{agent=\"a\",temperature=\"hot\"} 1\n\
             dormouse_starts_total{agent=\"b\",temperature=\"warm\"} 1\n\
             dormouse_start_seconds_bucket{temperature=\"warm\",le=\"0.1\"} 1\n\
             dormouse_start_seconds_sum{temperature=\"warm\"} 0.000021\n",
        );
        assert_eq!(after.since(&before), ["warm start in 21 µs"]);
        assert!(after.since(&after).is_empty());
    }
}
