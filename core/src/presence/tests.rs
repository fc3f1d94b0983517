//! What others hear of sessions that come, go, and are heard of no more.

use std::time::Duration;

use super::*;
use PresenceState::{Detached, Offline, Online, Roaming};

const HERE: Incarnation = Incarnation(1);
const THERE: Incarnation = Incarnation(2);

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// Of a session with a link that holds.
fn word(session: u128, state: PresenceState, turn: u64) -> Word {
    let session = SessionId(session);
    Word { session, edge: HERE, link: Some(1), state, turn, awaited_until: None }
}

fn names(changed: &[Change]) -> Vec<&str> {
    changed.iter().map(|change| change.member.user.as_str()).collect()
}

#[test]
fn others_hear_of_users_not_of_sessions() {
    let (alice, bob) = (user("alice"), user("bob"));
    let (phone, laptop, other) = (1, 2, 3);
    let mut presence = Presence::default();
    let change = presence.set(&alice, word(phone, Online, 1), 10).unwrap().member;
    assert_eq!((change.user.as_str(), change.state()), ("alice", Online));
    assert_eq!(presence.set(&alice, word(laptop, Online, 2), 20), None);
    assert_eq!(presence.set(&alice, word(phone, Detached, 3), 30), None);
    assert_eq!(presence.set(&alice, word(phone, Offline, 4), 40), None);
    let change = presence.set(&alice, word(laptop, Detached, 5), 50).unwrap().member;
    assert_eq!(change.state(), Detached);
    presence.set(&bob, word(other, Online, 6), 60);
    let (members, total) = presence.list(1);
    assert_eq!((members[0].user.as_str(), members[0].since_ms, total), ("alice", 20, 2));
    let change = presence.set(&alice, word(laptop, Offline, 7), 70).unwrap().member;
    assert_eq!((change.state(), change.sessions), (Offline, 0));
    assert_eq!(presence.set(&alice, word(laptop, Offline, 9), 80), None);
    assert_eq!(presence.remove_user(&bob).unwrap().member.state(), Offline);
    assert_eq!(presence.remove_user(&bob), None);
    assert!(presence.is_empty());
}

#[test]
fn what_comes_late_does_not_undo_what_was_said_after_it() {
    let alice = user("alice");
    let mut presence = Presence::default();
    presence.set(&alice, word(1, Online, 1), 10);
    presence.set(&alice, word(1, Online, 4), 20);
    for late in [Roaming, Detached, Offline] {
        assert_eq!(presence.set(&alice, word(1, late, 3), 30), None);
    }
    let change = presence.set(&alice, word(1, Detached, 6), 40).unwrap().member;
    assert_eq!(change.state(), Detached);
    assert_eq!(presence.set(&alice, word(1, Roaming, 5), 50), None);
}

#[test]
fn who_comes_back_at_another_edge_takes_the_place_of_who_it_was_and_nobody_hears() {
    let (alice, bob) = (user("alice"), user("bob"));
    let (old, new) = (SessionId(1), (SessionId(2), THERE, Some(7)));
    let mut presence = Presence::default();
    presence.set(&alice, word(1, Online, 9), 10);
    let digest = presence.digest();
    let (known, changed) = presence.replace(&bob, old, new);
    assert_eq!((known, changed), (None, None), "nobody is replaced by somebody else");
    let (known, changed) = presence.replace(&alice, old, new);
    assert_eq!((known.map(|it| (it.session, it.turn)), changed), (Some((old, 9)), None));
    let back = Word { session: new.0, edge: THERE, link: Some(7), ..word(2, Online, 1) };
    assert_eq!(presence.set(&alice, back, 30), None);
    let (members, _) = presence.list(9);
    assert_eq!((members[0].sessions, members[0].since_ms), (1, 10), "one, since the first time");
    assert_eq!(presence.digest(), digest);
    assert_eq!(presence.remove_edges(|edge| edge == HERE), Missed::default());
    assert_eq!(presence.replace(&alice, old, new), (None, None), "once");
    let gone = Word { state: Offline, turn: 2, ..back };
    assert_eq!(presence.set(&alice, gone, 40).unwrap().member.state(), Offline);
}

#[test]
fn who_is_replaced_late_is_out_and_what_that_changes_is_told() {
    let alice = user("alice");
    let mut presence = Presence::default();
    presence.set(&alice, word(2, Detached, 1), 10);
    presence.set(&alice, word(1, Online, 1), 20);
    let (known, changed) = presence.replace(&alice, SessionId(1), (SessionId(2), HERE, Some(1)));
    assert_eq!(known.unwrap().session, SessionId(1));
    assert_eq!(changed.unwrap().member.state(), Detached);
    let own = (SessionId(2), HERE, Some(1));
    assert_eq!(presence.replace(&alice, SessionId(2), own), (None, None), "not by itself");
}

#[test]
fn whose_edge_has_died_is_out_unless_another_session_stays() {
    let (alice, bob) = (user("alice"), user("bob"));
    let mut presence = Presence::default();
    presence.set(&alice, word(1, Online, 1), 10);
    presence.set(&alice, Word { edge: THERE, ..word(2, Online, 1) }, 10);
    presence.set(&bob, Word { edge: THERE, ..word(3, Online, 1) }, 10);
    assert!(!presence.is_relied_on());
    let missed = presence.remove_edges(|edge| edge == THERE);
    assert_eq!(names(&missed.changed), ["bob"]);
    assert_eq!(missed.changed[0].member.state(), Offline);
    assert_eq!(missed.sessions.len(), 2);
    assert!(presence.contains(SessionId(1), &alice) && presence.is_relied_on());
}

#[test]
fn who_is_remembered_and_not_heard_of_is_out_in_the_end() {
    let mut presence = Presence::default();
    let remembered = |session, name| Present {
        session: SessionId(session),
        user: user(name),
        edge: HERE,
        state: Online,
        turn: 3,
        since_ms: 10,
    };
    let until = Instant::now();
    for (session, name) in [(1, "alice"), (2, "bob"), (3, "bob"), (4, "carol")] {
        presence.remember(remembered(session, name), until);
    }
    assert_eq!(presence.set(&user("bob"), word(2, Online, 4), 50), None, "no news");
    assert_eq!(presence.set(&user("carol"), word(4, Online, 1), 50), None, "late");
    presence.remember(remembered(2, "bob"), until);
    assert_eq!(presence.next_missed(), Some(until));
    let missed = presence.drop_missed(until);
    let gone = [remembered(1, "alice"), remembered(3, "bob"), remembered(4, "carol")];
    assert_eq!(missed.sessions, gone);
    assert_eq!(names(&missed.changed), ["alice", "carol"]);
    assert_eq!((presence.user_count(), presence.list(9).0[0].since_ms), (1, 10));
    assert_eq!((presence.drop_missed(until), presence.next_missed()), (Missed::default(), None));
}

#[test]
fn whose_link_is_lost_has_to_be_heard_of_again() {
    let mut presence = Presence::default();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    presence.set(&user("alice"), word(1, Online, 1), 10);
    presence.set(&user("bob"), word(2, Online, 1), 10);
    presence.set(&user("carol"), Word { link: Some(2), ..word(3, Online, 1) }, 10);
    // Who is away has an end to that already, which nothing moves.
    let away = Word { awaited_until: Some(after(5)), ..word(4, Detached, 1) };
    presence.set(&user("dave"), away, 10);
    assert_eq!(presence.next_missed(), Some(after(5)));
    assert!(presence.on_link_lost(1, after(10)) && !presence.on_link_lost(7, after(10)));
    presence.set(&user("alice"), Word { link: Some(3), ..word(1, Online, 2) }, 20);
    assert_eq!(names(&presence.drop_missed(after(9)).changed), ["dave"]);
    assert_eq!(names(&presence.drop_missed(after(10)).changed), ["bob"]);
    assert_eq!((presence.user_count(), presence.next_missed()), (2, None));
}

/// Whatever becomes of sessions, and in whatever order others hear of it.
#[test]
fn what_was_told_adds_up_to_the_digest_of_the_list() {
    let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
    let (mut presence, start) = (Presence::default(), Instant::now());
    let mut told = Vec::new();
    told.extend(presence.set(&alice, word(1, Online, 1), 10));
    let asked = digest_of(&presence.list(9).0);
    assert_eq!((asked, presence.digest()), (told[0].shift, told[0].shift));
    told.extend(presence.set(&alice, word(2, Online, 1), 10));
    told.extend(presence.set(&bob, word(3, Roaming, 1), 10));
    told.extend(presence.set(&alice, word(1, Detached, 2), 10));
    told.extend(presence.set(&bob, word(3, Online, 2), 10));
    told.extend(presence.set(&carol, Word { edge: THERE, ..word(4, Online, 1) }, 10));
    told.extend(presence.remove_user(&alice));
    told.extend(presence.remove_edges(|edge| edge == THERE).changed);
    let sum = |told: &[Change]| told.iter().map(|it| it.shift).fold(0, u64::wrapping_add);
    assert_eq!((sum(&told), told.len()), (digest_of(&presence.list(9).0), 6));
    told.reverse();
    assert_eq!(sum(&told), presence.digest());
    assert_ne!(sum(&told[1..]), presence.digest(), "one was lost");
    // Who is remembered is nothing to tell, but there.
    let (session, edge) = (SessionId(5), HERE);
    let it = Present { session, user: alice, edge, state: Online, turn: 1, since_ms: 1 };
    presence.remember(it, start);
    assert_eq!(presence.digest(), digest_of(&presence.list(9).0));
    // That somebody is not here who may be elsewhere, nobody can reckon with.
    assert_eq!(presence.absent(&user("alice")), None);
    assert_ne!(presence.absent(&user("eve")).unwrap().shift, 0);
}

#[test]
fn i12_sessions_that_were_replaced_are_forgotten_beyond_a_bound_and_counted() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let alice = user("alice");
    let mut presence = Presence::default();
    presence.set(&alice, word(0, Online, 1), 10);
    metrics::with_local_recorder(&recorder, || {
        for session in 0..=REPLACED as u128 {
            presence.replace(&alice, SessionId(session), (SessionId(session + 1), HERE, Some(1)));
        }
    });
    assert!(!presence.is_replaced(SessionId(0)), "the one replaced longest ago");
    assert!((1..=REPLACED as u128).all(|session| presence.is_replaced(SessionId(session))));
    let counted = snapshotter.snapshot().into_vec();
    let forgotten = counted.iter().find_map(|(key, _, _, value)| {
        (key.key().name() == "sterna_core_presence_replaced_forgotten_total").then_some(value)
    });
    assert_eq!(forgotten, Some(&metrics_util::debugging::DebugValue::Counter(1)));
}
