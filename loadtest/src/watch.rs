//! Looks at nodes once a second while a run goes on: at their metrics, or from outside. What is seen is in the record.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use crate::{
    admin::Admin,
    clock::Clock,
    record::{Node, Sample},
    system,
};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Where it is seen what a node does.
pub enum Window {
    /// In its metrics.
    Metrics(Admin),
    /// From outside, in what its process uses: nobody reads its metrics.
    Process(u32),
}

impl Window {
    /// Nothing of a node that is away.
    fn look(&mut self, at_s: f64) -> Option<Sample> {
        match self {
            Self::Metrics(admin) => match admin.get("/metrics") {
                Ok((200, text)) => Some(sample(at_s, &String::from_utf8_lossy(&text))),
                _ => None,
            },
            Self::Process(process) => Some(Sample {
                at_s,
                cpu_seconds: system::cpu_seconds(*process).ok()?,
                memory_bytes: system::memory_bytes(*process).ok()?,
                ..Sample::default()
            }),
        }
    }
}

/// Looks until the other side of `stop` is dropped, and once more then. Each node has its admin address for a name.
#[must_use]
pub fn watch(nodes: Vec<(SocketAddr, Window)>, clock: Clock, stop: &Receiver<()>) -> Vec<Node> {
    let named = |(address, window)| (window, Node { admin: format!("http://{address}"), ..Node::default() });
    let mut nodes: Vec<(Window, Node)> = nodes.into_iter().map(named).collect();
    loop {
        for (window, node) in &mut nodes {
            let at_s = Duration::from_micros(clock.now_us()).as_secs_f64();
            node.samples.extend(window.look(at_s));
        }
        if stop.recv_timeout(EVERY) == Err(RecvTimeoutError::Disconnected) {
            return nodes.into_iter().map(|(_, node)| node).collect();
        }
    }
}

/// What a node says that it is.
pub fn build_info(admin: &mut Admin) -> BTreeMap<String, String> {
    let text = admin.get("/metrics").map(|(_, text)| text).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let labels = text.lines().find_map(|line| line.strip_prefix("tollgate_build_info{")?.split_once('}'));
    let labels = labels.map_or("", |(labels, _)| labels).split("\",");
    let pairs = labels.filter_map(|label| label.split_once("=\""));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned())).collect()
}

/// CPU seconds of a node between two moments; none where it told too little.
#[must_use]
pub fn cpu_seconds(node: &Node, from_s: f64, to_s: f64) -> Option<f64> {
    let within: Vec<&Sample> =
        node.samples.iter().filter(|sample| (from_s..=to_s).contains(&sample.at_s)).collect();
    let (first, last) = (within.first()?, within.last()?);
    let told = last.at_s - first.at_s;
    // A node that was started again counts from nothing.
    let used: f64 = within.iter().zip(within.iter().skip(1)).fold(0.0, |used, (before, after)| {
        let more = after.cpu_seconds - before.cpu_seconds;
        used + if more < 0.0 { after.cpu_seconds } else { more }
    });
    (told > 0.0).then(|| used / told * (to_s - from_s))
}

fn sample(at_s: f64, text: &str) -> Sample {
    let value = |name: &str| {
        let series = text.lines().filter_map(|line| line.strip_prefix(name));
        let values =
            series.filter(|rest| rest.starts_with([' ', '{'])).filter_map(|rest| rest.rsplit_once(' '));
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    };
    Sample {
        at_s,
        cpu_seconds: value("process_cpu_seconds_total"),
        memory_bytes: value("process_resident_memory_bytes"),
        cards_resident: value("tollgate_cards_resident"),
        journal_entries: value("tollgate_journal_batch_entries_sum"),
        journal_batches: value("tollgate_journal_batch_entries_count"),
        journal_conflicts: value("tollgate_journal_conflicts_total"),
        forwards_failed: value("tollgate_forwards_total")
            - value("tollgate_forwards_total{result=\"answered\"}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_sums_the_series_of_each_family() {
        let text = "# HELP x\nprocess_cpu_seconds_total 1.5\nprocess_cpu_seconds_total_more 9\n\
            tollgate_cards_resident{state=\"idle\"} 3\ntollgate_cards_resident{state=\"active\"} 4\n";
        let sample = sample(2.0, text);
        assert_eq!((sample.at_s, sample.cpu_seconds, sample.cards_resident), (2.0, 1.5, 7.0));
    }

    #[test]
    fn the_cpu_of_a_node_that_was_started_again_is_the_sum_of_both() {
        let samples = [(0.0, 1.0), (1.0, 3.0), (2.0, 0.5), (3.0, 1.0)];
        let samples = samples.map(|(at_s, cpu_seconds)| Sample { at_s, cpu_seconds, ..Sample::default() });
        let node = Node { samples: samples.into(), ..Node::default() };
        assert_eq!(cpu_seconds(&node, 0.0, 3.0), Some(3.0));
        assert_eq!(cpu_seconds(&node, 1.0, 1.5), None);
    }
}
