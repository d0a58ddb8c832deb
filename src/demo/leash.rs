//! What ends a process where we no longer can. How it is ended while we are there is elsewhere.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

/// Held for a process. Dropped, it lets the process be. Where we are gone without that, as after `kill -9`, the process is
/// ended at once: what it might wait for has gone with us.
pub(super) struct Leash(Child);

impl Leash {
    /// A shell waits for a word of ours. Where none comes, its standard input was closed by the system, with us. Without
    /// a shell the process is killed.
    pub(super) fn of(process: &mut Child) -> io::Result<Self> {
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
