//! A histogram that counts where it stands: telling it is two atomic additions, whatever the load, and there is nothing
//! to tidy up between two scrapes. Which histograms there are is not known here.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::IntoF64;

/// How often, by size. Clones are one.
#[derive(Clone)]
pub struct Histogram {
    buckets: Arc<Buckets>,
}

struct Buckets {
    /// The upper ends, rising.
    ends: &'static [f64],
    /// One for each end, and one for what is above them all.
    counts: Box<[AtomicU64]>,
    /// The bits of a float.
    sum: AtomicU64,
}

impl Histogram {
    /// Nothing counted yet.
    pub(super) fn new(ends: &'static [f64]) -> Self {
        let counts = ends.iter().map(|_| AtomicU64::new(0)).chain([AtomicU64::new(0)]).collect();
        Self { buckets: Arc::new(Buckets { ends, counts, sum: AtomicU64::new(0.0_f64.to_bits()) }) }
    }

    /// Counts one value: a number, or a duration in seconds.
    pub fn record(&self, value: impl IntoF64) {
        let value = value.into_f64();
        let Buckets { ends, counts, sum } = &*self.buckets;
        // An end belongs to its bucket. The lists are short, and most values small.
        let place = ends.iter().position(|end| value <= *end).unwrap_or(ends.len());
        if let Some(count) = counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Writes its series in Prometheus' text format. `labels` are its own, as they stand in the format.
    pub(super) fn write(&self, text: &mut String, name: &str, labels: &str) {
        let Buckets { ends, counts, sum } = &*self.buckets;
        let comma = if labels.is_empty() { "" } else { "," };
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let mut below = 0_u64;
        for (place, count) in counts.iter().enumerate() {
            below = below.saturating_add(count.load(Ordering::Relaxed));
            let end = ends.get(place).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {below}");
        }
        let sum = f64::from_bits(sum.load(Ordering::Relaxed));
        let _ = writeln!(text, "{name}_sum{braced} {sum}\n{name}_count{braced} {below}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_value_counts_in_its_bucket_and_in_all_above() {
        let histogram = Histogram::new(&[0.5, 1.0, 2.0]);
        for value in [0.25, 0.5, 1.5, 64.0] {
            histogram.record(value);
        }
        histogram.record(Duration::from_millis(750));
        let mut text = String::new();
        histogram.write(&mut text, "size", "");
        let expected = "size_bucket{le=\"0.5\"} 2\nsize_bucket{le=\"1\"} 3\nsize_bucket{le=\"2\"} 4\n\
                        size_bucket{le=\"+Inf\"} 5\nsize_sum 67\nsize_count 5\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn its_labels_stand_before_the_end() {
        let histogram = Histogram::new(&[1.0]);
        let mut text = String::new();
        histogram.write(&mut text, "size", r#"stage="parse""#);
        let expected = "size_bucket{stage=\"parse\",le=\"1\"} 0\nsize_bucket{stage=\"parse\",le=\"+Inf\"} 0\n\
                        size_sum{stage=\"parse\"} 0\nsize_count{stage=\"parse\"} 0\n";
        assert_eq!(text, expected);
    }
}
