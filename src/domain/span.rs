//! How long a window is, and where its days begin.

use std::{fmt, time::Duration};

/// How long a limit's window is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    /// One authorization with all its increments.
    PerAuthorization,
    /// From midnight.
    Daily,
    /// From Sunday, midnight, as Stripe counts weeks.
    Weekly,
    /// From the first of the month.
    Monthly,
    /// From 1 January.
    Yearly,
    /// The life of the card.
    AllTime,
    /// Exactly so long before each request, whole seconds.
    Rolling(Duration),
}

/// As the policy writes it: `daily`, `rolling(1h)`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerAuthorization => f.write_str("per_authorization"),
            Self::Daily => f.write_str("daily"),
            Self::Weekly => f.write_str("weekly"),
            Self::Monthly => f.write_str("monthly"),
            Self::Yearly => f.write_str("yearly"),
            Self::AllTime => f.write_str("all_time"),
            Self::Rolling(span) => write!(f, "rolling({})", Span(*span)),
        }
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Interval {
    /// Reads what [`fmt::Display`] writes, with any span such as `90m`, `36h` or `7d` for `rolling`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain =
            [Self::PerAuthorization, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly, Self::AllTime];
        if let Some(interval) = plain.into_iter().find(|interval| interval.to_string() == text) {
            return Some(interval);
        }
        let span = text.strip_prefix("rolling(")?.strip_suffix(')')?;
        parse_span(span.trim()).map(Self::Rolling)
    }
}

/// The longest rolling window: ten years.
const SPAN_SECONDS_MAX: u64 = 315_360_000;

/// Reads a span of whole seconds, minutes, hours or days: `90s`, `15m`, `24h`, `7d`.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let total = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=SPAN_SECONDS_MAX).contains(&total).then(|| Duration::from_secs(total))
}

/// A span as people write it, in the largest unit up to hours that is exact.
pub(super) struct Span(Duration);

impl Span {
    pub(super) const fn new(span: Duration) -> Self {
        Self(span)
    }

    /// So many seconds; none below zero.
    pub(super) fn of_seconds(seconds: i64) -> Self {
        Self(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            s if s.is_multiple_of(86_400) && s > 86_400 => write!(f, "{}d", s.div_euclid(86_400)),
            s if s.is_multiple_of(3_600) => write!(f, "{}h", s.div_euclid(3_600)),
            s if s.is_multiple_of(60) => write!(f, "{}m", s.div_euclid(60)),
            s => write!(f, "{s}s"),
        }
    }
}

/// An IANA time zone, from the database that is built into the program.
#[derive(Clone, PartialEq)]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    /// Stripe's own calendar.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// The zone of this IANA name, such as `Europe/Berlin`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        jiff::tz::TimeZone::get(name).ok().map(Self)
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    pub(crate) const fn as_jiff(&self) -> &jiff::tz::TimeZone {
        &self.0
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
