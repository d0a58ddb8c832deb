//! The policy file while the node runs: read again when it changes, published when it is good, kept when it is not.
//! What a policy file may say is elsewhere.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

use super::policy_file::{self, Mistake, Parsed};
use crate::domain::{Policy, PolicyVersion};

/// How often the file's content is looked at.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// How long a new content must stand still before it is taken: half of a file that is being written may be a policy
/// too, with fewer limits.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Watches one policy file.
pub struct PolicyWatch {
    path: PathBuf,
    policy: watch::Sender<Arc<Policy>>,
    seen: Seen,
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

/// What the file held when it was last looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    /// The hash of its content.
    Content([u8; 32]),
    /// Nothing: it could not be read.
    Unreadable(io::ErrorKind),
}

/// The policy file cannot be used at start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("the policy file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It has mistakes.
    #[error("the policy file {path} has mistakes:\n  {}", lines(mistakes))]
    Mistaken {
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
        let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
        let bytes = content(path).await.map_err(unreadable)?;
        let Parsed { policy, mistakes, .. } = policy_file::read_bytes(&bytes)
            .map_err(|mistakes| LoadError::Mistaken { path: path.to_owned(), mistakes })?;
        warn_of(path, &mistakes);
        observe(&Reload::Published(policy.version().clone()));
        let (sender, receiver) = watch::channel(Arc::new(policy));
        let seen = Seen::Content(Sha256::digest(&bytes).into());
        Ok((Self { path: path.to_owned(), policy: sender, seen, observe }, receiver))
    }

    /// Looks at the file every two seconds and whenever `poke` is notified, until `stop` is done.
    pub async fn run(mut self, poke: Arc<Notify>, stop: impl Future<Output = ()>) {
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = poke.notified() => {
                    if !self.look().await {
                        info!(path = %self.path.display(), "the policy file has not changed");
                    }
                }
                _ = ticks.tick() => {
                    self.look().await;
                }
            }
        }
    }

    /// Looks at the file once. Says whether it has changed.
    async fn look(&mut self) -> bool {
        let (seen, bytes) = self.settled().await;
        if seen == self.seen {
            return false;
        }
        self.seen = seen;
        match bytes {
            Ok(bytes) => self.take(bytes).await,
            Err(error) => {
                warn!(path = %self.path.display(), %error, "the policy file cannot be read; the policy stays as it is");
                (self.observe)(&Reload::Refused);
            }
        }
        true
    }

    /// The content, once it stands still. What never does is left to the next look.
    async fn settled(&self) -> (Seen, io::Result<Vec<u8>>) {
        let first = content(&self.path).await;
        let seen = Seen::of(&first);
        if seen == self.seen {
            return (seen, first);
        }
        sleep(SETTLED_AFTER).await;
        let second = content(&self.path).await;
        if Seen::of(&second) == seen { (seen, second) } else { (self.seen.clone(), second) }
    }

    async fn take(&self, bytes: Vec<u8>) {
        let path = self.path.display();
        // A large file takes a while to read: not on a thread that decides.
        let Ok(parsed) = spawn_blocking(move || policy_file::read_bytes(&bytes)).await else {
            warn!(%path, "reading the policy file was broken off; the policy stays as it is");
            (self.observe)(&Reload::Refused);
            return;
        };
        match parsed {
            Ok(Parsed { policy, mistakes, .. }) => {
                warn_of(&self.path, &mistakes);
                let version = policy.version().clone();
                info!(%path, version = version.as_str(), "a new policy was read");
                self.policy.send_replace(Arc::new(policy));
                (self.observe)(&Reload::Published(version));
            }
            Err(mistakes) => {
                warn_of(&self.path, &mistakes);
                let version = self.policy.borrow().version().clone();
                warn!(%path, version = version.as_str(), "the policy file has mistakes; the policy stays as it is");
                (self.observe)(&Reload::Refused);
            }
        }
    }
}

impl Seen {
    fn of(content: &io::Result<Vec<u8>>) -> Self {
        match content {
            Ok(bytes) => Self::Content(Sha256::digest(bytes).into()),
            Err(error) => Self::Unreadable(error.kind()),
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

/// The policy file with the files of its lists.
async fn content(path: &Path) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    spawn_blocking(move || policy_file::load(&path)).await.map_err(io::Error::other)?
}

fn warn_of(path: &Path, mistakes: &[Mistake]) {
    for mistake in mistakes {
        warn!(path = %path.display(), "{mistake}");
    }
}

#[cfg(test)]
mod tests;
