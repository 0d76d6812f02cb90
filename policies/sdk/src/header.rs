//! What may be a header. An edit that is none makes the whole answer a failure of the filter.

/// Whether it can be the name of a header (RFC 9110 §5.6.2).
///
/// ```
/// use dormouse_filter_sdk::is_header_name;
///
/// assert!(is_header_name("X-Agent"));
/// assert!(!is_header_name("x agent") && !is_header_name(""));
/// ```
pub fn is_header_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// Whether it can be the value of a header (RFC 9110 §5.5): it has no control characters but tabs.
///
/// ```
/// use dormouse_filter_sdk::is_header_value;
///
/// assert!(is_header_value("") && is_header_value("a b"));
/// assert!(!is_header_value("a\r\nb: c") && !is_header_value("\u{7f}"));
/// ```
pub fn is_header_value(value: &str) -> bool {
    let fits = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    value.bytes().all(fits)
}
