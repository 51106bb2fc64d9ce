//! Reads error bodies in the six JSON shapes observed from the API, its gateway and IAM. Limits how much external text
//! a message quotes.

use serde_json::{Map, Value};

use crate::text::one_line;

/// Longest quote of a text from the cloud, in characters.
const LONGEST_TEXT: usize = 300;

/// Longest quote of a body that is not the API's, in characters.
const LONGEST_EXCERPT: usize = 80;

/// Deepest nesting that is searched; the known shapes nest once.
const DEEPEST: usize = 3;

/// Code and text as the body has them: foreign, and not yet [`bounded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub code: String,
    pub text: String,
    pub request_id: Option<String>,
}

/// Reads a body of any known shape; `None` for another.
pub(crate) fn parse(body: &[u8]) -> Option<ErrorBody> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return None;
    };
    let (code, text) = code_and_text(&object, 0)?;
    let request_id = object.get("request_id").and_then(Value::as_str);
    Some(ErrorBody {
        code,
        text,
        request_id: request_id.map(str::to_owned),
    })
}

fn code_and_text(object: &Map<String, Value>, depth: usize) -> Option<(String, String)> {
    // The order is that of the official SDK.
    let pairs = [
        ("error_code", "error_msg"),
        ("errorCode", "errorMsg"),
        ("code", "message"),
    ];
    let found = pairs.iter().find_map(|(code, text)| {
        let code = match object.get(*code)? {
            Value::String(code) if !code.is_empty() => code.clone(),
            Value::Number(code) => code.to_string(),
            _ => return None,
        };
        Some((code, object.get(*text)?.as_str()?.to_owned()))
    });
    let nested = || {
        object
            .values()
            .filter_map(Value::as_object)
            .find_map(|inner| code_and_text(inner, depth + 1))
    };
    found.or_else(|| (depth < DEEPEST).then(nested).flatten())
}

/// One line without control characters, cut to what fits in a message.
pub(crate) fn bounded(text: &str) -> String {
    one_line(text, LONGEST_TEXT)
}

/// Returns the beginning of an unexpected body, or the title of a web page.
pub(crate) fn excerpt(body: &[u8]) -> String {
    // Only the beginning is shown, so only the beginning is read.
    let beginning = String::from_utf8_lossy(&body[..body.len().min(4 * LONGEST_TEXT)]);
    match title(&beginning) {
        Some(title) => format!("a web page, \"{}\"", one_line(title, LONGEST_EXCERPT)),
        None => one_line(&beginning, LONGEST_EXCERPT),
    }
}

/// The title of an HTML page.
fn title(text: &str) -> Option<&str> {
    // Lowercasing ASCII keeps the length, so offsets are the same in both texts.
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(text[start..end].trim()).filter(|title| !title.is_empty() && lower.trim_start().starts_with('<'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Option<(String, String, Option<String>)> {
        parse(body.as_bytes()).map(|body| (body.code, body.text, body.request_id))
    }

    #[test]
    fn every_documented_error_body_is_parsed() {
        for (body, code, text, id) in [
            (
                r#"{"error_code":"VPN.0001","error_msg":"no","request_id":"r"}"#,
                "VPN.0001",
                "no",
                Some("r"),
            ),
            (r#"{"code":"VPN.0001","message":"no"}"#, "VPN.0001", "no", None),
            (
                r#"{"error_code":"APIG.0301","error_msg":"no","request_id":"r"}"#,
                "APIG.0301",
                "no",
                Some("r"),
            ),
            (
                r#"{"error":{"code":401,"message":"no","title":"Unauthorized"}}"#,
                "401",
                "no",
                None,
            ),
            (r#"{"error_msg":"no","error_code":"IAM.0001"}"#, "IAM.0001", "no", None),
            (
                r#"{"errorCode":"X.1","errorMsg":"no","encoded_authorization_message":"zz"}"#,
                "X.1",
                "no",
                None,
            ),
            (
                r#"{"error":{"error_code":"VPN.0002","error_msg":"no"},"request_id":"r"}"#,
                "VPN.0002",
                "no",
                Some("r"),
            ),
        ] {
            assert_eq!(
                read(body),
                Some((code.into(), text.into(), id.map(Into::into))),
                "{body}"
            );
        }
    }

    #[test]
    fn other_bodies_are_not_error_bodies() {
        for body in [
            "",
            "<html><body>502</body></html>",
            "[]",
            "{}",
            r#"{"message":"no code"}"#,
            r#"{"code":"","message":"empty"}"#,
            r#"{"error_code":"VPN.0001"}"#,
            r#"{"a":{"b":{"c":{"d":{"code":"X","message":"too deep"}}}}}"#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn foreign_text_is_reduced_to_one_bounded_line() {
        assert_eq!(bounded(" a\r\nb\t\u{1b}[31mc\u{202e}d  "), "a b [31mc d");
        let long = bounded(&"é".repeat(1000));
        assert_eq!(long.chars().count(), LONGEST_TEXT + 1);
        assert!(long.ends_with('…'));
        let html = excerpt(format!("<!DOCTYPE html>\n<p>Welcome</p>{}", "x".repeat(5000)).as_bytes());
        assert!(html.starts_with("<!DOCTYPE html> <p>Welcome</p>x"), "{html}");
        assert_eq!(html.chars().count(), LONGEST_EXCERPT + 1);
        let page = "<html>\r\n<head><Title> 502\nBad Gateway</TITLE></head>";
        assert_eq!(excerpt(page.as_bytes()), "a web page, \"502 Bad Gateway\"");
        assert_eq!(excerpt(b"no <title>page</title>"), "no <title>page</title>");
        assert_eq!(excerpt(&[0xff, 0xfe, b'a']), "��a");
    }

    proptest! {
        #[test]
        fn error_text_is_printable_and_bounded_for_any_body(body in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&body);
            let text = bounded(&String::from_utf8_lossy(&body));
            prop_assert!(text.chars().count() <= LONGEST_TEXT + 1);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
