//! Where traces go: the collector that the operator has named.

use dormouse_services::net::{AllowRule, HttpClient, Target};
use dormouse_services::trace::{Exporter, Tracer, outcomes};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

use crate::Usage;

/// Below the endpoint, as OTLP has it.
const PATH: &str = "/v1/traces";
/// Fields for the collector, such as its key, as OpenTelemetry's own libraries read them: `name=value,name=value`.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// How long a collector may take, as with OpenTelemetry's own libraries.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A collector that has not been spoken to yet.
pub(crate) struct Collector {
    client: HttpClient,
    target: Target,
    headers: HeaderMap,
    ratio: f64,
}

/// # Errors
/// Wrong usage, as one sentence.
pub(crate) fn collector(
    endpoint: Option<&str>,
    ratio: Option<f64>,
) -> anyhow::Result<Option<Collector>> {
    let ratio = ratio.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&ratio) {
        return Err(Usage::error(format!(
            "the ratio of traces is 0 to 1, such as 0.1, not {ratio}"
        )));
    }
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(None);
    };
    let wrong = |what: String| {
        Usage::error(format!(
            "the OTLP endpoint {endpoint:?} must look like http://localhost:4318: {what}"
        ))
    };
    let parsed = reqwest::Url::parse(endpoint).map_err(|error| wrong(error.to_string()))?;
    let host = parsed.host_str().zip(parsed.port_or_known_default());
    let (host, port) = host.ok_or_else(|| wrong("it names no host".to_owned()))?;
    // The operator has named this host, so it may be a neighbour: most collectors are.
    let rule: AllowRule = format!("{host}:{port}")
        .parse()
        .map_err(|error| wrong(format!("{error}")))?;
    let url = format!("{}{PATH}", endpoint.trim_end_matches('/'));
    let client = HttpClient::new([rule].into_iter().collect()).answer_timeout(TIMEOUT);
    let target = client.target(&url);
    let target = target.map_err(|error| wrong(error.to_string()))?;
    let headers = match std::env::var(HEADERS) {
        Ok(text) => headers(&text)
            .ok_or_else(|| Usage::error(format!("{HEADERS} must be name=value,name=value")))?,
        Err(_unset) => HeaderMap::new(),
    };
    Ok(Some(Collector {
        client,
        target,
        headers,
        ratio,
    }))
}

/// Values are not decoded: keys are of plain letters.
fn headers(text: &str) -> Option<HeaderMap> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let name: HeaderName = name.trim().parse().ok()?;
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        })
        .collect()
}

impl Collector {
    /// Records from now on. Needs a tokio runtime.
    pub(crate) fn start(
        self,
        metrics: &prometheus::Registry,
    ) -> prometheus::Result<(Tracer, Exporter)> {
        let outcomes = outcomes();
        metrics.register(Box::new(outcomes.clone()))?;
        let (recorder, exporter) =
            Exporter::start(self.client, self.target, self.headers, &outcomes);
        Ok((Tracer::new(recorder, self.ratio), exporter))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let read = headers("api-key=secret, x-team=a=b,").unwrap();
        assert_eq!(read["api-key"], "secret");
        assert_eq!(read["x-team"], "a=b");
        assert!(headers("").unwrap().is_empty());
        for wrong in ["key", "a b=c", "a=b\nc"] {
            assert!(headers(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_collector_may_be_a_neighbour_and_must_be_a_url() {
        assert!(collector(None, Some(0.5)).unwrap().is_none());
        assert!(
            collector(Some("http://127.0.0.1:4318/"), None)
                .unwrap()
                .is_some()
        );
        for wrong in ["localhost:4318", "ftp://a", "http://", "http://u:p@a"] {
            assert!(collector(Some(wrong), None).is_err(), "{wrong}");
        }
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert!(collector(None, Some(wrong)).is_err(), "{wrong}");
        }
    }
}
