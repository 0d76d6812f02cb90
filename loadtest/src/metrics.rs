//! Reads what the platform says of itself: how many starts had which temperature, how many instances live.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header::HOST};

use crate::connection::{excerpt, send_once};

/// What was counted and what there is, summed over agents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub starts: Starts,
    /// Instances that ended, for whatever reason.
    pub evictions: u64,
    /// Instances that live.
    pub live: u64,
    /// Those of them that run a call.
    pub busy: u64,
}

/// Starts by temperature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Starts(BTreeMap<String, u64>);

impl Counters {
    /// Asks the platform at `host:port`.
    pub async fn read(authority: &str) -> anyhow::Result<Self> {
        let request = Request::get("/metrics")
            .header(HOST, authority)
            .body(Full::new(Bytes::new()))?;
        let (status, body) = send_once(authority, request).await?;
        if status != StatusCode::OK {
            bail!("no metrics: {}", excerpt(status, &body));
        }
        Counters::parse(std::str::from_utf8(&body)?)
    }

    /// Parses the Prometheus text format, version 0.0.4. A counter that was never raised may be absent.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let instances = by_label(text, "dormouse_instances", "state")?;
        Ok(Counters {
            starts: Starts(by_label(text, "dormouse_starts_total", "temperature")?),
            evictions: by_label(text, "dormouse_evictions_total", "reason")?
                .values()
                .sum(),
            live: instances.values().sum(),
            busy: instances.get("busy").copied().unwrap_or(0),
        })
    }
}

impl Starts {
    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Starts) -> Starts {
        let grown = |(temperature, count): (&String, &u64)| {
            let before = earlier.0.get(temperature).copied().unwrap_or(0);
            let grown = count.saturating_sub(before);
            (grown > 0).then(|| (temperature.clone(), grown))
        };
        Starts(self.0.iter().filter_map(grown).collect())
    }

    /// The counts by temperature.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.0
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Starts that needed a new instance.
    pub fn of_instances(&self) -> u64 {
        self.total() - self.0.get("hot").copied().unwrap_or(0)
    }
}

/// Which share of `calls` was counted under `temperature`. Starts beyond the number of calls, and calls that
/// were not counted at all, both lower it.
pub fn share(starts: &BTreeMap<String, u64>, temperature: &str, calls: u64) -> f64 {
    let counted = starts.get(temperature).copied().unwrap_or(0);
    let whole = starts.values().sum::<u64>().max(calls).max(1);
    counted as f64 / whole as f64
}

/// The values of a metric by one of its labels, summed over the others.
fn by_label(text: &str, metric: &str, by: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let Some(labels_and_value) = line.strip_prefix(metric).and_then(|l| l.strip_prefix('{'))
        else {
            continue;
        };
        let (labels, value) =
            sample(labels_and_value).with_context(|| format!("not a metric: {line}"))?;
        let label = labels
            .into_iter()
            .find_map(|(name, value)| (name == by).then_some(value))
            .with_context(|| format!("a metric without the label {by}: {line}"))?;
        *sums.entry(label).or_default() += value as u64;
    }
    Ok(sums)
}

/// The labels and the value of a line, from behind the opening brace.
fn sample(mut rest: &str) -> Option<(Vec<(&str, String)>, f64)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(value) = rest.strip_prefix('}') {
            let number = value.split_whitespace().next()?.parse().ok()?;
            return Some((labels, number));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        labels.push((name.trim(), value));
        rest = after;
    }
}

/// A label value up to its closing quote, and what follows.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            plain => value.push(plain),
        }
    }
    None
}
