//! The two numbers of the store.

use prometheus::{Histogram, HistogramOpts, IntCounter};

/// Handles to the store's metrics; whoever serves metrics registers them.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// `dormouse_store_commit_seconds`: from handing a write over until it is durable.
    pub commit_seconds: Histogram,
    /// `dormouse_store_corrupt_total`: stored bytes that did not match their digest, or tasks that cannot be read.
    pub corrupt_total: IntCounter,
}

impl StoreMetrics {
    pub(crate) fn new() -> Self {
        let buckets = vec![
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
            2.5, 5.0, 10.0,
        ];
        let commit = HistogramOpts::new(
            "dormouse_store_commit_seconds",
            "Time from handing a write to the store until it is durable",
        );
        Self {
            commit_seconds: Histogram::with_opts(commit.buckets(buckets))
                .expect("the options are constant and valid"),
            corrupt_total: IntCounter::new(
                "dormouse_store_corrupt_total",
                "Stored bytes that did not match their digest",
            )
            .expect("the name is constant and valid"),
        }
    }
}
