//! `tollgate serve`: a node from the environment's settings, until the system asks it to end.

use std::io::{self, Write};

use super::{
    ServeOptions, Verdict,
    interrupt::{Came, Interrupt},
    startup::Startup,
    tell_problems,
};
use crate::{
    config::{Load, Problem, Settings},
    log,
    node::{Node, NotJoined, NotStarted},
    stripe::Secret,
};

/// Who reads what `serve` writes to standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader<'a> {
    /// A person on a terminal.
    Person {
        /// How this program was called.
        program: &'a str,
    },
    /// A program that collects the log.
    Program,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The output cannot be written, or the system has no threads or signals for us.
pub fn run(
    options: &ServeOptions,
    load: Load,
    reader: Reader<'_>,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let mut settings = match load() {
        Ok(loaded) => loaded.settings,
        Err(problems) => return tell_problems(&problems, err),
    };
    settings.journal.accept_journal_loss = options.accept_journal_loss;
    log::start(&settings.log);
    let made_secret = match made_secret(&settings, reader) {
        Ok(made) => made,
        Err(problem) => return tell_problems(&[problem], err),
    };
    let startup = Startup::of(&settings, made_secret.clone());
    settings.stripe.secrets.extend(made_secret);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings, &startup, reader, err))
}

/// A signing secret for this run, if none is configured, a person sees it, and no real money moves. A service without its
/// secret would refuse every event of Stripe, and look healthy.
fn made_secret(settings: &Settings, reader: Reader<'_>) -> Result<Option<Secret>, Problem> {
    let obstacle = match (settings.http.livemode, reader) {
        _ if !settings.stripe.secrets.is_empty() => return Ok(None),
        (Some(true), _) => "with TOLLGATE_LIVEMODE=true",
        (_, Reader::Program) => "without a terminal to show it on",
        (Some(false) | None, Reader::Person { .. }) => return Ok(Some(one_run_secret())),
    };
    Err(Problem::Conflict(format!(
        "STRIPE_WEBHOOK_SECRET: expected the signing secrets of your endpoints in Stripe's Dashboard, found none; none is \
         generated {obstacle}"
    )))
}

/// A secret that lives as long as this process.
#[must_use]
pub fn one_run_secret() -> Secret {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
    Secret::new(&format!("whsec_{random}")).unwrap_or_else(|| unreachable!("the text is not blank"))
}

async fn serve(
    settings: Settings,
    startup: &Startup,
    reader: Reader<'_>,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let mut interrupt = Interrupt::listen()?;
    let is_pretty = settings.log.format == log::Format::Pretty;
    let node = match Node::start(settings).await {
        Ok(node) => node,
        Err(cause) => {
            writeln!(err, "tollgate: {cause}")?;
            return Ok(verdict(&cause));
        }
    };
    match reader {
        Reader::Person { program } if is_pretty => startup.show(&node, program, err)?,
        Reader::Person { .. } | Reader::Program => startup.log(&node),
    }
    let stop = async move {
        if interrupt.came().await == Came::FromKeyboard {
            tracing::info!("stopping in order; press Ctrl-C again to stop at once");
        }
    };
    match node.run(stop).await {
        Ok(()) => Ok(Verdict::Done),
        Err(fatal) => {
            tracing::error!(%fatal, "stopping at once without another answer: the next start checks what was written");
            // Not by returning: the runtime would let handlers run to their end, and answer.
            std::process::exit(i32::from(Verdict::JournalBroken.code()));
        }
    }
}

const fn verdict(cause: &NotStarted) -> Verdict {
    match cause {
        NotStarted::Journal(_) | NotStarted::Unrecorded(_) => Verdict::JournalBroken,
        NotStarted::File(_)
        | NotStarted::UnusablePolicy { .. }
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
    fn a_secret_is_generated_only_for_a_person_who_sees_it_and_never_for_real_money() {
        let person = Reader::Person { program: "tollgate" };
        let check = |livemode: Option<bool>, reader: Reader<'_>, expected: bool| {
            let mut settings =
                crate::config::read([], |_| Err(io::ErrorKind::NotFound.into())).unwrap().settings;
            settings.http.livemode = livemode;
            match made_secret(&settings, reader) {
                Ok(made) => assert_eq!(made.is_some(), expected, "{livemode:?} {reader:?}"),
                Err(problem) => {
                    assert!(!expected && problem.to_string().contains("STRIPE_WEBHOOK_SECRET"), "{problem}");
                }
            }
            settings.stripe.secrets.push(one_run_secret());
            assert!(made_secret(&settings, reader).unwrap().is_none(), "one is configured");
        };
        check(None, person, true);
        check(Some(false), person, true);
        check(Some(true), person, false);
        check(None, Reader::Program, false);
        check(Some(false), Reader::Program, false);
    }
}
