//! The numbers of push notifications.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

/// Handles to the metrics; whoever serves metrics registers them.
#[derive(Debug, Clone)]
pub struct PushMetrics {
    /// `dormouse_push_deliveries_total`, by `outcome`.
    pub deliveries: IntCounterVec,
    /// `dormouse_push_queued`: configurations with events on their way to the receiver.
    pub queued: IntGauge,
    pub(crate) delivered: IntCounter,
    pub(crate) retried: IntCounter,
    pub(crate) given_up: IntCounter,
    pub(crate) disabled: IntCounter,
}

impl PushMetrics {
    pub(crate) fn new() -> Self {
        let deliveries = IntCounterVec::new(
            Opts::new(
                "dormouse_push_deliveries_total",
                "Push notifications by what became of them",
            ),
            &["outcome"],
        )
        .expect("the name is constant and valid");
        let queued = IntGauge::new(
            "dormouse_push_queued",
            "Push configurations with events on their way to the receiver",
        )
        .expect("the name is constant and valid");
        let outcome = |word| deliveries.with_label_values(&[word]);
        Self {
            delivered: outcome("delivered"),
            retried: outcome("retried"),
            given_up: outcome("given_up"),
            disabled: outcome("disabled"),
            deliveries,
            queued,
        }
    }
}
