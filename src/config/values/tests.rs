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
    check(amount, &[("50_000", Some(50_000)), ("0", None), ("1_000_000_000_000_001", None), ("-1", None)]);
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
    use StandInRule::Decline;
    let times = |amount_max, approvals_max| StandInRule::Approve { amount_max, approvals_max };
    let up_to = |amount_max| times(amount_max, 3);
    let three = |overload, deadline, journal| Some(StandIn { overload, deadline, journal });
    check(
        stand_in,
        &[
            ("decline", three(Decline, Decline, Decline)),
            ("approve:5_000", three(up_to(5_000), up_to(5_000), up_to(5_000))),
            (
                "overload=decline, deadline=approve:2000,journal=decline",
                three(Decline, up_to(2_000), Decline),
            ),
            ("deadline=approve:1", three(Decline, up_to(1), Decline)),
            ("deadline=approve:1,deadline=decline", None),
            ("deadline=approve:200x10", three(Decline, times(200, 10), Decline)),
            ("approve", None),
            ("approve:5x0", None),
            ("approve:5x", None),
            ("approve:x3", None),
            ("approve:5x3x3", None),
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
            ("memory:", Some(Location::Memory)),
            ("sqlite:./a.db", Some(Location::Sqlite("./a.db".into()))),
            ("sqlite:/a.db", Some(Location::Sqlite("/a.db".into()))),
            ("sqlite://a.db", Some(Location::Sqlite("a.db".into()))),
            ("sqlite:", None),
            ("a.db", None),
            (
                "postgres://localhost/tollgate",
                Some(Location::Postgres("postgres://localhost/tollgate".into())),
            ),
            ("postgres://localhost:port/tollgate", None),
            ("mysql://localhost/tollgate", None),
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
