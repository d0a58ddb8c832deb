//! What the process uses of its machine, and of its own bounds.

use crate::{
    board::{
        Board,
        Kind::{Lines, Number},
        Panel,
    },
    query::rates_by,
};

pub(super) fn board() -> Board {
    Board {
        file: "runtime",
        title: "Tollgate: runtime",
        description: "What each node uses of its machine and of its limits.",
        rows: vec![
            ("Machine", vec![restarts(), processor(), memory()]),
            ("Runtime", vec![busy(), late(), tasks(), threads()]),
            ("Connections", vec![connections(), opened(), cut(), files(), in_flight(), bodies()]),
        ],
    }
}

fn restarts() -> Panel {
    Panel::new(
        Number,
        "Restarts",
        "none",
        [
            "Process restarts in the selected time range.",
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
        "CPU",
        "none",
        [
            "Cores in use by each process.",
            "Below the number of its cores.",
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
            "Set TOLLGATE_CARDS_RESIDENT_MAX according to the memory of the machine.",
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
            "The share of time that worker threads spent running tasks.",
            "Below 80 %.",
            "Above: the CPU is the bottleneck.",
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
        "Scheduling delay",
        "s",
        [
            "How late a timer fires, which is how long a ready task waits for a worker.",
            "1 to 2 ms, the resolution of the timer.",
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
            "Tasks of the runtime, and tasks in its shared queue.",
            "Connections and card actors, and a few; the queue near 0.",
            "A growing queue: the CPU is busy.",
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
            "Open connections of each listener.",
            "Steady: clients keep connections alive.",
            "At TOLLGATE_CONNECTIONS_MAX new connections are refused. A steep rise: a client opens one for each request.",
        ],
        &[("sum by (listener) (tollgate_connections{@})", "{{listener}}")],
    )
}

fn opened() -> Panel {
    Panel::new(
        Lines,
        "New connections",
        "ops",
        [
            "New connections per second, by listener.",
            "Far fewer than requests.",
            "As many as requests: a proxy in between does not keep connections alive.",
        ],
        &[("sum by (listener) (rate(tollgate_connections_accepted_total{@}[@]))", "{{listener}}")],
    )
}

fn in_flight() -> Panel {
    Panel::new(
        Lines,
        "Requests in progress",
        "none",
        [
            "Webhook requests in progress.",
            "Far below TOLLGATE_IN_FLIGHT_MAX.",
            "Near it: answers are slow, or the load exceeds what the node can take.",
        ],
        &[("sum by (instance) (tollgate_in_flight_requests{@})", "{{instance}}")],
    )
}

fn cut() -> Panel {
    Panel::new(
        Lines,
        "Connections closed by the node",
        "ops",
        [
            "Connections that the node closed before the client did, by cause, and failed accepts.",
            "idle only.",
            "head_late, body_late: slow clients. protocol: not HTTP. reply_stalled: the client does not read. accept: no free file descriptors.",
        ],
        &[
            (&rates_by("cause", "tollgate_connections_cut_total{@}"), "{{cause}}"),
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
        "Body size",
        "bytes",
        [
            "Body size of webhook requests.",
            "4 to 8 KiB.",
            "Above TOLLGATE_BODY_BYTES_MAX they are refused: the sender is not Stripe, or metadata has grown.",
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
            "Open file descriptors of each process.",
            "Below process_max_fds, with a reserve for all connections.",
            "Raise the limit (ulimit -n, LimitNOFILE) above TOLLGATE_CONNECTIONS_MAX by 100.",
        ],
        &[("max by (instance) (process_open_fds{@})", "{{instance}}")],
    )
}
