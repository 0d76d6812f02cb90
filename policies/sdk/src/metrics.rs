//! Numbers for the operator's metrics, from a filter of either world: `dormouse_filter_counter_total`,
//! `dormouse_filter_gauge` and `dormouse_filter_histogram`, by filter and name. A name has at most 40 of `a-z`, `0-9` and
//! `_`, and begins with a letter; a filter has at most 16 names, and reports at most 100 numbers in one call. Whatever
//! is more counts for nothing. Natively, in tests, nothing is reported.

#[cfg(target_arch = "wasm32")]
use crate::message::bindings::dormouse::filter::metrics as host;

/// Adds to a counter.
pub fn count(name: &str, more: u64) {
    #[cfg(target_arch = "wasm32")]
    host::count(name, more);
    #[cfg(not(target_arch = "wasm32"))]
    let _nobody_keeps_it = (name, more);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    host::gauge(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    let _nobody_keeps_it = (name, value);
}

/// Adds an observation to a histogram with a bucket for each power of ten from a millionth to a million.
pub fn observe(name: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    host::observe(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    let _nobody_keeps_it = (name, value);
}
