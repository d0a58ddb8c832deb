//! The state machine of an account as stories: a message goes in, effects come out. Each line is one turn, with all that the
//! ledger wants done; whatever it asks the journal, the story answers.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

mod budgets;
mod exceptions;
mod stories;

use std::{sync::Arc, time::Duration};

use tollgate::{
    clock,
    domain::{
        Account, Action, AuthorizationRequest, BudgetEvent, Command, Decided, Decision, Event, Observation,
        Outcome as Answered, Policy, Source, Stages,
    },
    journal::{self, Append, Entry, EntryId, Urgency, record},
    ledger::{
        Caller, Effect, Folded, Given, Hops, Ledger, Message, NotFolded, Note, Observed, Release, Reloaded,
        Request, Settings, StoodIn, Timer, Waiting, Work, fold, fold_budget,
    },
};

use crate::questions::{policy, question};

/// How long a caller waits.
const WITHIN: Duration = Duration::from_secs(1);

/// Who waits, by name.
struct Name(&'static str);

impl Caller for Name {
    fn decided(&self, _: Answered) {}
}

/// One ledger, the chain that it writes to, and what the time is.
struct Story {
    ledger: Ledger<Name>,
    now: clock::Instant,
    policy: Arc<Policy>,
    settings: Settings,
    is_journal_in_trouble: bool,
    /// What is durable.
    chain: Vec<Entry>,
    /// Appends that were not answered, newest last.
    appends: Vec<Append>,
    /// Work that waits for a look into the journal.
    sought: Vec<Work<Name>>,
    handed_on: Vec<Work<Name>>,
    /// Accounts that are being read again.
    reloading: Vec<Account>,
    ids: u64,
}

impl Story {
    /// An account that was loaded and is empty, with a limit of 1,000 for all time.
    fn new() -> Self {
        let mut story = Self::unread();
        assert_eq!(story.asks("nobody", 0), "load");
        story.now += WITHIN;
        assert_eq!(story.loaded(), "note Loaded; give up nobody: deadline");
        story
    }

    /// One that other nodes write to as well.
    fn shared() -> Self {
        let mut story = Self::new();
        story.settings.is_journal_shared = true;
        story
    }

    /// An account that is being loaded.
    fn unread() -> Self {
        Self {
            ledger: Ledger::new(),
            now: clock::instant(),
            policy: policy("test", &[("all_time", 1_000)]),
            settings: Settings::default(),
            is_journal_in_trouble: false,
            chain: Vec::new(),
            appends: Vec::new(),
            sought: Vec::new(),
            handed_on: Vec::new(),
            reloading: Vec::new(),
            ids: 0,
        }
    }

    /// One turn: a message, and then what was decided is handed on.
    fn turn(&mut self, message: Message<Name>) -> String {
        let mut effects = Vec::new();
        let given = Given {
            now: self.now,
            policy: &self.policy,
            settings: &self.settings,
            is_journal_in_trouble: self.is_journal_in_trouble,
        };
        self.ledger.step(&given, message, &mut effects);
        self.ids += 1;
        self.ledger.dispatch(&given, EntryId::new(self.ids), &mut effects);
        self.shown(effects)
    }

    fn asks(&mut self, name: &'static str, amount: i64) -> String {
        self.asks_for(name, question("one", name, amount))
    }

    fn asks_for(&mut self, name: &'static str, request: AuthorizationRequest) -> String {
        let deadline = self.now + WITHIN;
        let waiting = Waiting::Answer { caller: Name(name), deadline };
        let account = request.account();
        let request = Request {
            asked: Arc::new(request),
            stages: Stages::default(),
            queued_at: self.now,
            hops: Hops::default(),
            waiting,
        };
        self.turn(Message::Work(account, Work::Request(Box::new(request))))
    }

    fn tells(&mut self, name: &'static str, observation: Observation) -> String {
        let caller = Name(name);
        let account = observation.subject.account();
        let observed = Observed { observation, hops: Hops::default(), caller };
        self.turn(Message::Work(account, Work::Observation(Box::new(observed))))
    }

    /// The stand-in has answered.
    fn stands_in(&mut self, name: &'static str, amount: i64) -> String {
        self.records(Some(name), stand_in(name, amount))
    }

    /// With a name, or in place of a decision whose answer has not left.
    fn records(&mut self, name: Option<&'static str>, decided: Decided) -> String {
        let (caller, hops) = (name.map(Name), Hops::default());
        let account = decided.request.account();
        self.turn(Message::Work(account, Work::StandIn(Box::new(StoodIn { decided, hops, caller }))))
    }

    /// The oldest append ends so. What is durable is in the chain then.
    fn ends(&mut self, outcome: journal::Outcome) -> String {
        let append = self.appends.remove(0);
        let id = append.id;
        if matches!(outcome, journal::Outcome::Durable { .. }) {
            self.write(append);
        }
        self.turn(Message::Committed(id, outcome))
    }

    fn is_durable(&mut self) -> String {
        self.ends(journal::Outcome::Durable { at: clock::now() })
    }

    fn write(&mut self, append: Append) {
        let id = append.id;
        self.chain.extend(append.rows.into_iter().map(|row| Entry {
            lsn: 0,
            account: row.account,
            seq: row.head.seq + 1,
            id,
            prev: row.head.id,
            at: clock::now(),
            is_snapshot: row.is_snapshot,
            body: row.body,
        }));
    }

    /// Another node extends the chain by these events.
    fn another_writes(&mut self, events: &[Event]) {
        let (seq, prev) = self.chain.last().map_or((0, EntryId::NONE), |last| (last.seq, last.id));
        self.chain.push(Entry {
            lsn: 0,
            account: Account::from(&crate::questions::card("one")),
            seq: seq + 1,
            id: EntryId::new(1_000_000 + seq),
            prev,
            at: clock::now(),
            is_snapshot: false,
            body: record::encode(events),
        });
    }

    fn folded(&self, account: &Account) -> Folded {
        let chain: Vec<Entry> =
            self.chain.iter().filter(|entry| entry.account == *account).cloned().collect();
        match self.policy.budgets().of(account) {
            Some(policy) => fold_budget(&chain, policy).unwrap(),
            None => fold(&chain).unwrap(),
        }
    }

    fn loaded(&mut self) -> String {
        self.loaded_of(&card_account())
    }

    fn loaded_of(&mut self, account: &Account) -> String {
        let folded = self.folded(account);
        self.turn(Message::Loaded(account.clone(), Ok(Box::new(folded))))
    }

    fn cannot_be_loaded(&mut self) -> String {
        self.turn(Message::Loaded(card_account(), Err(away())))
    }

    /// The chain was read again after the append of this id lost its place.
    fn reloaded(&mut self, id: EntryId) -> String {
        let is_written = self.chain.iter().any(|entry| entry.id == id);
        let accounts = std::mem::take(&mut self.reloading);
        let folded = accounts.into_iter().map(|account| (account.clone(), self.folded(&account))).collect();
        self.turn(Message::Reloaded(id, Ok(Box::new(Reloaded { folded, is_written }))))
    }

    /// So much is held, by the tentative state.
    fn held(&self) -> i64 {
        self.ledger.card(&card_account()).unwrap().held()
    }

    /// Effects as words, and what they carry as the story's own.
    fn shown(&mut self, effects: Vec<Effect<Name>>) -> String {
        let words: Vec<String> = effects.into_iter().map(|effect| self.show(effect)).collect();
        words.join("; ")
    }

    fn show(&mut self, effect: Effect<Name>) -> String {
        match effect {
            Effect::Append(append, urgency) => {
                let rows = append.rows.iter().map(|row| {
                    let events = record::decode(&row.body).unwrap();
                    let events: Vec<String> = events.iter().map(word).collect();
                    let account = of(&row.account);
                    let account = if account.is_empty() { account } else { format!("{}: ", account.trim()) };
                    format!("{account}{}", events.join(", "))
                });
                let mut rows: Vec<String> = rows.collect();
                rows.sort_by_key(|row| (row.starts_with("budget:"), row.contains(": "), row.clone()));
                self.appends.push(append);
                let urgency = match urgency {
                    Urgency::By(_) => "in time",
                    Urgency::Now => "now",
                    Urgency::Later => "later",
                };
                format!("append {urgency}: {}", rows.join(" | "))
            }
            Effect::Withdraw(_) => "withdraw".to_owned(),
            Effect::Load(account) => format!("load{}", of(&account)),
            Effect::LoadHistory(account, _) => format!("load history{}", of(&account)),
            Effect::Reload { heads, .. } => {
                self.reloading = heads.into_iter().map(|(account, _)| account).collect();
                "reload".to_owned()
            }
            Effect::Find { work, within, .. } => {
                self.sought.push(work);
                if within.is_some() { "find soon".to_owned() } else { "find".to_owned() }
            }
            Effect::Release(release) => {
                let Release { answer, waiting, is_replaced, .. } = *release;
                let names: Vec<&str> = waiting.iter().map(name).collect();
                let replaced = if is_replaced { " by the stand-in" } else { "" };
                format!("release {}: {}{replaced}", names.join(" "), answer.outcome.as_str())
            }
            Effect::Repeat(Name(name), answer) => format!("repeat {name}: {}", answer.outcome.as_str()),
            Effect::Receipt(Name(name)) => format!("receipt {name}"),
            Effect::GiveUp(Name(name), cause) => format!("give up {name}: {}", cause.as_str()),
            Effect::Refuse(Name(name)) => format!("refuse {name}"),
            Effect::HandOn(account, work) => {
                self.handed_on.push(work);
                format!("hand on to {account}")
            }
            Effect::CarryOver(_, card) => format!("carry over to {card}"),
            Effect::Pause(_, Timer::Record) => "pause Record".to_owned(),
            Effect::Pause(_, Timer::CarryOver(_)) => "pause CarryOver".to_owned(),
            Effect::Confirmed(_) => "confirmed".to_owned(),
            Effect::Failed(_) => "failed".to_owned(),
            Effect::Leave => "leave".to_owned(),
            Effect::Note(_, Note::NotLoaded(_)) => "note NotLoaded".to_owned(),
            Effect::Note(_, Note::NotFound(_)) => "note NotFound".to_owned(),
            Effect::Note(_, Note::Stripe(word)) => format!("note Stripe agrees {:?}", word.agrees),
            Effect::Note(account, note) => format!("note {note:?}{}", of(&account)),
        }
    }
}

fn name(waiting: &Waiting<Name>) -> &'static str {
    match waiting {
        Waiting::Answer { caller, .. } | Waiting::Receipt(caller) | Waiting::StandIn(caller) => caller.0,
    }
}

fn card_account() -> Account {
    Account::from(&crate::questions::card("one"))
}

/// Which account, where it is not the usual one.
fn of(account: &Account) -> String {
    if *account == card_account() { String::new() } else { format!(" {account}") }
}

fn word(event: &Event) -> String {
    let decided = |what: &str, decided: &Decided| {
        let id = decided.request.authorization.as_str().trim_start_matches("iauth_");
        format!("{what} {id} {}", decided.decision.outcome.as_str())
    };
    match event {
        Event::Decided(one) => decided("decided", one),
        Event::StoodIn(one) => decided("stood in", one),
        Event::Observed(_) => "observed".to_owned(),
        Event::Recalled(_) => "recalled".to_owned(),
        Event::Joined(joined) if joined.is_carried => "joined for good".to_owned(),
        Event::Joined(_) => "joined".to_owned(),
        Event::Carried(_) => "carried".to_owned(),
        Event::Controls(_) => "controls".to_owned(),
        Event::Charges(charges) => format!("charges {}", charges.len()),
        Event::Budget(event) => match &**event {
            BudgetEvent::Leg(leg) => {
                let of = leg.of.as_str().trim_start_matches("iauth_");
                format!("leg {of} {}", leg.after.sums.used() - leg.before.sums.used())
            }
            BudgetEvent::Command(command) => ordered(command),
            BudgetEvent::Warned(warned) => {
                format!("warned {}% {}/{}", warned.percent, warned.used, warned.max)
            }
            BudgetEvent::Snapshot(_) => "snapshot".to_owned(),
        },
        Event::Command(command) => ordered(command),
        Event::Policy(_) => "policy".to_owned(),
        Event::Delivered(_) => "delivered".to_owned(),
        Event::Snapshot(_) => "snapshot".to_owned(),
    }
}

fn ordered(command: &Command) -> String {
    match &command.action {
        Action::Credit { amount, .. } => format!("credit {} {amount}", command.id),
        Action::Raise(raise) => format!("raise {} {}", command.id, raise.by),
        Action::Grant(grant) => format!("grant {} {}", command.id, grant.amount),
        Action::Pause { .. } => format!("pause {}", command.id),
        Action::Resume => format!("resume {}", command.id),
    }
}

fn away() -> NotFolded {
    journal::Unavailable("away".to_owned()).into()
}

/// The stand-in's decline of a question.
fn stand_in(name: &str, amount: i64) -> Decided {
    let request = Arc::new(question("one", name, amount));
    let card = tollgate::domain::Card::default();
    let policy = policy("test", &[("all_time", 0)]).for_card(None, None);
    let declined = tollgate::domain::decide(&card, &policy, &request);
    Decided { request, decision: Decision { source: Source::StandIn, ..declined } }
}
