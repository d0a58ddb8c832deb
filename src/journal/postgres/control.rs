//! The control: the one task that finds the server in force, holds a connection to it, and notices when it dies, falls
//! silent, or is no primary any more. What it finds is in [`Database`].

use std::{sync::Arc, time::Duration};

use tokio_postgres::Error;
use tracing::{error, info, warn};

use super::{
    Misfit, Session,
    address::Target,
    database::{Database, State},
    epoch::{self, Look, Progress},
    memory::Keeper,
    misfit::told,
};
use crate::clock;

/// How often the server in force is asked whether it is still what it was.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long it may take to answer.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How often the other servers are looked at: one of them may have been promoted while this one lives.
const LOOK_AROUND_EVERY: u32 = 4;
/// How long to wait after a race that nobody has won.
const RACE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Why a server is left.
struct Lost {
    misfit: Misfit,
    is_silent: bool,
}

/// Runs until the journal has died, or for ever.
pub(super) async fn run(database: Arc<Database>, mut control: Arc<Session>) {
    let mut is_first = true;
    loop {
        let Lost { misfit, is_silent } = match database.enter(&control).await {
            Ok(look) => {
                let (server, lineage) = (control.target(), control.lineage());
                if !std::mem::take(&mut is_first) {
                    info!(%server, %lineage, "the journal's database is back");
                }
                database.judge(&control, &look);
                hold(&database, &control).await
            }
            Err(misfit) => Lost { misfit, is_silent: true },
        };
        if database.vitals.is_dead() {
            return;
        }
        warn!(server = %control.target(), "the journal's database {misfit}");
        control.abandon();
        database.turn(State::Away { cause: misfit.to_string(), is_silent });
        let Some(session) = win(&database, misfit.weight()).await else { return };
        control = Arc::new(session);
    }
}

/// Returns when the server is lost.
async fn hold(database: &Arc<Database>, control: &Arc<Session>) -> Lost {
    let mut asked = 0_u32;
    let mut keeper = Keeper::default();
    loop {
        if let Some(path) = &database.options.memory {
            keeper.keep(path, database.memory()).await;
        }
        tokio::select! {
            () = database.poke.notified() => {}
            () = clock::sleep(ASK_EVERY) => {}
        }
        if control.lineage().is_before(database.lineage()) {
            let misfit = Misfit::Earlier { found: control.lineage(), known: database.lineage() };
            return Lost { misfit, is_silent: true };
        }
        match clock::timeout(ASK_WITHIN, ask(database, control)).await {
            Ok(Ok(look)) if look.takes_entries => {
                database.note_look(&look);
                database.judge(control, &look);
            }
            Ok(Ok(_)) => return Lost { misfit: Misfit::Standby, is_silent: true },
            Ok(Err(error)) => {
                return Lost { misfit: Misfit::Unreachable(told(&error)), is_silent: false };
            }
            Err(_) => return Lost { misfit: Misfit::Silent(ASK_WITHIN), is_silent: true },
        }
        asked = asked.wrapping_add(1);
        if database.address.is_of_several() && asked.is_multiple_of(LOOK_AROUND_EVERY) {
            tokio::spawn(look_around(Arc::clone(database), control.target().clone()));
        }
    }
}

/// Says that this node is there, and looks what the server is.
async fn ask(database: &Database, control: &Session) -> Result<Look, Error> {
    let (beaten, look) = tokio::join!(
        biased;
        epoch::beat(control, &database.writer, control.lineage(), Progress::default()),
        Look::at(control),
    );
    beaten?;
    look
}

/// Looks at the other servers, so that one that was promoted is seen.
async fn look_around(database: Arc<Database>, here: Target) {
    let Ok(targets) = database.address.targets().await else { return };
    for target in targets.into_iter().filter(|target| !target.is(&here)) {
        let database = Arc::clone(&database);
        tokio::spawn(async move {
            if let Ok(session) = target.connect(&database.address).await {
                database.saw(session.lineage());
            }
        });
    }
}

/// Races until a server has won. Nothing: the journal there is another one, and this one has died.
async fn win(database: &Database, mut said: u8) -> Option<Session> {
    loop {
        let misfit = match database.address.race(Some(database.lineage())).await {
            Ok(session) => match database.check(&session).await {
                Ok(()) => return Some(session),
                Err(Misfit::Another) => {
                    database.die();
                    return None;
                }
                Err(misfit) => misfit,
            },
            Err(misfit) => misfit,
        };
        let is_silent = match &*database.state.borrow() {
            State::Away { is_silent, .. } => *is_silent || matches!(misfit, Misfit::Silent(_)),
            State::Open(_) | State::Restoring(_) => true,
        };
        // What is new of it is worth a line.
        if said != misfit.weight() {
            said = misfit.weight();
            if matches!(misfit, Misfit::Earlier { .. }) {
                database.count_refused();
                error!(database = %database.address, "the journal's database {misfit}");
            } else {
                warn!(database = %database.address, "the journal's database {misfit}");
            }
        }
        database.turn(State::Away { cause: misfit.to_string(), is_silent });
        clock::sleep(RACE_AGAIN_AFTER).await;
    }
}
