//! Promises of adopting channels whose records lie elsewhere.

use sterna_proto::v1::Role;
use sterna_proto::{Epoch, Offset, Position};

use super::{Open, WIDE, append, key, marker, origin, record, records, user};
use crate::{
    Adoption, Append, AppendError, EpochStart, Head, Membership, MembershipChange, ReadError,
    Stores,
};

/// What a channel went through that has 40 records elsewhere.
fn adoption(name: &str) -> Adoption {
    Adoption {
        channel: key(name),
        last: Position { epoch: Epoch(5), offset: Offset(40) },
        last_ts_ms: 7_000,
        epochs: vec![start(3, 1), start(5, 30)],
        epoch: Epoch(9),
        marker: marker(),
        members: Vec::new(),
    }
}

fn start(epoch: u32, first: u64) -> EpochStart {
    EpochStart { epoch: Epoch(epoch), first: Offset(first) }
}

pub async fn a_log_begins_behind_what_lies_elsewhere(open: Open<'_>) {
    let Stores { log, .. } = open();
    append(&*log, key("other"), records("a", 1, 3)).await;
    let head = log.adopt(adoption("room")).await.unwrap();
    let expected = Head {
        position: Position { epoch: Epoch(9), offset: Offset(41) },
        first: Offset(41),
        last_ts_ms: 7_000,
        epochs: vec![start(3, 1), start(5, 30), start(9, 41)],
    };
    assert_eq!(head, expected);
    assert_eq!(log.head(key("room")).await.unwrap(), Some(expected.clone()));
    let page = log.read(key("room"), Offset(40), WIDE).await.unwrap();
    assert_eq!((page.len(), page[0].position, &page[0].body), (1, head.position, &marker()));
    for after in [0, 29, 39] {
        match log.read(key("room"), Offset(after), WIDE).await {
            Err(ReadError::Trimmed { first }) => assert_eq!(first, Offset(41)),
            other => panic!("after {after}: {other:?}"),
        }
    }
    let slot = log.slot_heads(key("room").slot(), None, 10).await.unwrap();
    assert!(slot.contains(&(key("room"), expected)), "{slot:?}");
    // It goes on like any other.
    let head = append(&*log, key("room"), records("a", 1, 2)).await;
    assert_eq!((head.position.epoch, head.position.offset), (Epoch(9), Offset(43)));
    let found = log.find(key("room"), origin("a", 2)).await.unwrap().unwrap();
    assert_eq!(found.position.offset, Offset(43));
    let head = log.trim(key("room"), Offset(43)).await.unwrap().unwrap();
    assert_eq!(head.first, Offset(43));
}

pub async fn a_channel_with_records_is_not_adopted(open: Open<'_>) {
    let Stores { log, .. } = open();
    let head = append(&*log, key("room"), records("a", 1, 3)).await;
    match log.adopt(adoption("room")).await {
        Err(AppendError::Conflict { head: Some(found) }) => assert_eq!(found, head),
        other => panic!("it has records: {other:?}"),
    }
    assert_eq!(log.head(key("room")).await.unwrap(), Some(head));
    let adopted = log.adopt(adoption("new")).await.unwrap();
    match log.adopt(adoption("new")).await {
        Err(AppendError::Conflict { head: Some(found) }) => assert_eq!(found, adopted),
        other => panic!("it was adopted: {other:?}"),
    }
    // Whoever takes it for a new channel is told.
    let late = Append::new(key("new"), None, vec![record("a", 1)]);
    match log.append(vec![late]).await.remove(0) {
        Err(AppendError::Conflict { head: Some(found) }) => assert_eq!(found, adopted),
        other => panic!("it is not new: {other:?}"),
    }
}

pub async fn i5_an_adoption_opens_a_later_epoch_or_none(open: Open<'_>) {
    let Stores { log, .. } = open();
    let good = adoption("room");
    for bad in [
        Adoption { epoch: Epoch(5), ..good.clone() },
        Adoption { epoch: Epoch(4), ..good.clone() },
        Adoption { epochs: Vec::new(), ..good.clone() },
        Adoption { epochs: vec![start(3, 1)], ..good.clone() },
        Adoption { epochs: vec![start(5, 1), start(3, 30)], ..good.clone() },
        Adoption { epochs: vec![start(3, 1), start(5, 41)], ..good.clone() },
        Adoption { last: Position { epoch: Epoch(5), offset: Offset::ZERO }, ..good.clone() },
    ] {
        let refused = log.adopt(bad.clone()).await;
        assert!(matches!(refused, Err(AppendError::Storage(_))), "{bad:?}: {refused:?}");
        assert_eq!(log.head(key("room")).await.unwrap(), None, "{bad:?}");
    }
    log.adopt(good).await.unwrap();
}

pub async fn members_come_with_an_adoption(open: Open<'_>) {
    let stores = open();
    let member = |name: &str, role| Membership { user: user(name), role, since_ms: 5 };
    let (alice, bob) = (member("alice", Role::Owner), member("bob", Role::Member));
    let members = vec![
        MembershipChange::Set(alice.clone()),
        MembershipChange::Set(bob.clone()),
        MembershipChange::Removed(user("carol")),
    ];
    let with_members = Adoption { members, ..adoption("room") };
    stores.log.adopt(with_members.clone()).await.unwrap();
    let found = stores.channels.members(key("room"), None, 10).await.unwrap();
    assert_eq!(found, [alice, bob]);
    assert_eq!(stores.channels.member_count(key("room")).await.unwrap(), 2);
    append(&*stores.log, key("taken"), records("a", 1, 1)).await;
    let late = Adoption { channel: key("taken"), ..with_members };
    stores.log.adopt(late).await.unwrap_err();
    assert_eq!(stores.channels.member_count(key("taken")).await.unwrap(), 0, "all or nothing");
}

pub async fn an_adopted_channel_outlives_a_reopening(open: Open<'_>) {
    let stores = open();
    let head = stores.log.adopt(adoption("room")).await.unwrap();
    stores.log.close().await.unwrap();
    let closed = stores.log.adopt(adoption("late")).await;
    assert!(matches!(closed, Err(AppendError::Storage(_))), "{closed:?}");
    drop(stores);
    let stores = open();
    assert_eq!(stores.log.head(key("room")).await.unwrap(), Some(head));
    let page = stores.log.read(key("room"), Offset(40), WIDE).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(stores.log.head(key("late")).await.unwrap(), None);
}
