//! A process that is started here: what it says is kept in a file, the line that says that it is ready is waited for,
//! and it ends with whoever started it. What the process is for is elsewhere.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::sync_channel,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Killed when it is dropped.
pub(crate) struct Process(Child);

/// Why there is none.
pub(crate) enum NotUp {
    /// The program does not start.
    Program(io::Error),
    /// It ended, or took too long, before it said what was waited for.
    NotReady,
}

impl Process {
    /// Starts a command, appends what it writes to its standard error to `log`, and returns what `pick` makes of the
    /// first line that it takes.
    pub(crate) fn start<T: Send + 'static>(
        command: &mut Command,
        log: &Path,
        pick: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<(Self, T), NotUp> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(NotUp::Program)?;
        let stderr = child.stderr.take();
        let process = Self(child);
        let (tell, ready) = sync_channel(1);
        let mut file = File::options().append(true).create(true).open(log).ok();
        thread::spawn(move || {
            for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
                let Ok(line) = line else { return };
                if let Some(picked) = pick(&line) {
                    let _ = tell.try_send(picked);
                }
                if let Some(file) = &mut file {
                    let _ = writeln!(file, "{line}");
                }
            }
        });
        ready.recv_timeout(PATIENCE).map_or(Err(NotUp::NotReady), |picked| Ok((process, picked)))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The program that it runs, as the system names it; none where it does not say.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.id())).ok()
    }

    /// Sends a signal that ends it, and returns when it has ended.
    pub(crate) fn end(mut self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.0), signal);
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
