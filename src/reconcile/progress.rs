//! How far a run has come: a bar on a terminal, a line a list elsewhere. Lists go back in time, so that the time that
//! was gone through is what there is to measure.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    domain::Timestamp,
    stripe::api::{Listing, Page},
};

/// The progress of a run.
pub(super) struct Progress {
    is_terminal: bool,
    since: Timestamp,
    until: Timestamp,
    bar: ProgressBar,
    name: &'static str,
    objects: usize,
}

impl Progress {
    pub(super) fn new(is_terminal: bool, since: Timestamp, until: Timestamp) -> Self {
        Self { is_terminal, since, until, bar: ProgressBar::hidden(), name: "", objects: 0 }
    }

    pub(super) fn begin(&mut self, listing: Listing) {
        self.objects = 0;
        self.name = match listing {
            Listing::Authorizations => "authorizations",
            Listing::AuthorizationUpdates => "updates of authorizations",
            Listing::Transactions => "transactions",
            Listing::Cards => "cards",
            Listing::Cardholders => "cardholders",
        };
        if self.is_terminal {
            self.bar = ProgressBar::new(self.until.since(self.since).as_secs());
            // A template that cannot be read leaves the bar in its own style.
            if let Ok(style) = ProgressStyle::with_template("{prefix:25} {wide_bar} {msg} read, {elapsed}") {
                self.bar.set_style(style);
            }
            self.bar.set_prefix(self.name);
        }
    }

    /// A page is done.
    pub(super) fn read(&mut self, page: &Page) {
        self.objects = self.objects.saturating_add(page.objects.len());
        if let Some(oldest) = page.objects.last() {
            self.bar.set_position(self.until.since(oldest.created.max(self.since)).as_secs());
        }
        self.bar.set_message(self.objects.to_string());
    }

    /// A list is done.
    pub(super) fn end(&mut self, err: &mut dyn Write) -> io::Result<()> {
        self.bar.finish_and_clear();
        writeln!(err, "tollgate: {} {} read", self.objects, self.name)
    }

    /// Lets something else be written, where the bar is on the same terminal.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}
