//! When entries are written, and that chance leaves the table as it is wanted.

use proptest::prelude::*;
use std::collections::HashMap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TIMES: Times =
    Times { refresh: Duration::from_secs(100), linger: Duration::from_secs(10), retry: SECOND };

fn done(kept: &mut Kept<u8, u8>, now: Instant) -> Vec<Write<u8, u8>> {
    let writes = kept.take_due(now, 100);
    writes.iter().for_each(|write| kept.on_written(write, true, now));
    writes
}

#[test]
fn an_entry_is_written_at_once_refreshed_and_removed_when_nobody_came_back() {
    let (start, mut kept) = (Instant::now(), Kept::new(TIMES, 10));
    assert!(kept.want(1, 7, start));
    assert_eq!(done(&mut kept, start), [Write::Put(1, 7)]);
    assert_eq!(done(&mut kept, start + 49 * SECOND), []);
    assert_eq!(done(&mut kept, start + 100 * SECOND), [Write::Put(1, 7)], "before it ends there");
    kept.unwant(&1, start + 101 * SECOND);
    assert_eq!(done(&mut kept, start + 110 * SECOND), []);
    assert_eq!(done(&mut kept, start + 111 * SECOND), [Write::Remove(1, 7)]);
    assert!(kept.is_empty());
}

#[test]
fn who_comes_back_soon_or_goes_before_anything_was_written_costs_nothing() {
    let (start, mut kept) = (Instant::now(), Kept::new(TIMES, 10));
    assert!(kept.want(1, 7, start));
    kept.unwant(&1, start);
    assert!(kept.is_empty() && done(&mut kept, start + SECOND).is_empty());
    assert!(kept.want(1, 7, start));
    done(&mut kept, start);
    kept.unwant(&1, start + SECOND);
    assert!(kept.want(1, 7, start + 2 * SECOND));
    assert_eq!(done(&mut kept, start + 30 * SECOND), []);
}

#[test]
fn what_changes_while_a_write_is_on_its_way_is_written_after_it() {
    let (start, mut kept) = (Instant::now(), Kept::new(TIMES, 10));
    assert!(kept.want(1, 7, start));
    let writes = kept.take_due(start, 10);
    assert!(kept.want(1, 8, start));
    assert_eq!(kept.take_due(start, 10), [], "one at a time for each key");
    kept.on_written(&writes[0], true, start);
    assert_eq!(done(&mut kept, start), [Write::Put(1, 8)]);
    // Wanted again while it is being removed.
    kept.unwant(&1, start);
    kept.unwant(&1, start);
    let writes = kept.take_due(start + 10 * SECOND, 10);
    assert_eq!(writes, [Write::Remove(1, 8)]);
    assert!(kept.want(1, 8, start + 10 * SECOND));
    kept.on_written(&writes[0], true, start + 10 * SECOND);
    assert_eq!(done(&mut kept, start + 10 * SECOND), [Write::Put(1, 8)]);
}

#[test]
fn i6_what_was_lost_is_written_again_within_the_time_and_not_all_at_once() {
    let (start, mut kept) = (Instant::now(), Kept::new(TIMES, 100));
    (0..100).for_each(|key| assert!(kept.want(key, key, start)));
    assert_eq!(done(&mut kept, start).len(), 100);
    kept.on_lost(|key, _| *key < 50, start, 10 * SECOND);
    let half = done(&mut kept, start + 7 * SECOND).len();
    assert!((1..50).contains(&half), "{half} at once");
    assert_eq!(half + done(&mut kept, start + 10 * SECOND).len(), 50);
}

#[test]
fn i12_what_has_no_room_is_not_kept() {
    let (start, mut kept) = (Instant::now(), Kept::new(TIMES, 1));
    assert!(kept.want(1, 1, start) && kept.want(1, 1, start));
    assert!(!kept.want(2, 2, start));
    kept.unwant(&2, start);
    assert_eq!(kept.len(), 1);
}

fn carry_out(
    writes: Vec<Write<u8, u8>>,
    table: &mut HashMap<u8, u8>,
    kept: &mut Kept<u8, u8>,
    now: Instant,
) {
    for write in writes {
        match write {
            Write::Put(key, value) => drop(table.insert(key, value)),
            Write::Remove(key, _) => drop(table.remove(&key)),
        }
        kept.on_written(&write, true, now);
    }
}

proptest! {
    /// A table that fails, forgets and is slow is as it is wanted once it has rested.
    #[test]
    fn i6_in_the_end_the_table_is_as_it_is_wanted(
        steps in proptest::collection::vec((0u8..6, 0u8..4, 0u64..30), 1..200)
    ) {
        let mut now = Instant::now();
        let mut kept = Kept::new(TIMES, 100);
        let (mut table, mut wanted) = (HashMap::new(), HashMap::<u8, u32>::new());
        let mut on_their_way = Vec::new();
        for (verb, key, passed) in steps {
            now += u32::try_from(passed).unwrap() * SECOND;
            match verb {
                0 => {
                    assert!(kept.want(key, key, now));
                    *wanted.entry(key).or_default() += 1;
                }
                1 => {
                    kept.unwant(&key, now);
                    let count = wanted.entry(key).or_default();
                    *count = count.saturating_sub(1);
                }
                2 => on_their_way.drain(..).for_each(|write| kept.on_written(&write, false, now)),
                3 => {
                    table.clear();
                    kept.on_lost(|_, _| true, now, SECOND);
                }
                4 => on_their_way.extend(kept.take_due(now, 100)),
                _ => carry_out(std::mem::take(&mut on_their_way), &mut table, &mut kept, now),
            }
        }
        carry_out(on_their_way, &mut table, &mut kept, now);
        for _ in 0..3 {
            now += 20 * SECOND;
            let due = kept.take_due(now, 100);
            carry_out(due, &mut table, &mut kept, now);
        }
        for key in 0..4 {
            let is_wanted = wanted.get(&key).copied().unwrap_or(0) > 0;
            prop_assert_eq!(table.contains_key(&key), is_wanted, "{}", key);
        }
    }
}
