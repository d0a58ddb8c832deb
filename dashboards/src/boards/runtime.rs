//! What the process uses of its machine, and of its own bounds.

use crate::board::{
    Board,
    Kind::{Lines, Number},
    Panel,
};

pub(super) fn board() -> Board {
    Board {
        file: "runtime",
        title: "Tollgate: runtime",
        description: "What each node uses of its machine and of its own bounds.",
        rows: vec![
            ("Machine", vec![restarts(), processor(), memory()]),
            ("Runtime", vec![busy(), late(), tasks(), threads()]),
            ("Connections", vec![connections(), in_flight(), cut(), bodies(), files()]),
        ],
    }
}

fn restarts() -> Panel {
    Panel::new(
        Number,
        "Restarts",
        "none",
        [
            "How often processes were started anew in the time shown.",
            "0, except for a rollout.",
            "The last lines of the log before a start say why; exit code 74 is the journal.",
        ],
        &[("sum(changes(process_start_time_seconds{@}[$__range]))", "restarts")],
    )
    .wide(4)
    .steps(&[(None, "green"), (Some(1.0), "orange")])
}

fn processor() -> Panel {
    Panel::new(
        Lines,
        "Processor",
        "none",
        [
            "Cores in use by each process.",
            "Below the number of cores that it has.",
            "At the number of cores answers wait: add a core, or a node.",
        ],
        &[("sum by (instance) (rate(process_cpu_seconds_total{@}[@]))", "{{instance}}")],
    )
    .wide(10)
}

fn memory() -> Panel {
    Panel::new(
        Lines,
        "Memory",
        "bytes",
        [
            "Resident memory of each process.",
            "Grows with the cards in memory, about 10 KiB each, and then stays.",
            "Set TOLLGATE_CARDS_RESIDENT_MAX by the memory that the machine has.",
        ],
        &[("max by (instance) (process_resident_memory_bytes{@})", "{{instance}}")],
    )
    .wide(10)
}

fn busy() -> Panel {
    Panel::new(
        Lines,
        "Busy workers",
        "percentunit",
        [
            "The share of time in which the runtime's worker threads ran tasks.",
            "Below 80 %.",
            "Above: the processor is the bottleneck.",
        ],
        &[(
            "sum by (instance) (rate(tokio_worker_busy_seconds_total{@}[@])) / sum by (instance) (tokio_workers{@})",
            "{{instance}}",
        )],
    )
}

fn late() -> Panel {
    let quantile = |share: &str| {
        format!("histogram_quantile({share}, sum by (le) (rate(tokio_wake_delay_seconds_bucket{{@}}[@])))")
    };
    let (half, nearly) = (quantile("0.5"), quantile("0.99"));
    Panel::new(
        Lines,
        "How late tasks wake",
        "s",
        [
            "How late a timer fires: as late as any task that is ready and waits for a worker.",
            "A millisecond or two, which is the timer's grain.",
            "See the runbook TollgateStarved.",
        ],
        &[(&half, "p50"), (&nearly, "p99")],
    )
}

fn tasks() -> Panel {
    Panel::new(
        Lines,
        "Tasks",
        "none",
        [
            "Tasks of the runtime, and those that wait in its shared queue.",
            "Connections and card actors, and a few; the queue near 0.",
            "A growing queue: the processor is busy.",
        ],
        &[
            ("sum by (instance) (tokio_alive_tasks{@})", "alive, {{instance}}"),
            ("sum by (instance) (tokio_global_queue_depth{@})", "queued, {{instance}}"),
        ],
    )
}

fn threads() -> Panel {
    Panel::new(
        Lines,
        "Threads",
        "none",
        [
            "Threads of each process.",
            "Steady.",
            "A growing number: blocking work piles up, most likely reads of the journal.",
        ],
        &[("max by (instance) (process_threads{@})", "{{instance}}")],
    )
}

fn connections() -> Panel {
    Panel::new(
        Lines,
        "Connections",
        "none",
        [
            "Open connections of each listener, and the bound of the webhook's.",
            "Far below the bound.",
            "At the bound new connections are told so and closed: a load balancer that opens one for each request?",
        ],
        &[
            ("sum by (listener) (tollgate_connections{@})", "{{listener}}"),
            ("sum(tollgate_capacity{@, bound=\"connections\"})", "bound"),
            ("sum by (listener) (rate(tollgate_connections_accepted_total{@}[@]))", "{{listener}}, opened a second"),
        ],
    )
    .colours(&[("bound", "red")])
}

fn in_flight() -> Panel {
    Panel::new(
        Lines,
        "Requests in flight",
        "none",
        [
            "Webhook requests being answered, and the bound.",
            "Far below the bound.",
            "Near it: answers are slow, or the load is more than the node takes.",
        ],
        &[
            ("sum by (instance) (tollgate_in_flight_requests{@})", "{{instance}}"),
            ("min(tollgate_capacity{@, bound=\"in_flight\"})", "bound"),
        ],
    )
    .colours(&[("bound", "red")])
}

fn cut() -> Panel {
    Panel::new(
        Lines,
        "Connections cut",
        "ops",
        [
            "Connections that were not closed by their client, by cause, and failures to take one.",
            "idle only.",
            "head_late, body_late: slow clients. protocol: no HTTP. reply_stalled: nobody reads. accept: out of files?",
        ],
        &[
            ("sum by (cause) (rate(tollgate_connections_cut_total{@}[@]))", "{{cause}}"),
            ("sum(rate(tollgate_accept_errors_total{@}[@]))", "accept"),
        ],
    )
}

fn bodies() -> Panel {
    let quantile = |share: &str| {
        format!("histogram_quantile({share}, sum by (le) (rate(tollgate_webhook_body_bytes_bucket{{@}}[@])))")
    };
    let (half, nearly) = (quantile("0.5"), quantile("0.99"));
    Panel::new(
        Lines,
        "Size of bodies",
        "bytes",
        [
            "How large the bodies of webhook requests are.",
            "4 to 8 KiB.",
            "Above TOLLGATE_BODY_BYTES_MAX they are refused: somebody else sends, or metadata has grown.",
        ],
        &[(&half, "p50"), (&nearly, "p99")],
    )
}

fn files() -> Panel {
    Panel::new(
        Lines,
        "File descriptors",
        "none",
        [
            "Open file descriptors of each process, and how many it may have.",
            "Below the bound, with room for all connections.",
            "Raise the limit (ulimit -n, LimitNOFILE) above TOLLGATE_CONNECTIONS_MAX by 100.",
        ],
        &[("max by (instance) (process_open_fds{@})", "{{instance}}"), ("min(process_max_fds{@})", "bound")],
    )
    .wide(24)
    .colours(&[("bound", "red")])
}
