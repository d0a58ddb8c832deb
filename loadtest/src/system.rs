//! What Linux says that a process uses. What a node says of itself is elsewhere.

use std::{
    fs,
    io::{self, Read as _},
};

/// User and system time of a process and its children, ended ones included, in seconds.
pub(crate) fn cpu_seconds(process: u32) -> io::Result<f64> {
    // Linux counts in hundredths wherever it tells programs, whatever it counts in itself.
    const TICKS: f64 = 100.0;
    let mut ticks = 0.0;
    let mut open = vec![process];
    while let Some(process) = open.pop() {
        let stat = match fs::read_to_string(format!("/proc/{process}/stat")) {
            Ok(stat) => stat,
            // Between two looks a child may end; its time is its parent's then.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && ticks > 0.0 => continue,
            Err(cause) => return Err(cause),
        };
        // The name, in brackets, may have spaces; 14 to 17 in proc_pid_stat(5) are 11 to 14 behind it.
        let behind_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let times = behind_name.split(' ').skip(11).take(4);
        ticks += times.filter_map(|time| time.parse::<f64>().ok()).sum::<f64>();
        let mut children = String::new();
        // Any of its threads may have started some.
        for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            if let Ok(mut file) = fs::File::open(thread.path().join("children")) {
                let _ = file.read_to_string(&mut children);
            }
        }
        open.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(ticks / TICKS)
}

/// The memory of a process that is not paged out, in bytes.
pub(crate) fn memory_bytes(process: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    let kilobytes = resident.and_then(|kilobytes| kilobytes.trim().parse::<f64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1_024.0)
        .ok_or_else(|| io::Error::other("expected VmRSS, found none"))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn the_memory_of_a_process_is_more_when_it_has_taken_some() {
        const TAKEN: usize = 64 << 20;
        let own = std::process::id();
        let before = memory_bytes(own).unwrap();
        // Written, so that the system has to find it.
        let taken = std::hint::black_box(vec![1_u8; TAKEN]);
        let after = memory_bytes(own).unwrap();
        assert!(after - before > 32e6, "{before} bytes, then {after} with {} more", taken.len());
        assert!(memory_bytes(u32::MAX).is_err(), "a process that is not there has no memory");
    }

    #[test]
    fn cpu_of_children_counts_while_they_run_and_after() {
        let own = std::process::id();
        let before = cpu_seconds(own).unwrap();
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; echo done; read wait";
        let mut child = Command::new("sh")
            .args(["-c", busy])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let running = cpu_seconds(own).unwrap();
        assert!(
            running >= before + 0.02,
            "{before} s, then {running} s with a child that counted to 300,000"
        );
        drop(child.stdin.take());
        child.wait().unwrap();
        let after = cpu_seconds(own).unwrap();
        assert!(after >= running, "{running} s, then {after} s when it had ended");
        assert!(cpu_seconds(u32::MAX).is_err(), "a process that is not there has no times");
    }
}
