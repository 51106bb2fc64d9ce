//! Whether a text is a label selector as kubectl writes them. The text itself goes to the apiserver unchanged; this
//! only finds the mistake at start instead of in an endless row of refused watches.

use thiserror::Error;

/// What is wrong with a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// The text is blank.
    #[error("is empty; omit it to select everything")]
    Empty,
    /// Nothing stands between two commas.
    #[error("has an empty requirement between its commas")]
    EmptyRequirement,
    /// No valid key.
    #[error("`{0}` is not a label key")]
    Key(String),
    /// No valid value.
    #[error("`{0}` is not a label value")]
    Value(String),
    /// No known form of a requirement.
    #[error("`{0}` is not one of KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B)")]
    Requirement(String),
}

/// Checks `text` by the grammar of Kubernetes' labels.
pub fn check_label_selector(text: &str) -> Result<(), SelectorError> {
    if text.trim().is_empty() {
        return Err(SelectorError::Empty);
    }
    requirements(text)
        .into_iter()
        .try_for_each(|requirement| check_requirement(requirement.trim()))
}

/// Splits at the commas that stand outside of parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn check_requirement(requirement: &str) -> Result<(), SelectorError> {
    let malformed = || SelectorError::Requirement(requirement.to_owned());
    if requirement.is_empty() {
        return Err(SelectorError::EmptyRequirement);
    }
    if let Some(open) = requirement.find('(') {
        let values = requirement[open + 1..].strip_suffix(')').ok_or_else(malformed)?;
        let mut words = requirement[..open].split_whitespace();
        let (Some(key), Some("in" | "notin"), None) = (words.next(), words.next(), words.next()) else {
            return Err(malformed());
        };
        check_key(key)?;
        return values.split(',').try_for_each(|value| check_value(value.trim()));
    }
    if let Some((key, value)) = ["!=", "==", "="]
        .iter()
        .find_map(|operator| requirement.split_once(operator))
    {
        check_key(key.trim())?;
        return check_value(value.trim());
    }
    if requirement.contains(char::is_whitespace) && !requirement.starts_with('!') {
        return Err(malformed());
    }
    check_key(requirement.strip_prefix('!').unwrap_or(requirement).trim())
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if is_label_word(name) && prefix.is_none_or(crate::settings::dns_names::is_dns_subdomain) {
        Ok(())
    } else {
        Err(SelectorError::Key(key.to_owned()))
    }
}

fn check_value(value: &str) -> Result<(), SelectorError> {
    if value.is_empty() || is_label_word(value) {
        Ok(())
    } else {
        Err(SelectorError::Value(value.to_owned()))
    }
}

/// 1–63 of letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
fn is_label_word(word: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let at_end = |c: char| c.is_ascii_alphanumeric();
    word.len() <= 63 && word.chars().all(inner) && word.starts_with(at_end) && word.ends_with(at_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_of_kubectl_are_accepted() {
        for text in include_str!("../../tests/fixtures/label-selectors.txt").lines() {
            assert_eq!(check_label_selector(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn invalid_label_selectors_are_refused_with_the_cause() {
        use SelectorError as E;
        let cases = [
            ("", E::Empty),
            ("  ", E::Empty),
            ("a=1,,b=2", E::EmptyRequirement),
            ("a=1,", E::EmptyRequirement),
            ("-a=1", E::Key("-a".into())),
            ("=1", E::Key(String::new())),
            ("a/b/c=1", E::Key("a/b/c".into())),
            ("Ex_ample/x", E::Key("Ex_ample/x".into())),
            ("a=b c", E::Value("b c".into())),
            ("a=b=c", E::Value("b=c".into())),
            ("a in (b", E::Requirement("a in (b".into())),
            ("a within (b)", E::Requirement("a within (b)".into())),
            ("a b", E::Requirement("a b".into())),
            ("a in (b)c", E::Requirement("a in (b)c".into())),
        ];
        for (text, error) in cases {
            assert_eq!(check_label_selector(text), Err(error), "{text}");
        }
        assert_eq!(check_label_selector(&"a".repeat(64)), Err(E::Key("a".repeat(64))));
    }
}
