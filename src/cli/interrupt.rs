//! The signals that end a command: Ctrl-C, SIGTERM, a terminal that is closed. The first one asks for an orderly end; a
//! second Ctrl-C ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that Ctrl-C ended, as shells have it: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// The signals that end a command.
pub struct Interrupt {
    ctrl_c: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// The signal that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    /// Ctrl-C: a person is waiting for the end.
    FromKeyboard,
    /// Any other.
    FromSystem,
}

impl Interrupt {
    /// Listens to Ctrl-C and SIGTERM from now on. SIGHUP keeps its meaning.
    ///
    /// # Errors
    /// The system has no signals for us.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            ctrl_c: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: None,
        })
    }

    /// Listens to Ctrl-C, SIGTERM and SIGHUP, which a closed terminal sends.
    ///
    /// # Errors
    /// The system has no signals for us.
    pub fn listen_to_terminal() -> io::Result<Self> {
        Ok(Self { hangup: Some(signal(SignalKind::hangup())?), ..Self::listen()? })
    }

    /// Returns when one of them has come since this was last called. From then on Ctrl-C ends the process at once: what
    /// was answered is durable, what is in flight is lost.
    pub async fn came(&mut self) -> Came {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let came = tokio::select! {
            _ = self.ctrl_c.recv() => Came::FromKeyboard,
            _ = self.terminate.recv() => Came::FromSystem,
            _ = hangup => Came::FromSystem,
        };
        if let Ok(mut next) = signal(SignalKind::interrupt()) {
            tokio::spawn(async move {
                next.recv().await;
                std::process::exit(INTERRUPTED);
            });
        }
        came
    }
}
