//! Somebody who has seen enough: Ctrl-C, a terminal that is closed, or the system that ends the process. Whatever was
//! started is then ended in its order, instead of being left behind.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// The signals that end a demo.
pub(super) struct Interrupt {
    ctrl_c: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupt {
    /// From now on they are listened to.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::during("listen to signals"));
        Ok(Self {
            ctrl_c: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Returns when one of them has come since this was last asked.
    pub(super) async fn came(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
