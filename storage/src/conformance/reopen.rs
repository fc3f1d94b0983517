//! What a closed store still knows when it is opened again.

use bytes::Bytes;
use sterna_proto::Offset;
use sterna_proto::v1::Role;

use super::channels::{channel, member};
use super::{Open, WIDE, append, key, marker, origin, read_all, record, records, user};
use crate::{
    AppendError, CursorMove, Edge, ManifestChange, ManifestEntry, ReadError, Relation,
    RelationKind, SegmentKey, SegmentState, Stores,
};

pub async fn everything_outlives_a_reopening(open: Open<'_>) {
    let stores = open();
    append(&*stores.log, key("room"), records("a", 1, 5)).await;
    let head = stores.log.head(key("room")).await.unwrap().unwrap();
    let head = stores.log.raise_epoch(key("room"), head.position, marker()).await.unwrap();
    let before = read_all(&*stores.log, key("room"), WIDE).await;
    stores.channels.create(channel("room"), vec![member("bob", Role::Owner)]).await.unwrap();
    let moved = CursorMove {
        channel: key("room"),
        user: user("bob"),
        delivered: Offset(4),
        read: Offset(2),
    };
    let cursors = stores.cursors.advance(vec![moved]).await.unwrap();
    assert!(stores.id_bound.raise_id_bound(3, 0, 12_345).await.unwrap());
    stores.inboxes.mark_dirty(user("bob"), vec![key("room")]).await.unwrap();
    let follows = Edge { user: user("bob"), kind: RelationKind(1), target: user("eve") };
    let relation = Relation { edge: follows.clone(), since_ms: 5, version: 6 };
    stores.relations.set_relation(relation.clone()).await.unwrap();
    let segment = SegmentKey { shard: 1, first_ts_ms: 2, segment: 3 };
    let content = Bytes::from_static(b"content");
    let entry = ManifestEntry { key: segment, state: SegmentState::Published, content };
    let change = ManifestChange { expected: None, entry: entry.clone() };
    stores.manifest.change_manifest(vec![change]).await.unwrap();
    close(stores).await;

    let stores = open();
    assert_eq!(stores.log.head(key("room")).await.unwrap(), Some(head));
    assert_eq!(read_all(&*stores.log, key("room"), WIDE).await, before);
    assert_eq!(stores.channels.channel(key("room")).await.unwrap(), Some(channel("room")));
    assert_eq!(stores.channels.channels(None, 5).await.unwrap(), [channel("room")]);
    assert_eq!(stores.channels.member_count(key("room")).await.unwrap(), 1);
    assert_eq!(stores.cursors.cursors(key("room"), 5).await.unwrap(), cursors);
    assert_eq!(stores.id_bound.id_bound(3).await.unwrap(), 12_345);
    let state = stores.inboxes.inbox_state(user("bob"), key("room")).await.unwrap();
    assert_eq!(state.unwrap().last_pts, stores.inboxes.inbox_head(user("bob")).await.unwrap());
    assert_eq!(stores.relations.relation(follows).await.unwrap(), Some(relation));
    assert_eq!(stores.manifest.segment(segment).await.unwrap(), Some(entry));
    let head = append(&*stores.log, key("room"), records("a", 6, 1)).await;
    assert_eq!(head.position.offset, Offset(7));
}

pub async fn an_origin_is_recognised_after_a_reopening(open: Open<'_>) {
    let stores = open();
    let head = append(&*stores.log, key("room"), records("a", 1, 3)).await;
    close(stores).await;
    let log = open().log;
    let (channel, expected) = (key("room"), Some(head.position));
    let again = crate::Append::new(channel, expected, vec![record("a", 2)]);
    match log.append(vec![again]).await.remove(0) {
        Err(AppendError::Duplicates(found)) => assert_eq!(found[0].position.offset, Offset(2)),
        other => panic!("stored before the reopening: {other:?}"),
    }
    assert!(log.find(channel, origin("a", 3)).await.unwrap().is_some());
}

pub async fn the_birth_of_a_store_does_not_change(open: Open<'_>) {
    let stores = open();
    let before = append(&*stores.log, key("one"), records("a", 1, 1)).await;
    close(stores).await;
    let after = append(&*open().log, key("two"), records("a", 1, 1)).await;
    assert_eq!(after.position, before.position);
}

async fn close(stores: Stores) {
    stores.log.close().await.unwrap();
}

pub async fn a_trim_outlives_a_reopening(open: Open<'_>) {
    let stores = open();
    append(&*stores.log, key("room"), records("a", 1, 9)).await;
    let head = stores.log.trim(key("room"), Offset(5)).await.unwrap();
    close(stores).await;
    let log = open().log;
    assert_eq!(log.head(key("room")).await.unwrap(), head);
    assert_eq!(log.read(key("room"), Offset(4), WIDE).await.unwrap().len(), 5);
    assert!(matches!(
        log.read(key("room"), Offset(3), WIDE).await,
        Err(ReadError::Trimmed { first: Offset(5) })
    ));
}
