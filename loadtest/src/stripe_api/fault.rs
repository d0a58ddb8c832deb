//! Failing on command: which calls, how often, and how. What a healthy call does is not here.

use std::{collections::VecDeque, time::Duration};

/// A plan for calls to come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Calls whose path contains this; an empty text means all.
    pub on: String,
    /// How many of them.
    pub times: usize,
    /// What becomes of them.
    pub effect: Effect,
}

impl Fault {
    /// The next call whose path contains `on`.
    #[must_use]
    pub fn once(on: &str, effect: Effect) -> Self {
        Self::times(on, 1, effect)
    }

    /// The next so many calls whose path contains `on`.
    #[must_use]
    pub fn times(on: &str, times: usize, effect: Effect) -> Self {
        Self { on: on.to_owned(), times, effect }
    }

    /// Every call whose path contains `on`, from now on.
    #[must_use]
    pub fn always(on: &str, effect: Effect) -> Self {
        Self::times(on, usize::MAX, effect)
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It is answered, later.
    Delay(Duration),
    /// 429, perhaps with `Retry-After` in seconds.
    RateLimited {
        /// The header's value.
        retry_after: Option<u64>,
    },
    /// This status, with Stripe's `api_error`.
    ServerError(u16),
    /// 400, as an approval or decline that comes after Stripe has decided.
    TooLate,
    /// The connection is dropped, and nothing was done.
    DropBefore,
    /// It is done, and then the connection is dropped: the caller cannot know.
    DropAfter,
    /// No answer ever comes; the connection stays open.
    Hang,
}

/// The plans that are not used up.
#[derive(Default)]
pub(super) struct Faults(VecDeque<Fault>);

impl Faults {
    pub(super) fn plan(&mut self, fault: Fault) {
        if fault.times > 0 {
            self.0.push_back(fault);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for a call to `path`, if one is planned.
    pub(super) fn take(&mut self, path: &str) -> Option<Effect> {
        let place = self.0.iter().position(|fault| path.contains(&fault.on))?;
        let fault = self.0.get_mut(place)?;
        let effect = fault.effect;
        if fault.times != usize::MAX {
            fault.times = fault.times.saturating_sub(1);
        }
        if fault.times == 0 {
            self.0.remove(place);
        }
        Some(effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_in_order_and_only_where_they_belong() {
        let mut faults = Faults::default();
        faults.plan(Fault::times("/approve", 2, Effect::ServerError(500)));
        faults.plan(Fault::once("", Effect::TooLate));
        faults.plan(Fault::always("/events", Effect::DropBefore));
        let taken: Vec<Option<Effect>> =
            ["/a/approve", "/a/decline", "/a/approve", "/a/approve", "/events", "/events"]
                .map(|path| faults.take(path))
                .into();
        let (failed, dropped) = (Some(Effect::ServerError(500)), Some(Effect::DropBefore));
        assert_eq!(taken, [failed, Some(Effect::TooLate), failed, None, dropped, dropped]);
    }
}
