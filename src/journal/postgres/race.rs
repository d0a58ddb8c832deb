//! Connecting by race: every server that the address names is tried at once, so that one that is silent holds up nobody.
//! The writable one with the highest timeline wins.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{Address, Misfit, Session, address::Target};
use crate::{clock, journal::Lineage};

/// How long to wait before a server that has answered "not me" is asked again, while others have not answered yet: a
/// standby may be promoted meanwhile.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Address {
    /// Connects to the primary among the servers that this names, and checks that it syncs.
    ///
    /// # Errors
    /// [`Misfit`] says what was found: of several servers, the one that comes closest.
    pub async fn connect(&self) -> Result<Session, Misfit> {
        self.race(None).await
    }

    /// The same, but not to a primary of before `known`. One of after it is taken at once; otherwise all servers have
    /// their time to answer, since a higher timeline may be among them.
    pub(super) async fn race(&self, known: Option<Lineage>) -> Result<Session, Misfit> {
        let within = self.connect_within();
        let silent = || Misfit::Silent(within);
        let targets = clock::timeout(within, self.targets()).await.map_err(|_| silent())??;
        let now = clock::instant();
        let end = now.checked_add(within).unwrap_or(now);
        let mut runners = JoinSet::new();
        let mut unheard = targets.len();
        for target in targets {
            runners.spawn(attempt(self.clone(), target, true));
        }
        let mut best: Option<Session> = None;
        let mut misfit: Option<Misfit> = None;
        while unheard > 0 {
            // At the end every runner has run out of time by itself, or is about to.
            let Ok(Some(Ok((target, is_first, result)))) = clock::timeout_at(end, runners.join_next()).await
            else {
                break;
            };
            unheard = unheard.saturating_sub(usize::from(is_first));
            match judged(result, known) {
                Ok(session) if known.is_some_and(|known| known.is_before(session.lineage())) => {
                    return Ok(session);
                }
                Ok(session) => {
                    let is_better =
                        best.as_ref().is_none_or(|best| best.lineage().is_before(session.lineage()));
                    best = if is_better { Some(session) } else { best };
                }
                Err(found) => {
                    if misfit.as_ref().is_none_or(|misfit| misfit.weight() <= found.weight()) {
                        misfit = Some(found);
                    }
                    runners.spawn(again(self.clone(), target));
                }
            }
        }
        best.ok_or_else(|| misfit.unwrap_or_else(silent))
    }
}

type Run = (Target, bool, Result<Session, Misfit>);

async fn attempt(address: Address, target: Target, is_first: bool) -> Run {
    let result = target.connect(&address).await;
    (target, is_first, result)
}

async fn again(address: Address, target: Target) -> Run {
    clock::sleep(AGAIN_AFTER).await;
    attempt(address, target, false).await
}

/// A primary of before the failover is as good as none.
fn judged(result: Result<Session, Misfit>, known: Option<Lineage>) -> Result<Session, Misfit> {
    let session = result?;
    match known {
        Some(known) if session.lineage().is_before(known) => {
            Err(Misfit::Earlier { found: session.lineage(), known })
        }
        Some(_) | None => Ok(session),
    }
}
