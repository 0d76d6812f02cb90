//! Which addresses are the public internet. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not a public one, in a word or two; `None` if it is.
///
/// The ranges are those of the IANA special-purpose address registries (RFC 6890 and its successors).
/// IPv6 forms that carry an IPv4 address are judged by it as well, because a gateway on the way may
/// forward to it.
pub fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Option<&'static str> {
    let why = match address.octets() {
        [0, ..] => "unspecified",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared (carrier-grade NAT)",
        [127, ..] => "loopback",
        // The metadata services of most clouds are here.
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] => "reserved for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [192, 31, 196, _] | [192, 52, 193, _] | [192, 88, 99, _] | [192, 175, 48, _] => {
            "reserved for protocols"
        }
        [198, 18..=19, ..] => "reserved for benchmarks",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    };
    Some(why)
}

fn v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(inner) = embedded(address) {
        return v4(inner).or(match address.segments() {
            // To reach an IPv4 host there is its IPv4 address; these forms are no use but to hide it.
            [0x64, 0xff9b, 0, ..] => None,
            _ => Some("an IPv4 address in an IPv6 form"),
        });
    }
    let why = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0x100, 0, 0, 0 | 1, ..] => "discarded",
        // NAT64 with a prefix for local use (RFC 8215): what it leads to is not ours to know.
        [0x64, 0xff9b, 1, ..] => "local-use NAT64",
        [0x2001, 0..=0x1ff, ..] => "reserved for protocols",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "documentation",
        [0x5f00, ..] => "segment routing",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "private (site-local)",
        [0xff00..=0xffff, ..] => "multicast",
        // Everything else that is global unicast today (RFC 4291 §2.4, IANA).
        [0x2000..=0x3fff, ..] => return None,
        _ => "reserved",
    };
    Some(why)
}

/// The IPv4 address that an IPv6 address carries: mapped, compatible, translated, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let tail =
        |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => tail(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn is_public(text: &str) -> bool {
        not_public(text.parse().unwrap()).is_none()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn special_addresses_are_refused_in_every_form() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:808:808::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "e000::1",
        ] {
            assert!(!is_public(text), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_public(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_form_hides_an_address(bits in any::<u32>(), rest in any::<u64>()) {
            let inner = Ipv4Addr::from_bits(bits);
            let [a, b] = [(bits >> 16) as u16, bits as u16];
            let [p, q, r, s] = [(rest >> 48) as u16, (rest >> 32) as u16, (rest >> 16) as u16, rest as u16];
            let forms = [
                [0, 0, 0, 0, 0, 0, a, b],
                [0, 0, 0, 0, 0, 0xffff, a, b],
                [0, 0, 0, 0, 0xffff, 0, a, b],
                [0x64, 0xff9b, 0, 0, 0, 0, a, b],
                [0x2002, a, b, p, q, r, s, 0],
            ];
            for form in forms {
                let outer = IpAddr::V6(Ipv6Addr::from(form));
                if not_public(IpAddr::V4(inner)).is_some() {
                    prop_assert!(not_public(outer).is_some(), "{outer}");
                }
            }
            prop_assert!(not_public(IpAddr::V6(inner.to_ipv6_mapped())).is_some());
        }

        /// The standard library's own words for a few of the classes.
        #[test]
        fn what_the_standard_library_calls_special_is_refused(bits in any::<u128>(), short in any::<u32>()) {
            let six = Ipv6Addr::from_bits(bits);
            if six.is_loopback() || six.is_multicast() || six.is_unspecified()
                || six.is_unique_local() || six.is_unicast_link_local() {
                prop_assert!(not_public(six.into()).is_some());
            }
            let four = Ipv4Addr::from_bits(short);
            if four.is_private() || four.is_loopback() || four.is_link_local() || four.is_multicast()
                || four.is_broadcast() || four.is_documentation() || four.is_unspecified() {
                prop_assert!(not_public(four.into()).is_some());
            }
        }
    }
}
