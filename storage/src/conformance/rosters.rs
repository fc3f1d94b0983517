//! Promises of the roster.

use std::time::Duration;

use bytes::Bytes;

use super::Open;
use crate::{RosterEntry, RosterError};

pub async fn who_beats_is_on_the_roster_in_name_order(open: Open<'_>) {
    let roster = open().roster;
    for name in ["b", "a", "ab", "B"] {
        let listed = roster.beat(entry(name, 1, "x"), LONG).await.unwrap();
        assert!(listed.contains(&entry(name, 1, "x")));
    }
    let listed = roster.beat(entry("a", 1, "new"), LONG).await.unwrap();
    let expected =
        [entry("B", 1, "x"), entry("a", 1, "new"), entry("ab", 1, "x"), entry("b", 1, "x")];
    assert_eq!(listed, expected);
}

pub async fn who_is_silent_for_the_lease_is_off(open: Open<'_>) {
    let roster = open().roster;
    roster.beat(entry("silent", 1, ""), LONG).await.unwrap();
    while roster.beat(entry("a", 1, ""), Duration::from_millis(50)).await.unwrap().len() > 1 {
        tokio::task::yield_now().await;
    }
    let listed = roster.beat(entry("a", 1, ""), LONG).await.unwrap();
    assert_eq!(listed, [entry("a", 1, ""), entry("silent", 1, "")], "whoever asks says how long");
    let own = roster.beat(entry("a", 1, ""), Duration::ZERO).await.unwrap();
    assert_eq!(own, [entry("a", 1, "")], "itself is always heard");
}

pub async fn an_older_incarnation_is_superseded(open: Open<'_>) {
    let roster = open().roster;
    roster.beat(entry("a", 4, "old"), LONG).await.unwrap();
    assert_eq!(roster.beat(entry("a", 7, "new"), LONG).await.unwrap(), [entry("a", 7, "new")]);
    for older in [4, 6] {
        match roster.beat(entry("a", older, "old"), LONG).await {
            Err(RosterError::Superseded { incarnation: 7 }) => {}
            other => panic!("7 was heard of: {other:?}"),
        }
    }
    let listed = roster.beat(entry("b", 1, ""), LONG).await.unwrap();
    assert_eq!(listed, [entry("a", 7, "new"), entry("b", 1, "")]);
}

pub async fn who_leaves_is_off_at_once(open: Open<'_>) {
    let roster = open().roster;
    roster.leave("nobody", 1).await.unwrap();
    roster.beat(entry("a", 4, ""), LONG).await.unwrap();
    roster.leave("a", 3).await.unwrap();
    let listed = roster.beat(entry("b", 1, ""), LONG).await.unwrap();
    assert_eq!(listed.len(), 2, "an older incarnation takes nothing off");
    roster.leave("a", 4).await.unwrap();
    assert_eq!(roster.beat(entry("b", 1, ""), LONG).await.unwrap(), [entry("b", 1, "")]);
    let late = roster.beat(entry("a", 3, ""), LONG).await;
    assert!(matches!(late, Err(RosterError::Superseded { incarnation: 4 })), "{late:?}");
    assert_eq!(roster.beat(entry("a", 5, ""), LONG).await.unwrap().len(), 2);
}

fn entry(name: &str, incarnation: u64, text: &str) -> RosterEntry {
    let content = Bytes::copy_from_slice(text.as_bytes());
    RosterEntry { name: name.to_owned(), incarnation, content }
}

const LONG: Duration = Duration::from_secs(3600);
