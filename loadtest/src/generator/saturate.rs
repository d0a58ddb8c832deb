//! A closed loop: so many connections, each of which sends its next question when the one before it is answered. It says
//! what a server can do at most and what that costs; its latencies are those of a full queue.

use std::{io, time::Duration};

use super::{Target, measures::Times, pool::Pool, reply::Reply, write_request};
use crate::{clock, clock::Clock, corpus::Signed, record::Latency};

/// A server that says nothing for so long says nothing any more.
const PATIENCE_US: u64 = 30_000_000;
/// How many digits of a time are told apart.
const DIGITS: u8 = 3;
/// How long to wait for sockets at a time.
const WAIT_US: u64 = 100_000;

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Saturated {
    /// From the first question to the last answer, in seconds.
    pub seconds: f64,
    /// Approved, in full or in part.
    pub approved: u64,
    /// Declined.
    pub declined: u64,
    /// Ended in another way: no decision in the answer, or a broken connection.
    pub failed: u64,
    /// From sending to the answer.
    pub latency: Latency,
    /// CPU of this process, in cores.
    pub generator_cpu: f64,
}

/// Asks all of `questions`, and returns when each has ended.
///
/// # Errors
/// There are no sockets, or the server has stopped to answer.
pub fn saturate(target: &Target, questions: &[Signed], connections: usize) -> io::Result<Saturated> {
    let clock = Clock::start();
    let cpu_before = clock::own_cpu_seconds();
    let mut pool: Pool<u64> = Pool::new(&[target.address], connections)?;
    let mut times = Times::new(DIGITS);
    let (mut approved, mut declined, mut failed) = (0_u64, 0_u64, 0_u64);
    let mut waiting = questions.iter().peekable();
    let (mut open, mut last_us) = (0_usize, 0);
    while open > 0 || waiting.peek().is_some() {
        while open < connections
            && let Some(question) = waiting.next()
        {
            let write = |out: &mut Vec<u8>| {
                write_request(out, target, Some(&question.signature), &question.body);
            };
            if pool.send(0, clock.now_us(), write).is_err() {
                failed = failed.saturating_add(1);
                continue;
            }
            open = open.saturating_add(1);
        }
        let now_us = clock.now_us();
        pool.wait(now_us, now_us.saturating_add(WAIT_US))?;
        pool.advance();
        while let Some(done) = pool.done() {
            last_us = clock.now_us();
            open = open.saturating_sub(1);
            times.record(last_us.saturating_sub(done.tag));
            let decision = done.result.as_ref().ok().and_then(Reply::decision);
            let count = match decision {
                Some(decision) if decision.approved => &mut approved,
                Some(_) => &mut declined,
                None => &mut failed,
            };
            *count = count.saturating_add(1);
        }
        if clock.now_us().saturating_sub(last_us) > PATIENCE_US {
            let what = format!("expected an answer from {} within 30 s, found none", target.address);
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
    }
    let seconds = Duration::from_micros(last_us).as_secs_f64().max(f64::MIN_POSITIVE);
    let generator_cpu = (clock::own_cpu_seconds() - cpu_before) / seconds;
    Ok(Saturated { seconds, approved, declined, failed, latency: times.latency(), generator_cpu })
}
