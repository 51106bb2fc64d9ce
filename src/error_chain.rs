//! Formats errors as one line, with the causes that libraries hide behind `source()`.

use std::error::Error;

/// Formats an error as one line, with each cause once.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Many errors quote their cause already.
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("outer\n  text")]
    struct Outer(#[source] Inner);

    #[derive(Debug, Error)]
    #[error("inner")]
    struct Inner;

    #[derive(Debug, Error)]
    #[error("quotes its {0}")]
    struct Quoting(#[source] Inner);

    #[test]
    fn an_error_is_one_line_without_repeated_causes() {
        assert_eq!(one_line(&Outer(Inner)), "outer text: inner");
        assert_eq!(one_line(&Quoting(Inner)), "quotes its inner");
    }
}
