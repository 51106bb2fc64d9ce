//! Removes the password of a request from the texts of its response: a server may repeat what it received.

use std::fmt::Write;

use crate::values::password::Password;

const SHOWN_INSTEAD: &str = "[redacted]";

/// Removes a password from text of a server, in every spelling in which the server may repeat it.
pub(crate) struct Redaction {
    /// The longest first, since one may be a part of another.
    spellings: Vec<String>,
}

impl Redaction {
    /// Without a password it changes nothing.
    pub(crate) fn of(password: Option<&Password>) -> Self {
        let value = password.map_or("", Password::expose);
        let json = serde_json::Value::from(value).to_string();
        let json = json[1..json.len() - 1].to_owned();
        let mut spellings = vec![
            html(value, "&#39;"),
            html(value, "&#x27;"),
            html(value, "&apos;"),
            html(&json, "&#39;"),
            percent(value, "%20"),
            percent(value, "+"),
            collapsed(value),
            collapsed(&json),
            json,
            value.to_owned(),
        ];
        spellings.retain(|spelling| !spelling.is_empty());
        spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        spellings.dedup();
        Self { spellings }
    }

    /// Whether there is a password to hide. If so, a response in none of the API's formats is not quoted at all: its
    /// spelling of the password is unknown.
    pub(crate) fn is_needed(&self) -> bool {
        !self.spellings.is_empty()
    }

    /// Replaces the password in the text, regardless of case.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for spelling in &self.spellings {
            hidden = replace_ignoring_case(&hidden, spelling);
        }
        hidden
    }
}

fn replace_ignoring_case(text: &str, spelling: &str) -> String {
    // ASCII lowercase keeps the length: positions in one text are positions in the other.
    let (lower, wanted) = (text.to_ascii_lowercase(), spelling.to_ascii_lowercase());
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for (at, found) in lower.match_indices(&wanted) {
        result.push_str(&text[done..at]);
        result.push_str(SHOWN_INSTEAD);
        done = at + found.len();
    }
    result.push_str(&text[done..]);
    result
}

/// The spelling in a line whose white space was collapsed.
fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn html(text: &str, apostrophe: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', apostrophe)
}

fn percent(text: &str, space: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b' ' => escaped.push_str(space),
            b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            // Writing to a String cannot fail.
            byte => drop(write!(escaped, "%{byte:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hide(password: &str, text: &str) -> String {
        Redaction::of(Some(&Password::new(password))).hide(text)
    }

    #[test]
    fn every_encoding_of_the_password_is_redacted() {
        let password = "aB<\"' &\\  c1";
        for spelling in [
            "aB<\"' &\\  c1",
            "AB<\"' &\\  C1",
            "aB<\"' &\\ c1",
            r#"aB<\"' &\\  c1"#,
            "aB&lt;&quot;&#39; &amp;\\  c1",
            "aB&lt;&quot;&apos; &amp;\\  c1",
            "aB%3C%22%27%20%26%5C%20%20c1",
            "ab%3c%22%27+%26%5c++c1",
        ] {
            let text = format!("<{spelling}> and {spelling}");
            assert_eq!(hide(password, &text), "<[redacted]> and [redacted]", "{spelling}");
        }
    }

    #[test]
    fn without_a_password_nothing_is_redacted() {
        let redaction = Redaction::of(None);
        assert!(!redaction.is_needed());
        assert_eq!(redaction.hide("Weak password: ä"), "Weak password: ä");
        assert!(Redaction::of(Some(&Password::new("a"))).is_needed());
    }

    proptest! {
        #[test]
        fn redacted_text_never_contains_the_password(
            // The first three characters do not occur in `[redacted]`.
            password in "[0-9#&<\"\\\\ %]{3}[ -~]{5,29}",
            before in ".{0,20}",
            after in ".{0,20}",
        ) {
            let body = serde_json::json!({"password": password}).to_string();
            for text in [format!("{before}{password}{after}"), format!("{before}{body}{after}")] {
                prop_assert!(!hide(&password, &text).contains(&password));
            }
        }
    }
}
