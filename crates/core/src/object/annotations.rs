//! The operator's annotations on an object: what they request, and what is wrong with them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use vpn_cloud::limits::clock::{CLOCK_MARGIN, later};
use vpn_cloud::text::one_line;

use crate::api::{PAUSED_ANNOTATION, RECONCILE_REQUESTED_ANNOTATION, RECREATE_APPROVED_ANNOTATION};

/// Longest quote of a key or a value.
const LONGEST_QUOTE: usize = 64;

/// Maximum number of listed problems.
const MOST_PROBLEMS: usize = 5;

/// Whether the annotation pauses reconciliation. An unreadable value pauses, too: its author meant to stop something.
pub(crate) fn pauses(value: Option<&str>) -> bool {
    value.is_some_and(|value| truth(value) != Some(false))
}

/// Reads what YAML users write for true and false.
fn truth(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Returns the problems of these annotations, which all have our prefix. `shown` is the message about them in status.
pub(crate) fn problems(annotations: &BTreeMap<String, String>, shown: Option<&str>, now: Timestamp) -> Option<String> {
    let mut problems: Vec<String> = annotations
        .iter()
        .filter_map(|(key, value)| problem(key, value, shown, now))
        .collect();
    if problems.len() > MOST_PROBLEMS {
        let more = problems.len() - MOST_PROBLEMS;
        problems.truncate(MOST_PROBLEMS);
        problems.push(format!("{more} more are unknown or invalid"));
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// Returns the time of a valid approval to recreate.
pub(crate) fn approved_at(value: &str, shown: Option<&str>, now: Timestamp) -> Option<Timestamp> {
    let approved = value.parse::<Timestamp>().ok()?;
    not_yet(value, approved, shown, now).is_none().then_some(approved)
}

/// An approval covers what was suspected before it was given. One dated in the future would cover what nobody has seen
/// yet. It does not become valid by waiting, so a refusal in status stays.
fn not_yet(value: &str, approved: Timestamp, shown: Option<&str>, now: Timestamp) -> Option<String> {
    let problem = format!(
        "the annotation {RECREATE_APPROVED_ANNOTATION} is \"{}\", which is in the future, so nothing is approved: set \
         it to the present time",
        one_line(value, LONGEST_QUOTE)
    );
    let was_refused = shown.is_some_and(|shown| shown.contains(&problem));
    (approved > later(now, CLOCK_MARGIN) || was_refused).then_some(problem)
}

fn problem(key: &str, value: &str, shown: Option<&str>, now: Timestamp) -> Option<String> {
    let quoted = |text: &str| format!("\"{}\"", one_line(text, LONGEST_QUOTE));
    match key {
        PAUSED_ANNOTATION => truth(value).is_none().then(|| {
            format!(
                "the annotation {key} is {}, neither true nor false, so reconciliation is paused: set it to \"true\", \
                 or remove it",
                quoted(value)
            )
        }),
        RECREATE_APPROVED_ANNOTATION => match value.parse::<Timestamp>() {
            Ok(approved) => not_yet(value, approved, shown, now),
            Err(_) => Some(format!(
                "the annotation {key} is {}, not a time such as 2026-01-31T12:00:00Z, so nothing is approved: set it \
                 to the present time",
                quoted(value)
            )),
        },
        // Any change of its value is a request.
        RECONCILE_REQUESTED_ANNOTATION => None,
        _ => Some(format!(
            "the annotation {} is unknown: remove it, or correct its name",
            quoted(key)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<const N: usize>(annotations: [(&str, &str); N]) -> Option<String> {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        problems(&annotations.map(own).into(), None, now())
    }

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn yaml_true_values_and_unreadable_values_pause() {
        for value in ["true", "True", "TRUE", "yes", "Yes", "on", "1", " true "] {
            assert!(pauses(Some(value)), "{value}");
            assert_eq!(of([(PAUSED_ANNOTATION, value)]), None, "{value}");
        }
        for value in ["false", "False", "no", "off", "0"] {
            assert!(!pauses(Some(value)), "{value}");
            assert_eq!(of([(PAUSED_ANNOTATION, value)]), None, "{value}");
        }
        assert!(!pauses(None));
        for value in ["maybe", "", "tru", "2"] {
            assert!(pauses(Some(value)), "{value}");
            let problem = of([(PAUSED_ANNOTATION, value)]).unwrap();
            assert!(problem.contains("is paused") && problem.contains(value), "{problem}");
        }
    }

    #[test]
    fn an_approval_dated_in_the_future_never_applies() {
        let approval = |value: &str| BTreeMap::from([(RECREATE_APPROVED_ANNOTATION.to_owned(), value.to_owned())]);
        for value in [
            "2026-06-01T11:00:00Z",
            "2026-06-01T12:00:05Z",
            "2026-06-01T14:00:05+02:00",
        ] {
            assert_eq!(problems(&approval(value), None, now()), None, "{value}");
            assert_eq!(approved_at(value, None, now()), value.parse().ok(), "{value}");
        }
        for value in ["2026-06-01T12:00:06Z", "2030-01-01T00:00:00Z"] {
            let problem = problems(&approval(value), None, now()).unwrap();
            assert!(
                problem.contains("in the future") && problem.contains(value),
                "{problem}"
            );
            assert_eq!(approved_at(value, None, now()), None);
            // Its time is reached, but it was given before anyone could know what it covers.
            let shown = format!("something else; {problem}");
            let later = "2031-01-01T00:00:00Z".parse().unwrap();
            assert_eq!(approved_at(value, Some(&shown), later), None);
            assert_eq!(problems(&approval(value), Some(&shown), later), Some(problem));
            let corrected = "2026-06-01T12:00:00Z";
            assert!(approved_at(corrected, Some(&shown), now()).is_some());
        }
    }

    #[test]
    fn unknown_annotations_and_invalid_values_are_named() {
        assert_eq!(of([]), None);
        assert_eq!(of([(RECREATE_APPROVED_ANNOTATION, "2026-01-31T12:00:00Z")]), None);
        assert_eq!(of([(RECONCILE_REQUESTED_ANNOTATION, "now, please")]), None);
        let problem = of([(RECREATE_APPROVED_ANNOTATION, "yes")]).unwrap();
        assert!(problem.contains("nothing is approved"), "{problem}");
        let problem = of([("vpn.huaweicloud.com/pause", "true"), (PAUSED_ANNOTATION, "maybe")]).unwrap();
        assert!(
            problem.contains("/pause\" is unknown") && problem.contains("; "),
            "{problem}"
        );
        // Whatever they hold, the message stays one short line.
        let hostile: BTreeMap<String, String> = (0..100)
            .map(|number| (format!("vpn.huaweicloud.com/{number}"), "x".repeat(10_000)))
            .chain([(PAUSED_ANNOTATION.to_owned(), "a\nb\u{202e}".repeat(10_000))])
            .collect();
        let problem = problems(&hostile, None, now()).unwrap();
        assert!(problem.len() < 1000 && problem.contains("96 more"), "{problem}");
        assert!(!problem.contains(['\n', '\u{202e}']), "{problem}");
    }
}
