//! The cloud's times: RFC 3339 with any number of digits and any offset in bodies, the HTTP form in headers.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit, fmt::rfc2822};

/// Longer waits are cut to this: they are taken for a mistake of the sender.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A time from the cloud that cannot be read. The error of the parser is no source: it repeats the text in full length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time in RFC 3339")]
pub struct UnreadableTime(String);

/// Reads a time from an answer, cut to whole seconds: the fraction differs from answer to answer.
pub fn parse(text: &str) -> Result<Timestamp, UnreadableTime> {
    let cut = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
    let instant = text.trim().parse::<Timestamp>().and_then(|instant| instant.round(cut));
    instant.map_err(|_| UnreadableTime(text.chars().take(40).collect()))
}

/// Reads a `Date` header. Accepts a wrong day of the week.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(text.trim())
        .ok()
}

/// Reads a `Retry-After` header: seconds, or a date relative to `now`. Returns an hour at most.
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::try_from(parse_http_date(text)?.duration_since(now)).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// Returns the end of a wait that begins now, cut to the whole second: the wait is not over before it.
pub fn end_of(wait: Duration, now: Timestamp) -> Option<Timestamp> {
    let cut = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
    now.checked_add(wait).and_then(|end| end.round(cut)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Option<i64> {
        parse(text).ok().map(Timestamp::as_second)
    }

    #[test]
    fn every_observed_time_format_is_parsed_to_whole_seconds() {
        for text in [
            "2025-07-17T08:49:28Z",
            "2025-07-17T08:49:28.5Z",
            "2025-07-17T08:49:28.24Z",
            "2025-07-17T08:49:28.923Z",
            "2025-07-17T08:49:28.09035Z",
            "2025-07-17T08:49:28.995988Z",
            "2025-07-17T08:49:28.999999999Z",
            "2025-07-17T16:49:28.108+08:00",
            "2025-07-17T03:19:28.108-05:30",
        ] {
            assert_eq!(parse(text).expect(text).to_string(), "2025-07-17T08:49:28Z", "{text}");
        }
        assert_eq!(seconds("1969-12-31T23:59:58.9Z"), Some(-2), "cut, also before 1970");
    }

    #[test]
    fn an_invalid_time_is_an_error_with_a_bounded_quote() {
        for text in [
            "",
            "yesterday",
            "2025-07-17",
            "2025-07-17T08:49:28",
            "2025-13-17T08:49:28Z",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse(&"9".repeat(1000)).expect_err("no time").to_string();
        assert!(error.contains("999") && error.len() < 100, "{error}");
    }

    #[test]
    fn a_wait_ends_at_the_named_second() {
        let now = parse_http_date("Wed, 13 Aug 2025 02:34:56 GMT").expect("a date");
        let end = |wait| end_of(Duration::from_millis(wait), now).map(|end| end.to_string());
        assert_eq!(end(60_000).as_deref(), Some("2025-08-13T02:35:56Z"));
        assert_eq!(end(60_999).as_deref(), Some("2025-08-13T02:35:56Z"));
        assert_eq!(end_of(Duration::MAX, now), None);
    }

    #[test]
    fn http_dates_and_retry_after_are_parsed() {
        let date = parse_http_date("Wed, 13 Aug 2025 02:34:56 GMT").expect("a date");
        assert_eq!(date.to_string(), "2025-08-13T02:34:56Z");
        assert_eq!(parse_http_date("Fri, 13 Aug 2025 02:34:56 GMT"), Some(date));
        assert_eq!(parse_http_date("soon"), None);
        for (text, wait) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("99999999999", Some(3600)),
            ("Wed, 13 Aug 2025 02:35:06 GMT", Some(10)),
            ("Wed, 13 Aug 2025 02:34:06 GMT", Some(0)),
            ("-3", None),
            ("soon", None),
        ] {
            assert_eq!(parse_retry_after(text, date), wait.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn fraction_digits_and_offset_do_not_change_the_second(
            second in 0_i64..4_000_000_000,
            fraction in "(\\.[0-9]{1,9})?",
            offset_minutes in -14 * 60..=14 * 60_i64,
        ) {
            let local = Timestamp::from_second(second + offset_minutes * 60).expect("in range");
            let local = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            let sign = if offset_minutes < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
            let text = format!("{local}{fraction}{sign}{hours:02}:{minutes:02}");
            prop_assert_eq!(parse(&text).map(Timestamp::as_second), Ok(second), "{}", text);
        }

        #[test]
        fn time_parsing_never_panics(text in any::<String>()) {
            let _ = (parse(&text), parse_http_date(&text), parse_retry_after(&text, Timestamp::UNIX_EPOCH));
        }
    }
}
