//! Figures in words: times, counts, shares and bytes as people read them, and what several runs have in common.

/// A count as a place on an axis. Above 2^53 it is rounded, which no plot shows.
#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "the one place where it is meant")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A share of a whole; nothing of nothing is 0.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

/// `12,345`.
pub(crate) fn count(count: u64) -> String {
    grouped(&count.to_string())
}

/// A count that went through a median: `12,345`.
pub(crate) fn whole(count: f64) -> String {
    grouped(&format!("{count:.0}"))
}

/// A number a second: `12,345`, or `7.5` where it is small.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        small if small < 9.95 => format!("{small:.1}"),
        large => whole(large),
    }
}

/// `850 µs`, `1.24 ms`, `2.00 s`: three digits at most are told.
pub(crate) fn time(us: f64) -> String {
    match us {
        micros if micros < 999.5 => format!("{micros:.0} µs"),
        millis if millis < 999_500.0 => format!("{} ms", three_digits(millis / 1e3)),
        seconds => format!("{} s", three_digits(seconds / 1e6)),
    }
}

/// A time for an axis, where it is round: `50 µs`, `5 ms`, `1 s`.
pub(crate) fn round_time(us: f64) -> String {
    match us {
        micros if micros < 1e3 => format!("{micros} µs"),
        millis if millis < 1e6 => format!("{} ms", millis / 1e3),
        seconds => format!("{} s", seconds / 1e6),
    }
}

/// A share of 1. What is not all is never told as all, and what is not nothing never as nothing.
pub(crate) fn percent(share: f64) -> String {
    match share {
        none if none <= 0.0 => "0 %".to_owned(),
        all if all >= 1.0 => "100 %".to_owned(),
        few if few < 0.0001 => "< 0.01 %".to_owned(),
        most if most > 0.9999 => "> 99.99 %".to_owned(),
        some if !(0.1..=0.99).contains(&some) => format!("{:.2} %", some * 100.0),
        some => format!("{:.1} %", some * 100.0),
    }
}

/// `1.50 GiB`, `23.4 MiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut rest = bytes;
    let mut units = UNITS.into_iter().peekable();
    while let Some(unit) = units.next() {
        if rest < 1023.5 || units.peek().is_none() {
            return if unit == "B" {
                format!("{rest:.0} B")
            } else {
                format!("{} {unit}", three_digits(rest))
            };
        }
        rest /= 1024.0;
    }
    String::new()
}

/// `1.24`, `12.4`, `124`.
pub(crate) fn three_digits(value: f64) -> String {
    match value {
        ones if ones < 9.995 => format!("{ones:.2}"),
        tens if tens < 99.95 => format!("{tens:.1}"),
        more => whole(more),
    }
}

/// The same without zeros at its end: `1.2`, `50`, `0`.
pub(crate) fn up_to_three_digits(value: f64) -> String {
    let text = three_digits(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A median with the extremes around it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// None of no values. The median of an even number of values is the upper one: a value that was measured.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self { median: *values.get(values.len() / 2)?, min: *values.first()?, max: *values.last()? })
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (place, digit) in digits.char_indices() {
        let left = digits.len().saturating_sub(place);
        if place > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        let check = |found: String, expected: &str| assert_eq!(found, expected);
        check(count(0), "0");
        check(count(999), "999");
        check(count(1_234_567), "1,234,567");
        check(rate(0.0), "0");
        check(rate(7.46), "7.5");
        check(rate(9.97), "10");
        check(rate(12_345.4), "12,345");
        check(up_to_three_digits(0.0), "0");
        check(up_to_three_digits(1.25), "1.25");
        check(up_to_three_digits(50.0), "50");
        check(up_to_three_digits(150.0), "150");
        check(time(850.0), "850 µs");
        check(time(1_237.0), "1.24 ms");
        check(time(99_960.0), "100 ms");
        check(time(999_499.0), "999 ms");
        check(time(2_000_000.0), "2.00 s");
        check(round_time(500.0), "500 µs");
        check(round_time(20_000.0), "20 ms");
        check(round_time(1_500_000.0), "1.5 s");
        check(bytes(512.0), "512 B");
        check(bytes(1_048_576.0), "1.00 MiB");
        check(bytes(25_300_000_000.0), "23.6 GiB");
        check(bytes(1e20), "90,949,470 TiB");
    }

    #[test]
    fn what_is_not_all_is_not_told_as_all() {
        let check = |part, expected: &str| assert_eq!(percent(part), expected);
        check(0.0, "0 %");
        check(0.000_001, "< 0.01 %");
        check(0.012_34, "1.23 %");
        check(0.5, "50.0 %");
        check(0.9991, "99.91 %");
        check(0.999_999, "> 99.99 %");
        check(1.0, "100 %");
        check(share(0, 0), "0 %");
    }

    #[test]
    fn a_spread_is_of_values_that_were_measured() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(spread(&[5.0, 1.0, 3.0]), Some(Spread { median: 3.0, min: 1.0, max: 5.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 4.0, min: 1.0, max: 4.0 }));
    }
}
