//! So many requests in a while from each address (of IPv6: each network of 64 bits), or with each value of a header. Each instance of the filter counts
//! for itself: give it one instance for an exact limit.

use dormouse_filter_sdk::{Answer, Filter, Request, filter, is_header_name};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Requests at once.
    burst: u32,
    /// Requests that come back each second.
    per_second: f64,
    /// Who is who: this header, or the address if there is none.
    #[serde(default)]
    header: Option<String>,
}

/// A bucket of tokens, as of some time.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at_ms: u64,
}

struct RateLimit {
    config: Config,
    buckets: HashMap<String, Bucket>,
    /// When those that are full again were last looked for.
    swept_ms: u64,
    /// Two of them, because names by one of 64 bits could be told to be the same.
    hashers: [RandomState; 2],
}

/// Who is remembered at a time. Whoever is full again is forgotten first; when nobody is, newcomers share a bucket.
const MAX_BUCKETS: usize = 10_000;
/// Who has no bucket of their own. No address and no header's value has a line end in it.
const OTHERS: &str = "\n";
/// Bytes of a header's value that are kept as they are.
const MAX_NAME: usize = 128;
/// Milliseconds between two looks at all buckets, which take longer than a request may.
const SWEEP_MS: u64 = 1_000;
/// Milliseconds by which a request may be older than one before it. More, and the clock was put back.
const DISORDER_MS: u64 = 5_000;

impl RateLimit {
    /// Who has this value of the header: the whole of it counts, and it is nobody's address.
    fn named(&self, value: &str) -> String {
        if value.len() <= MAX_NAME {
            return format!("h:{value}");
        }
        let [one, other] = self.hashers.each_ref().map(|hasher| hasher.hash_one(value));
        format!("l:{one:016x}{other:016x}")
    }

    /// Seconds until there is a token again; `None` if there was one.
    fn take(&mut self, name: &str, now_ms: u64) -> Option<u64> {
        self.swept_ms = latest(self.swept_ms, now_ms);
        let is_due = now_ms >= self.swept_ms.saturating_add(SWEEP_MS) || self.swept_ms == 0;
        if is_due && !self.buckets.contains_key(name) && self.buckets.len() >= MAX_BUCKETS {
            self.swept_ms = now_ms.max(1);
            let (config, buckets) = (&self.config, &mut self.buckets);
            buckets.retain(|_, bucket| {
                bucket.at_ms = latest(bucket.at_ms, now_ms);
                tokens(config, *bucket, now_ms) < f64::from(config.burst)
            });
        }
        let is_full = self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(name);
        let name = if is_full { OTHERS } else { name };
        let full = Bucket {
            tokens: f64::from(self.config.burst),
            at_ms: now_ms,
        };
        let bucket = self.buckets.entry(name.to_owned()).or_insert(full);
        bucket.tokens = tokens(&self.config, *bucket, now_ms);
        bucket.at_ms = latest(bucket.at_ms, now_ms).max(now_ms);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return None;
        }
        let wait = (1.0 - bucket.tokens) / self.config.per_second;
        Some(wait.ceil() as u64)
    }
}

/// A time that was noted, or now if it is one of a clock that was put back since: nothing would come back until that clock is
/// there again.
fn latest(noted_ms: u64, now_ms: u64) -> u64 {
    if noted_ms > now_ms.saturating_add(DISORDER_MS) {
        now_ms
    } else {
        noted_ms
    }
}

fn tokens(config: &Config, bucket: Bucket, now_ms: u64) -> f64 {
    let passed = now_ms.saturating_sub(bucket.at_ms) as f64 / 1_000.0;
    (bucket.tokens + passed * config.per_second).min(f64::from(config.burst))
}

/// Who has an address: of IPv6 the first 64 bits, because whoever has one address has all of that network
/// (RFC 4291 §2.5.4).
fn network(address: &str) -> Cow<'_, str> {
    let parsed = address
        .parse()
        .map(|address: IpAddr| address.to_canonical());
    match parsed {
        Ok(IpAddr::V6(address)) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            Cow::Owned(format!("{network}/64"))
        }
        Ok(IpAddr::V4(plain)) if address.contains(':') => Cow::Owned(plain.to_string()),
        _ => Cow::Borrowed(address),
    }
}

impl Filter for RateLimit {
    const NAME: &str = "rate-limit";
    const EVENTS: &[&str] = &["request_headers"];

    fn configure(config: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if config.burst == 0 || config.per_second.is_nan() || config.per_second <= 0.0 {
            return Err("burst and per_second must be more than nothing".to_owned());
        }
        if let Some(name) = config.header.iter().find(|name| !is_header_name(name)) {
            return Err(format!("{name:?} is not the name of a header"));
        }
        Ok(Self {
            config,
            buckets: HashMap::new(),
            swept_ms: 0,
            hashers: Default::default(),
        })
    }

    fn request_headers(&mut self, request: &Request<'_>) -> Answer {
        let header = self.config.header.as_deref();
        let name = header.and_then(|name| request.header(name));
        let name = match name {
            Some(value) => self.named(value),
            None => format!("a:{}", network(&request.metadata.client_ip)),
        };
        match self.take(&name, request.metadata.timestamp_ms) {
            None => Answer::allow(),
            Some(seconds) => Answer::block(429, "too many requests")
                .with_header("retry-after", &seconds.to_string())
                .rule("rate-limit"),
        }
    }
}

filter!(RateLimit);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_filter_sdk::testing::{self, metadata};

    fn limit(burst: u32, per_second: f64) -> RateLimit {
        let config = format!(r#"{{"burst": {burst}, "per_second": {per_second}}}"#);
        RateLimit::configure(&config).unwrap()
    }

    #[test]
    fn a_burst_passes_and_one_more_waits() {
        let mut filter = limit(3, 0.5);
        for _ in 0..3 {
            assert_eq!(filter.take("a", 1_000), None);
        }
        assert_eq!(filter.take("a", 1_000), Some(2));
        assert_eq!(filter.take("b", 1_000), None, "others have their own");
        assert_eq!(filter.take("a", 2_999), Some(1));
        assert_eq!(filter.take("a", 3_000), None);
        // One that comes late gives nothing.
        assert_eq!(filter.take("a", 0), Some(2));
        assert_eq!(filter.take("a", 4_999), Some(1));
        assert_eq!(filter.take("a", 5_000), None);
    }

    #[test]
    fn a_clock_that_is_put_back_gives_nothing_and_goes_on_from_there() {
        const HOUR: u64 = 3_600_000;
        let mut filter = limit(1, 1.0);
        assert_eq!(filter.take("a", HOUR), None);
        assert_eq!(filter.take("a", 1_000), Some(1));
        assert_eq!(filter.take("a", 2_000), None);
        assert_eq!(filter.take("a", 2_000), Some(1));
        // Who is full again is forgotten as before.
        for number in 0..MAX_BUCKETS {
            filter.take(&number.to_string(), HOUR);
        }
        filter.take("one more", HOUR);
        filter.take("one more", 1_000);
        assert!(filter.buckets.len() > MAX_BUCKETS);
        filter.take("one more", 2_000);
        filter.take("one more", 3_000);
        assert!(filter.buckets.len() < MAX_BUCKETS);
    }

    #[test]
    fn strangers_without_number_cost_no_memory_without_bound() {
        let mut filter = limit(1, 1.0);
        for number in 0..MAX_BUCKETS + 10 {
            filter.take(&number.to_string(), 0);
        }
        assert!(filter.buckets.len() <= MAX_BUCKETS + 1);
        assert!(filter.take("one more", 0).is_some());
        // Once those are full again, they are forgotten; not at every request, because looking for them takes long.
        filter.take("one more", 500);
        assert!(filter.buckets.len() > MAX_BUCKETS);
        assert_eq!(filter.take("one more", 2_000), None);
        assert!(filter.buckets.len() < 10);
    }

    #[test]
    fn all_of_a_value_counts_and_none_is_an_address() {
        let config = r#"{"burst": 1, "per_second": 1, "header": "x-jwt"}"#;
        let mut filter = RateLimit::configure(config).unwrap();
        let metadata = metadata(0);
        let mut passes = |value: Option<&str>| {
            let pairs = value.map(|value| ("x-jwt", value));
            let headers = testing::headers(pairs.as_slice());
            let request = Request {
                metadata: &metadata,
                method: "POST",
                uri: "/agents/echo",
                headers: &headers,
            };
            filter.request_headers(&request).is_allow()
        };
        let same = "x".repeat(600);
        for (value, expected) in [
            (Some(format!("{same}ann")), true),
            (Some(format!("{same}bob")), true),
            (Some(format!("{same}ann")), false),
            (Some("short".to_owned()), true),
            (Some("short".to_owned()), false),
            (Some("192.0.2.1".to_owned()), true),
            (Some("a:192.0.2.1".to_owned()), true),
            (None, true),
            (None, false),
        ] {
            assert_eq!(passes(value.as_deref()), expected, "{value:?}");
        }
    }

    #[test]
    fn whoever_has_a_network_has_one_bucket() {
        let mut filter = limit(1, 1.0);
        let headers = [];
        let mut passes = |address: &str| {
            let mut metadata = metadata(0);
            metadata.client_ip = address.to_owned();
            let request = Request {
                metadata: &metadata,
                method: "POST",
                uri: "/agents/echo",
                headers: &headers,
            };
            filter.request_headers(&request).is_allow()
        };
        for (address, expected) in [
            ("2001:db8:0:1::1", true),
            ("2001:db8:0:1:ffff:ffff:ffff:ffff", false),
            ("2001:0DB8:0:1:0:0:0:2", false),
            ("2001:db8:0:2::1", true),
            // Of IPv4 each address counts, however it is written.
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("::ffff:192.0.2.2", true),
            ("192.0.2.2", false),
            ("192.0.2.3", true),
            ("no address", true),
            ("no address", false),
        ] {
            assert_eq!(passes(address), expected, "{address}");
        }
    }

    #[test]
    fn nothing_is_no_limit() {
        for (burst, per_second) in [(0, 1.0), (1, 0.0), (1, -1.0)] {
            let config = format!(r#"{{"burst": {burst}, "per_second": {per_second}}}"#);
            assert!(RateLimit::configure(&config).is_err(), "{config}");
        }
    }

    #[test]
    fn a_header_that_nobody_can_send_is_refused() {
        for header in ["x user", "x-user ", ""] {
            let config = format!(r#"{{"burst": 1, "per_second": 1, "header": "{header}"}}"#);
            let error = RateLimit::configure(&config).err().unwrap();
            assert!(error.contains(header), "{error}");
        }
    }
}
