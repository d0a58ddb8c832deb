//! Thousands of random operations on appends of one row and of several, held against a model that is a list for each account. The client here is as patient
//! as the committer and as careful as a card's actor: it repeats what is unknown, and looks for its own id after that.

use std::{collections::HashMap, sync::Arc};

use fastrand::Rng;
use tollgate::{
    domain::{Account, Mention},
    journal::{
        Append, Entry, EntryId, Faulty, Head, Journal, Memory, Odds, Outcome, Postgres, Reach, Row, Rows,
        Script,
    },
};

use super::{all, open};
use crate::postgres::Server;

const ACCOUNTS: usize = 24;
const MENTIONS: usize = 60;

/// What should be in the journal.
#[derive(Default)]
struct Model {
    chains: HashMap<Account, Vec<(EntryId, Row)>>,
}

struct Client {
    rng: Rng,
    run: u64,
    journal: Arc<dyn Journal>,
    model: Model,
    /// How often each outcome came, to see that the run met them.
    seen: HashMap<&'static str, usize>,
}

impl Client {
    fn new(journal: Arc<dyn Journal>, seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            run: fastrand::u64(..),
            journal,
            model: Model::default(),
            seen: HashMap::new(),
        }
    }

    fn account(&mut self) -> Account {
        Account::new(&format!("ic_{}_{:x}", self.rng.usize(..ACCOUNTS), self.run)).unwrap()
    }

    fn mention(&mut self) -> Mention {
        Mention::new(&format!("iauth_{}_{:x}", self.rng.usize(..MENTIONS), self.run)).unwrap()
    }

    fn head(&self, account: &Account) -> Head {
        let last = self.model.chains.get(account).and_then(|chain| chain.last());
        last.map_or_else(Head::default, |(id, row)| Head { seq: row.head.seq + 1, id: *id })
    }

    /// A group of rows, seldom of one of which the head is not known.
    fn draw(&mut self, accounts: Vec<Account>, counter: usize) -> (Append, bool) {
        let id = EntryId::new(self.rng.u64(1..));
        let mut is_stale = false;
        let mut rows = Rows::new();
        for account in accounts {
            let (row, is_one_stale) = self.draw_row(account, counter);
            rows.push(row);
            is_stale |= is_one_stale;
        }
        (Append { id, rows }, is_stale)
    }

    fn draw_row(&mut self, account: Account, counter: usize) -> (Row, bool) {
        let known = self.head(&account);
        let is_stale = self.rng.u8(..10) == 0;
        let head = if is_stale {
            Head { seq: known.seq.wrapping_add(self.rng.u64(..3)), id: EntryId::new(self.rng.u64(1..)) }
        } else {
            known
        };
        let mentions = (0..self.rng.usize(..3)).map(|_| self.mention()).collect();
        let is_snapshot = self.rng.u8(..12) == 0;
        (Row { account, head, is_snapshot, mentions, body: format!("[{counter}]") }, is_stale)
    }

    async fn append_some(&mut self, counter: usize) {
        let mut batch: Vec<(Append, bool)> = Vec::new();
        let mut named: Vec<Account> = Vec::new();
        for _ in 0..self.rng.usize(1..12) {
            let mut accounts = Vec::new();
            // Most have one row, some up to four.
            for _ in 0..self.rng.usize(1..5).saturating_sub(self.rng.usize(..4)).max(1) {
                let account = self.account();
                if !named.contains(&account) {
                    named.push(account.clone());
                    accounts.push(account);
                }
            }
            if !accounts.is_empty() {
                batch.push(self.draw(accounts, counter));
            }
        }
        let outcomes = self.journal.append(batch.iter().map(|(append, _)| append.clone()).collect()).await;
        assert_eq!(outcomes.len(), batch.len());
        for ((append, is_stale), outcome) in batch.into_iter().zip(outcomes) {
            self.settle(append, is_stale, outcome).await;
        }
    }

    /// Repeats until it is definite, and tells the model.
    async fn settle(&mut self, append: Append, is_stale: bool, mut outcome: Outcome) {
        let mut was_unknown = false;
        loop {
            *self.seen.entry(name(outcome)).or_default() += 1;
            match outcome {
                Outcome::Durable { .. } => {
                    assert!(!is_stale, "a stale append got in");
                    for row in append.rows {
                        self.model.chains.entry(row.account.clone()).or_default().push((append.id, row));
                    }
                    return;
                }
                Outcome::Rejected if !was_unknown => return,
                Outcome::Conflict => {
                    let mut has_changed = false;
                    for account in append.accounts() {
                        let had = self.head(account);
                        self.take_over(account, append.id).await;
                        has_changed |= had != self.head(account);
                    }
                    assert!(is_stale || has_changed, "a conflict without cause at {append:?}");
                    return;
                }
                Outcome::Unknown | Outcome::Rejected => was_unknown = true,
                Outcome::Expired => panic!("only a committer gives an append back for its age"),
            }
            outcome = self.journal.append([append.clone()].into()).await[0];
        }
    }

    /// After a conflict: what is in the chain beyond the model is a foreign entry, and nothing of the append.
    async fn take_over(&mut self, account: &Account, id: EntryId) {
        let entries = self.load(account, Reach::Genesis).await;
        assert!(entries.iter().all(|entry| entry.id != id), "a row of {id:?} is in, and it was a conflict");
        let chain = self.model.chains.entry(account.clone()).or_default();
        same(&entries[..chain.len()], chain);
        chain.extend(entries[chain.len()..].iter().map(|entry| {
            let row = Row {
                account: account.clone(),
                head: Head { seq: entry.seq - 1, id: entry.prev },
                is_snapshot: entry.is_snapshot,
                // Foreign entries mention nothing.
                mentions: Vec::new(),
                body: entry.body.clone(),
            };
            (entry.id, row)
        }));
    }

    async fn load(&self, account: &Account, reach: Reach) -> Vec<Entry> {
        loop {
            if let Ok(entries) = self.journal.load(account, reach).await {
                return entries;
            }
        }
    }

    async fn look(&mut self) {
        let account = self.account();
        let chain = self.model.chains.get(&account).cloned().unwrap_or_default();
        let start = chain.iter().rposition(|(_, row)| row.is_snapshot).unwrap_or(0);
        same(&self.load(&account, Reach::Genesis).await, &chain);
        same(&self.load(&account, Reach::Snapshot).await, &chain[start..]);

        let mention = self.mention();
        let found = loop {
            if let Ok(found) = self.journal.find(&mention).await {
                break found;
            }
        };
        let mut found: Vec<EntryId> = found.iter().map(|entry| entry.id).collect();
        let all = self.model.chains.values().flatten();
        let mut wanted: Vec<EntryId> =
            all.filter(|(_, row)| row.mentions.contains(&mention)).map(|(id, _)| *id).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Durable { .. } => "durable",
        Outcome::Conflict => "conflict",
        Outcome::Rejected => "rejected",
        Outcome::Unknown => "unknown",
        Outcome::Expired => "expired",
    }
}

#[track_caller]
fn same(entries: &[Entry], chain: &[(EntryId, Row)]) {
    assert_eq!(entries.len(), chain.len());
    for (entry, (id, row)) in entries.iter().zip(chain) {
        assert_eq!((entry.seq, entry.id), (row.head.seq + 1, *id));
        assert_eq!((entry.prev, entry.is_snapshot), (row.head.id, row.is_snapshot));
        assert_eq!(entry.body, row.body);
    }
}

/// Runs random operations; gives the whole log and how often each outcome came.
pub(crate) async fn check(
    journal: Arc<dyn Journal>,
    seed: u64,
    operations: usize,
) -> (Vec<(u64, EntryId)>, HashMap<&'static str, usize>) {
    println!("seed {seed}");
    let mut client = Client::new(Arc::clone(&journal), seed);
    for counter in 0..operations {
        if client.rng.u8(..4) == 0 {
            client.look().await;
        } else {
            client.append_some(counter).await;
        }
    }
    for (account, chain) in &client.model.chains {
        same(&client.load(account, Reach::Genesis).await, chain);
    }
    let log = loop {
        if let Ok(entries) = journal.scan(0, usize::MAX).await {
            break entries;
        }
    };
    let mine = log.iter().filter(|entry| client.model.chains.contains_key(&entry.account));
    let mine: Vec<_> = mine.map(|entry| (entry.seq, entry.id)).collect();
    assert_eq!(mine.len(), client.model.chains.values().map(Vec::len).sum::<usize>());
    (mine, client.seen)
}

#[tokio::test]
async fn random_operations_agree_with_the_model_in_memory() {
    let (_, seen) = check(Arc::new(Memory::new()), fastrand::u64(..), 4_000).await;
    assert!(seen["durable"] > 6_000 && seen["conflict"] > 600, "{seen:?}");
}

#[tokio::test]
async fn random_operations_agree_with_the_model_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(&directory.path().join("random.db")).unwrap());
    let (_, seen) = check(journal.clone(), fastrand::u64(..), 1_000).await;
    assert!(seen["durable"] > 1_500 && seen["conflict"] > 150, "{seen:?}");
    journal.close().await;
}

#[tokio::test]
async fn random_operations_agree_with_the_model_in_postgres() {
    let Some(server) = Server::start().await else { return };
    let journal: Arc<dyn Journal> = Arc::new(Postgres::open(&server.url()).await.unwrap());
    let (_, seen) = check(Arc::clone(&journal), fastrand::u64(..), 500).await;
    assert!(seen["durable"] > 700 && seen["conflict"] > 70, "{seen:?}");
    let faulty = Arc::new(Faulty::new(Arc::clone(&journal), Script::seeded(fastrand::u64(..), Odds::ROUGH)));
    let (_, seen) = check(faulty, fastrand::u64(..), 300).await;
    assert!(seen["unknown"] > 100 && seen["rejected"] > 20, "the faults were met: {seen:?}");
    journal.close().await;
}

#[tokio::test]
async fn random_operations_agree_with_the_model_under_faults() {
    let directory = tempfile::tempdir().unwrap();
    let sqlite: Arc<dyn Journal> = Arc::new(open(&directory.path().join("faulty.db")).unwrap());
    for (inner, operations) in [(Arc::new(Memory::new()) as Arc<dyn Journal>, 3_000), (sqlite, 600)] {
        let seed = fastrand::u64(..);
        let faulty = Arc::new(Faulty::new(inner, Script::seeded(seed, Odds::ROUGH)));
        let (_, met) = check(faulty.clone(), seed, operations).await;
        assert!(met["unknown"] > 200 && met["rejected"] > 40, "the faults were met: {met:?}");
        faulty.heal();
        assert!(!all(&*faulty).await.is_empty());
        faulty.close().await;
    }
}

#[tokio::test]
async fn the_same_seed_meets_the_same_faults() {
    let run = |seed| async move {
        let faulty = Faulty::new(Arc::new(Memory::new()), Script::seeded(seed, Odds::ROUGH));
        check(Arc::new(faulty), seed, 800).await
    };
    assert_eq!(run(42).await, run(42).await);
    assert_ne!(run(42).await, run(43).await);
}
