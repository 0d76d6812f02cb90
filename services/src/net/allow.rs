//! Hosts that an operator lets in although they are not public.

use serde::Deserialize;
use std::net::IpAddr;
use std::str::FromStr;
use thiserror::Error;

/// What an operator allows beyond the public internet. Empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<AllowRule>);

/// `HOST[:PORT]` or `ADDRESS[/PREFIX][:PORT]`; IPv6 with a port is in brackets. Without a port, all.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowRule {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// In lower case. Whatever it resolves to is allowed.
    Name(String),
    Network {
        address: IpAddr,
        prefix: u32,
    },
}

/// Not an [`AllowRule`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is neither HOST[:PORT] nor ADDRESS[/PREFIX][:PORT]; write for example localhost:9000, 10.0.0.0/8, [fd00::1]:443"
)]
pub struct BadAllowRule(String);

impl AllowList {
    /// Whether this name may lead anywhere.
    pub(super) fn has_name(&self, name: &str, port: u16) -> bool {
        self.0.iter().any(|rule| {
            rule.takes(port)
                && matches!(&rule.host, Host::Name(known) if known.eq_ignore_ascii_case(name))
        })
    }

    pub(super) fn has_address(&self, address: IpAddr, port: u16) -> bool {
        self.0.iter().any(|rule| {
            rule.takes(port)
                && match &rule.host {
                    Host::Name(_) => false,
                    Host::Network {
                        address: network,
                        prefix,
                    } => within(*network, *prefix, address),
                }
        })
    }
}

impl FromIterator<AllowRule> for AllowList {
    fn from_iter<I: IntoIterator<Item = AllowRule>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl AllowRule {
    fn takes(&self, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
    }
}

fn within(network: IpAddr, prefix: u32, address: IpAddr) -> bool {
    let same = |network: u128, address: u128, bits: u32| {
        prefix == 0 || (network ^ address) >> (bits - prefix) == 0
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            same(network.to_bits().into(), address.to_bits().into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            same(network.to_bits(), address.to_bits(), 128)
        }
        _ => false,
    }
}

impl TryFrom<String> for AllowRule {
    type Error = BadAllowRule;

    fn try_from(text: String) -> Result<Self, BadAllowRule> {
        text.parse()
    }
}

impl FromStr for AllowRule {
    type Err = BadAllowRule;

    fn from_str(text: &str) -> Result<Self, BadAllowRule> {
        parse(text).ok_or_else(|| BadAllowRule(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<AllowRule> {
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        host.contains(':').then_some(())?;
        match rest {
            "" => (host, None),
            _ => (host, Some(rest.strip_prefix(':')?)),
        }
    } else {
        match text.split_once(':') {
            // More than one colon: IPv6 without brackets, and so without a port.
            Some((_, rest)) if rest.contains(':') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        Some(digits) => Some(digits.parse::<u16>().ok().filter(|port| *port != 0)?),
        None => None,
    };
    let host = match host.split_once('/') {
        Some((address, prefix)) => network(address.parse().ok()?, prefix.parse().ok()?)?,
        None => match host.parse() {
            Ok(address) => network(address, if address.is_ipv4() { 32 } else { 128 })?,
            Err(_) => name(host)?,
        },
    };
    Some(AllowRule { host, port })
}

fn network(address: IpAddr, prefix: u32) -> Option<Host> {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= bits).then_some(Host::Network { address, prefix })
}

fn name(text: &str) -> Option<Host> {
    let fits = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    fits.then(|| Host::Name(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn list(rules: &[&str]) -> AllowList {
        rules.iter().map(|rule| rule.parse().unwrap()).collect()
    }

    #[test]
    fn rules_let_in_what_they_say() {
        let list = list(&[
            "LocalHost:9000",
            "hooks.internal",
            "10.1.0.0/16",
            "[fd00::1]:443",
            "fe80::/10",
            "192.168.1.1:80",
        ]);
        for (name, port, expected) in [
            ("localhost", 9000, true),
            ("localhost", 9001, false),
            ("hooks.internal", 1, true),
            ("x.hooks.internal", 1, false),
            ("10.1.0.0", 1, false),
        ] {
            assert_eq!(list.has_name(name, port), expected, "{name}:{port}");
        }
        for (address, port, expected) in [
            ("10.1.255.9", 7, true),
            ("10.2.0.1", 7, false),
            ("fd00::1", 443, true),
            ("fd00::1", 80, false),
            ("fd00::2", 443, false),
            ("febf::9", 1, true),
            ("192.168.1.1", 80, true),
            ("192.168.1.1", 81, false),
            ("127.0.0.1", 9000, false),
            ("::ffff:10.1.0.1", 7, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(
                list.has_address(address, port),
                expected,
                "{address}:{port}"
            );
        }
        assert!("0.0.0.0/0".parse::<AllowRule>().is_ok());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ":80",
            "host:",
            "host:0",
            "host:99999",
            "http://host",
            "a b",
            "10.0.0.0/33",
            "fd00::/129",
            "host/8",
            "[10.0.0.1]:80",
            "[fd00::1",
            "[fd00::1]x",
            "*.internal",
        ] {
            assert!(text.parse::<AllowRule>().is_err(), "{text}");
        }
    }
}
