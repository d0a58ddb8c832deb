//! The policy file while the node runs: read when it changes, published when it is good, kept when it is not.
//! What a policy file may say is elsewhere.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::spawn_blocking,
};
use tracing::{info, warn};

use super::{
    file_watch::FileWatch,
    policy_file::{self, Mistake, Parsed},
};
use crate::domain::{Policy, PolicyVersion};

/// Watches one policy file.
pub struct PolicyWatch {
    file: FileWatch,
    policy: watch::Sender<Arc<Policy>>,
    observe: Observer,
}

/// Is told what became of each changed content, for metrics.
pub type Observer = Box<dyn Fn(&Reload) + Send + Sync>;

/// What became of a changed content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reload {
    /// It is the policy now.
    Published(PolicyVersion),
    /// It has mistakes, or cannot be read; the policy is the one before.
    Refused,
}

/// A file that is watched cannot be used at start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("the {name} file {path} cannot be read: {source}")]
    Unreadable {
        /// What it is a file of.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It has mistakes.
    #[error("the {name} file {path} has mistakes:\n  {}", lines(mistakes))]
    Mistaken {
        /// What it is a file of.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Vec<Mistake>,
    },
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}

impl PolicyWatch {
    /// Reads the file for the first time. The receiver has the policy, and every later one.
    ///
    /// # Errors
    /// Without a good policy there is nothing to start with.
    pub async fn open(
        path: &Path,
        observe: Observer,
    ) -> Result<(Self, watch::Receiver<Arc<Policy>>), LoadError> {
        let name = "policy";
        let unreadable = |source| LoadError::Unreadable { name, path: path.to_owned(), source };
        let mut file = FileWatch::new(path, policy_file::load);
        let bytes = file.read().await.map_err(unreadable)?;
        let Parsed { policy, mistakes, .. } = policy_file::read_bytes(&bytes)
            .map_err(|mistakes| LoadError::Mistaken { name, path: path.to_owned(), mistakes })?;
        warn_of(path, &mistakes);
        observe(&Reload::Published(policy.version().clone()));
        let (sender, receiver) = watch::channel(Arc::new(policy));
        Ok((Self { file, policy: sender, observe }, receiver))
    }

    /// Looks at the file every two seconds and whenever `poke` is notified, until `stop` is done.
    pub async fn run(mut self, poke: Arc<Notify>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let content = tokio::select! {
                () = &mut stop => return,
                content = self.file.changed(&poke) => content,
            };
            match content {
                Ok(bytes) => self.take(bytes).await,
                Err(error) => {
                    let path = self.file.path().display();
                    warn!(%path, %error, "the policy file cannot be read; the policy stays as it is");
                    (self.observe)(&Reload::Refused);
                }
            }
        }
    }

    async fn take(&self, bytes: Vec<u8>) {
        let path = self.file.path().display();
        // A large file takes a while to read: not on a thread that decides.
        let Ok(parsed) = spawn_blocking(move || policy_file::read_bytes(&bytes)).await else {
            warn!(%path, "reading the policy file was broken off; the policy stays as it is");
            (self.observe)(&Reload::Refused);
            return;
        };
        match parsed {
            Ok(Parsed { policy, mistakes, .. }) => {
                warn_of(self.file.path(), &mistakes);
                let version = policy.version().clone();
                info!(%path, version = version.as_str(), "a new policy was read");
                self.policy.send_replace(Arc::new(policy));
                (self.observe)(&Reload::Published(version));
            }
            Err(mistakes) => {
                warn_of(self.file.path(), &mistakes);
                let version = self.policy.borrow().version().clone();
                warn!(%path, version = version.as_str(), "the policy file has mistakes; the policy stays as it is");
                (self.observe)(&Reload::Refused);
            }
        }
    }
}

/// Notifies `poke` at each SIGHUP, from this call on.
///
/// # Errors
/// The system refuses the signal handler.
pub fn poke_on_hangup(poke: Arc<Notify>) -> io::Result<impl Future<Output = ()>> {
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            poke.notify_one();
        }
    })
}

pub(super) fn warn_of(path: &Path, mistakes: &[Mistake]) {
    for mistake in mistakes {
        warn!(path = %path.display(), "{mistake}");
    }
}

#[cfg(test)]
mod tests;
