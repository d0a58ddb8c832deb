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
    is_terminal: bool,
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
    if settings.stripe.secrets.is_empty() && !make_secret(&mut settings, is_terminal, err)? {
        return Ok(Verdict::BadSettings);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings, err))
}

/// Makes a signing secret for this run and shows it, if somebody is there to see it and no real money moves. A service that
/// lost its secret would otherwise refuse every event of Stripe's, and look as if it worked.
fn make_secret(settings: &mut Settings, is_terminal: bool, err: &mut dyn Write) -> io::Result<bool> {
    let obstacle = if settings.http.livemode == Some(true) {
        "with TOLLGATE_LIVEMODE=true"
    } else if !is_terminal {
        "without a terminal to show it on"
    } else {
        let secret = one_run_secret();
        writeln!(
            err,
            "tollgate: no STRIPE_WEBHOOK_SECRET is set; for this run the signing secret is\n\n    {}\n",
            secret.reveal()
        )?;
        settings.stripe.secrets.push(secret);
        return Ok(true);
    };
    let problem = Problem::Conflict(format!(
        "STRIPE_WEBHOOK_SECRET: expected the signing secrets of your endpoints in Stripe's dashboard, found none; \
         none is made up {obstacle}"
    ));
    tell_problems(&[problem], err)?;
    Ok(false)
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
        NotStarted::Policy(_)
        | NotStarted::Unguarded(_)
        | NotStarted::Cluster(NotJoined::NameInUse { .. }) => Verdict::BadSettings,
        NotStarted::Cluster(NotJoined::Unreachable(_) | NotJoined::NoKey(_))
        | NotStarted::Listen { .. }
        | NotStarted::System(_) => Verdict::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_up_only_for_somebody_who_sees_it_and_never_for_real_money() {
        let check = |livemode: Option<bool>, is_terminal: bool, expected: bool| {
            let mut settings =
                crate::config::read([], |_| Err(io::ErrorKind::NotFound.into())).unwrap().settings;
            settings.http.livemode = livemode;
            let mut shown = Vec::new();
            let made = make_secret(&mut settings, is_terminal, &mut shown).unwrap();
            let shown = String::from_utf8(shown).unwrap();
            assert_eq!(made, expected, "{livemode:?} {is_terminal}: {shown}");
            assert_eq!(settings.stripe.secrets.len(), usize::from(expected));
            assert!(shown.contains("STRIPE_WEBHOOK_SECRET"), "{shown}");
            for secret in &settings.stripe.secrets {
                assert!(shown.contains(secret.reveal()), "{shown}");
            }
        };
        check(None, true, true);
        check(Some(false), true, true);
        check(Some(true), true, false);
        check(None, false, false);
        check(Some(false), false, false);
    }
}
