//! The outbox against a node that takes, refuses and loses.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use proptest::prelude::*;

fn channel(n: u8) -> ChannelId {
    ChannelId::new(&format!("room:{n}")).unwrap()
}

fn outbox(limits: OutboxLimits) -> Outbox<u64> {
    Outbox::new(limits, 1)
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

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Send,
    Answer,
    Busy,
    Cut,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3).prop_map(Step::Push),
        Just(Step::Send),
        Just(Step::Answer),
        Just(Step::Busy),
        Just(Step::Cut),
        (1u64..3000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// A node that takes, refuses or loses publications at random stores each channel in order.
    #[test]
    fn order_per_channel_survives_everything(window in 1usize..8, steps in proptest::collection::vec(step(), 1..200)) {
        let mut outbox = outbox(OutboxLimits { channel_window: window, ..OutboxLimits::default() });
        // What the node promises for ordered publications: none overtakes a refused one.
        let mut refused: HashMap<ChannelId, u64> = HashMap::new();
        let mut now = Instant::now();
        let mut wire: VecDeque<u64> = VecDeque::new();
        let mut stored: Vec<(ChannelId, u64)> = Vec::new();
        let mut tag = 0;
        let mut bytes = 0;
        for step in steps {
            match step {
                Step::Push(to) => {
                    tag += 1;
                    bytes += 10;
                    push(&mut outbox, to, tag);
                }
                Step::Send => wire.extend(seqs(&outbox.poll_send(now, 0.5, 8))),
                Step::Answer => {
                    if let Some(seq) = wire.pop_front()
                        && let Some(item) = outbox.items.get(&seq)
                    {
                        let channel = item.channel.clone();
                        if refused.get(&channel).is_some_and(|first| seq > *first) {
                            outbox.hold(seq, now + Duration::from_millis(100));
                            continue;
                        }
                        refused.remove(&channel);
                        stored.push((channel, seq));
                        bytes -= 10;
                        outbox.remove(seq);
                    }
                }
                Step::Busy => {
                    if let Some(seq) = wire.pop_front() {
                        if let Some(item) = outbox.items.get(&seq) {
                            let first = refused.entry(item.channel.clone()).or_insert(seq);
                            *first = seq.min(*first);
                        }
                        outbox.hold(seq, now + Duration::from_millis(500));
                    }
                }
                Step::Cut => {
                    wire.clear();
                    outbox.handle_disconnected();
                }
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    wire.extend(seqs(&outbox.poll_resend(now, 0.5).0));
                }
            }
            prop_assert_eq!(outbox.bytes, bytes);
            prop_assert_eq!(outbox.channels.values().map(|q| q.in_flight).sum::<usize>(), outbox.in_flight());
        }
        for n in 0..3 {
            let of_channel: Vec<u64> =
                stored.iter().filter(|(c, _)| *c == channel(n)).map(|(_, seq)| *seq).collect();
            prop_assert!(of_channel.is_sorted(), "{of_channel:?}");
        }
    }
}
