use std::sync::Mutex;

use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::{
    super::file_watch::{POLL_EVERY, SETTLED_AFTER},
    *,
};

const FIRST: &str = "version: 1\ndefault: {paused: true}\n";
const SECOND: &str = "version: 1\ndefault: {paused: false}\n";
const BROKEN: &str = "version: 1\ndefault: {paused: perhaps}\n";

/// A running watch over a file of its own.
struct Watched {
    directory: TempDir,
    policy: watch::Receiver<Arc<Policy>>,
    reloads: Arc<Mutex<Vec<Reload>>>,
    poke: Arc<Notify>,
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("policy.yaml"), FIRST).unwrap();
        let reloads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&reloads);
        let observe = Box::new(move |reload: &Reload| seen.lock().unwrap().push(reload.clone()));
        let (watch, policy) =
            PolicyWatch::open(&directory.path().join("policy.yaml"), observe).await.unwrap();
        let (poke, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (poked, stopped) = (Arc::clone(&poke), Arc::clone(&stop));
        let task = tokio::spawn(watch.run(poked, async move { stopped.notified().await }));
        Self { directory, policy, reloads, poke, stop, task }
    }

    /// As an editor does it: the new content takes the place of the old one at once.
    fn write(&self, text: &str) {
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("policy.yaml")
    }

    fn is_paused(&self) -> bool {
        self.policy.borrow().for_card(None, None).paused
    }

    fn refused(&self) -> usize {
        self.reloads.lock().unwrap().iter().filter(|reload| **reload == Reload::Refused).count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_in_force_within_the_poll() {
    let mut watched = Watched::start().await;
    assert!(watched.is_paused());
    watched.write(SECOND);
    let started = Instant::now();
    watched.policy.changed().await.unwrap();
    assert!(!watched.is_paused());
    assert!(started.elapsed() <= POLL_EVERY + SETTLED_AFTER * 2, "{:?}", started.elapsed());
    let version = watched.policy.borrow().version().clone();
    assert_eq!(watched.reloads.lock().unwrap().last(), Some(&Reload::Published(version)));
}

#[tokio::test(start_paused = true)]
async fn a_poke_is_quicker_than_the_poll() {
    let mut watched = Watched::start().await;
    tokio::time::sleep(POLL_EVERY / 4).await;
    watched.write(SECOND);
    watched.poke.notify_one();
    timeout(SETTLED_AFTER * 2, watched.policy.changed()).await.unwrap().unwrap();
    assert!(!watched.is_paused());
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_keeps_the_old_policy_and_is_told_once() {
    let mut watched = Watched::start().await;
    watched.write(BROKEN);
    assert!(timeout(POLL_EVERY * 5, watched.policy.changed()).await.is_err());
    assert!(watched.is_paused());
    assert_eq!(watched.refused(), 1);
    watched.write(SECOND);
    watched.policy.changed().await.unwrap();
    assert!(!watched.is_paused());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_keeps_the_old_policy() {
    let mut watched = Watched::start().await;
    std::fs::remove_file(watched.path()).unwrap();
    assert!(timeout(POLL_EVERY * 5, watched.policy.changed()).await.is_err());
    assert_eq!(watched.refused(), 1);
    watched.write(SECOND);
    watched.policy.changed().await.unwrap();
    assert!(!watched.is_paused());
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_file_is_not_published_again() {
    let mut watched = Watched::start().await;
    watched.write(FIRST);
    watched.poke.notify_one();
    assert!(timeout(POLL_EVERY * 5, watched.policy.changed()).await.is_err());
    assert_eq!(watched.reloads.lock().unwrap().len(), 1, "only the first");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_still_being_written_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    std::fs::write(&path, FIRST).unwrap();
    let (mut watch, policy) = PolicyWatch::open(&path, Box::new(|_| ())).await.unwrap();
    std::fs::write(&path, "version: 1\n").unwrap();
    let half = path.clone();
    let rest = async move {
        tokio::time::sleep(SETTLED_AFTER / 2).await;
        std::fs::write(&half, SECOND).unwrap();
    };
    let (changed, ()) = tokio::join!(watch.file.look(), rest);
    assert!(changed.is_none());
    let whole = watch.file.look().await.unwrap().unwrap();
    assert!(policy.borrow().for_card(None, None).paused);
    watch.take(whole).await;
    assert!(!policy.borrow().for_card(None, None).paused);
}

#[tokio::test]
async fn a_hangup_pokes() {
    let poke = Arc::new(Notify::new());
    let listener = poke_on_hangup(Arc::clone(&poke)).unwrap();
    let listener = tokio::spawn(listener);
    let this = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args(["-HUP", &this]).status().unwrap();
    assert!(sent.success());
    poke.notified().await;
    listener.abort();
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_task() {
    let watched = Watched::start().await;
    watched.stop.notify_one();
    watched.task.await.unwrap();
}

#[tokio::test]
async fn a_start_without_a_good_file_says_everything_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    let failure = |error: Result<_, LoadError>| error.map(|_: (PolicyWatch, _)| ()).unwrap_err().to_string();
    assert!(failure(PolicyWatch::open(&path, Box::new(|_| ())).await).contains("cannot be read"));
    std::fs::write(&path, "version: 2\nzzzzzz: 1\n").unwrap();
    let text = failure(PolicyWatch::open(&path, Box::new(|_| ())).await);
    assert!(
        text.contains("line 1, column 10: version: unknown version `2`") && text.contains("zzzzzz"),
        "{text}"
    );
}
