//! What budgets cost: nodes whose cards charge none, one, and seven of them, in one tree and as templates of the
//! cardholder, take the same requests in the same rounds; and one budget over all cards against one hot card.

use std::fmt::Write as _;

use crate::{
    CONNECTIONS, Sample, Scale, TOLLGATE, check,
    events::{Cards, Events, Writer},
    generator::{self, Pace},
    postgres::Server,
    ratio,
    report::{self, BudgetsRow, Spread},
    server::{Journal, Process},
};

/// How many legs a purchase has besides that of its card, and how the budgets stand to each other.
const SHAPES: [(&str, usize, Shape); 5] = [
    ("card alone", 0, Shape::Tree),
    ("2 legs", 1, Shape::Tree),
    ("8 legs, one tree", 7, Shape::Tree),
    ("2 legs, templates", 1, Shape::Templates),
    ("8 legs, templates", 7, Shape::Templates),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Each below the one before it: all cards are decided in one place.
    Tree,
    /// All `per: cardholder`: each cardholder's cards are decided in a place of their own.
    Templates,
}

/// A node, and what was measured of it.
struct Subject {
    name: String,
    process: Process,
    many: Vec<Sample>,
    hot: Vec<Sample>,
    database_us: Vec<f64>,
    appended: f64,
    requests: f64,
}

/// Measures all shapes on SQLite and PostgreSQL, and the card alone of another build if there is one.
pub(crate) fn measure(scale: &Scale, writer: &mut Writer) {
    writer.give_each_card_a_cardholder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = "shared_buffers = 512MB\nmax_wal_size = 4GB\nmax_connections = 100\nautovacuum = on";
    let server = runtime.block_on(Server::start_with(settings));
    for is_sqlite in [true, false] {
        let Some(mut subjects) = start(scale, is_sqlite, server.as_ref()) else { continue };
        run(scale, writer, &mut subjects, server.as_ref().filter(|_| !is_sqlite));
        report(if is_sqlite { "sqlite" } else { "postgresql" }, &subjects);
    }
}

fn start(scale: &Scale, is_sqlite: bool, server: Option<&Server>) -> Option<Vec<Subject>> {
    let mut subjects: Vec<Subject> = Vec::new();
    let other = scale.other.as_deref();
    for (program, build) in
        [Some((TOLLGATE, "")), other.map(|other| (other, ", other"))].into_iter().flatten()
    {
        for (place, (name, budgets, shape)) in SHAPES.into_iter().enumerate() {
            // Another build may not know budgets.
            if program != TOLLGATE && budgets > 0 {
                continue;
            }
            let policy = policy(budgets, shape);
            let process = if is_sqlite {
                Process::with_policy(program, Journal::Sqlite, &policy)
            } else {
                let server = server?;
                let database = format!("budgets_{place}{}", if build.is_empty() { "" } else { "_other" });
                server.sql(&format!("CREATE DATABASE {database}"));
                let url = format!("postgres://postgres@127.0.0.1:{}/{database}", server.port());
                Process::with_policy(program, Journal::Postgres(&url, 0), &policy)
            };
            subjects.push(Subject {
                name: format!("{name}{build}"),
                process,
                many: Vec::new(),
                hot: Vec::new(),
                database_us: Vec::new(),
                appended: 0.0,
                requests: 0.0,
            });
        }
    }
    Some(subjects)
}

fn run(scale: &Scale, writer: &mut Writer, subjects: &mut [Subject], server: Option<&Server>) {
    let warm = writer.write(scale.cards.max(CONNECTIONS), Cards::InTurn(scale.cards));
    for subject in subjects.iter() {
        let load = generator::run(&[subject.process.webhook], &warm, CONNECTIONS, Pace::AsFastAsAnswered);
        check(&subject.name, &load, &warm);
    }
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    for round in 0..scale.rounds {
        let many = writer.write(scale.requests, Cards::Many(scale.cards));
        let hot = writer.write(scale.requests / 2, Cards::Hot(round));
        fastrand::shuffle(&mut order);
        for &place in &order {
            let subject = &mut subjects[place];
            subject.many(&many, server);
            let sample = subject.load(&hot);
            subject.hot.push(sample);
        }
    }
}

impl Subject {
    fn many(&mut self, events: &Events, server: Option<&Server>) {
        let appended = self.process.metric(APPENDED);
        let ticks = server.map(Server::cpu_ticks);
        let sample = self.load(events);
        self.many.push(sample);
        if let (Some(server), Some(ticks)) = (server, ticks) {
            self.database_us.push((server.cpu_ticks() - ticks) as f64 * 1e4 / events.len() as f64);
        }
        self.appended += self.process.metric(APPENDED) - appended;
        self.requests += events.len() as f64;
    }

    fn load(&self, events: &Events) -> Sample {
        Sample::of(&self.name, &self.process, events)
    }
}

/// Bytes that were appended.
const APPENDED: &str = "tollgate_journal_appended_bytes_total";

fn report(journal: &str, subjects: &[Subject]) {
    let rows: Vec<BudgetsRow> = subjects
        .iter()
        .map(|subject| {
            let alone = &subjects[0];
            BudgetsRow {
                name: subject.name.clone(),
                cpu_us: Spread::of(subject.many.iter().map(|sample| sample.cpu_us).collect()),
                ratio: ratio(&subject.many, &alone.many, |sample| sample.cpu_us),
                rate: Spread::of(subject.many.iter().map(|sample| sample.rate).collect()),
                to_hot: ratio(&subject.many, &alone.hot, |sample| sample.rate),
                database_us: Spread::of(subject.database_us.clone()),
                bytes: subject.appended / subject.requests,
            }
        })
        .collect();
    report::budgets(journal, &rows);
}

/// The limits of [`crate::server::POLICY`] on each card, and on each of so many budgets.
fn policy(budgets: usize, shape: Shape) -> String {
    let limits = "spending_limits: [{amount: 1000000000000, interval: daily}, {count: 1000000000, interval: rolling(24h)}]";
    let mut text = String::from("version: 1\ncurrency: usd\n");
    if budgets == 0 {
        return format!("{text}default: {{{limits}}}\n");
    }
    text.push_str("budgets:\n");
    for number in 1..=budgets {
        let link = match shape {
            Shape::Templates => "per: cardholder, ".to_owned(),
            Shape::Tree if number > 1 => format!("parent: b{}, ", number - 1),
            Shape::Tree => String::new(),
        };
        let _ = writeln!(text, "  b{number}: {{{link}{limits}}}");
    }
    let named: Vec<String> = match shape {
        Shape::Tree => vec![format!("b{budgets}")],
        Shape::Templates => (1..=budgets).map(|number| format!("b{number}")).collect(),
    };
    format!("{text}default: {{budgets: [{}], {limits}}}\n", named.join(", "))
}
