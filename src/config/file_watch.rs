//! A file while the node runs: its content each time that it changes and then stands still. What a content means is
//! elsewhere.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tracing::info;

/// How often the file's content is looked at.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(2);

/// How long a new content must stand still before it is taken: half of a file that is being written may have a meaning too,
/// such as a policy with fewer limits.
pub(super) const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Reads a file, with all that belongs to it.
type Load = fn(&Path) -> io::Result<Vec<u8>>;

/// Watches one file.
pub(super) struct FileWatch {
    path: PathBuf,
    load: Load,
    seen: Seen,
    ticks: Interval,
}

/// What the file held when it was last looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    /// It was not looked at.
    Never,
    /// The hash of its content.
    Content([u8; 32]),
    /// Nothing: it could not be read.
    Unreadable(io::ErrorKind),
}

impl FileWatch {
    /// A watch that has not looked yet.
    pub(super) fn new(path: &Path, load: Load) -> Self {
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { path: path.to_owned(), load, seen: Seen::Never, ticks }
    }

    /// Reads the file for the first time.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let content = content(&self.path, self.load).await;
        self.seen = Seen::of(&content);
        content
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next content that is another one, or why there is none any more. Looks every two seconds and whenever `poke` is
    /// notified.
    pub(super) async fn changed(&mut self, poke: &Notify) -> io::Result<Vec<u8>> {
        loop {
            let is_poked = tokio::select! {
                () = poke.notified() => true,
                _ = self.ticks.tick() => false,
            };
            match self.look().await {
                Some(content) => return content,
                None if is_poked => info!(path = %self.path.display(), "the file has not changed"),
                None => {}
            }
        }
    }

    /// Looks at the file once; the content, if it is another one.
    pub(super) async fn look(&mut self) -> Option<io::Result<Vec<u8>>> {
        let first = content(&self.path, self.load).await;
        let seen = Seen::of(&first);
        if seen == self.seen {
            return None;
        }
        sleep(SETTLED_AFTER).await;
        let second = content(&self.path, self.load).await;
        // What does not stand still is left to the next look.
        (Seen::of(&second) == seen).then(|| {
            self.seen = seen;
            second
        })
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

async fn content(path: &Path, load: Load) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    spawn_blocking(move || load(&path)).await.map_err(io::Error::other)?
}
