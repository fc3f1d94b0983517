//! Rates and latencies of the last seconds, from counts that only go up. One task of each node
//! samples; everybody else reads its last result. The window is pure: time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::node::Node;
use crate::vitals::history::SAMPLE_EVERY;
use crate::vitals::latencies::{CLASSES, Counts, quantile};
use crate::vitals::tally::Tally;
use crate::vitals::{QueueDepth, Vitals};

/// How often a node looks at itself; as often as nodes beat.
const EVERY: Duration = Duration::from_millis(500);

/// Over how many of these looks rates are taken: short enough to follow, long enough to read.
const LOOKS: usize = 8;

/// Samples until the node shuts down.
pub(crate) async fn run(node: Node) {
    let mut window = Window::default();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    let mut sample_at = started + EVERY;
    loop {
        tokio::select! {
            () = node.shutdown_started() => return,
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        let mut vitals = window.look(node.tally(), now);
        vitals.release = env!("CARGO_PKG_VERSION").to_owned();
        vitals.unix_ms = node.clock().unix_ms();
        vitals.up = now.saturating_duration_since(started);
        vitals.slots = node.owned_slots();
        vitals.shared_silent = node.volatile().silence();
        vitals.fullest = fullest(node.queue_depths());
        vitals.lookups = node.lookups();
        node.set_vitals(vitals);
        if now >= sample_at {
            node.kept_history().look(&node.observed());
            sample_at = now + SAMPLE_EVERY;
        }
    }
}

/// The queue that is nearest to its bound, unless all are empty.
fn fullest(depths: Vec<QueueDepth>) -> Option<QueueDepth> {
    let fullest = depths.into_iter().max_by(|a, b| a.share().total_cmp(&b.share()));
    fullest.filter(|queue| queue.depth > 0)
}

/// The counts of the last looks.
#[derive(Debug, Default)]
struct Window {
    looks: VecDeque<Look>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    publications: u64,
    deliveries: u64,
    appends: Counts,
}

impl Window {
    fn look(&mut self, tally: &Tally, now: Instant) -> Vitals {
        let look = Look {
            at: now,
            publications: tally.publications(),
            deliveries: tally.deliveries(),
            appends: tally.appends().counts(),
        };
        let first = self.looks.front().unwrap_or(&look);
        let seconds = now.saturating_duration_since(first.at).as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { (count as f64 / seconds) as f32 } else { 0.0 };
        let mut appends: Counts = [0; CLASSES];
        for (class, count) in appends.iter_mut().enumerate() {
            *count = look.appends[class] - first.appends[class];
        }
        let workers = tally.workers();
        let vitals = Vitals {
            sessions: workers.sessions,
            publications_per_second: rate(look.publications - first.publications),
            deliveries_per_second: rate(look.deliveries - first.deliveries),
            channels: tally.channels(),
            append_p50: quantile(&appends, 0.5),
            append_p99: quantile(&appends, 0.99),
            database: tally.database(),
            totals: tally.totals(),
            ..Vitals::default()
        };
        self.looks.push_back(look);
        while self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        vitals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let (tally, mut window) = (Tally::default(), Window::default());
        let start = Instant::now();
        assert_eq!(window.look(&tally, start).publications_per_second, 0.0);
        for second in 1..=20 {
            tally.on_published(30);
            tally.on_delivered(300);
            tally.on_appended(Duration::from_millis(10));
            let vitals = window.look(&tally, start + Duration::from_secs(second));
            assert_eq!(vitals.publications_per_second, 30.0, "second {second}");
            assert_eq!(vitals.deliveries_per_second, 300.0, "second {second}");
            assert!(vitals.append_p99.abs_diff(Duration::from_millis(10)).as_millis() < 2);
        }
        for second in 21..=40 {
            window.look(&tally, start + Duration::from_secs(second));
        }
        let quiet = window.look(&tally, start + Duration::from_secs(41));
        assert_eq!((quiet.publications_per_second, quiet.append_p50), (0.0, Duration::ZERO));
    }

    #[test]
    fn the_fullest_queue_is_the_one_nearest_to_its_bound() {
        let queue = |name: &str, depth, bound| QueueDepth { name: name.into(), depth, bound };
        let named = |depths| fullest(depths).map(|queue| queue.name);
        let depths = vec![queue("long", 100, 1000), queue("near", 9, 10), queue("empty", 0, 1)];
        assert_eq!(named(depths).as_deref(), Some("near"));
        assert_eq!(named(vec![queue("empty", 0, 1)]), None);
    }
}
