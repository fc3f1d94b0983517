//! The outbox against a node that takes, refuses and loses.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use proptest::prelude::*;

fn channel(n: u8) -> ChannelId {
    ChannelId::new(&format!("room:{n}")).unwrap()
}

fn outbox(limits: OutboxLimits) -> Outbox<u64> {
    Outbox::new(limits, 1, false)
}

fn one_by_one() -> OutboxLimits {
    OutboxLimits { channel_window: 1, ..OutboxLimits::default() }
}

fn push(outbox: &mut Outbox<u64>, to: u8, tag: u64) -> Pushed<u64> {
    let publish = v1::Publish { payload: vec![0; 10].into(), ..v1::Publish::default() };
    outbox.push(channel(to), publish, tag, true)
}

fn seqs(sending: &[Sending]) -> Vec<u64> {
    sending.iter().map(|sending| sending.seq).collect()
}

#[test]
fn a_window_of_one_keeps_one_publication_of_a_channel_on_its_way_but_many_channels() {
    let mut outbox = outbox(one_by_one());
    for (to, tag) in [(1, 1), (1, 2), (2, 3), (3, 4)] {
        push(&mut outbox, to, tag);
    }
    let now = Instant::now();
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 64)), [1, 3, 4]);
    assert_eq!(outbox.remove(1), Some(1));
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 64)), [2]);
}

#[test]
fn busy_holds_the_channel_and_only_that() {
    let mut outbox = outbox(OutboxLimits { channel_window: 4, ..OutboxLimits::default() });
    (1..=3).for_each(|tag| drop(push(&mut outbox, 1, tag)));
    let now = Instant::now();
    assert_eq!(outbox.poll_send(now, 0.5, 1).len(), 1);
    let until = now + Duration::from_millis(300);
    outbox.hold(1, until);
    push(&mut outbox, 2, 9);
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 64)), [4]);
    assert_eq!(outbox.deadline(), Some(until));
    assert_eq!(seqs(&outbox.poll_send(until, 0.5, 64)), [1, 2, 3]);
}

#[test]
fn after_a_refusal_nothing_is_sent_before_all_of_the_channel_is_answered() {
    let mut outbox = outbox(OutboxLimits { channel_window: 4, ..OutboxLimits::default() });
    (1..=4).for_each(|tag| drop(push(&mut outbox, 1, tag)));
    let now = Instant::now();
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 3)), [1, 2, 3]);
    let until = now + Duration::from_millis(300);
    outbox.hold(1, until);
    // The node has refused 2 and 3 as well; with 1 on its way again, 4 could overtake them.
    assert!(outbox.poll_send(until, 0.5, 64).is_empty());
    outbox.hold(2, until);
    assert!(outbox.poll_send(until, 0.5, 64).is_empty());
    outbox.hold(3, until);
    assert_eq!(seqs(&outbox.poll_send(until, 0.5, 64)), [1, 2, 3, 4]);
    // A refusal that comes twice, or after everything else was answered, blocks nothing.
    (1..=4).for_each(|seq| outbox.hold(seq, until));
    outbox.hold(4, until);
    assert_eq!(seqs(&outbox.poll_send(until, 0.5, 64)), [1, 2, 3, 4]);
}

/// Copies of settled ones may still be refused somewhere: nodes hear that nobody sends them again.
#[test]
fn i13_each_publication_says_from_where_on_the_channel_is_not_settled() {
    let mut outbox = outbox(OutboxLimits { channel_window: 4, ..OutboxLimits::default() });
    for (to, tag) in [(1, 1), (2, 2), (1, 3), (1, 4)] {
        push(&mut outbox, to, tag);
    }
    let settled = |sending: &[Sending]| -> Vec<(u64, u64)> {
        sending.iter().map(|it| (it.seq, it.publish.settled_below)).collect()
    };
    let now = Instant::now();
    let sent = outbox.poll_send(now, 0.5, 64);
    assert_eq!(settled(&sent), [(1, 1), (2, 2), (3, 1), (4, 1)]);
    outbox.remove(3);
    outbox.hold(4, now);
    assert!(outbox.poll_send(now, 0.5, 64).is_empty(), "1 has no answer");
    outbox.remove(1);
    assert_eq!(settled(&outbox.poll_send(now, 0.5, 64)), [(4, 4)]);
    outbox.handle_disconnected();
    push(&mut outbox, 1, 5);
    let again = outbox.poll_send(now, 0.5, 64);
    assert_eq!(settled(&again), [(2, 2), (4, 4), (5, 4)]);
}

#[test]
fn three_retransmissions_then_not_sent_until_the_next_connection() {
    let mut outbox = outbox(one_by_one());
    push(&mut outbox, 1, 1);
    push(&mut outbox, 1, 2);
    let mut now = Instant::now();
    assert_eq!(outbox.poll_send(now, 0.5, 64).len(), 1);
    let mut waits = Vec::new();
    loop {
        let next = outbox.deadline().unwrap();
        waits.push((next - now).as_secs());
        now = next;
        let (again, given_up) = outbox.poll_resend(now, 0.5);
        if given_up.is_empty() {
            assert_eq!(seqs(&again), [1]);
        } else {
            assert_eq!((seqs(&again), given_up), (vec![], vec![1]));
            break;
        }
    }
    assert_eq!(waits, [1, 2, 4, 8]);
    assert!(outbox.poll_send(now, 0.5, 64).is_empty(), "the second may not overtake the first");
    outbox.handle_disconnected();
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 64)), [1]);
}

#[test]
fn full_follows_the_policy() {
    let small = OutboxLimits { publications: 2, ..one_by_one() };
    let mut rejecting = outbox(small);
    let mut dropping = outbox(OutboxLimits { policy: OutboxPolicy::DropOldest, ..small });
    for outbox in [&mut rejecting, &mut dropping] {
        push(outbox, 1, 1);
        push(outbox, 1, 2);
    }
    assert!(matches!(push(&mut rejecting, 1, 3), Pushed::Refused(3, Error::QueueFull)));
    assert!(matches!(push(&mut dropping, 1, 3), Pushed::Displaced(1)));
    // What has left may have been stored, so it is not dropped.
    assert_eq!(seqs(&dropping.poll_send(Instant::now(), 0.5, 64)), [2]);
    assert!(matches!(push(&mut dropping, 1, 4), Pushed::Displaced(3)));
    let mut failing =
        outbox(OutboxLimits { policy: OutboxPolicy::FailWhenOffline, ..OutboxLimits::default() });
    let refused = failing.push(channel(1), v1::Publish::default(), 1, false);
    assert!(matches!(refused, Pushed::Refused(1, Error::Disconnected { .. })));
}

fn seq_of(change: &OutboxChange) -> (char, u64) {
    match change {
        OutboxChange::Insert(publish) => ('i', publish.client_seq),
        OutboxChange::Attempted { client_seq } => ('a', *client_seq),
        OutboxChange::Remove { client_seq } => ('r', *client_seq),
    }
}

fn told(outbox: &mut Outbox<u64>) -> Vec<(char, u64)> {
    outbox.take_changes().iter().map(seq_of).collect()
}

#[test]
fn nothing_is_sent_before_it_is_saved_and_the_store_hears_of_every_step() {
    let mut outbox = Outbox::new(OutboxLimits::default(), 1, true);
    let now = Instant::now();
    push(&mut outbox, 1, 1);
    push(&mut outbox, 1, 2);
    assert_eq!(told(&mut outbox), [('i', 1), ('i', 2)]);
    // A new connection does not make it saved.
    outbox.handle_disconnected();
    assert!(outbox.poll_send(now, 0.5, 64).is_empty());
    outbox.handle_saved(&[1]);
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 64)), [1]);
    outbox.handle_saved(&[2]);
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 64)), [2]);
    outbox.handle_disconnected();
    assert_eq!(seqs(&outbox.poll_send(now, 0.5, 64)), [1, 2]);
    assert_eq!(outbox.remove(1), Some(1));
    assert_eq!(told(&mut outbox), [('a', 1), ('a', 2), ('r', 1)], "attempted is said once");
    outbox.drain();
    assert!(told(&mut outbox).is_empty(), "the end of the client is not the end of the store");
}

#[test]
fn what_cannot_be_saved_fails_and_a_store_that_is_gone_takes_nothing_more() {
    let mut outbox = Outbox::new(OutboxLimits::default(), 1, true);
    (1..=3).for_each(|tag| drop(push(&mut outbox, 1, tag)));
    outbox.handle_saved(&[1]);
    assert_eq!(outbox.handle_not_saved(&[2], None), [2]);
    assert!(matches!(push(&mut outbox, 1, 4), Pushed::Taken), "the next may fit again");
    let gone = Error::OutboxStore("gone".into());
    assert_eq!(outbox.handle_not_saved(&[], Some(&gone)), [3, 4]);
    assert!(matches!(push(&mut outbox, 1, 5), Pushed::Refused(5, Error::OutboxStore(_))));
    assert_eq!(seqs(&outbox.poll_send(Instant::now(), 0.5, 64)), [1], "what is saved goes out");
    assert_eq!((outbox.len(), outbox.bytes), (1, 10));
}

#[test]
fn restored_publications_keep_their_numbers_and_go_first() {
    let limits = OutboxLimits { policy: OutboxPolicy::DropOldest, publications: 2, ..one_by_one() };
    let mut outbox = Outbox::new(limits, 5, true);
    for (seq, attempted) in [(900, true), (901, false)] {
        let publish = v1::Publish { client_seq: seq, ordered: true, ..v1::Publish::default() };
        outbox.restore(channel(1), StoredPublication { publish, attempted }, seq);
    }
    assert!(told(&mut outbox).is_empty(), "the store has them");
    // What was sent by the earlier process may have been stored, so it is not dropped.
    assert!(matches!(push(&mut outbox, 2, 7), Pushed::Displaced(901)));
    assert_eq!(told(&mut outbox), [('r', 901), ('i', 902)]);
    assert_eq!(seqs(&outbox.poll_send(Instant::now(), 0.5, 64)), [900]);
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Send,
    /// The node takes the next publication off the wire.
    Take,
    /// The node refuses it.
    Busy,
    /// The client hears the next reply.
    Hear,
    Cut,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3).prop_map(Step::Push),
        Just(Step::Send),
        Just(Step::Take),
        Just(Step::Busy),
        Just(Step::Hear),
        Just(Step::Hear),
        Just(Step::Cut),
        (1u64..3000).prop_map(Step::Pass),
    ]
}

/// A node as far as order goes: what follows a refused publication is refused until that one comes
/// again, and what was stored once is not stored twice.
#[derive(Default)]
struct ModelNode {
    refused: HashMap<u8, u64>,
    stored: BTreeMap<u8, Vec<u64>>,
}

impl ModelNode {
    /// Whether the publication is taken.
    fn receive(&mut self, to: u8, seq: u64, busy: bool) -> bool {
        let stored = self.stored.entry(to).or_default();
        if stored.contains(&seq) {
            return true;
        }
        if busy || self.refused.get(&to).is_some_and(|first| seq > *first) {
            let first = self.refused.entry(to).or_insert(seq);
            *first = seq.min(*first);
            return false;
        }
        self.refused.remove(&to);
        stored.push(seq);
        true
    }
}

proptest! {
    /// A node that takes, refuses or loses publications at random, and whose replies come late,
    /// stores each channel in order.
    #[test]
    fn order_per_channel_survives_everything(window in 1usize..8, steps in proptest::collection::vec(step(), 1..300)) {
        let mut outbox = outbox(OutboxLimits { channel_window: window, ..OutboxLimits::default() });
        let mut node = ModelNode::default();
        let mut now = Instant::now();
        let mut channels: HashMap<u64, u8> = HashMap::new();
        let mut wire: VecDeque<u64> = VecDeque::new();
        let mut replies: VecDeque<(u64, bool)> = VecDeque::new();
        let mut next_seq = 1;
        for step in steps {
            match step {
                Step::Push(to) => {
                    if matches!(push(&mut outbox, to, next_seq), Pushed::Taken) {
                        channels.insert(next_seq, to);
                        next_seq += 1;
                    }
                }
                Step::Send => wire.extend(seqs(&outbox.poll_send(now, 0.5, 8))),
                Step::Take | Step::Busy => {
                    if let Some(seq) = wire.pop_front() {
                        let taken =
                            node.receive(channels[&seq], seq, matches!(step, Step::Busy));
                        replies.push_back((seq, taken));
                    }
                }
                Step::Hear => match replies.pop_front() {
                    Some((seq, true)) => drop(outbox.remove(seq)),
                    Some((seq, false)) => outbox.hold(seq, now + Duration::from_millis(300)),
                    None => {}
                },
                Step::Cut => {
                    wire.clear();
                    replies.clear();
                    outbox.handle_disconnected();
                }
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    wire.extend(seqs(&outbox.poll_resend(now, 0.5).0));
                }
            }
            prop_assert_eq!(outbox.bytes, outbox.len() * 10);
            prop_assert_eq!(outbox.channels.values().map(|q| q.in_flight).sum::<usize>(), outbox.in_flight());
        }
        for stored in node.stored.values() {
            prop_assert!(stored.is_sorted(), "{stored:?}");
        }
        // Once the node takes everything, everything is stored.
        let seqs_left = outbox.len();
        outbox.handle_disconnected();
        for _ in 0..=seqs_left {
            now += Duration::from_secs(1);
            for seq in seqs(&outbox.poll_send(now, 0.5, 64)) {
                prop_assert!(node.receive(channels[&seq], seq, false));
                outbox.remove(seq);
            }
        }
        prop_assert_eq!(outbox.len(), 0);
    }
}
