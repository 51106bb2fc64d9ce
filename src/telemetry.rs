//! The log: where it goes, how it looks, and what never gets into it.
//!
//! It goes to stderr, as kubectl's and the control plane's own does: stdout is for what was asked for (`crd`), and a
//! container's log holds both.

use std::io::IsTerminal as _;

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

use crate::settings::{LogFormat, LogSettings};

/// The log cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    #[error("--log-level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log was set up twice")]
    Twice,
}

/// Sets the process's log up; once.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = log_layer(settings, colours, std::io::stderr)?;
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|_| TelemetryError::Twice)
}

fn log_layer<S, W>(
    settings: &LogSettings,
    colours: bool,
    writer: W,
) -> Result<impl Layer<S> + use<S, W>, TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    let layer = match settings.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let asked = EnvFilter::builder().parse(&settings.filter)?;
    // The span that kube opens round each reconcile repeats, in every line, what our own lines say in better words.
    let few_words = asked.max_level_hint().is_some_and(|most| most <= LevelFilter::INFO);
    let cap = match few_words {
        true => cap().with_target("kube_runtime::controller", LevelFilter::WARN),
        false => cap(),
    };
    Ok(layer.with_filter(asked).with_filter(cap))
}

/// The most that each library may log, whatever the user's filter says.
///
/// A list of what is known to be harmless, not of what is known to leak: HTTP and TLS libraries show headers, bodies
/// or handshakes at debug and trace, and change with every version.
fn cap() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_targets([
        ("vpn_operator", LevelFilter::TRACE),
        // Methods, URLs and statuses.
        ("kube_client::client::builder", LevelFilter::DEBUG),
        ("kube_runtime", LevelFilter::TRACE),
        // The whole body of an answer that it cannot read stands in its warnings: a Secret's, for one.
        ("kube_client::client", LevelFilter::ERROR),
        ("kube_client::client::tls", LevelFilter::INFO),
    ])
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

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

    /// Each library at its most talkative, as it would be with a secret in what it logs.
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
    fn no_filter_makes_http_and_tls_libraries_talk_about_what_they_carry() {
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
    fn the_answers_that_kube_cannot_read_are_never_logged() {
        let log = logged("trace", LogFormat::Text, || {
            all_levels!("kube_client::client");
        });
        assert!(
            !log.contains("secret") && !log.contains("warn-line") && log.contains("error-line"),
            "{log}"
        );
    }

    #[test]
    fn what_is_harmless_can_be_asked_for() {
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
    fn the_users_filter_holds_below_the_cap() {
        let log = logged("warn,vpn_operator::leader=debug", LogFormat::Text, || {
            debug!(target: "vpn_operator::leader", "asked-for");
            info!(target: "vpn_operator::web", "not-asked-for");
            info!(target: "hyper", "not-asked-for");
        });
        assert!(log.contains("asked-for") && !log.contains("not-asked-for"), "{log}");
    }

    #[test]
    fn kubes_own_spans_show_only_to_who_asks_for_more() {
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
    fn json_is_one_object_per_line() {
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
}
