//! An error of the HTTP library, safe to print.

use std::{error::Error, fmt};

use crate::error::error_body::bounded;

/// How HTTP/2 appends the bytes that a server sent with the end of a connection.
const SERVER_DATA: &str = " (b\"";

/// An error of the HTTP library. `Display` and `Debug` show its causes in one bounded line, without the URL, which is long
/// and known. It has no source: the library's errors would repeat these causes, with the data of the server.
pub struct HttpError {
    causes: Box<str>,
    error: reqwest::Error,
}

impl HttpError {
    /// The error itself, to find out what it is. Its text may quote what the server sent.
    pub fn get_ref(&self) -> &reqwest::Error {
        &self.error
    }

    /// Omits the data of the server, which may repeat a secret of the request.
    pub(crate) fn without_server_data(mut self) -> Self {
        if let Some((causes, _)) = self.causes.split_once(SERVER_DATA) {
            self.causes = causes.into();
        }
        self
    }
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        Self {
            causes: with_causes(&error).into(),
            error,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.causes)
    }
}

impl fmt::Debug for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("HttpError").field(&self.causes).finish()
    }
}

impl Error for HttpError {}

/// Returns the causes, down to the innermost.
fn with_causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // The number repeats the words before it.
        let words = cause_text.split(" (os error ").next().unwrap_or_default();
        causes.push(words.to_owned());
        next = cause.source();
    }
    causes.dedup();
    // Step names of the HTTP library do not help; keep one only if there is no other cause.
    let innermost = causes.len().saturating_sub(1);
    let step = |cause: &str| cause.starts_with("client error (") || cause == "tcp connect error";
    let reported = causes.iter().enumerate();
    let reported = reported.filter(|(at, cause)| *at == innermost || !step(cause));
    let reported: Vec<&str> = reported.map(|(_, cause)| cause.as_str()).collect();
    bounded(&reported.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(causes: &str) -> HttpError {
        let error = reqwest::Proxy::all("").expect_err("no URL");
        HttpError {
            causes: causes.into(),
            error,
        }
    }

    #[test]
    fn the_data_of_the_server_is_omitted() {
        let data = "connection error received: not a result of an error (b\"{\\\"password\\\": \\\"hunter2\\\"}\")";
        for (causes, shown) in [
            (data, "connection error received: not a result of an error"),
            ("Connection reset by peer", "Connection reset by peer"),
        ] {
            let error = with(causes).without_server_data();
            assert_eq!(error.to_string(), shown);
            assert_eq!(format!("{error:?}"), format!("HttpError({shown:?})"));
            assert!(error.source().is_none() && error.get_ref().is_builder());
        }
    }
}
