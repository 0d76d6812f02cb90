use std::collections::BTreeMap;

use serde::Serialize;

/// Different values that a column counts one by one; a column with more has none of them reported.
const MAX_DISTINCT: usize = 10_000;
/// Most frequent values that are reported.
const TOP_VALUES: usize = 5;

#[derive(Debug, Serialize)]
pub struct Table {
    rows: u64,
    columns: Vec<Description>,
}

#[derive(Debug, Serialize)]
struct Description {
    name: String,
    /// Values that are there.
    count: u64,
    /// Values that are empty, `NA` or `null`.
    missing: u64,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    /// Of the sample (n - 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    stddev: Option<f64>,
    /// Absent when there are more than can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    distinct: Option<usize>,
    top: Vec<Frequency>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Number,
    Text,
    Empty,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Text(String),
}

#[derive(Debug, Serialize)]
struct Frequency {
    value: String,
    count: u64,
}

/// Reads a table with a header row. The delimiter is the one that the header has most of.
pub fn describe(csv: &[u8]) -> Result<Table, csv::Error> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter_of(csv))
        .trim(csv::Trim::All)
        .from_reader(csv);
    let mut columns: Vec<(String, Column)> = reader
        .headers()?
        .iter()
        .map(|name| (name.to_owned(), Column::default()))
        .collect();
    if columns.is_empty() {
        return Err(std::io::Error::other("it has no header row").into());
    }
    let mut rows = 0;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        rows += 1;
        for (value, (_, column)) in record.iter().zip(&mut columns) {
            column.add(value);
        }
    }
    let columns = columns
        .into_iter()
        .map(|(name, column)| column.describe(name))
        .collect();
    Ok(Table { rows, columns })
}

fn delimiter_of(csv: &[u8]) -> u8 {
    let header = csv.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let occurrences = |delimiter: &u8| header.iter().filter(|byte| *byte == delimiter).count();
    // Of equal candidates the last wins, which makes the comma the default.
    *b"|\t;,"
        .iter()
        .max_by_key(|delimiter| occurrences(delimiter))
        .unwrap_or(&b',')
}

impl Table {
    pub fn summary(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(Description::summary).collect();
        format!(
            "{} rows, {} columns: {}",
            self.rows,
            columns.len(),
            columns.join(", ")
        )
    }
}

impl Description {
    fn summary(&self) -> String {
        let kind = match self.kind {
            Kind::Number => "number",
            Kind::Text => "text",
            Kind::Empty => "empty",
        };
        match self.missing {
            0 => format!("{} ({kind})", self.name),
            missing => format!("{} ({kind}, {missing} missing)", self.name),
        }
    }
}

/// What is known of a column so far, in memory that does not grow with the rows.
#[derive(Default)]
struct Column {
    count: u64,
    missing: u64,
    /// Values that are no number.
    texts: u64,
    numbers: Numbers,
    least: Option<String>,
    greatest: Option<String>,
    frequencies: BTreeMap<String, u64>,
    too_many_distinct: bool,
}

impl Column {
    fn add(&mut self, value: &str) {
        if is_missing(value) {
            self.missing += 1;
            return;
        }
        self.count += 1;
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() => self.numbers.add(number),
            _ => self.texts += 1,
        }
        if self.least.as_deref().is_none_or(|least| value < least) {
            self.least = Some(value.to_owned());
        }
        if self
            .greatest
            .as_deref()
            .is_none_or(|greatest| value > greatest)
        {
            self.greatest = Some(value.to_owned());
        }
        if let Some(frequency) = self.frequencies.get_mut(value) {
            *frequency += 1;
        } else if self.frequencies.len() < MAX_DISTINCT {
            self.frequencies.insert(value.to_owned(), 1);
        } else {
            self.too_many_distinct = true;
        }
    }

    fn describe(self, name: String) -> Description {
        let kind = match (self.count, self.texts) {
            (0, _) => Kind::Empty,
            (_, 0) => Kind::Number,
            _ => Kind::Text,
        };
        let is_number = kind == Kind::Number;
        let (min, max) = if is_number {
            (
                Some(Value::Number(self.numbers.min)),
                Some(Value::Number(self.numbers.max)),
            )
        } else {
            (self.least.map(Value::Text), self.greatest.map(Value::Text))
        };
        let distinct = (!self.too_many_distinct).then_some(self.frequencies.len());
        Description {
            name,
            count: self.count,
            missing: self.missing,
            kind,
            min,
            max,
            mean: is_number.then_some(self.numbers.mean),
            stddev: self.numbers.stddev().filter(|_| is_number),
            distinct,
            top: if distinct.is_some() {
                most_frequent(self.frequencies)
            } else {
                Vec::new()
            },
        }
    }
}

fn is_missing(value: &str) -> bool {
    value.is_empty()
        || ["na", "n/a", "null"]
            .iter()
            .any(|name| value.eq_ignore_ascii_case(name))
}

fn most_frequent(frequencies: BTreeMap<String, u64>) -> Vec<Frequency> {
    let mut top: Vec<Frequency> = frequencies
        .into_iter()
        .map(|(value, count)| Frequency { value, count })
        .collect();
    top.sort_by_key(|frequency| std::cmp::Reverse(frequency.count));
    top.truncate(TOP_VALUES);
    top
}

/// Welford's algorithm: one pass, and stable where sums of squares are not.
struct Numbers {
    count: f64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers {
            count: 0.0,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Numbers {
    fn add(&mut self, number: f64) {
        self.count += 1.0;
        let distance = number - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (number - self.mean);
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    fn stddev(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.squares / (self.count - 1.0)).sqrt())
    }
}
