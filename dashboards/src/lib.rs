//! Tollgate's boards for Grafana and rules for Prometheus, as files. What they may ask for is the program's catalogue of
//! metrics; [`unknown`] finds what is not in it. The files beside this package are written by the tests of the
//! repository, with `UPDATE_GENERATED=1`.

mod board;
mod boards;
mod query;
mod slo;
mod rules;

pub use board::{Board, Kind, Panel, Target};
pub use boards::all as boards;
pub use query::unknown;
pub use rules::{Alert, Record, alerts, records, runbook};
pub use slo::{OBJECTIVES, Objective};

/// Every generated file: its path in the repository, and its text.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let boards = boards();
    let mut files: Vec<(String, String)> =
        boards.iter().map(|board| (format!("dashboards/{}.json", board.file), board.json(&boards))).collect();
    files.push(("dashboards/prometheus/slo.rules.yml".into(), rules::recording_file()));
    files.push(("dashboards/prometheus/alerts.rules.yml".into(), rules::alerting_file()));
    files
}
