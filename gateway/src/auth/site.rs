//! Where a request says that it comes from, while nobody has to say who they are (`docs/decisions/0029`). A browser sends
//! what any page tells it to, to this machine too, and says so in headers that a page cannot change. Pure.

use super::Denied;
use hyper::HeaderMap;
use hyper::Uri;
use hyper::header::{HOST, HeaderName, ORIGIN};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names that an open server is called by.
pub(crate) struct Site {
    /// The host of the public URL.
    public: Box<str>,
    /// A server on a network has names that nobody has told it.
    any_host: AtomicBool,
}

impl Site {
    pub(crate) fn new(public_url: &str) -> Self {
        let authority = public_url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        Self {
            public: host_of(authority).into(),
            any_host: AtomicBool::new(false),
        }
    }

    /// To be told before the first request.
    pub(crate) fn listens_on(&self, address: IpAddr) {
        self.any_host
            .store(!address.is_loopback(), Ordering::Relaxed);
    }

    /// # Errors
    /// If a page of somebody else's has sent it, or may have: under a foreign name that leads here a page could also read
    /// the answers.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Denied> {
        if headers
            .get(FETCH_SITE)
            .is_some_and(|site| site == "cross-site")
        {
            return Err(Denied::Foreign("another site"));
        }
        if let Some(origin) = headers.get(ORIGIN) {
            // `null`, a page without an origin, is nobody's we know.
            let origin = origin.to_str().unwrap_or_default();
            let origin = origin.split_once("://").map_or("", |(_, rest)| rest);
            let called = headers.get(HOST).and_then(|host| host.to_str().ok());
            let called = called.or(uri.authority().map(|authority| authority.as_str()));
            let is_itself = called == Some(origin) && is_address(host_of(origin));
            if !is_itself && !self.is_ours(origin) {
                return Err(Denied::Foreign("a page of another origin"));
            }
        }
        if self.any_host.load(Ordering::Relaxed) {
            return Ok(());
        }
        let named = headers.get_all(HOST).iter();
        let named = named.map(|host| host.to_str().unwrap_or_default());
        let mut named = named.chain(uri.authority().map(|authority| authority.as_str()));
        if named.all(|host| self.is_ours(host)) {
            Ok(())
        } else {
            Err(Denied::Foreign(
                "a client that calls it by a name that it does not know",
            ))
        }
    }

    fn is_ours(&self, authority: &str) -> bool {
        let host = host_of(authority);
        let loopback = || {
            host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
                || host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
        };
        !host.is_empty()
            && (is_localhost(host) || host.eq_ignore_ascii_case(&self.public) || loopback())
    }
}

/// `localhost` and the names below it lead to loopback and nowhere else (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut labels = host.rsplit('.');
    labels
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// No name leads to an address but itself, so a page from there is the server's own.
fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Without its port and the brackets of IPv6.
fn host_of(authority: &str) -> &str {
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn ask(site: &Site, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let headers = headers.collect();
        site.check(&Uri::from_static("/v1/tokens"), &headers)
            .is_ok()
    }

    #[test]
    fn a_server_on_loopback_knows_its_names() {
        let site = Site::new("https://Agents.example.com:8443/under");
        for (host, known) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1:8080", true),
            ("127.8.9.1", true),
            ("dormouse.localhost:8080", true),
            ("localhost.", true),
            ("[::1]:8080", true),
            ("agents.example.com", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("agents.example.com.evil.example", false),
            ("evil.example:8080", false),
            ("[::2]:8080", false),
            ("192.0.2.1", false),
            ("", false),
        ] {
            assert_eq!(ask(&site, &[("host", host)]), known, "{host}");
        }
        assert!(ask(&site, &[]), "HTTP/1.0; no browser");
        let of_http_2 = Uri::from_static("http://evil.example/v1/tokens");
        assert!(site.check(&of_http_2, &HeaderMap::new()).is_err());
        let both = [("host", "localhost"), ("host", "evil.example")];
        let both = both.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                hyper::header::HeaderValue::from_static(value),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in both {
            headers.append(name, value);
        }
        assert!(site.check(&Uri::from_static("/"), &headers).is_err());
    }

    #[test]
    fn no_name_is_nobodys() {
        let site = Site::new("agents.example.com");
        for (host, origin) in [("", "http://localhost"), ("localhost", "null")] {
            assert!(
                !ask(&site, &[("host", host), ("origin", origin)]),
                "{origin}"
            );
        }
    }

    #[test]
    fn pages_of_others_are_refused() {
        let site = Site::new("https://agents.example.com");
        for (origin, known) in [
            ("http://localhost:3000", true),
            ("http://127.0.0.1:8080", true),
            ("https://agents.example.com", true),
            ("http://evil.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("https://agents.example.com.evil.example", false),
            ("null", false),
            ("", false),
            ("http://192.0.2.1", false),
        ] {
            let headers = [("host", "localhost:8080"), ("origin", origin)];
            assert_eq!(ask(&site, &headers), known, "{origin}");
        }
        for (fetch, known) in [
            ("cross-site", false),
            ("same-site", true),
            ("same-origin", true),
            ("none", true),
        ] {
            let headers = [("host", "localhost:8080"), ("sec-fetch-site", fetch)];
            assert_eq!(ask(&site, &headers), known, "{fetch}");
        }
    }

    #[test]
    fn a_server_on_a_network_has_any_name_and_its_own_pages_by_address() {
        let site = Site::new("http://0.0.0.0:8080");
        site.listens_on("0.0.0.0".parse().unwrap());
        for (host, origin, known) in [
            ("dormouse:8080", None, true),
            ("192.0.2.1:8080", None, true),
            ("192.0.2.1:8080", Some("http://192.0.2.1:8080"), true),
            ("[2001:db8::1]:80", Some("http://[2001:db8::1]:80"), true),
            ("192.0.2.1:8080", Some("http://192.0.2.2:8080"), false),
            // A name may be anybody's.
            ("evil.example", Some("http://evil.example"), false),
            ("192.0.2.1:8080", Some("http://evil.example"), false),
        ] {
            let mut headers = vec![("host", host)];
            headers.extend(origin.map(|origin| ("origin", origin)));
            assert_eq!(ask(&site, &headers), known, "{host} {origin:?}");
        }
    }
}
