//! Test money and real money are kept apart: a node knows one of them. Which, is a setting, or else what the first
//! event says.

use std::sync::atomic::{AtomicU8, Ordering};

/// The mode of a node.
pub(super) struct Mode(AtomicU8);

const UNDECIDED: u8 = 0;
const TEST: u8 = 1;
const LIVE: u8 = 2;

impl Mode {
    /// A fixed mode; without one, the first event decides.
    pub(super) fn new(livemode: Option<bool>) -> Self {
        Self(AtomicU8::new(livemode.map_or(UNDECIDED, Self::number)))
    }

    /// Whether an event of this mode belongs here. The first one, on a node without a mode, decides it for good.
    pub(super) fn admits(&self, livemode: bool) -> bool {
        let wanted = Self::number(livemode);
        let decided = self.0.compare_exchange(UNDECIDED, wanted, Ordering::AcqRel, Ordering::Acquire);
        decided.map_or_else(|known| known == wanted, |_| true)
    }

    const fn number(livemode: bool) -> u8 {
        if livemode { LIVE } else { TEST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_decides_where_nothing_is_set() {
        let mode = Mode::new(None);
        assert!(mode.admits(true));
        assert!(!mode.admits(false));
        assert!(mode.admits(true));
    }

    #[test]
    fn a_setting_decides_for_good() {
        let mode = Mode::new(Some(false));
        assert!(!mode.admits(true));
        assert!(mode.admits(false));
    }
}
