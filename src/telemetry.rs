//! The log: its destination, its format, and what it must never contain.
//!
//! It is written to stderr, like the logs of kubectl and the control plane. stdout is for the output of commands
//! (`crd`). A container's log has both.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};
use vpn_cloud::text::is_unseen;

use crate::settings::{LogFormat, LogSettings};

/// The log cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    #[error("--log-level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log was set up twice")]
    Twice,
}

/// Sets up the process's log; call it once.
pub(crate) fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = log_layer(settings, colors, std::io::stderr)?;
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|_| TelemetryError::Twice)
}

fn log_layer<S, W>(settings: &LogSettings, colors: bool, writer: W) -> Result<impl Layer<S> + use<S, W>, TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let writer = OneLineEach {
        inner: writer,
        format: settings.format,
        colors,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colors);
    let layer = match settings.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let asked = EnvFilter::builder().parse(&settings.filter)?;
    // kube's span around each reconcile repeats in every line what our own lines say more clearly.
    let few_words = asked.max_level_hint().is_some_and(|most| most <= LevelFilter::INFO);
    let cap = match few_words {
        true => cap()
            .with_target("kube_runtime::controller", LevelFilter::WARN)
            // At each retry, its long warnings repeat failures that we log once.
            .with_target("kube_runtime::watcher", LevelFilter::ERROR),
        false => cap(),
    };
    Ok(layer.with_filter(asked).with_filter(cap))
}

/// Makes writers that write each event as one line, whatever it quotes. A line break in a name or an error must not
/// forge a line of the log.
struct OneLineEach<W> {
    inner: W,
    format: LogFormat,
    colors: bool,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLineEach<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLine {
            inner: self.inner.make_writer(),
            format: self.format,
            colors: self.colors,
        }
    }
}

/// See [`OneLineEach`]. The formatter writes each event as one buffer.
struct OneLine<W> {
    inner: W,
    format: LogFormat,
    colors: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buffer);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = String::with_capacity(text.len());
        for (at, character) in line.char_indices() {
            match self.format {
                _ if !is_unseen(character) || self.colors && begins_color(&line[at..]) => escaped.push(character),
                LogFormat::Text => escaped.extend(character.escape_default()),
                // Outside of strings the formatter writes no such character.
                LogFormat::Json => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        // Writing to a text does not fail.
                        let _ = write!(escaped, "\\u{unit:04x}");
                    }
                }
            }
        }
        escaped.push('\n');
        self.inner.write_all(escaped.as_bytes())?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether `text` begins with the escape sequence of a color, the only one that the formatter writes.
fn begins_color(text: &str) -> bool {
    let parameters = text
        .strip_prefix("\u{1b}[")
        .map(|rest| rest.trim_start_matches(|it: char| it.is_ascii_digit() || it == ';'));
    parameters.is_some_and(|rest| rest.starts_with('m'))
}

/// The most verbose level of each library, whatever the user's filter allows.
///
/// An allow list of harmless levels, not a deny list of known leaks. HTTP and TLS libraries show headers, bodies or
/// handshakes at debug and trace, and change with every version.
fn cap() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_targets([
        ("vpn_operator", LevelFilter::TRACE),
        // Methods, URLs and statuses.
        ("kube_client::client::builder", LevelFilter::DEBUG),
        ("kube_runtime", LevelFilter::TRACE),
        // Its warnings contain the whole body of a response that it cannot parse, such as a Secret.
        ("kube_client::client", LevelFilter::ERROR),
        ("kube_client::client::tls", LevelFilter::INFO),
    ])
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, error, info, trace, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Captured {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(filter: &str, format: LogFormat, act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let settings = LogSettings {
            format,
            filter: filter.to_owned(),
        };
        let layer = log_layer(&settings, false, captured.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    /// Logs at every level, like a library that logs secrets at debug and trace.
    macro_rules! all_levels {
        ($target:literal) => {
            trace!(target: $target, "trace-secret");
            debug!(target: $target, "debug-secret");
            info!(target: $target, "info-line");
            warn!(target: $target, "warn-line");
            error!(target: $target, "error-line");
        };
    }

    #[test]
    fn no_filter_enables_content_logs_of_http_and_tls_libraries() {
        for filter in [
            "trace",
            "hyper=trace,h2=trace,reqwest=trace,rustls=trace,tower_http=trace,unheard_of=trace",
        ] {
            let log = logged(filter, LogFormat::Text, || {
                all_levels!("hyper::proto::h1::conn");
                all_levels!("hyper_util::client::legacy::connect::http");
                all_levels!("h2::codec::framed_write");
                all_levels!("reqwest::connect");
                all_levels!("rustls::client::hs");
                all_levels!("tower_http::trace::on_request");
                all_levels!("unheard_of");
            });
            assert!(!log.contains("secret"), "{filter}: {log}");
            assert!(log.contains("info-line"), "{filter}: {log}");
        }
    }

    #[test]
    fn response_bodies_are_not_logged_by_kube() {
        let log = logged("trace", LogFormat::Text, || {
            all_levels!("kube_client::client");
        });
        assert!(
            !log.contains("secret") && !log.contains("warn-line") && log.contains("error-line"),
            "{log}"
        );
    }

    #[test]
    fn harmless_targets_can_be_enabled() {
        let log = logged("trace", LogFormat::Text, || {
            debug!(target: "kube_client::client::builder", "requesting");
            trace!(target: "kube_runtime::watcher", "watching");
            warn!(target: "kube_client::client::tls", "bypassed");
            trace!(target: "vpn_operator::reconcile", "ours");
        });
        for line in ["requesting", "watching", "bypassed", "ours"] {
            assert!(log.contains(line), "{line}: {log}");
        }
    }

    #[test]
    fn the_configured_filter_applies_within_the_cap() {
        let log = logged("warn,vpn_operator::leader=debug", LogFormat::Text, || {
            debug!(target: "vpn_operator::leader", "asked-for");
            info!(target: "vpn_operator::web", "not-asked-for");
            info!(target: "hyper", "not-asked-for");
        });
        assert!(log.contains("asked-for") && !log.contains("not-asked-for"), "{log}");
    }

    #[test]
    fn spans_of_kube_appear_only_at_debug_level() {
        let log = |filter| {
            logged(filter, LogFormat::Text, || {
                let span = tracing::info_span!(target: "kube_runtime::controller", "reconciling object");
                span.in_scope(|| info!(target: "vpn_operator", "ours"));
            })
        };
        assert!(!log("info").contains("reconciling object") && log("info").contains("ours"));
        assert!(log("debug").contains("reconciling object"));
    }

    #[test]
    fn watcher_warnings_appear_only_at_debug_level() {
        let log = |filter| {
            logged(filter, LogFormat::Text, || {
                warn!(target: "kube_runtime::watcher", "at each retry");
                warn!(target: "vpn_operator", "ours");
            })
        };
        assert!(!log("info").contains("at each retry") && log("info").contains("ours"));
        assert!(log("debug").contains("at each retry"));
    }

    #[test]
    fn json_logs_have_one_object_per_line() {
        let log = logged("info", LogFormat::Json, || {
            info!(target: "vpn_operator", object = "a/b", "first");
            info!(target: "vpn_operator", "second\nline");
        });
        let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "first");
        assert_eq!(lines[0]["object"], "a/b");
        assert_eq!(lines[1]["message"], "second\nline");
    }

    /// Characters that break a line, control a terminal, or reverse the text.
    const EVIL: &str = "a\nERROR forged line\r\u{1b}[2J\u{9b}31m\u{202e}b\u{e0041}c\td";

    #[test]
    fn event_text_is_a_single_printable_line() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged("info", format, || {
                let span = tracing::info_span!(target: "vpn_operator", "span", quoted = %EVIL);
                span.in_scope(|| {
                    info!(target: "vpn_operator", text = EVIL, display = %EVIL, debug = ?EVIL, "{EVIL}");
                    info!(target: "vpn_operator", "second");
                });
            });
            assert_eq!(log.lines().count(), 2, "{log}");
            assert_eq!(log.matches('\n').count(), 2, "{log}");
            let steers = |character: char| is_unseen(character) && character != '\n';
            assert!(!log.contains(steers), "{log:?}");
            assert!(log.contains("forged line"), "it is logged, in one line: {log}");
            if format == LogFormat::Json {
                let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
                assert_eq!(first["text"], EVIL, "and reads back as it was");
            }
        }
    }

    #[test]
    fn with_colors_quoted_control_sequences_are_removed() {
        let captured = Captured::default();
        let settings = LogSettings {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        };
        let layer = log_layer(&settings, true, captured.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            info!(target: "vpn_operator", text = EVIL, display = %EVIL, "{EVIL}");
        });
        let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches('\n').count(), 1, "{log}");
        assert!(log.contains('\u{1b}'), "the formatter's own colors: {log:?}");
        assert!(!log.contains("\u{1b}[2J"), "{log:?}");
    }
}
