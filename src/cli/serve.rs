//! `tollgate serve`: a node from the environment's settings, until the system asks it to end.

use std::io::{self, Write};

use tokio::signal::unix::{SignalKind, signal};

use super::{ServeOptions, Verdict, tell_problems};
use crate::{
    config::{Loaded, Problem, Settings},
    log,
    node::{Node, NotJoined, NotStarted},
    stripe::Secret,
};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The output cannot be written, or the system has no threads or signals for us.
pub fn run(
    options: &ServeOptions,
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let mut settings = match load() {
        Ok(loaded) => loaded.settings,
        Err(problems) => {
            tell_problems(&problems, err)?;
            return Ok(Verdict::BadSettings);
        }
    };
    settings.journal.accept_journal_loss = options.accept_journal_loss;
    log::start(&settings.log);
    if settings.stripe.secrets.is_empty() {
        let secret = one_run_secret();
        writeln!(
            err,
            "tollgate: no STRIPE_WEBHOOK_SECRET is set; for this run the signing secret is\n\n    {}\n",
            secret.reveal()
        )?;
        settings.stripe.secrets.push(secret);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings, err))
}

/// A secret that lives as long as this process.
#[must_use]
pub fn one_run_secret() -> Secret {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
    Secret::new(&format!("whsec_{random}")).unwrap_or_else(|| unreachable!("the text is not blank"))
}

async fn serve(settings: Settings, err: &mut dyn Write) -> io::Result<Verdict> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = match Node::start(settings).await {
        Ok(node) => node,
        Err(cause) => {
            writeln!(err, "tollgate: {cause}")?;
            return Ok(verdict(&cause));
        }
    };
    tracing::info!(
        webhook = %format_args!("http://{}/webhook", node.webhook()),
        admin = %format_args!("http://{}", node.admin()),
        peers = node.peers().map(tracing::field::display),
        "ready"
    );
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    match node.run(stop).await {
        Ok(()) => Ok(Verdict::Done),
        Err(fatal) => {
            tracing::error!(%fatal, "ending at once, without another answer: the next start looks what was written");
            // Not by returning: the runtime would let handlers run to their end, and answer.
            std::process::exit(i32::from(Verdict::JournalBroken.code()));
        }
    }
}

const fn verdict(cause: &NotStarted) -> Verdict {
    match cause {
        NotStarted::Journal(_) => Verdict::JournalBroken,
        NotStarted::Policy(_) | NotStarted::Unguarded(_) => Verdict::BadSettings,
        NotStarted::Cluster(NotJoined::NameInUse { .. }) => Verdict::BadSettings,
        NotStarted::Cluster(NotJoined::Unreachable(_))
        | NotStarted::Listen { .. }
        | NotStarted::System(_) => Verdict::Unavailable,
    }
}
