//! `tollgate replay`: reads a journal from end to end, beside running nodes, and decides it again, under the policies that were
//! in force and under another one. What is decided, and on which state, is in `verify` and `compare`.

mod verify;
mod text;
mod page;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use verify::{Again, Difference, NotAPolicy, Pass, Verified};

use crate::{
    cli::{Cards, ReplayOptions, Since, Verdict, tell_problems},
    clock,
    config::{Loaded, Problem, policy_file},
    domain::{Account, Policy, PolicyVersion},
    journal::{
        Location, OpenError, Scan, Unavailable, exists, open_to_scan,
        record::{self, Unreadable},
    },
    trial::{Comparison, Ended, Groups, Read, Report, Selection},
};

/// Entries that are read at once.
const PAGE_ENTRIES: usize = 1_000;

/// Why a journal was not replayed.
#[derive(Debug, thiserror::Error)]
pub enum NotReplayed {
    /// There is none.
    #[error("expected a journal, found none; name one with --journal, or set TOLLGATE_JOURNAL")]
    Missing,
    /// It cannot be opened.
    #[error(transparent)]
    NotOpened(#[from] OpenError),
    /// It cannot be read to its end.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// An entry cannot be read.
    #[error("entry {lsn} of {account} cannot be read: {cause}")]
    Unreadable {
        /// Its place in the journal.
        lsn: u64,
        /// Whose chain.
        account: Account,
        /// What is wrong with it.
        cause: Unreadable,
    },
    /// It holds a policy that is none.
    #[error(transparent)]
    NotAPolicy(#[from] NotAPolicy),
}

/// What somebody else needs to get the same report.
#[derive(Clone, Debug, Serialize)]
pub struct Reproduction {
    /// Of this program.
    pub version: &'static str,
    /// The command line.
    pub command: String,
    /// The journal, without secrets.
    pub journal: String,
    /// SHA-256 of the ids and bodies of all entries that were read, in their order.
    pub journal_hash: String,
    /// Versions of the policies that were in force.
    pub policies: Vec<String>,
    /// Version of the candidate.
    pub candidate: String,
    /// How long it took.
    pub took_seconds: f64,
    /// Entries read a second, all passes together.
    pub entries_per_second: f64,
}

/// What a replay found.
pub struct Replayed {
    /// Under the policies that were in force.
    pub verified: Verified,
    /// Under the candidate, if there is one.
    pub report: Option<Report>,
    journal_hash: String,
    entries_read: u64,
}

/// Replays the journal that the settings or `options` name. Exit code 1 says that a recorded answer came out differently, or that
/// a condition of `--fail-if` holds.
///
/// # Errors
/// The output cannot be written, or the system has no threads for us.
pub fn run(
    options: &ReplayOptions,
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
    is_terminal: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let candidate = match options.policy.as_deref().map(read_policy).transpose() {
        Ok(candidate) => candidate,
        Err(cause) => {
            writeln!(err, "tollgate: {cause}")?;
            return Ok(Verdict::BadSettings);
        }
    };
    let location = match (&options.journal, load) {
        (Some(location), _) => location.clone(),
        (None, load) => match load() {
            Ok(loaded) => loaded.settings.journal.location,
            Err(problems) => return tell_problems(&problems, err),
        },
    };
    let comparison = candidate.map(|policy| Comparison::new(policy, selection(options)));
    let started = clock::instant();
    let bar = progress_bar(is_terminal);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let replayed = runtime.block_on(open_and_replay(&location, comparison, &bar));
    bar.finish_and_clear();
    let took = clock::instant().saturating_duration_since(started);
    match replayed {
        Ok(replayed) => told(options, &location, &replayed, took, out, err),
        Err(cause) => {
            writeln!(err, "tollgate: {cause}")?;
            Ok(Verdict::JournalBroken)
        }
    }
}

/// Decides everything in `journal` again under the policies that were in force and under that of the comparison, and tells
/// `progress` how many entries were read.
///
/// # Errors
/// [`NotReplayed`]: it cannot be read to its end.
pub async fn replay(
    journal: &dyn Scan,
    mut pass: Pass,
    mut comparison: Option<Comparison>,
    progress: impl Fn(u64),
) -> Result<Replayed, NotReplayed> {
    let (mut verified, mut report) = (None, None);
    let mut entries_read = 0_u64;
    loop {
        let mut hash = Sha256::new();
        let mut after = 0;
        let mut groups = Groups::default();
        let mut replay = |groups: Vec<Vec<Read>>| -> Result<(), NotReplayed> {
            for group in groups {
                if verified.is_none() {
                    pass.take(&group)?;
                }
                if let Some(comparison) = &mut comparison {
                    comparison.take(&group);
                }
            }
            Ok(())
        };
        loop {
            let entries = journal.scan(after, PAGE_ENTRIES).await?;
            let Some(last) = entries.last() else { break };
            after = last.lsn;
            let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            for entry in entries {
                hash.update(entry.id.get().to_be_bytes());
                hash.update(&entry.body);
                let events = record::decode(&entry.body).map_err(|cause| NotReplayed::Unreadable {
                    lsn: entry.lsn,
                    account: entry.account.clone(),
                    cause,
                })?;
                replay(groups.take((entry, events)))?;
            }
            entries_read = entries_read.saturating_add(count);
            progress(entries_read);
        }
        replay(groups.end())?;
        if verified.is_none() {
            match std::mem::take(&mut pass).end() {
                Ended::Again(again) => pass = again,
                Ended::Found(found) => verified = Some(*found),
            }
        }
        match comparison.take().map(Comparison::end) {
            Some(Ended::Again(again)) => comparison = Some(again),
            Some(Ended::Found(found)) => report = Some(*found),
            None => {}
        }
        if comparison.is_none()
            && let Some(verified) = verified.take()
        {
            let journal_hash = hex::encode(hash.finalize());
            return Ok(Replayed { verified, report, journal_hash, entries_read });
        }
    }
}

async fn open_and_replay(
    location: &Location,
    comparison: Option<Comparison>,
    bar: &ProgressBar,
) -> Result<Replayed, NotReplayed> {
    if !exists(location).await? {
        return Err(NotReplayed::Missing);
    }
    let journal = open_to_scan(location).await?;
    replay(&*journal, Pass::default(), comparison, |entries| bar.set_position(entries)).await
}

/// Writes what was found where `options` want it.
fn told(
    options: &ReplayOptions,
    location: &Location,
    replayed: &Replayed,
    took: Duration,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let Replayed { verified, report, journal_hash, entries_read } = replayed;
    write!(out, "{}", text::verified(&location.to_string(), verified, took))?;
    let mut verdict = if verified.is_equal() { Verdict::Done } else { Verdict::Failed };
    let Some(report) = report else { return Ok(verdict) };
    write!(out, "{}", text::compared(report))?;
    let seconds = took.as_secs_f64();
    let entries = f64::from(u32::try_from(*entries_read).unwrap_or(u32::MAX));
    let mut policies: Vec<String> =
        verified.policies.iter().map(PolicyVersion::as_str).map(ToOwned::to_owned).collect();
    policies.sort_unstable();
    let reproduction = Reproduction {
        version: env!("CARGO_PKG_VERSION"),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        journal: location.to_string(),
        journal_hash: journal_hash.clone(),
        policies,
        candidate: report.candidate.clone(),
        took_seconds: seconds,
        entries_per_second: if seconds > 0.0 { entries / seconds } else { 0.0 },
    };
    if let Some(path) = &options.json {
        #[derive(Serialize)]
        struct Whole<'a> {
            identical: bool,
            recorded_answers: u64,
            same_answers: u64,
            #[serde(flatten)]
            report: &'a Report,
            reproduction: &'a Reproduction,
        }
        let whole = Whole {
            identical: verified.is_equal(),
            recorded_answers: verified.requests,
            same_answers: verified.equal,
            report,
            reproduction: &reproduction,
        };
        fs::write(path, serde_json::to_string_pretty(&whole)?)?;
        writeln!(err, "tollgate: wrote {}", path.display())?;
    }
    if let Some(path) = &options.html {
        fs::write(path, page::html(report, verified, &reproduction))?;
        writeln!(err, "tollgate: wrote {}", path.display())?;
    }
    for condition in &options.fail_if {
        let value = report.figure(&condition.figure).unwrap_or_default();
        if condition.holds(value) {
            writeln!(err, "tollgate: {} holds: {} is {value}", condition.text, condition.figure)?;
            verdict = Verdict::Failed;
        }
    }
    Ok(verdict)
}

fn selection(options: &ReplayOptions) -> Selection {
    let since = options.since.map(|since| match since {
        Since::At(at) => at,
        Since::Ago(span) => clock::now().minus(span),
    });
    let (card, group) = match &options.cards {
        None => (None, None),
        Some(Cards::One(card)) => (Some(card.clone()), None),
        Some(Cards::Group(group)) => (None, Some(group.clone())),
    };
    Selection { since, card, group }
}

/// The candidate.
fn read_policy(path: &Path) -> Result<Arc<Policy>, String> {
    let bytes = policy_file::load(path)
        .map_err(|cause| format!("the policy file {} cannot be read: {cause}", path.display()))?;
    policy_file::read_bytes(&bytes).map(|parsed| Arc::new(parsed.policy)).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect();
        format!("the policy file {} has mistakes:{}", path.display(), lines.concat())
    })
}

fn progress_bar(is_terminal: bool) -> ProgressBar {
    if !is_terminal {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    // A template that cannot be read leaves the bar in its own style.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} entries, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}
