//! Who may come in, by address, method and path. What is denied is denied, whatever is allowed; with an empty
//! list of allowed ones, all are.

use dormouse_filter_sdk::{Answer, Filter, Request, filter};
use serde::Deserialize;
use std::net::IpAddr;

/// The configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    allow: Rules,
    deny: Rules,
    /// Of the answer to who is denied.
    status: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rules {
    /// Addresses and networks, such as `10.0.0.0/8`.
    addresses: Vec<String>,
    methods: Vec<String>,
    /// Beginnings of paths.
    paths: Vec<String>,
}

struct AllowList {
    allow: List,
    deny: List,
    status: u16,
}

struct List {
    networks: Vec<Network>,
    methods: Vec<String>,
    paths: Vec<String>,
}

/// Bits before the IPv4 address in an IPv6 one (`::ffff:0:0/96`, RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

#[derive(Clone, Copy)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address and no network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        // Peers are compared by their IPv4 addresses, so rules are IPv4 rules.
        match address.to_canonical() {
            IpAddr::V4(mapped) if address.is_ipv6() => Ok(Self {
                address: IpAddr::V4(mapped),
                bits: bits.checked_sub(MAPPED_BITS).ok_or_else(|| {
                    format!("{text:?} is an IPv4 address with fewer than {MAPPED_BITS} bits")
                })?,
            }),
            _ => Ok(Self { address, bits }),
        }
    }

    /// An IPv4 address that is written as an IPv6 one is the IPv4 address.
    fn contains(self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl List {
    fn new(rules: Rules) -> Result<Self, String> {
        let networks = rules.addresses.iter().map(|text| Network::parse(text));
        rules
            .methods
            .iter()
            .try_for_each(|method| check_method(method))?;
        rules.paths.iter().try_for_each(|path| check_path(path))?;
        Ok(Self {
            networks: networks.collect::<Result<_, _>>()?,
            methods: rules.methods,
            paths: rules.paths,
        })
    }

    fn has_address(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.networks.iter().any(|one| one.contains(address)))
    }

    fn has_method(&self, method: &str) -> bool {
        self.methods.iter().any(|one| one == method)
    }

    fn has_path(&self, path: &str) -> bool {
        self.paths.iter().any(|one| path.starts_with(&**one))
    }
}

/// # Errors
/// Of what no request has. Such a rule would keep nobody out.
fn check_method(method: &str) -> Result<(), String> {
    if !method.is_empty()
        && method
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-')
    {
        return Ok(());
    }
    Err(format!(
        "{method:?} is no method: they are written as GET or POST"
    ))
}

/// Where the paths begin that a filter sees.
const ROOTS: [&str; 3] = ["/agents/", "/.well-known/", "/lf.a2a.v1.A2AService/"];
/// What stays escaped in them.
const ESCAPED: &[u8] = b"%?# ";

/// # Errors
/// As of [`check_method`].
fn check_path(path: &str) -> Result<(), String> {
    if !ROOTS
        .iter()
        .any(|root| path.starts_with(root) || root.starts_with(path))
        || path.is_empty()
    {
        return Err(format!(
            "no path begins with {path:?}: those of agents do with /agents/NAME, of gRPC with {}",
            ROOTS[2]
        ));
    }
    if path.contains(['?', '#']) {
        return Err(format!("{path:?} has more than a path in it"));
    }
    let stays = |code: &str| {
        let byte = code
            .get(..2)
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        let is_upper = !code.bytes().take(2).any(|byte| byte.is_ascii_lowercase());
        is_upper && byte.is_some_and(|byte| ESCAPED.contains(&byte) || byte.is_ascii_control())
    };
    if path.split('%').skip(1).all(stays) {
        return Ok(());
    }
    Err(format!(
        "{path:?} is not decoded, as the paths are that it is compared with"
    ))
}

impl AllowList {
    /// The rule that keeps the request out.
    fn denied(&self, request: &Request<'_>) -> Option<&'static str> {
        // An address that cannot be read is in no list.
        let address = request.metadata.client_ip.parse().ok();
        let (method, path) = (request.method, request.path());
        let (allow, deny) = (&self.allow, &self.deny);
        let rules = [
            ("deny-address", deny.has_address(address)),
            ("deny-method", deny.has_method(method)),
            ("deny-path", deny.has_path(path)),
            (
                "allow-address",
                !allow.networks.is_empty() && !allow.has_address(address),
            ),
            (
                "allow-method",
                !allow.methods.is_empty() && !allow.has_method(method),
            ),
            (
                "allow-path",
                !allow.paths.is_empty() && !allow.has_path(path),
            ),
        ];
        rules.iter().find(|(_, out)| *out).map(|(rule, _)| *rule)
    }
}

impl Filter for AllowList {
    const NAME: &str = "allow-list";
    const EVENTS: &[&str] = &["request_headers"];

    fn configure(config: &str) -> Result<Self, String> {
        let config: Config = serde_json::from_str(config).map_err(|error| error.to_string())?;
        let status = config.status.unwrap_or(403);
        if !(400..600).contains(&status) {
            return Err(format!("status {status} is no refusal: 400 to 599 are"));
        }
        Ok(Self {
            allow: List::new(config.allow)?,
            deny: List::new(config.deny)?,
            status,
        })
    }

    fn request_headers(&mut self, request: &Request<'_>) -> Answer {
        match self.denied(request) {
            None => Answer::allow(),
            Some(rule) => Answer::block(self.status, "this request is not allowed here")
                .rule(rule)
                .reason("not_allowed"),
        }
    }
}

filter!(AllowList);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_filter_sdk::RequestMetadata;

    fn rule(config: &str, ip: &str, method: &str, uri: &str) -> Option<String> {
        let metadata = RequestMetadata {
            correlation_id: "c".into(),
            request_id: "r".into(),
            client_ip: ip.into(),
            client_port: 1,
            server_name: None,
            protocol: "HTTP/1.1".into(),
            tls_version: None,
            route_id: None,
            upstream_id: None,
            timestamp_ms: 0,
            traceparent: None,
        };
        let mut filter = AllowList::configure(config).unwrap();
        let answer = filter.request_headers(&Request {
            metadata: &metadata,
            method,
            uri,
            headers: &[],
        });
        answer.response().audit.rule_ids.first().cloned()
    }

    #[test]
    fn rules_decide_in_their_order() {
        let config = r#"{"allow": {"addresses": ["10.0.0.0/8", "::1"], "methods": ["POST"]},
                         "deny": {"addresses": ["10.6.6.6"], "paths": ["/agents/secret"]}}"#;
        for (ip, method, uri, expected) in [
            ("10.1.2.3", "POST", "/agents/echo", None),
            ("::ffff:10.1.2.3", "POST", "/agents/echo", None),
            ("::1", "POST", "/agents/echo?x", None),
            ("10.6.6.6", "POST", "/agents/echo", Some("deny-address")),
            (
                "::ffff:10.6.6.6",
                "POST",
                "/agents/echo",
                Some("deny-address"),
            ),
            ("11.0.0.0", "POST", "/agents/echo", Some("allow-address")),
            ("not one", "POST", "/agents/echo", Some("allow-address")),
            ("10.1.2.3", "GET", "/agents/echo", Some("allow-method")),
            ("10.1.2.3", "POST", "/agents/secret/x", Some("deny-path")),
        ] {
            let found = rule(config, ip, method, uri);
            assert_eq!(found.as_deref(), expected, "{ip} {method} {uri}");
        }
    }

    #[test]
    fn networks_of_all_sizes() {
        for (network, address, expected) in [
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.168.1.0/31", "192.168.1.1", true),
            ("192.168.1.0/31", "192.168.1.2", false),
            // IPv4 that is written as IPv6, in rules as in peers.
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "::ffff:7f00:1", true),
            ("::ffff:127.0.0.1", "127.0.0.2", false),
            ("::ffff:127.0.0.0/104", "127.255.0.1", true),
            ("::ffff:127.0.0.0/104", "128.0.0.1", false),
            ("::ffff:0:0/96", "1.2.3.4", true),
            ("::ffff:0:0/96", "2001:db8::1", false),
            ("::fffe:127.0.0.1", "127.0.0.1", false),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn what_can_match_is_taken() {
        let paths =
            r#"["/", "/agents", "/agents/a%20b%3F", "/lf.a2a.v1.A2AService", "/.well-known/"]"#;
        let config = format!(r#"{{"allow": {{"paths": {paths}, "methods": ["M-SEARCH"]}}}}"#);
        assert!(AllowList::configure(&config).is_ok());
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_its_reason() {
        for (config, word) in [
            ("", "EOF"),
            (r#"{"alow": {}}"#, "alow"),
            (
                r#"{"allow": {"addresses": ["10.0.0.0/33"]}}"#,
                "10.0.0.0/33",
            ),
            (
                r#"{"deny": {"addresses": ["::ffff:10.0.0.0/95"]}}"#,
                "96 bits",
            ),
            (
                r#"{"deny": {"addresses": ["::ffff:10.0.0.0/129"]}}"#,
                "/129",
            ),
            (r#"{"status": 200}"#, "200"),
            // What can never match.
            (r#"{"deny": {"methods": ["get"]}}"#, "get"),
            (r#"{"deny": {"methods": [""]}}"#, "no method"),
            (r#"{"deny": {"paths": ["agents/echo"]}}"#, "agents/echo"),
            (r#"{"deny": {"paths": ["/echo/"]}}"#, "/echo/"),
            (r#"{"deny": {"paths": [""]}}"#, "no path"),
            (r#"{"deny": {"paths": ["/agents/%65cho"]}}"#, "not decoded"),
            (r#"{"deny": {"paths": ["/agents/a%3fb"]}}"#, "not decoded"),
            (r#"{"deny": {"paths": ["/agents/a%"]}}"#, "not decoded"),
            (
                r#"{"allow": {"paths": ["/agents/echo?a"]}}"#,
                "more than a path",
            ),
        ] {
            let error = AllowList::configure(config).err().unwrap();
            assert!(error.contains(word), "{config}: {error}");
        }
    }
}
