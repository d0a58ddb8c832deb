//! What Linux and the runtime say about this process at the moment of a scrape. Elsewhere than on Linux the figures
//! of the process are 0.

use std::fs;

use super::catalogue::{
    Family, PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_MEMORY, PROCESS_START, PROCESS_THREADS,
    TOKIO_BUSY, TOKIO_QUEUE, TOKIO_TASKS, TOKIO_WORKERS,
};

/// Clock ticks in a second, as `/proc` counts on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Every family that is read rather than told, with its value now.
pub(super) fn read() -> Vec<(&'static Family, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let started = number_after(&system, "btime") + ticks(&stat, STARTED) / TICKS_PER_SECOND;
    let cpu = (ticks(&stat, USER_TIME) + ticks(&stat, SYSTEM_TIME)) / TICKS_PER_SECOND;
    let runtime = tokio::runtime::Handle::try_current().ok().map(|handle| handle.metrics());
    let of_runtime = |read: fn(&tokio::runtime::RuntimeMetrics) -> usize| runtime.as_ref().map_or(0, read);
    vec![
        (&PROCESS_START, started),
        (&PROCESS_CPU, cpu),
        (&PROCESS_MEMORY, number_after(&status, "VmRSS:") * 1024.0),
        (&PROCESS_FDS, float(fds)),
        (&PROCESS_FDS_MAX, number_after(&limits, "Max open files")),
        (&PROCESS_THREADS, number_after(&status, "Threads:")),
        (&TOKIO_WORKERS, float(of_runtime(tokio::runtime::RuntimeMetrics::num_workers))),
        (&TOKIO_BUSY, runtime.as_ref().map_or(0.0, busy_seconds)),
        (&TOKIO_TASKS, float(of_runtime(tokio::runtime::RuntimeMetrics::num_alive_tasks))),
        (&TOKIO_QUEUE, float(of_runtime(tokio::runtime::RuntimeMetrics::global_queue_depth))),
    ]
}

/// How long all workers together have run tasks.
fn busy_seconds(runtime: &tokio::runtime::RuntimeMetrics) -> f64 {
    (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64()).sum()
}

/// Places in `/proc/self/stat`, counted from the field after the program's name; proc(5).
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const STARTED: usize = 19;

fn ticks(stat: &str, place: usize) -> f64 {
    // The name stands in parentheses, and may hold spaces and parentheses itself.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(place).and_then(|ticks| ticks.parse().ok()).unwrap_or(0.0)
}

/// The number behind `key` at the beginning of a line.
fn number_after(text: &str, key: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 0 1 2 3 4 150 50 0 0 20 0 3 0 987 1 2";
        let check = |stat, place, expected: &str| assert_eq!(ticks(stat, place).to_string(), expected);
        check(stat, USER_TIME, "150");
        check(stat, SYSTEM_TIME, "50");
        check(stat, STARTED, "987");
        check("", STARTED, "0");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_running_process_has_memory_threads_and_files() {
        for (family, value) in read() {
            if family.name.starts_with("process_") && family.name != PROCESS_CPU.name {
                assert!(value > 0.0, "{} is {value}", family.name);
            }
        }
    }
}
