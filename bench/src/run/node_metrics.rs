//! What a node says of itself: its `/metrics`, read over plain HTTP.

use std::net::SocketAddr;

use anyhow::Result;

use crate::http;

/// All metrics at one moment.
#[derive(Debug, Clone, Default)]
pub struct Samples(String);

pub async fn read(address: SocketAddr) -> Result<Samples> {
    Ok(Samples(http::get(address, "/metrics").await?))
}

impl Samples {
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The sum of a metric over those of its labels that contain `label`; 0 when it never moved.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let rest = |line| str::strip_prefix(line, name);
        let named = self.0.lines().filter_map(rest).filter(|rest| rest.starts_with([' ', '{']));
        let values = named.filter(|rest| rest.contains(label));
        let values = values.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        // Not `sum`, which makes -0 of nothing.
        values.fold(0.0, |sum, value| sum + value)
    }

    /// How many values a histogram was given.
    pub(crate) fn count(&self, histogram: &str) -> f64 {
        self.sum(&format!("{histogram}_count"), "")
    }

    /// A percentile of what a histogram of seconds was given since `before`: the upper bound of the
    /// bucket that it lies in, in milliseconds. `None` when it was given nothing.
    pub(crate) fn quantile_ms(&self, before: &Self, histogram: &str, share: f64) -> Option<f64> {
        let bucket = format!("{histogram}_bucket");
        let mut bounds: Vec<f64> = self.bounds(&bucket).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let count = |bound: &f64| {
            let label = format!("le=\"{bound}\"");
            self.sum(&bucket, &label) - before.sum(&bucket, &label)
        };
        let counts: Vec<f64> = bounds.iter().map(count).collect();
        let all = self.count(histogram) - before.count(histogram);
        if all <= 0.0 {
            return None;
        }
        let at = counts.iter().position(|count| *count >= all * share);
        Some(at.map_or(f64::INFINITY, |at| bounds[at] * 1e3))
    }

    fn bounds(&self, bucket: &str) -> impl Iterator<Item = f64> {
        let lines = self.0.lines().filter_map(move |line| line.strip_prefix(bucket));
        let bounds = lines.filter_map(|rest| rest.split_once("le=\"")?.1.split('"').next());
        bounds.filter_map(|bound| bound.parse().ok()).filter(|bound: &f64| bound.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "pages{tier=\"ring\"} 1\n";
    const AFTER: &str = "\
# TYPE wait_seconds histogram
pages{tier=\"ring\"} 6
pages{tier=\"log\"} 2
pages_other 9
wait_seconds_bucket{le=\"0.001\"} 50
wait_seconds_bucket{le=\"0.01\"} 99
wait_seconds_bucket{le=\"0.1\"} 100
wait_seconds_bucket{le=\"+Inf\"} 100
wait_seconds_count 100
";

    #[test]
    fn labels_are_added_up_and_other_names_left_out() {
        let samples = Samples(AFTER.to_owned());
        assert_eq!(samples.sum("pages", ""), 8.0);
        assert_eq!(samples.sum("pages", "ring"), 6.0);
        assert_eq!(samples.sum("page", "").to_string(), "0");
    }

    #[test]
    fn a_percentile_is_the_bucket_that_it_lies_in() {
        let (samples, before) = (Samples(AFTER.to_owned()), Samples(BEFORE.to_owned()));
        let at = [0.5, 0.99, 1.0].map(|share| samples.quantile_ms(&before, "wait_seconds", share));
        assert_eq!(at, [Some(1.0), Some(10.0), Some(100.0)]);
        assert_eq!(before.quantile_ms(&before, "wait_seconds", 0.5), None);
    }
}
