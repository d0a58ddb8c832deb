//! On what a load test runs: the machine, the system, the commit. Figures without it mean nothing.

use std::{fs, path::Path, process::Command};

use crate::record::Setup;

/// Looks at the machine. What the system does not tell is left empty.
#[must_use]
pub fn look(directory: &Path) -> Setup {
    let cpu = read("/proc/cpuinfo");
    let memory = read("/proc/meminfo");
    // Mount points are told from the root on.
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let kilobytes = after(&memory, "MemTotal:").trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
    Setup {
        started_at: jiff::Timestamp::from_second(crate::clock::unix_seconds())
            .unwrap_or_default()
            .to_string(),
        processor: after(&cpu, "model name").trim_start_matches([':', ' ', '\t']).to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: kilobytes.saturating_mul(1_024),
        kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
        commit: commit(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        file_system: file_system(&read("/proc/mounts"), &directory),
        ..Setup::default()
    }
}

/// Runnable tasks over the last minute: whether the machine does other things. Empty where the system does not say.
#[must_use]
pub fn load_average() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// What follows a word at the beginning of a line.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_default().trim()
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return String::new() };
    let is_dirty =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    if is_dirty { format!("{commit}-dirty") } else { commit }
}

/// The type of the file system that a directory is on: that of the longest mount point above it.
fn file_system(mounts: &str, directory: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(point, _)| directory.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or("", |(_, kind)| kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_on_the_same_file_system_whatever_it_is_called() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(look(Path::new("src")).file_system, look(&here.join("src")).file_system);
        #[cfg(target_os = "linux")]
        assert_ne!(look(Path::new("src")).file_system, "");
    }

    #[test]
    fn a_directory_is_on_the_file_system_of_the_nearest_mount_point() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        for (directory, kind) in
            [("/home/x", "ext4"), ("/tmp/x", "tmpfs"), ("/tmp/disk/x", "xfs"), ("/tmpx", "ext4")]
        {
            assert_eq!(file_system(mounts, Path::new(directory)), kind, "{directory}");
        }
    }
}
