//! Reading single values as people write them: spans, sizes, counts, stand-in answers, velocities. Each reader gives
//! the value or nothing; what was expected stands in the table.

use std::{net::SocketAddr, time::Duration};

use super::settings::{JournalLocation, LogFormat, StandIn, StandInAnswer};
use crate::domain::{AMOUNT_MAX, Interval, parse_span};

/// `1200ms`, `5s`, `5m`, `1h 30m`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let with_unit = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    with_unit.then(|| humantime::parse_duration(text).ok()).flatten()
}

/// `64`, `100_000`.
pub(super) fn count(text: &str) -> Option<usize> {
    usize::try_from(digits(text)?).ok()
}

/// `256KiB`, `1MiB`, `65_536`, `65536B`.
pub(super) fn bytes(text: &str) -> Option<usize> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let factor: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    count(number.trim_end())?.checked_mul(factor)
}

/// Minor units: more than none, and few enough to be summed exactly.
pub(super) fn amount(text: &str) -> Option<i64> {
    let amount = i64::try_from(digits(text)?).ok()?;
    (1..=AMOUNT_MAX).contains(&amount).then_some(amount)
}

/// Digits, with `_` between them where it helps the eye.
fn digits(text: &str) -> Option<u64> {
    let well_formed = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && text.bytes().last().is_some_and(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// `127.0.0.1:4242`, `[::1]:4242`, `localhost:4242`.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port))),
        None => text.parse().ok(),
    }
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// `pretty` or `json`.
pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "pretty" => Some(LogFormat::Pretty),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

/// A level, or directives. A word that is no level would be taken for the name of a module, and hide every line.
pub(super) fn log_filter(text: &str) -> Option<String> {
    let is_word = !text.contains(['=', ',', '[']);
    let is_level = ["error", "warn", "info", "debug", "trace", "off"].contains(&text);
    let usable =
        if is_word { is_level } else { tracing_subscriber::EnvFilter::builder().parse(text).is_ok() };
    usable.then(|| text.to_owned())
}

/// `2022-08-01`, `2026-07-29.dahlia`.
pub(super) fn api_version(text: &str) -> Option<String> {
    let (date, release) = text.split_once('.').unwrap_or((text, "a"));
    let is_date = date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok();
    let is_release = !release.is_empty() && release.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_date && is_release).then(|| text.to_owned())
}

/// `sqlite:./data/tollgate.db` or `memory:`.
pub(super) fn journal(text: &str) -> Option<JournalLocation> {
    match text.split_once(':')? {
        ("memory", "") => Some(JournalLocation::Memory),
        ("sqlite", path) if !path.is_empty() && !path.starts_with("//") => {
            Some(JournalLocation::Sqlite(path.into()))
        }
        _ => None,
    }
}

/// `decline`, `approve:5000`, or one of them by cause: `overload=decline,deadline=approve:2000`. A cause is named once.
pub(super) fn stand_in(text: &str) -> Option<StandIn> {
    if !text.contains('=') {
        let answer = stand_in_answer(text)?;
        return Some(StandIn { overload: answer, deadline: answer, journal: answer });
    }
    let (mut overload, mut deadline, mut journal) = (None, None, None);
    for part in text.split(',') {
        let (cause, answer) = part.split_once('=')?;
        let place = match cause.trim() {
            "overload" => &mut overload,
            "deadline" => &mut deadline,
            "journal" => &mut journal,
            _ => return None,
        };
        if place.replace(stand_in_answer(answer.trim())?).is_some() {
            return None;
        }
    }
    let or_decline = |answer: Option<StandInAnswer>| answer.unwrap_or(StandInAnswer::Decline);
    Some(StandIn {
        overload: or_decline(overload),
        deadline: or_decline(deadline),
        journal: or_decline(journal),
    })
}

fn stand_in_answer(text: &str) -> Option<StandInAnswer> {
    match text.split_once(':') {
        None => (text == "decline").then_some(StandInAnswer::Decline),
        Some(("approve", most)) => amount(most).map(StandInAnswer::ApproveUpTo),
        Some(_) => None,
    }
}

/// `10/1h,50/24h`: so many approvals in so long.
pub(super) fn velocity(text: &str) -> Option<Vec<(i64, Interval)>> {
    let parts = text.split(',').map(|part| {
        let (most, window) = part.trim().split_once('/')?;
        Some((amount(most)?, Interval::Rolling(parse_span(window)?)))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(read: impl Fn(&str) -> Option<T>, cases: &[(&str, Option<T>)]) {
        for (text, expected) in cases {
            assert_eq!(read(text), *expected, "{text}");
        }
    }

    #[test]
    fn spans_need_a_unit() {
        let ms = |count| Some(Duration::from_millis(count));
        check(
            span,
            &[
                ("1200ms", ms(1_200)),
                ("5s", ms(5_000)),
                ("5m", ms(300_000)),
                ("1h 30m", ms(5_400_000)),
                ("0s", ms(0)),
                ("300", None),
                ("0", None),
                ("-5s", None),
                ("99999999999999999999s", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn numbers_may_have_underscores_between_digits() {
        check(
            count,
            &[
                ("100_000", Some(100_000)),
                ("7", Some(7)),
                ("_7", None),
                ("7_", None),
                ("+7", None),
                ("7.0", None),
                ("99999999999999999999", None),
                ("", None),
            ],
        );
        check(
            bytes,
            &[
                ("256KiB", Some(262_144)),
                ("1 MiB", Some(1_048_576)),
                ("65_536", Some(65_536)),
                ("10B", Some(10)),
                ("256kb", None),
                ("KiB", None),
                ("99999999999999999MiB", None),
                ("1é", None),
            ],
        );
        check(
            amount,
            &[("50_000", Some(50_000)), ("0", None), ("1_000_000_000_000_001", None), ("-1", None)],
        );
    }

    #[test]
    fn addresses_name_an_ip_or_localhost() {
        check(
            address,
            &[
                ("127.0.0.1:4242", "127.0.0.1:4242".parse().ok()),
                ("localhost:0", "127.0.0.1:0".parse().ok()),
                ("[::1]:80", "[::1]:80".parse().ok()),
                (":4242", None),
                ("127.0.0.1", None),
                ("example.com:80", None),
                ("localhost:70000", None),
            ],
        );
    }

    #[test]
    fn a_stand_in_is_one_answer_or_one_for_each_cause() {
        use StandInAnswer::{ApproveUpTo, Decline};
        let three = |overload, deadline, journal| Some(StandIn { overload, deadline, journal });
        check(
            stand_in,
            &[
                ("decline", three(Decline, Decline, Decline)),
                ("approve:5_000", three(ApproveUpTo(5_000), ApproveUpTo(5_000), ApproveUpTo(5_000))),
                (
                    "overload=decline, deadline=approve:2000,journal=decline",
                    three(Decline, ApproveUpTo(2_000), Decline),
                ),
                ("deadline=approve:1", three(Decline, ApproveUpTo(1), Decline)),
                ("deadline=approve:1,deadline=decline", None),
                ("approve", None),
                ("approve:0", None),
                ("approve:-5", None),
                ("lunch=decline", None),
                ("overload=decline,", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn a_velocity_is_counts_in_sliding_windows() {
        let hours = |count: u64| Interval::Rolling(Duration::from_secs(count * 3_600));
        check(
            velocity,
            &[
                ("10/1h,50/24h", Some(vec![(10, hours(1)), (50, hours(24))])),
                ("10/60m", Some(vec![(10, hours(1))])),
                ("10", None),
                ("0/1h", None),
                ("10/1y", None),
                ("10/1h,", None),
            ],
        );
    }

    #[test]
    fn a_journal_has_a_kind_and_a_place() {
        check(
            journal,
            &[
                ("memory:", Some(JournalLocation::Memory)),
                ("sqlite:./a.db", Some(JournalLocation::Sqlite("./a.db".into()))),
                ("sqlite:/a.db", Some(JournalLocation::Sqlite("/a.db".into()))),
                ("sqlite://a.db", None),
                ("sqlite:", None),
                ("a.db", None),
                ("postgres://localhost/tollgate", None),
            ],
        );
    }

    #[test]
    fn a_log_filter_is_a_level_or_directives() {
        for (text, fine) in [
            ("info", true),
            ("inof", false),
            ("warn,tollgate::journal=debug", true),
            ("tollgate=loud", false),
            ("", false),
        ] {
            assert_eq!(log_filter(text).is_some(), fine, "{text}");
        }
    }

    #[test]
    fn an_api_version_is_a_date_and_perhaps_a_release() {
        for (text, fine) in [
            ("2022-08-01", true),
            ("2026-07-29.dahlia", true),
            ("2022-13-01", false),
            ("2026-07-29.", false),
            ("latest", false),
            ("2022-08-01\r\nX: y", false),
        ] {
            assert_eq!(api_version(text).is_some(), fine, "{text}");
        }
    }
}
