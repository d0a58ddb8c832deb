//! What ledgers want done: appends, looks into the journal, replies, pauses. What comes of it goes back to the shard as a
//! message.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Cause, NotBooked, TimedAnswer,
    directory::Shared,
    inbox::Inbox,
    notes,
    recall::recall,
    reply::Reply,
    shard::{self, Resident},
    unconfirmed::view,
};
use crate::{
    clock::{self, timeout},
    domain::{Account, CardId, Decided, Mention, windows_in_force},
    journal::{Append, Entry, EntryId, Head, Outcome, Reach, Unavailable, Urgency},
    ledger::{
        self, Carry, Effect, Folded, History, Hops, Message, NotFolded, Note, Release, Reloaded, Timer,
        Waiting, Work,
    },
    metrics::{Done, Stage},
};

/// How many entries are copied to another chain at once.
const ENTRIES_AT_ONCE: usize = 256;

/// Works for one ledger.
pub(super) struct Hands<'a> {
    pub(super) me: &'a Inbox<shard::Message>,
    pub(super) shared: &'a Arc<Shared>,
    /// Which ledger it is.
    pub(super) root: &'a Account,
    /// Whether the ledger is to be let go.
    pub(super) is_left: bool,
}

impl Hands<'_> {
    /// Does all of this in order. What is known at once is added to `messages`.
    pub(super) fn run_all(
        &mut self,
        resident: &mut Resident,
        effects: &mut Vec<Effect<Reply>>,
        messages: &mut VecDeque<Message<Reply>>,
    ) {
        for effect in effects.drain(..) {
            self.run(resident, effect, messages);
        }
    }

    fn run(
        &mut self,
        resident: &mut Resident,
        effect: Effect<Reply>,
        messages: &mut VecDeque<Message<Reply>>,
    ) {
        let number = resident.number;
        match effect {
            Effect::Append(append, urgency) => self.append(resident, append, urgency),
            Effect::Withdraw(id) => {
                let ticket = resident.ticket.take_if(|(of, _)| *of == id);
                if ticket.is_some_and(|(_, ticket)| self.shared.committer.withdraw(ticket)) {
                    messages.push_back(Message::Withdrawn(id));
                }
            }
            Effect::Load(account) => self.load(number, account),
            Effect::LoadHistory(account, history) => self.load_history(number, account, *history),
            Effect::Reload { id, heads } => self.reload(number, id, heads),
            Effect::Find { account, mentions, work, changes, within } => {
                self.find(number, account, mentions, (work, changes), within);
            }
            Effect::Release(release) => messages.extend(self.release(*release)),
            Effect::Repeat(reply, answer) => {
                // Another node's that was stood in for meanwhile is not voided yet.
                let instead = self.shared.unconfirmed.in_place_of(&answer);
                reply.tell(instead.unwrap_or(answer).into());
            }
            Effect::Receipt(reply) => reply.receive(),
            Effect::GiveUp(reply, cause) => reply.give_up(cause),
            Effect::Refuse(reply) => reply.refuse(),
            Effect::HandOn(account, work) => self.shared.send_on(account, work),
            Effect::CarryOver(account, card) => self.carry_over(number, account, card),
            Effect::Pause(pause, timer) => self.pause(number, pause, timer),
            Effect::Confirmed(decision) => self.shared.unconfirmed.confirmed(decision),
            Effect::Failed(account) => self.shared.count_failure(&account, clock::instant()),
            Effect::Leave => self.is_left = true,
            Effect::Note(account, note) => {
                match &note {
                    Note::Loaded => self.activated(resident, Done::Ok),
                    Note::NotLoaded(_) => self.activated(resident, Done::Failed),
                    _ => {}
                }
                notes::take(self.shared, &account, note);
            }
        }
    }

    fn append(&self, resident: &mut Resident, append: Append, urgency: Urgency) {
        let (id, number) = (append.id, resident.number);
        let bytes = append.rows.iter().fold(0, |sum: usize, row| sum.saturating_add(row.body.len()));
        self.shared.metrics.journal.appended_bytes.increment(u64::try_from(bytes).unwrap_or(0));
        let (me, root) = (self.me.clone(), self.root.clone());
        // A copy only while something is tried: what the journal takes, it keeps.
        let tried = self.shared.trials.feed().map(|feed| (feed, append.clone()));
        let done = move |outcome| {
            if let (Outcome::Durable { at }, Some((feed, append))) = (outcome, tried) {
                feed.give(append, at);
            }
            me.send(shard::Message::Back(root, number, Message::Committed(id, outcome)));
        };
        let ticket = self.shared.committer.submit(append, urgency, Box::new(done));
        resident.ticket = ticket.map(|ticket| (id, ticket));
    }

    /// Gives an answer to all who wait for it. A message comes back where the stand-in has answered meanwhile: that answer is
    /// given to all of them, and takes the place of the decision.
    fn release(&self, release: Release<Reply>) -> Option<Message<Reply>> {
        let Release { account, decided, answer, is_replaced, commit_us, waiting } = release;
        let stages = &self.shared.metrics.decisions.stages;
        let took = decided.decision.stages;
        for (stage, us) in [
            (Stage::Route, took.route_us),
            (Stage::Queue, took.queue_us),
            (Stage::Decide, took.decide_us),
            (Stage::Commit, commit_us),
        ] {
            stages.get(stage).record(f64::from(us) / 1_000_000.0);
        }
        // Whoever has stopped waiting for it is told what is known from here on.
        let before =
            if is_replaced { None } else { self.shared.unconfirmed.agree(view(&decided), &answer).err() };
        if before.is_none() && !is_replaced {
            self.shared.told(&decided.decision);
        }
        let answer = before.clone().unwrap_or(answer);
        let mut callers = waiting.into_iter().filter_map(|waiting| match waiting {
            Waiting::Answer { caller, .. } => Some(caller),
            Waiting::Receipt(_) | Waiting::StandIn(_) => None,
        });
        let last = callers.next();
        let timed = TimedAnswer { answer, stages: took, commit_us };
        for caller in callers {
            caller.tell(timed.clone());
        }
        if let Some(caller) = last {
            caller.tell(timed);
        }
        before.map(|before| {
            let decision = self.shared.as_before(&decided.request, &before);
            Message::Unheard(account, Box::new(Decided { request: decided.request, decision }))
        })
    }

    fn activated(&self, resident: &mut Resident, result: Done) {
        if let Some(woken) = resident.woken.take() {
            let cards = &self.shared.metrics.cards;
            cards.activations.get(result).increment(1);
            cards.activation_duration.record(clock::instant().duration_since(woken));
        }
    }

    fn load(&self, number: u64, account: Account) {
        let shared = Arc::clone(self.shared);
        self.later(number, async move {
            let folded = match shared.load(&account, Reach::Snapshot).await {
                Ok(entries) => folded(&shared, &account, &entries).await,
                Err(cause) => Err(cause),
            };
            Message::Loaded(account, folded.map(Box::new))
        });
    }

    fn load_history(&self, number: u64, account: Account, history: History) {
        let shared = Arc::clone(self.shared);
        self.later(number, async move {
            let entries = shared.load(&account, Reach::Genesis).await;
            let folded = entries.and_then(|entries| match &history {
                History::Card { policy, controls } => {
                    let windows = windows_in_force(policy, controls.as_deref());
                    ledger::fold_history(&entries, windows, policy.refunds_restore)
                }
                History::Budget(policy) => ledger::fold_budget_history(&entries, policy),
            });
            Message::Loaded(account, folded.map(Box::new))
        });
    }

    fn reload(&self, number: u64, id: EntryId, heads: Vec<(Account, Option<Head>)>) {
        let shared = Arc::clone(self.shared);
        self.later(
            number,
            async move { Message::Reloaded(id, reloaded(&shared, id, heads).await.map(Box::new)) },
        );
    }

    fn find(
        &self,
        number: u64,
        account: Account,
        mentions: Vec<Mention>,
        (work, changes): (Work<Reply>, u64),
        within: Option<Duration>,
    ) {
        let shared = Arc::clone(self.shared);
        self.later(number, async move {
            let finding = recall(&*shared.journal, &account, mentions);
            let found = match within {
                Some(within) => {
                    let late = |_| Err(Unavailable("no answer in good time".to_owned()).into());
                    timeout(within, finding).await.unwrap_or_else(late)
                }
                None => finding.await,
            };
            Message::Found { account, work, changes, result: found.map(Box::new) }
        });
    }

    fn carry_over(&self, number: u64, account: Account, replaced: CardId) {
        let shared = Arc::clone(self.shared);
        self.later(number, async move {
            let carried = carry_over(&shared, &account, &replaced).await;
            Message::CarriedOver(account, carried)
        });
    }

    fn pause(&self, number: u64, pause: Duration, timer: Timer) {
        self.later(number, async move {
            clock::sleep(pause).await;
            Message::Due(timer)
        });
    }

    /// Does something that takes a while, and sends what comes of it.
    fn later(&self, number: u64, work: impl Future<Output = Message<Reply>> + Send + 'static) {
        let (me, root) = (self.me.clone(), self.root.clone());
        tokio::spawn(async move {
            me.send(shard::Message::Back(root, number, work.await));
        });
    }
}

/// An account as its entries since the last snapshot tell it; a budget with all windows that the policy has for it.
async fn folded(shared: &Shared, account: &Account, entries: &[Entry]) -> Result<Folded, NotFolded> {
    let policy = shared.policy.borrow().budgets().of(account).cloned();
    let Some(policy) = policy else { return ledger::fold(entries) };
    let folded = ledger::fold_budget(entries, &policy)?;
    if folded.budget.keeps(policy.windows(), policy.refunds_restore) {
        return Ok(folded);
    }
    ledger::fold_budget_history(&shared.load(account, Reach::Genesis).await?, &policy)
}

async fn reloaded(
    shared: &Shared,
    id: EntryId,
    heads: Vec<(Account, Option<Head>)>,
) -> Result<Reloaded, NotFolded> {
    let mut reloaded = Reloaded { folded: Vec::with_capacity(heads.len()), is_written: true };
    for (account, head) in heads {
        let entries = shared.load(&account, Reach::Snapshot).await?;
        if let Some(head) = head {
            let has = |entries: &[Entry]| entries.iter().any(|entry| entry.id == id);
            // A snapshot of another writer may hide our entry: then only the whole chain tells.
            let is_whole = entries.first().is_none_or(|first| first.seq <= head.seq.saturating_add(1));
            reloaded.is_written &=
                has(&entries) || (!is_whole && has(&shared.load(&account, Reach::Genesis).await?));
        }
        let folded = folded(shared, &account, &entries).await?;
        reloaded.folded.push((account, folded));
    }
    Ok(reloaded)
}

/// Copies everything that was recorded on a card to the chain of the card that it replaces.
async fn carry_over(shared: &Arc<Shared>, account: &Account, replaced: &CardId) -> Result<(), NotFolded> {
    let Some(from) = CardId::new(account.as_str()) else { return Ok(()) };
    let entries = shared.load(account, Reach::Genesis).await?;
    for entries in entries.chunks(ENTRIES_AT_ONCE) {
        let (reply, recorded) = oneshot::channel();
        let entries = entries.iter().map(|entry| Ok((entry.seq, ledger::purchases(entry)?)));
        let entries = entries.collect::<Result<_, NotFolded>>()?;
        let (from, caller) = (from.clone(), Reply::Receipt(reply));
        let carry = Work::Carry(Box::new(Carry { from, entries, hops: Hops::default(), caller }));
        shared.send_on(Account::from(replaced), carry);
        recorded.await.unwrap_or(Err(Cause::Journal.into())).map_err(not_now)?;
    }
    Ok(())
}

fn not_now(cause: NotBooked) -> NotFolded {
    Unavailable(cause.to_string()).into()
}
