//! The open holds of one card, as part of the node's: counted from when they are told until this is dropped, whoever
//! keeps it. What a hold is stands in the books.

use metrics::Gauge;

/// What is counted for one card.
#[derive(Debug)]
pub(super) struct Holds {
    gauge: Gauge,
    counted: u32,
}

impl Holds {
    /// Nothing yet.
    pub(super) const fn new(gauge: Gauge) -> Self {
        Self { gauge, counted: 0 }
    }

    /// There are so many now.
    pub(super) fn count(&mut self, open: usize) {
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.counted, open);
        // Nearly always nothing has changed, and nothing is written that other cores share.
        if open > before {
            self.gauge.increment(f64::from(open.abs_diff(before)));
        } else if open < before {
            self.gauge.decrement(f64::from(open.abs_diff(before)));
        }
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        self.count(0);
    }
}
