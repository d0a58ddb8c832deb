//! What the node writes to its log: which lines, in which shape, how often. Nothing personal, and no body, is ever given
//! to it. The log belongs to the process, and so does its filter, which can be changed while the process runs.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::domain::Timestamp;

/// What the room is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The least severe lines that are written: a level, or levels by module (`info,tollgate::http=debug`).
    pub filter: Filter,
    /// The shape of a line.
    pub format: Format,
}

impl Settings {
    /// Only what is odd or worse, for commands that show by themselves how they come on.
    #[must_use]
    pub fn warnings(format: Format) -> Self {
        Self { filter: Filter("warn".into()), format }
    }
}

impl Default for Settings {
    /// `info`, and pretty where a person is watching.
    fn default() -> Self {
        let format = if io::stderr().is_terminal() { Format::Pretty } else { Format::Json };
        Self { filter: Filter("info".into()), format }
    }
}

/// Which lines are written. Known to be well formed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter(Box<str>);

/// A text that is no filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected error, warn, info, debug, trace or off, or levels by module such as `info,tollgate::http=debug`"
)]
pub struct NotAFilter;

impl FromStr for Filter {
    type Err = NotAFilter;

    fn from_str(text: &str) -> Result<Self, NotAFilter> {
        // The library takes a lone misspelled level for the name of a module.
        let is_level =
            |word: &str| !word.is_empty() && word.parse::<tracing::level_filters::LevelFilter>().is_ok();
        let well_formed =
            text.split(',').all(|part| is_level(part.rsplit_once('=').map_or(part, |(_, level)| level)));
        if well_formed && EnvFilter::try_new(text).is_ok() { Ok(Self(text.into())) } else { Err(NotAFilter) }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The shape of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

impl Format {
    /// Every shape.
    pub const ALL: [Self; 2] = [Self::Pretty, Self::Json];

    /// The word in the setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        }
    }

    /// Reads [`Format::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// Starts the log of this process, on standard error: standard output belongs to commands. Only the first call of a
/// process counts.
pub fn start(settings: &Settings) {
    let (subscriber, change) = subscriber(settings, io::stderr);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let started = Started { filter: settings.filter.clone(), change };
        *STARTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
    }
}

/// The filter in force; nothing where the process keeps no log.
#[must_use]
pub fn filter() -> Option<Filter> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|started| started.filter.clone())
}

/// Puts another filter in force, from the next line on. False where the process keeps no log.
pub fn change(filter: &Filter) -> bool {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(started) = &mut *started else { return false };
    let is_changed = (started.change)(with_quiet(filter));
    if is_changed {
        started.filter = filter.clone();
    }
    is_changed
}

/// The log of this process.
static STARTED: Mutex<Option<Started>> = Mutex::new(None);

struct Started {
    filter: Filter,
    change: Change,
}

/// Puts another filter in force; says whether it did.
type Change = Box<dyn Fn(EnvFilter) -> bool + Send>;

/// The library of the actors has a span for each, entered with every message: a kilobyte a card and a tenth of a
/// microsecond a message, for a number that says nothing. What the filter says of it itself counts.
const QUIET: &str = "ractor=warn";

fn with_quiet(filter: &Filter) -> EnvFilter {
    // Of two directives for one module the later one counts.
    EnvFilter::new(format!("{QUIET},{}", filter.0))
}

fn subscriber<W>(settings: &Settings, writer: W) -> (Box<dyn tracing::Subscriber + Send + Sync>, Change)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(with_quiet(&settings.filter)).with_writer(writer);
    match settings.format {
        Format::Pretty => {
            let lines =
                lines.with_ansi(io::stderr().is_terminal()).with_target(false).with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(lines.finish()), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(lines.finish()), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    }
}

/// Lets a line through at most once a second, so that a stranger cannot fill the disk by sending nonsense.
#[derive(Debug)]
pub struct Seldom {
    next: AtomicI64,
    held_back: AtomicU64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self { next: AtomicI64::new(i64::MIN), held_back: AtomicU64::new(0) }
    }
}

impl Seldom {
    const EVERY: Duration = Duration::from_secs(1);

    /// Whether it is this line's turn, and how many were held back before it.
    pub fn turn(&self, now: Timestamp) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.plus(Self::EVERY).as_micros();
        let is_due = now.as_micros() >= next
            && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due {
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(filter: &str, format: Format) -> String {
        let paper = Paper::default();
        let settings = Settings { filter: filter.parse().unwrap(), format };
        let writer = paper.clone();
        let (subscriber, _) = subscriber(&settings, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(reason = "card_paused", "answered");
            tracing::debug!("too much detail");
        });
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_of_json_is_one_object_with_its_fields() {
        let text = written("info", Format::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(
            (&line["reason"], &line["message"], &line["level"]),
            (&"card_paused".into(), &"answered".into(), &"INFO".into())
        );
    }

    #[test]
    fn the_filter_decides_what_is_written() {
        let check = |filter: &str, lines: usize| {
            assert_eq!(written(filter, Format::Pretty).lines().count(), lines, "{filter}");
        };
        check("debug", 2);
        check("info", 1);
        check("warn", 0);
        check("warn,tollgate::log=debug", 2);
    }

    #[test]
    fn a_filter_can_be_changed_while_lines_are_written() {
        for format in Format::ALL {
            let paper = Paper::default();
            let settings = Settings { filter: "warn".parse().unwrap(), format };
            let writer = paper.clone();
            let (subscriber, change) = subscriber(&settings, move || writer.clone());
            tracing::subscriber::with_default(subscriber, || {
                for filter in ["info", "warn", "info"] {
                    tracing::info!("a state changed");
                    assert!(change(with_quiet(&filter.parse().unwrap())));
                }
            });
            let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches("a state changed").count(), 1, "{text}");
        }
    }

    #[test]
    fn a_filter_is_levels_and_modules() {
        for good in ["info", "DEBUG", "off", "info,tollgate::http=debug"] {
            assert!(good.parse::<Filter>().is_ok(), "{good}");
        }
        for bad in ["", "inf", "info,", "tollgate=loud", "info,tollgate::http="] {
            assert_eq!(bad.parse::<Filter>(), Err(NotAFilter), "{bad}");
        }
    }

    #[test]
    fn a_line_comes_once_a_second_and_says_how_many_did_not() {
        let seldom = Seldom::default();
        let at = |millis: i64| seldom.turn(Timestamp::from_micros(millis * 1_000));
        assert_eq!(at(0), Some(0));
        assert_eq!(at(10), None);
        assert_eq!(at(999), None);
        assert_eq!(at(1_000), Some(2));
        assert_eq!(at(2_500), Some(0));
    }
}
