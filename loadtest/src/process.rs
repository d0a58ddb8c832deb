//! A process that is started here: what it says is kept in a file, the line that says that it is ready is waited for,
//! and it ends with whoever started it, however that one ends. What the process is for is elsewhere.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
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
pub(crate) struct Process {
    child: Child,
    _leash: Leash,
}

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
        let leash = Leash::of(&mut child).map_err(NotUp::Program)?;
        let process = Self { child, _leash: leash };
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

    /// Starts a command, and appends what it writes to `log`. Whether it is up is not waited for.
    pub(crate) fn launch(command: &mut Command, log: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(log)?;
        let mut child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        let leash = Leash::of(&mut child)?;
        Ok(Self { child, _leash: leash })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The program that it runs, as the system names it; none where it does not say.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.id())).ok()
    }

    /// Sends a signal that ends it, and returns when it has ended.
    pub(crate) fn end(mut self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Held for a process. Dropped, it lets the process be. Where we are gone without that, as after `kill -9`, the process is
/// ended at once, a database with its other processes: what it might wait for has gone with us.
pub(crate) struct Leash(Child);

impl Leash {
    /// A shell waits for a word of ours. Where none comes, its standard input was closed by the system, with us. Without
    /// a shell the process is killed.
    pub(crate) fn of(process: &mut Child) -> io::Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", r#"read -r word || kill -QUIT "$1""#, "leash", &process.id().to_string()])
            // Ctrl-C is for us.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .inspect_err(|_| drop(process.kill().and_then(|()| process.wait())))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // One that is gone needs no word.
        let _ = self.0.stdin.take().map(|mut stdin| stdin.write_all(b"let it be\n"));
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_process_ends_with_whoever_held_it() {
        let mut child = Command::new("tail").args(["-f", "/dev/null"]).spawn().unwrap();
        let mut leash = Leash::of(&mut child).unwrap();
        // As the system does it for somebody who is killed.
        drop(leash.0.stdin.take());
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::QUIT.as_raw()));
    }

    #[test]
    fn what_is_let_go_goes_on() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        drop(Leash::of(&mut child).unwrap());
        child.stdin.take().unwrap().write_all(b"still here").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"still here");
    }
}
