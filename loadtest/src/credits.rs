//! The operator who credits balances while purchases are made: over the admin API of whichever node answers, each credit
//! until it is durable. The auditor hears of each before it leaves, and when it is durable.

use std::{
    net::SocketAddr,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender},
    time::Duration,
};

use serde_json::json;

use crate::{
    admin::Admin,
    budgets::{Account, Budgets},
    clock::Clock,
    record,
};

/// How much may be told that the auditor has not heard: of each balance twice, before the first question.
pub const NEWS_MAX: usize = 1 << 16;
/// How long a credit may take until some node has it.
const PATIENCE_US: u64 = 60_000_000;
/// How long it is waited before a credit that no node took is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What is told of a credit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// It leaves, perhaps not for the first time.
    Leaves {
        /// Whose.
        customer: u64,
        /// Which of theirs.
        round: u32,
        /// How much.
        amount: i64,
        /// When.
        at_us: u64,
    },
    /// It is durable.
    Durable {
        /// Whose.
        customer: u64,
        /// Which of theirs.
        round: u32,
        /// Since when.
        at_us: u64,
    },
}

/// The operator.
pub struct Operator {
    budgets: Budgets,
    admins: Vec<Admin>,
    /// Sets the credits of this run apart from those of others in the same journal.
    run: u64,
    clock: Clock,
    news: SyncSender<News>,
    made: record::Credits,
}

impl Operator {
    /// One who asks these nodes.
    #[must_use]
    pub fn new(
        budgets: Budgets,
        admins: &[SocketAddr],
        token: Option<&str>,
        run: u64,
        clock: Clock,
        news: SyncSender<News>,
    ) -> Self {
        let admins = admins.iter().map(|at| Admin::new(*at, token.map(ToOwned::to_owned))).collect();
        Self { budgets, admins, run, clock, news, made: record::Credits::default() }
    }

    /// Credits each balance once.
    ///
    /// # Errors
    /// No node takes a credit: why.
    pub fn credit_all(&mut self, round: u32) -> Result<(), String> {
        (0..self.budgets.customers).try_for_each(|customer| self.credit(customer, round))
    }

    /// Credits the balances again and again over so many seconds, until that is over or the other side of `stop` is dropped.
    ///
    /// # Errors
    /// No node takes a credit: why.
    pub fn go_on(mut self, seconds: f64, stop: &Receiver<()>) -> Result<record::Credits, String> {
        let rounds = self.budgets.credits;
        for round in 1..rounds {
            let at = Duration::from_secs_f64(seconds * f64::from(round) / f64::from(rounds));
            let wait = at.saturating_sub(Duration::from_micros(self.clock.now_us()));
            if stop.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
            self.credit_all(round)?;
        }
        Ok(self.made)
    }

    fn credit(&mut self, customer: u64, round: u32) -> Result<(), String> {
        let amount = self.budgets.credit;
        let path = format!("/v1/budgets/{}/credits", Account::Customer(customer).name());
        let body =
            json!({"id": format!("{}-{round}", self.run), "amount": amount, "currency": "usd", "note": "load test"}).to_string();
        let began_us = self.clock.now_us();
        let _ = self.news.send(News::Leaves { customer, round, amount, at_us: began_us });
        let mut last = String::new();
        let count = self.admins.len().max(1);
        for turn in (0..count).cycle() {
            let Some(admin) = self.admins.get_mut(turn) else { break };
            match admin.post(&path, &body) {
                Ok((200, _)) => {
                    let now_us = self.clock.now_us();
                    let _ = self.news.send(News::Durable { customer, round, at_us: now_us });
                    self.made.count = self.made.count.saturating_add(1);
                    self.made.longest_us = self.made.longest_us.max(now_us.saturating_sub(began_us));
                    return Ok(());
                }
                Ok((status @ 400..=499, body)) => {
                    return Err(format!(
                        "{path}: expected 200, found {status}: {}",
                        String::from_utf8_lossy(&body)
                    ));
                }
                Ok((status, _)) => last = format!("status {status}"),
                Err(cause) => last = cause.to_string(),
            }
            self.made.repeated = self.made.repeated.saturating_add(1);
            if self.clock.now_us().saturating_sub(began_us) > PATIENCE_US {
                break;
            }
            std::thread::sleep(AGAIN_AFTER);
        }
        Err(format!("{path}: no node has taken a credit for a minute: {last}"))
    }
}
