//! Names as DNS and Kubernetes have them.

/// One label.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_dns_subdomain(text)
}

/// Labels of a-z, 0-9 and `-`, with dots between them, a letter or digit at both ends of each.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let at_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|label| {
            label.starts_with(at_end) && label.ends_with(at_end) && label.chars().all(|c| at_end(c) || c == '-')
        })
}
