//! `tollgate export`: what the journal has, as CSV, beside running nodes. Each line has a cursor behind which the next export goes
//! on, so that every line is exported once.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    str::FromStr,
};

use crate::{
    cli::{
        Verdict,
        export::{ExportOptions, Table},
        tell_problems,
    },
    config::{Loaded, Problem},
    domain::{
        Action, CardPresence, Command, Currency, Decided, Event, Fact, Observation, TransactionSeen, explain,
    },
    journal::{Entry, Location, Scan, exists, open_to_scan, record},
};

/// Entries that are read at once.
const PAGE_ENTRIES: usize = 1_000;

/// A line of an export: the entry, and the place of the event in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Cursor {
    lsn: u64,
    place: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lsn, self.place)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.trim().split_once('-');
        let parsed =
            parts.and_then(|(lsn, place)| Some(Self { lsn: lsn.parse().ok()?, place: place.parse().ok()? }));
        parsed
            .ok_or_else(|| "expected the `cursor` of a line of an earlier export, such as 1234-0".to_owned())
    }
}

/// Writes the table that `options` name to `out`.
///
/// # Errors
/// The output cannot be written, or the system has no threads for us.
pub fn run(
    options: &ExportOptions,
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let location = match (&options.journal, load) {
        (Some(location), _) => location.clone(),
        (None, load) => match load() {
            Ok(loaded) => loaded.settings.journal.location,
            Err(problems) => return tell_problems(&problems, err),
        },
    };
    let after = match start(options) {
        Ok(after) => after,
        Err(cause) => {
            writeln!(err, "tollgate: {cause}")?;
            return Ok(Verdict::Failed);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut lines =
        Lines { table: options.table, after, last: after, count: 0, out: csv::Writer::from_writer(out) };
    match runtime.block_on(lines.export(&location)) {
        Ok(()) => {}
        Err(NotExported::Output(cause)) => return Err(cause),
        Err(NotExported::Journal(cause)) => {
            writeln!(err, "tollgate: {cause}")?;
            return Ok(Verdict::JournalBroken);
        }
    }
    let Lines { last, count, .. } = lines;
    if let Some(path) = &options.cursor_file {
        keep(path, last)?;
    }
    writeln!(err, "{count} lines; the next export goes on with --after {last}")?;
    Ok(Verdict::Done)
}

/// Where the export begins.
fn start(options: &ExportOptions) -> Result<Cursor, String> {
    match (&options.after, &options.cursor_file) {
        (Some(after), _) => after.parse().map_err(|cause| format!("--after {after}: {cause}")),
        (None, Some(path)) => match fs::read_to_string(path) {
            Ok(text) => text.parse().map_err(|cause| format!("{}: {cause}", path.display())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Cursor::default()),
            Err(cause) => Err(format!("{} cannot be read: {cause}", path.display())),
        },
        (None, None) => Ok(Cursor::default()),
    }
}

/// Puts the cursor into its file, whole or not at all.
fn keep(path: &Path, cursor: Cursor) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    writeln!(file, "{cursor}")?;
    file.sync_all()?;
    fs::rename(draft, path)
}

enum NotExported {
    Output(io::Error),
    Journal(String),
}

impl From<csv::Error> for NotExported {
    fn from(cause: csv::Error) -> Self {
        Self::Output(io::Error::from(cause))
    }
}

/// The lines of one table.
struct Lines<W: Write> {
    table: Table,
    after: Cursor,
    last: Cursor,
    count: u64,
    out: csv::Writer<W>,
}

impl<W: Write> Lines<W> {
    async fn export(&mut self, location: &Location) -> Result<(), NotExported> {
        let told = |cause: &dyn fmt::Display| NotExported::Journal(cause.to_string());
        if !exists(location).await.map_err(|cause| told(&cause))? {
            let cause = "expected a journal, found none; name one with --journal, or set TOLLGATE_JOURNAL";
            return Err(NotExported::Journal(cause.to_owned()));
        }
        let journal = open_to_scan(location).await.map_err(|cause| told(&cause))?;
        self.all(&*journal).await
    }

    async fn all(&mut self, journal: &dyn Scan) -> Result<(), NotExported> {
        self.out.write_record(header(self.table))?;
        // Of the entry of the cursor some lines may be new.
        let mut read_to = self.after.lsn.saturating_sub(1);
        loop {
            let entries = journal.scan(read_to, PAGE_ENTRIES).await;
            let entries = entries.map_err(|cause| NotExported::Journal(cause.to_string()))?;
            let Some(last) = entries.last() else { break };
            read_to = last.lsn;
            for entry in &entries {
                self.entry(entry)?;
            }
        }
        self.out.flush().map_err(NotExported::Output)
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), NotExported> {
        let events = record::decode(&entry.body).map_err(|cause| {
            NotExported::Journal(format!("entry {} of {} cannot be read: {cause}", entry.lsn, entry.account))
        })?;
        for (place, event) in events.iter().enumerate() {
            let cursor = Cursor { lsn: entry.lsn, place };
            if cursor <= self.after && self.after != Cursor::default() {
                continue;
            }
            if let Some(fields) = line(self.table, event, entry) {
                let mut whole = vec![cursor.to_string(), entry.at.to_string()];
                whole.extend(fields);
                self.out.write_record(&whole)?;
                self.last = cursor;
                self.count = self.count.saturating_add(1);
            }
        }
        Ok(())
    }
}

/// The names of the columns. `cursor` and `recorded_at` are those of every table.
fn header(table: Table) -> impl Iterator<Item = &'static str> {
    let own: &[&str] = match table {
        Table::Decisions => &DECISION,
        Table::Transactions => &TRANSACTION,
        Table::Credits => &CREDIT,
    };
    ["cursor", "recorded_at"].into_iter().chain(own.iter().copied())
}

const DECISION: [&str; 23] = [
    "decision",
    "decided_at",
    "event",
    "authorization",
    "card",
    "cardholder",
    "account",
    "group",
    "outcome",
    "reason",
    "rule",
    "source",
    "asked",
    "granted",
    "currency",
    "merchant",
    "category",
    "country",
    "presence",
    "legs",
    "policy",
    "livemode",
    "explanation",
];

const TRANSACTION: [&str; 12] = [
    "transaction",
    "created",
    "event",
    "is_update",
    "kind",
    "amount",
    "currency",
    "card",
    "account",
    "authorization",
    "merchant",
    "livemode",
];

const CREDIT: [&str; 7] = ["budget", "id", "at", "amount", "currency", "by", "reason"];

/// The line of an event, if it has one in the table.
fn line(table: Table, event: &Event, entry: &Entry) -> Option<Vec<String>> {
    match (table, event) {
        (Table::Decisions, Event::Decided(decided) | Event::StoodIn(decided)) => {
            Some(decision(decided).into())
        }
        (Table::Transactions, Event::Observed(seen)) => match &seen.fact {
            Fact::Transaction(transaction) => Some(of_transaction(seen, transaction).into()),
            Fact::Authorization(_) | Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        },
        (Table::Credits, event) => {
            let command = event.command()?;
            match &command.action {
                Action::Credit { amount, currency } => {
                    Some(of_credit(command, (*amount, *currency), entry).into())
                }
                Action::Raise(_) | Action::Grant(_) | Action::Pause { .. } | Action::Resume => None,
            }
        }
        (Table::Decisions | Table::Transactions, _) => None,
    }
}

fn decision(decided: &Decided) -> [String; DECISION.len()] {
    let Decided { request, decision } = decided;
    let (asked, merchant) = (request.asked.ok(), &request.merchant);
    let mut legs: Vec<String> =
        decision.limits.iter().filter_map(|check| check.account.as_ref()).map(ToString::to_string).collect();
    legs.dedup();
    [
        decision.id.to_string(),
        decision.at.to_string(),
        request.event.to_string(),
        request.authorization.to_string(),
        text(request.card.as_ref()),
        text(request.cardholder.as_ref()),
        text(request.connected_account.as_ref()),
        text(request.group.as_ref()),
        decision.outcome.as_str().to_owned(),
        decision.reason.as_str().to_owned(),
        text(decision.ruled.as_deref().and_then(|ruled| ruled.marks.rule.as_ref())),
        decision.source.as_str().to_owned(),
        text(asked.map(|asked| asked.amount).as_ref()),
        decision.granted.to_string(),
        text(asked.map(|asked| asked.currency).as_ref()),
        text(merchant.network_id.as_ref()),
        merchant.category.as_str().to_owned(),
        text(merchant.country.as_ref()),
        text(request.card_presence.map(CardPresence::as_str).as_ref()),
        legs.join(" "),
        decision.policy.as_str().to_owned(),
        request.livemode.to_string(),
        explain(request, decision),
    ]
}

fn of_transaction(seen: &Observation, transaction: &TransactionSeen) -> [String; TRANSACTION.len()] {
    [
        transaction.id.to_string(),
        transaction.created.to_string(),
        seen.event.to_string(),
        transaction.is_update.to_string(),
        transaction.kind.as_str().to_owned(),
        transaction.amount.to_string(),
        text(transaction.currency.as_ref()),
        text(seen.card()),
        text(seen.connected_account.as_ref()),
        text(transaction.authorization.as_ref()),
        text(transaction.merchant.network_id.as_ref()),
        seen.livemode.to_string(),
    ]
}

fn of_credit(
    command: &Command,
    (amount, currency): (i64, Currency),
    entry: &Entry,
) -> [String; CREDIT.len()] {
    let Command { id, at, attribution, .. } = command;
    [
        entry.account.to_string(),
        id.to_string(),
        at.to_string(),
        amount.to_string(),
        currency.to_string(),
        attribution.by.to_string(),
        attribution.reason.to_string(),
    ]
}

/// A value that may be missing.
fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = Cursor { lsn: 1_234, place: 2 };
        assert_eq!(format!("{cursor}\n").parse(), Ok(cursor));
        for wrong in ["", "12", "12-", "-1", "12-x", "x-1"] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
        assert!(Cursor { lsn: 2, place: 0 } > Cursor { lsn: 1, place: 9 });
    }
}
