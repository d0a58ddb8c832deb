//! Which history of a database a journal is on. A standby that is promoted begins a new timeline: what the old primary
//! writes afterwards is on the old one, and is not seen by anybody who has moved on.

use std::{fmt, str::FromStr};

/// A database server's system identifier, which all its replicas share, and the timeline that it writes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lineage {
    /// PostgreSQL's system identifier: made once by `initdb`, and the same on every physical replica.
    pub system: u64,
    /// The timeline, from 1: each promotion of a standby begins the next.
    pub timeline: u32,
}

impl Lineage {
    /// Whether this is a timeline of the same system from before the one of `other`.
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        self.system == other.system && self.timeline < other.timeline
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.system, self.timeline)
    }
}

/// The text is no lineage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected SYSTEM/TIMELINE, as in 7713954966115689511/3")]
pub struct NotALineage;

impl FromStr for Lineage {
    type Err = NotALineage;

    fn from_str(text: &str) -> Result<Self, NotALineage> {
        let (system, timeline) = text.split_once('/').ok_or(NotALineage)?;
        let system = system.parse().map_err(|_| NotALineage)?;
        let timeline = timeline.parse().map_err(|_| NotALineage)?;
        Ok(Self { system, timeline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_is_read_as_it_is_written() {
        let lineage = Lineage { system: 7_713_954_966_115_689_511, timeline: 3 };
        assert_eq!(lineage.to_string(), "7713954966115689511/3");
        assert_eq!(lineage.to_string().parse(), Ok(lineage));
        for text in ["", "7", "7/", "/3", "7/3/1", "7/-1", "a/3"] {
            assert_eq!(text.parse::<Lineage>(), Err(NotALineage), "{text}");
        }
    }

    #[test]
    fn only_an_earlier_timeline_of_the_same_system_is_before() {
        let of = |system, timeline| Lineage { system, timeline };
        assert!(of(7, 1).is_before(of(7, 2)));
        assert!(!of(7, 2).is_before(of(7, 2)) && !of(7, 3).is_before(of(7, 2)));
        assert!(!of(8, 1).is_before(of(7, 2)), "another system has another count");
    }
}
