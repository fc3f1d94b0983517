//! Passes over sessions that come and go, without a worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sterna_proto::{ChannelId, ChannelKey, Offset};

use super::*;
use crate::push::EncodedPush;

fn key() -> ChannelKey {
    ChannelId::new("room:1").unwrap().key()
}

fn push(offset: u64) -> LinkPush {
    let publication = sterna_proto::v1::Publication { offset, ..Default::default() };
    let push = EncodedPush::new(sterna_proto::v1::push::Event::Publication(publication));
    let pushes = Arc::from([push]);
    LinkPush::Deliver { channel: key(), epoch: 1, first: Offset(offset), pushes }
}

fn offset_of(push: &LinkPush) -> u64 {
    match push {
        LinkPush::Deliver { first, .. } => first.0,
        other => panic!("{other:?}"),
    }
}

/// The sessions of a worker as a pass sees them, and what each was given.
#[derive(Default)]
struct Sessions {
    following: Vec<u32>,
    changes: u64,
    had: BTreeMap<u32, Vec<u64>>,
}

impl Sessions {
    fn of(count: u32) -> Self {
        Self { following: (0..count).collect(), changes: 1, ..Self::default() }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u32>)) {
        change(&mut self.following);
        self.changes += 1;
    }

    /// One turn; what everybody has had then.
    fn turn(&mut self, pass: &mut Pass) -> Vec<u64> {
        pass.look_at_followers(|known| {
            let is_new = known.as_of() != self.changes;
            *known = Followers::active(&self.following, self.changes);
            is_new
        });
        let (turn, run) = pass.turn();
        assert!(turn.len() <= SLICE_SESSIONS);
        let given: Vec<u64> = run.iter().map(|it| offset_of(&it.push)).collect();
        for follower in turn {
            self.had.entry(follower.slot()).or_default().extend(&given);
        }
        pass.advance().map(|push| offset_of(&push)).collect()
    }

    fn rest(&mut self, pass: &mut Pass) -> Vec<u64> {
        let mut done = Vec::new();
        while !pass.is_over() {
            done.extend(self.turn(pass));
        }
        done
    }
}

fn begun(offset: u64) -> Pass {
    Pass::begin(push(offset))
}

#[test]
fn nobody_follows_and_the_pass_is_over() {
    let (mut pass, mut sessions) = (begun(1), Sessions::default());
    assert_eq!(sessions.turn(&mut pass), [1]);
    assert!(pass.is_over());
    assert_eq!(pass.followers(), 0);
}

#[test]
fn a_slice_has_its_turn_before_the_next_is_given_anything() {
    let (mut pass, mut sessions) = (begun(1), Sessions::of(70));
    assert!(sessions.turn(&mut pass).is_empty());
    assert_eq!(sessions.had.len(), SLICE_SESSIONS);
    assert_eq!(sessions.rest(&mut pass), [1]);
    assert!(sessions.had.len() == 70 && sessions.had.values().all(|had| *had == [1]));
}

#[test]
fn i3_what_joins_goes_with_what_is_under_way_and_then_to_those_who_were_before() {
    for (count, turns) in [(100, 1), (100, 2), (97, 3), (33, 1), (64, 1), (1000, 20)] {
        let (mut pass, mut sessions) = (begun(1), Sessions::of(count));
        for _ in 0..turns {
            assert!(sessions.turn(&mut pass).is_empty());
        }
        pass.follow(push(2));
        let mut done = sessions.turn(&mut pass);
        pass.follow(push(3));
        assert_eq!(pass.newcomers().map(offset_of).collect::<Vec<_>>(), [3]);
        done.extend(sessions.rest(&mut pass));
        assert_eq!(done, [1, 2, 3]);
        assert_eq!(sessions.had.len(), count as usize);
        for (session, had) in &sessions.had {
            assert_eq!(*had, [1, 2, 3], "session {session} of {count}, once each and in order");
        }
    }
}

#[test]
fn what_joins_costs_no_pass_of_its_own() {
    let (mut pass, mut sessions) = (begun(1), Sessions::of(320));
    let mut turns = 0;
    while !pass.is_over() {
        sessions.turn(&mut pass);
        turns += 1;
        if turns == 5 {
            pass.follow(push(2));
        }
    }
    assert_eq!(turns, 15, "and not 20");
}

#[test]
fn those_in_the_back_do_not_wait_for_as_long_as_others_come() {
    let (mut pass, mut sessions) = (begun(1), Sessions::of(320));
    for newcomer in 0..10 {
        sessions.change(|following| following.push(1000 + newcomer));
        pass.follow(push(2 + u64::from(newcomer)));
        sessions.turn(&mut pass);
    }
    assert!(sessions.had.contains_key(&319), "ten turns are a way round");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn i5_nobody_is_left_out_when_others_come_and_go(
        count in 1u32..200,
        steps in proptest::collection::vec((0u8..8, 0u32..1000), 60),
    ) {
        let (mut pass, mut sessions) = (begun(1), Sessions::of(count));
        let mut newest = 1;
        let mut stayed: Vec<u32> = (0..count).collect();
        let mut steps = steps.into_iter();
        while !pass.is_over() {
            sessions.turn(&mut pass);
            match steps.next() {
                Some((0 | 1, any)) if !sessions.following.is_empty() => {
                    let gone = sessions.following[any as usize % sessions.following.len()];
                    sessions.change(|following| following.retain(|other| *other != gone));
                    stayed.retain(|other| *other != gone);
                }
                Some((2, any)) => sessions.change(|following| following.push(1000 + any)),
                Some((3 | 4, _)) if !pass.is_over() => {
                    newest += 1;
                    pass.follow(push(newest));
                }
                _ => {}
            }
        }
        for session in stayed {
            // What it has had already it ignores.
            let mut last = 0;
            let mut had = sessions.had[&session].clone();
            had.retain(|offset| {
                let is_new = *offset > last;
                last = last.max(*offset);
                is_new
            });
            prop_assert_eq!(had, (1..=newest).collect::<Vec<_>>(), "session {}", session);
        }
    }
}

#[test]
fn i12_no_session_is_given_more_than_a_burst_at_a_time() {
    let (mut pass, mut sessions) = (begun(1), Sessions::of(100));
    let mut weight = 0;
    let fits = |offset: &u64| {
        let fits = weight < BURST_BYTES;
        weight += push(*offset).weight();
        fits
    };
    let most = (1..).take_while(fits).count() as u64;
    for newest in 2..=most + 10 {
        pass.follow(push(newest));
    }
    assert_eq!(pass.turn().1.len() as u64, most);
    assert_eq!(sessions.rest(&mut pass), (1..=most).collect::<Vec<_>>());
    let mut passes = Passes::default();
    let behind: Vec<u64> = passes.put_back(pass).iter().map(offset_of).collect();
    assert_eq!(behind, (most + 1..=most + 10).collect::<Vec<_>>(), "they are in the next pass");
    assert!(passes.is_empty());
}

#[test]
fn i3_what_comes_behind_something_else_does_not_overtake_it() {
    let (mut pass, mut sessions) = (begun(1), Sessions::of(40));
    sessions.turn(&mut pass);
    pass.follow(LinkPush::Moved { channel: key() });
    pass.follow(push(2));
    let mut passes = Passes::default();
    assert!(passes.put_back(pass).is_empty(), "it is not over");
    let mut pass = passes.next().unwrap();
    assert_eq!(sessions.rest(&mut pass), [1]);
    let behind = passes.put_back(pass);
    assert!(
        matches!(&behind[..], [LinkPush::Moved { .. }, LinkPush::Deliver { .. }]),
        "{behind:?}"
    );
}

#[test]
fn channels_have_their_turns_one_after_the_other() {
    let other = ChannelId::new("room:2").unwrap().key();
    let mut passes = Passes::default();
    passes.add(begun(1));
    let LinkPush::Deliver { epoch, first, pushes, .. } = push(1) else { unreachable!() };
    passes.add(Pass::begin(LinkPush::Deliver { channel: other, epoch, first, pushes }));
    assert_eq!(passes.of(other).unwrap().channel, other);
    let turns = (0..4).map(|_| {
        let pass = passes.next().unwrap();
        let channel = pass.channel;
        passes.put_back(pass);
        channel
    });
    assert_eq!(turns.collect::<Vec<_>>(), [key(), other, key(), other]);
}
