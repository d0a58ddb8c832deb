//! What a decision tells the metrics.

use super::directory::Shared;
use crate::{
    domain::{Decision, Interval, LimitCheck, Measure, Outcome, Reason},
    metrics::{LimitMeasure, LimitWindow},
};

impl Shared {
    /// Counts a decision: one for each question.
    pub(super) fn told(&self, decision: &Decision) {
        let words = [decision.outcome.as_str(), decision.reason.as_str(), decision.source.as_str()];
        self.metrics.decisions.made.get(words).increment(1);
        if decision.outcome != Outcome::Declined {
            return;
        }
        if let Some((budget, _)) = decision.tightest().and_then(|limit| limit.account.as_ref()?.as_budget()) {
            self.metrics.budgets.declines.increment(budget);
        }
        if matches!(decision.reason, Reason::SpendingLimit | Reason::VelocityLimit)
            && let Some(limit) = decision.limits.iter().find(|limit| limit.after > limit.max)
        {
            self.metrics.decisions.limits.get(labels(limit)).increment(1);
        }
    }
}

/// The words of a limit in metrics.
const fn labels(limit: &LimitCheck) -> (LimitMeasure, LimitWindow) {
    let measure = match limit.measure {
        Measure::Amount(_) => LimitMeasure::Amount,
        Measure::Count => LimitMeasure::Count,
    };
    let window = match limit.interval {
        Interval::PerAuthorization => LimitWindow::PerAuthorization,
        Interval::Daily => LimitWindow::Daily,
        Interval::Weekly => LimitWindow::Weekly,
        Interval::Monthly => LimitWindow::Monthly,
        Interval::Yearly => LimitWindow::Yearly,
        Interval::AllTime => LimitWindow::AllTime,
        Interval::Rolling(_) => LimitWindow::Rolling,
    };
    (measure, window)
}
