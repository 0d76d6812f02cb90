//! Durations and sizes, as people write them in flags and files.

use serde::Deserialize;
use std::str::FromStr;
use std::time::Duration;

/// A duration as people write it: `0s`, `90s`, `5m`, `1h 30m`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("{error}; write for example 0s, 90s, 5m"))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A number of bytes as people write it: `512MiB`, `512M`, `4GiB`, `1073741824`. Units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [
            ("KiB", 10),
            ("MiB", 20),
            ("GiB", 30),
            ("TiB", 40),
            ("K", 10),
            ("M", 20),
            ("G", 30),
        ];
        let unit = units
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
        let (number, shift) = unit.unwrap_or((text, 0));
        let number: Option<u64> = number.trim().parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(1 << shift));
        let bytes = bytes.filter(|bytes| *bytes > 0).map(Self);
        bytes.ok_or_else(|| format!("{text:?} is no size; write for example 512MiB, 4GiB"))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let size = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        assert_eq!(size("512MiB"), Some(512 << 20));
        assert_eq!(size("4 GiB"), Some(4 << 30));
        assert_eq!(size("16M"), Some(16 << 20));
        assert_eq!(size("1073741824"), Some(1 << 30));
        for wrong in ["", "0", "MiB", "1.5GiB", "4GB", "-1", "99999999999TiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
