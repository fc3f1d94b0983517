//! Promises of the cursor store.

use sterna_proto::Offset;
use tokio::task::JoinSet;

use super::{Open, key, user};
use crate::{CursorMove, MemberCursor};

pub async fn a_user_without_moves_has_no_cursor(open: Open<'_>) {
    let cursors = open().cursors;
    assert_eq!(cursors.cursor(key("room"), user("alice")).await.unwrap(), None);
    assert_eq!(cursors.cursors(key("room"), 10).await.unwrap(), []);
    assert_eq!(cursors.advance(Vec::new()).await.unwrap(), []);
}

pub async fn cursors_only_move_forward_in_any_order(open: Open<'_>) {
    let cursors = open().cursors;
    let moves =
        [wish("a", 3, 0), wish("a", 9, 2), wish("a", 5, 4), wish("a", 9, 2), wish("a", 0, 1)];
    // Every rotation, there and back, each in a channel of its own, ends at the same place.
    for turn in 0..moves.len() * 2 {
        let channel = key(&format!("room{turn}"));
        let mut order = moves.to_vec();
        order.rotate_left(turn % moves.len());
        if turn >= moves.len() {
            order.reverse();
        }
        let (mut delivered, mut read) = (Offset::ZERO, Offset::ZERO);
        for wish in order {
            let now = cursors.advance(vec![CursorMove { channel, ..wish }]).await.unwrap();
            assert!(now[0].delivered >= delivered && now[0].read >= read, "{now:?} went back");
            (delivered, read) = (now[0].delivered, now[0].read);
        }
        let end = cursors.cursor(channel, user("a")).await.unwrap();
        assert_eq!(end, Some(cursor("a", 9, 4)));
    }
}

pub async fn reading_implies_delivery(open: Open<'_>) {
    let cursors = open().cursors;
    assert_eq!(cursors.advance(vec![wish("a", 2, 7)]).await.unwrap(), [cursor("a", 7, 7)]);
    assert_eq!(cursors.cursor(key("room"), user("a")).await.unwrap(), Some(cursor("a", 7, 7)));
}

pub async fn moves_of_one_call_are_answered_in_order(open: Open<'_>) {
    let cursors = open().cursors;
    let answers = cursors
        .advance(vec![wish("b", 5, 0), wish("a", 4, 4), wish("b", 3, 1), wish("b", 8, 0)])
        .await
        .unwrap();
    let expected = [cursor("b", 5, 0), cursor("a", 4, 4), cursor("b", 5, 1), cursor("b", 8, 1)];
    assert_eq!(answers, expected);
    assert_eq!(cursors.cursor(key("room"), user("b")).await.unwrap(), Some(cursor("b", 8, 1)));
}

pub async fn cursors_are_listed_per_channel(open: Open<'_>) {
    let cursors = open().cursors;
    let moves = ["carol", "alice", "bob"].map(|name| wish(name, 3, 1));
    let elsewhere = CursorMove { channel: key("other"), ..wish("dave", 1, 1) };
    cursors.advance(moves.into_iter().chain([elsewhere]).collect()).await.unwrap();
    let listed = cursors.cursors(key("room"), 10).await.unwrap();
    assert_eq!(listed, ["alice", "bob", "carol"].map(|name| cursor(name, 3, 1)));
    assert_eq!(cursors.cursors(key("room"), 2).await.unwrap(), listed[..2]);
}

pub async fn racing_moves_merge(open: Open<'_>) {
    let cursors = open().cursors;
    let mut writers = JoinSet::new();
    for n in 0..8u64 {
        let cursors = cursors.clone();
        writers.spawn(async move {
            for step in 0..16 {
                let offset = step * 8 + n;
                cursors.advance(vec![wish("a", offset, offset / 2)]).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let end = cursors.cursor(key("room"), user("a")).await.unwrap();
    assert_eq!(end, Some(cursor("a", 127, 63)));
}

fn wish(name: &str, delivered: u64, read: u64) -> CursorMove {
    CursorMove {
        channel: key("room"),
        user: user(name),
        delivered: Offset(delivered),
        read: Offset(read),
    }
}

fn cursor(name: &str, delivered: u64, read: u64) -> MemberCursor {
    MemberCursor { user: user(name), delivered: Offset(delivered), read: Offset(read) }
}
