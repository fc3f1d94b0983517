//! Outbox, ring, recovery and subscription by themselves.

use std::collections::HashSet;

use sterna_core::channel::recover;
use sterna_core::channel::ring::Ring;
use sterna_core::session::outbox::{Class, Full, Outbox};
use sterna_core::session::subscription::{Delivery, Subscription};
use sterna_core::session::{Lane, Outgoing, OutgoingBody};
use sterna_core::{EncodedPush, Encoding};
use sterna_fuzz::{Script, check};
use sterna_proto::{ChannelId, ChannelKey, Epoch, Offset, Position, v1};
use sterna_storage::{EpochStart, Head};

use crate::publication;

fn key(n: u8) -> ChannelKey {
    ChannelId::new(&format!("room:{n}")).unwrap().key()
}

/// What waits, as the rules of the outbox say; `n` names a frame.
#[derive(Debug, Default)]
struct OutboxModel {
    waiting: Vec<(u64, Class, usize)>,
    /// Channels of which presence was dropped.
    lost: HashSet<ChannelKey>,
}

impl OutboxModel {
    const FRAMES: usize = 6;
    const BYTES: usize = 400;

    fn bytes(&self) -> usize {
        self.waiting.iter().map(|(_, _, bytes)| bytes).sum()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < Self::FRAMES && self.bytes() + bytes <= Self::BYTES
    }

    fn push(&mut self, n: u64, class: Class, bytes: usize) -> Result<(), Full> {
        if !matches!(class, Class::Control | Class::Publication { .. }) {
            self.waiting.retain(|(_, other, _)| *other != class);
        }
        match class {
            Class::Ephemeral { .. } if !self.has_room(bytes) => return Ok(()),
            Class::Presence { channel, .. } if !self.has_room(bytes) => {
                self.lost.insert(channel);
                return Ok(());
            }
            Class::Publication { .. } if !self.has_room(bytes) => {
                let lost = &mut self.lost;
                self.waiting.retain(|(_, other, _)| match other {
                    Class::Ephemeral { .. } => false,
                    Class::Presence { channel, .. } => {
                        lost.insert(*channel);
                        false
                    }
                    _ => true,
                });
                if !self.has_room(bytes) {
                    return Err(Full);
                }
            }
            _ => {}
        }
        self.waiting.push((n, class, bytes));
        Ok(())
    }
}

/// I12: the outbox is bounded, keeps order, drops by the rules, and counts its bytes right.
#[test]
fn fuzz_outbox() {
    check!("outbox", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let mut outbox = Outbox::new(OutboxModel::FRAMES, OutboxModel::BYTES);
        let mut model = OutboxModel::default();
        let mut n = 0;
        while let Some(step) = script.step() {
            let channel = key(script.below(3));
            n += 1;
            let class = match step % 8 {
                0 => Class::Control,
                1 | 2 => Class::Publication { channel, offset: Offset(n) },
                3 if script.flag() => Class::Presence { channel, key: script.below(2).into() },
                3 => Class::Ephemeral { channel, key: script.below(2).into() },
                4 => Class::Head { channel },
                5 => {
                    take(&mut outbox, &mut model, script.number());
                    continue;
                }
                6 => {
                    check_dropped(&mut outbox, &mut model);
                    continue;
                }
                _ => {
                    outbox.drop_channel(channel);
                    model.waiting.retain(|(_, class, _)| {
                        !matches!(class, Class::Publication { channel: c, .. }
                            | Class::Ephemeral { channel: c, .. }
                            | Class::Presence { channel: c, .. }
                            | Class::Head { channel: c } if *c == channel)
                    });
                    model.lost.remove(&channel);
                    continue;
                }
            };
            let push = publication("room", 1, n, script.byte().into());
            let len = push.encoded(Encoding::Protobuf).len();
            let outgoing = Outgoing { lane: Lane::Channel(0), body: OutgoingBody::Shared(push) };
            let taken = outbox.push(outgoing, class, Encoding::Protobuf);
            assert_eq!(taken, model.push(n, class, len));
            let full =
                model.waiting.len() >= OutboxModel::FRAMES || model.bytes() >= OutboxModel::BYTES;
            assert_eq!(outbox.is_full(), full);
        }
        take(&mut outbox, &mut model, u64::MAX);
        for channel in (0..3).map(key) {
            assert_eq!(outbox.take_lost_presence(channel), model.lost.remove(&channel));
        }
        assert!(outbox.is_empty() && model.waiting.is_empty());
    });
}

fn take(outbox: &mut Outbox, model: &mut OutboxModel, most: u64) {
    let (most, mut out, mut bytes) = (most as usize, Vec::new(), 0usize);
    outbox.take(&mut out, most);
    for outgoing in out {
        let (n, _, len) = model.waiting.remove(0);
        assert_eq!(number(&outgoing), n, "in order");
        assert!(bytes == 0 || bytes + len <= most);
        bytes += len;
    }
    let next = model.waiting.first();
    assert!(next.is_none_or(|(_, _, len)| bytes > 0 && bytes + len > most), "all that fits");
}

fn check_dropped(outbox: &mut Outbox, model: &mut OutboxModel) {
    let dropped = outbox.drop_publications();
    let mut first = std::collections::HashMap::new();
    model.waiting.retain(|(_, class, _)| {
        let Class::Publication { channel, offset } = class else { return true };
        first.entry(*channel).or_insert(*offset);
        false
    });
    assert_eq!(dropped, first, "the first of each channel is named");
}

fn number(outgoing: &Outgoing) -> u64 {
    let OutgoingBody::Shared(push) = &outgoing.body else { panic!("only pushes were given") };
    offset(push)
}

fn offset(push: &EncodedPush) -> u64 {
    match &push.frame().body {
        Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::Publication(publication)),
        })) => publication.offset,
        other => panic!("{other:?}"),
    }
}

/// A page of the ring is what follows the position, without a hole, within both bounds, or the
/// ring says that it does not know.
#[test]
fn fuzz_ring() {
    check!("ring", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let (most, most_bytes) = (1 + usize::from(script.below(8)), usize::from(script.byte()));
        let mut ring = Ring::new(most, most_bytes);
        let mut head = u64::from(script.byte());
        let mut run: Vec<(u64, usize)> = Vec::new();
        while let Some(step) = script.step() {
            match step % 8 {
                0..=3 => {
                    if step % 8 == 3 {
                        head += 1 + u64::from(script.below(3));
                        run.clear();
                    }
                    head += 1;
                    let len = usize::from(script.below(80));
                    ring.push(
                        Offset(head),
                        publication("room", 1, head, len),
                        std::time::Instant::now(),
                    );
                    run.push((head, len));
                }
                4 => {
                    ring.clear();
                    run.clear();
                }
                _ => {
                    let after = Offset((head + 2).saturating_sub(u64::from(script.below(12))));
                    let (entries, room) = (script.below(6).into(), script.byte().into());
                    let page = ring.page(after, entries, room);
                    check_page(&run, after, entries, room, page);
                }
            }
        }
        // The newest is there unless it alone is too large.
        if let Some((newest, len)) = run.last() {
            let page = ring.page(Offset(newest - 1), 1, usize::MAX);
            assert_eq!(page.is_some(), *len <= most_bytes);
        }
    });
}

fn check_page(
    run: &[(u64, usize)],
    after: Offset,
    entries: usize,
    room: usize,
    page: Option<Vec<v1::Publication>>,
) {
    let Some(page) = page else { return };
    let found: Vec<u64> = page.iter().map(|publication| publication.offset).collect();
    let wanted: Vec<(u64, usize)> =
        run.iter().copied().filter(|(offset, _)| *offset > after.0).collect();
    let whole: Vec<u64> = wanted.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(found, whole[..found.len()], "follows {after:?} without a hole");
    assert!(found.len() <= entries);
    if found.len() > 1 {
        assert!(page.iter().map(|publication| publication.payload.len()).sum::<usize>() <= room);
    }
    let more = found.len() < entries && found.len() < wanted.len();
    assert!(!more || !found.is_empty(), "a page that is not empty makes progress");
}

/// I5: any position, forged ones too, is placed within the log, and what the client may keep is
/// never more than it has.
#[test]
fn fuzz_recover() {
    check!("recover", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let since =
            Position { epoch: Epoch(script.byte().into()), offset: Offset(script.number()) };
        let head = script.flag().then(|| head(&mut script));
        let trimmed = recover::trimmed_upto(head.as_ref());
        let start = recover::place(since, head.as_ref());
        let end = head.as_ref().map_or(Offset::ZERO, |head| head.position.offset);
        assert!(start.after <= end && start.after <= since.offset && trimmed <= end);
        match start.epoch_change {
            None => assert_eq!(start.after, since.offset),
            Some(change) => {
                assert_eq!(change.keep_upto, start.after.0);
                assert_eq!(change.old_epoch, since.epoch.0);
                // What it may keep, it may stand on: no second change follows the first.
                let kept = Position { offset: start.after, ..since };
                assert_eq!(recover::place(kept, head.as_ref()).epoch_change, None);
            }
        }
    });
}

/// A head as a store gives it: epochs and their starts only grow.
fn head(script: &mut Script<'_>) -> Head {
    let (mut epoch, mut first) = (u32::from(script.byte()), 1);
    let mut epochs = vec![EpochStart { epoch: Epoch(epoch), first: Offset(first) }];
    for _ in 0..script.below(4) {
        epoch += 1 + u32::from(script.below(3));
        first += u64::from(script.below(9));
        epochs.push(EpochStart { epoch: Epoch(epoch), first: Offset(first) });
    }
    let offset = (first - 1).saturating_add(script.number());
    Head {
        position: Position { epoch: Epoch(epoch), offset: Offset(offset) },
        first: Offset(script.number().min(offset).saturating_add(1)),
        last_ts_ms: 0,
        epochs,
    }
}

/// I5, I13: any offsets, epochs, heads and pages, foreign ones too: what is pushed follows what
/// was pushed, and what is held is bounded.
#[test]
fn fuzz_subscription() {
    check!("subscription", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let channel = ChannelId::new("room:1").unwrap();
        let held = usize::from(script.below(5));
        let mut subscription = Subscription::new(channel.clone(), channel.key(), held);
        // What was pushed last while live, and whether a page is waited for.
        let (mut last, mut attaching): (Option<u64>, bool) = (None, false);
        let mut call = 0;
        while let Some(step) = script.step() {
            let number = script.number();
            match step % 6 {
                0 | 1 => {
                    let push = publication("room:1", 1, number, 1);
                    if subscription.handle_delivery(1, Offset(number), &push) == Delivery::Push {
                        assert_eq!(Some(number), last.map(|last| last + 1));
                        last = Some(number);
                    }
                }
                2 => {
                    subscription.handle_head(Position::new(1, number));
                }
                3 => {
                    call += u32::from(script.flag());
                    subscription.on_attach_started(call);
                    (last, attaching) = (None, true);
                }
                4 => {
                    let mut page = v1::Subscribed {
                        position: Some(v1::Position { epoch: 1, offset: number }),
                        head_offset: script.number(),
                        ..Default::default()
                    };
                    let wanted = call - u32::from(script.flag() && call > 0);
                    let follow = subscription.handle_page(wanted, &mut page);
                    assert!(follow.len() <= held && (page.live || follow.is_empty()));
                    let offsets: Vec<u64> = follow.iter().map(|push| offset(push)).collect();
                    let expected: Vec<u64> =
                        (1..=follow.len() as u64).map(|n| number + n).collect();
                    assert_eq!(offsets, expected, "pushes follow their page");
                    let awaited = attaching && wanted == call;
                    assert!(awaited || !page.live, "an older page is never the end");
                    if awaited {
                        attaching = false;
                        last = page.live.then_some(number.saturating_add(follow.len() as u64));
                    }
                }
                _ => {
                    subscription.on_dropped(Offset(number));
                    (last, attaching) = (None, false);
                }
            }
            let gap = subscription.gap();
            assert!(last.is_none_or(|last| gap.after_offset == last));
        }
    });
}
