//! What a process that a test started writes, line by line.

use std::{
    io::{BufRead as _, BufReader, Read},
    sync::{Arc, Mutex},
    thread,
};

use tokio::sync::watch;

/// The lines that a process writes, as they come.
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// How many there are; closed at the end.
    count: watch::Receiver<usize>,
}

impl Log {
    pub(crate) fn of(output: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (told, count) = watch::channel(0);
        let written = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                let mut lines = written.lock().unwrap();
                lines.push(line);
                told.send_replace(lines.len());
            }
        });
        Self { lines, count }
    }

    /// The line at this place, or nothing if the log ends before.
    pub(crate) async fn line(&self, place: usize) -> Option<String> {
        // An error is the end; the lines before it count.
        let _ = self.count.clone().wait_for(|count| *count > place).await;
        self.lines.lock().unwrap().get(place).cloned()
    }

    /// Waits until nobody can write to it any more: the process has ended, and all that it started.
    pub(crate) async fn end(&self) {
        let mut count = self.count.clone();
        while count.changed().await.is_ok() {}
    }

    /// All lines so far.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}
