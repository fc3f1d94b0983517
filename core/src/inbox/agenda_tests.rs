//! Any schedule of readings, answers and failures, against what the store and the inboxes hold.

use super::*;
use proptest::prelude::*;
use sterna_proto::ChannelId;

const COALESCE: Duration = Duration::from_secs(5);
const SLOTS: u16 = 3;
const CHANNELS: u16 = 6;
const USERS: usize = 3;

/// The store and the inboxes, and what is on its way between them and the agenda.
struct World {
    agenda: Agenda,
    now: Instant,
    intents: BTreeMap<u16, Vec<(Intent, u64)>>,
    published: BTreeMap<ChannelKey, u64>,
    /// How many publications of its channel a user's latest mark covers.
    marked: BTreeMap<(UserId, ChannelKey), u64>,
    completed: BTreeMap<u16, u64>,
    to_resolve: Vec<(RoundId, ChannelKey)>,
    writing: Vec<(UserId, Vec<(ChannelKey, u64)>)>,
    writes: BTreeMap<(UserId, ChannelKey), Vec<Instant>>,
}

impl World {
    fn new(max_marks: usize) -> Self {
        Self {
            agenda: Agenda::new(max_marks, COALESCE),
            now: Instant::now(),
            intents: BTreeMap::new(),
            published: BTreeMap::new(),
            marked: BTreeMap::new(),
            completed: BTreeMap::new(),
            to_resolve: Vec::new(),
            writing: Vec::new(),
            writes: BTreeMap::new(),
        }
    }

    fn publish(&mut self, channel: u16) {
        let (key, slot) = (key(channel), channel % SLOTS);
        let published = self.published.entry(key).or_default();
        *published += 1;
        let of_slot = self.intents.entry(slot).or_default();
        let number = of_slot.len() as u64 + 1;
        of_slot.push((Intent { slot, number, payload: intent::encode(key) }, *published));
        self.agenda.note(slot);
    }

    fn read(&mut self, fails: bool) {
        let Some((slot, after)) = self.agenda.poll_read() else { return };
        if fails {
            return self.agenda.on_read_failed(slot);
        }
        let completed = self.completed.get(&slot).copied().unwrap_or(0);
        let all = self.intents.get(&slot).cloned().unwrap_or_default();
        let waiting = all.into_iter().map(|(intent, _)| intent);
        let page: Vec<Intent> =
            waiting.filter(|one| one.number > after.max(completed)).take(2).collect();
        let round = self.agenda.on_read(slot, &page, page.len() == 2, self.now);
        let channels =
            round.into_iter().flat_map(|(id, all)| all.into_iter().map(move |c| (id, c)));
        self.to_resolve.extend(channels);
    }

    fn resolve(&mut self, touch: Touch) {
        let Some((round, channel)) = self.to_resolve.pop() else { return };
        let members = (0..USERS).map(|n| (user(n), touch)).collect();
        self.agenda.on_resolved(Some(round), channel, members, self.now);
    }

    fn start_writes(&mut self) {
        for (user, channels) in self.agenda.poll_writes(self.now, 2) {
            for channel in &channels {
                self.writes.entry((user.clone(), *channel)).or_default().push(self.now);
            }
            let covered = channels.into_iter().map(|channel| (channel, self.published[&channel]));
            self.writing.push((user, covered.collect()));
        }
    }

    fn finish_write(&mut self, stored: bool) {
        let Some((user, covered)) = self.writing.pop() else { return };
        if stored {
            for (channel, upto) in &covered {
                let marked = self.marked.entry((user.clone(), *channel)).or_default();
                *marked = (*marked).max(*upto);
            }
        }
        let channels: Vec<ChannelKey> = covered.iter().map(|(channel, _)| *channel).collect();
        self.agenda.on_written(&user, &channels, stored, self.now);
    }

    /// Nothing is completed that some member's inbox does not show.
    fn complete(&mut self, stored: bool) {
        while let Some((slot, upto)) = self.agenda.poll_complete() {
            for (intent, version) in &self.intents[&slot] {
                let channel = intent::decode(&intent.payload).unwrap();
                for member in (0..USERS).map(user).filter(|_| intent.number <= upto) {
                    let covered = self.marked.get(&(member, channel)).copied().unwrap_or(0);
                    assert!(covered >= *version, "{} of slot {slot}", intent.number);
                }
            }
            if stored {
                self.completed.insert(slot, upto);
            }
            self.agenda.on_completed(slot, upto, stored);
            if !stored {
                return;
            }
        }
    }

    /// Everything succeeds until nothing is left.
    fn settle(&mut self) {
        for _ in 0..2000 {
            self.read(false);
            self.resolve(Touch::Known);
            self.start_writes();
            self.finish_write(true);
            self.complete(true);
            self.now += Duration::from_millis(500);
        }
    }

    fn assert_done(&self) {
        for (slot, intents) in &self.intents {
            assert_eq!(self.completed.get(slot), Some(&(intents.len() as u64)), "slot {slot}");
        }
        assert_eq!(self.agenda.len(), 0);
        assert!(self.agenda.slots.is_empty() && self.agenda.due.is_empty());
    }
}

fn key(channel: u16) -> ChannelKey {
    ChannelId::new(&format!("room:{channel}")).unwrap().key()
}

fn user(n: usize) -> UserId {
    UserId::new(&format!("user{n}")).unwrap()
}

proptest! {
    #[test]
    fn any_schedule_completes_only_what_inboxes_show(
        steps in prop::collection::vec((0_u8..10, any::<u16>(), any::<bool>()), 1..300),
        max_marks in 1_usize..20,
    ) {
        let mut world = World::new(max_marks);
        for (step, number, flag) in steps {
            match step {
                0..=2 => world.publish(number % CHANNELS),
                3 => world.read(flag),
                4 => world.resolve(if flag { Touch::Known } else { Touch::Unknown }),
                5 => world.start_writes(),
                6 => world.finish_write(flag),
                7 => world.complete(flag),
                8 => world.now += Duration::from_millis(u64::from(number % 4000)),
                _ => { world.read(false); world.resolve(Touch::Known); }
            }
        }
        world.settle();
        world.assert_done();
    }

    /// However often is published, an inbox is written once in the time in which marks are merged.
    #[test]
    fn marks_of_one_channel_are_merged(gaps in prop::collection::vec(1_u64..900, 1..100)) {
        let mut world = World::new(1000);
        for gap in gaps {
            world.publish(0);
            world.read(false);
            world.resolve(Touch::Known);
            world.start_writes();
            world.finish_write(true);
            world.now += Duration::from_millis(gap);
        }
        world.settle();
        world.assert_done();
        for writes in world.writes.values() {
            prop_assert!(writes.windows(2).all(|pair| pair[1] - pair[0] >= COALESCE));
        }
    }
}

#[test]
fn a_slot_that_is_lost_and_gained_again_begins_with_what_is_not_completed() {
    let mut world = World::new(100);
    for channel in 0..CHANNELS {
        world.publish(channel);
    }
    world.read(false);
    world.agenda.forget(&(0..SLOTS).collect());
    world.resolve(Touch::Unknown);
    world.start_writes();
    world.finish_write(true);
    assert_eq!(world.agenda.poll_complete(), None, "another owner does that");
    (0..SLOTS).for_each(|slot| world.agenda.note(slot));
    world.settle();
    world.assert_done();
}

#[test]
fn i12_without_room_for_marks_no_intent_is_read_and_marks_are_written_at_once() {
    let mut world = World::new(2);
    world.publish(0);
    world.publish(1);
    world.read(false);
    world.resolve(Touch::Known);
    world.publish(2);
    assert_eq!(world.agenda.poll_read(), None);
    world.start_writes();
    assert!(!world.writing.is_empty(), "before its time");
    world.settle();
    world.assert_done();
}
