//! What a conditional batch can come to, with a relay that does it to one.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::Offset;
use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelId, UserId};
use sterna_storage::{
    Append, AppendError, ChannelRecord, ChannelStore as _, Created, IntentStore as _, Membership,
    MembershipChange, PageLimit, PublicationLog as _, StorageErrorKind,
};
use sterna_storage_scylla::{ScyllaConfig, ScyllaStore};
use sterna_test_engines::Cassandra;
use sterna_test_engines::batches::{BatchFault, BatchRelay};

use support::{Keyspace, append, failure, in_the_end, key, origin, persist, read_all, record};

mod support;

async fn behind_a_relay(keyspace: &Keyspace) -> (BatchRelay, ScyllaStore) {
    let server = Cassandra::shared().addresses().remove(0);
    let relay = BatchRelay::start(server).await;
    let config = ScyllaConfig { nodes: vec![relay.address()], ..keyspace.config() };
    let store = ScyllaStore::connect(&config).await.unwrap();
    (relay, store)
}

#[test]
fn i1_an_append_that_is_cut_off_after_it_took_effect_is_unknown_and_found() {
    let recorder = DebuggingRecorder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let keyspace = Keyspace::fresh();
            let (relay, store) = behind_a_relay(&keyspace).await;
            let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
            relay.script(&[BatchFault::CutAfter]);
            let cut = append(&store, key("room"), Some(head.position), record("a", 2)).await;
            assert_eq!(relay.met(), 1);
            let error = failure(cut);
            assert_eq!(error.kind, StorageErrorKind::Unknown, "{error}");
            assert!(error.message.contains("look up what was stored"), "{error}");
            let found = in_the_end(async || store.find(key("room"), origin("a", 2)).await).await;
            let found = found.unwrap();
            assert_eq!(found.position.offset, Offset(2));
            let again = persist(&store, key("room"), record("a", 2)).await;
            assert!(matches!(again, Err(AppendError::Duplicates(_))), "{again:?}");
            assert_eq!(read_all(&store, key("room")).await.len(), 2);
        });
    });
    let unknown =
        recorder.snapshotter().snapshot().into_vec().into_iter().find_map(|(name, _, _, value)| {
            let is_it = name.key().name() == "sterna_storage_scylla_unknown_outcomes_total";
            is_it.then_some(value)
        });
    assert_eq!(unknown, Some(DebugValue::Counter(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_an_append_that_is_cut_off_before_it_took_effect_is_unknown_and_not_found() {
    let keyspace = Keyspace::fresh();
    let (relay, store) = behind_a_relay(&keyspace).await;
    relay.script(&[BatchFault::CutBefore]);
    let error = failure(append(&store, key("room"), None, record("a", 1)).await);
    assert_eq!(error.kind, StorageErrorKind::Unknown, "{error}");
    let found = in_the_end(async || store.find(key("room"), origin("a", 1)).await).await;
    assert_eq!(found, None);
    assert_eq!(store.slot_heads(key("room").slot(), None, 9).await.unwrap(), []);
    let head = persist(&store, key("room"), record("a", 1)).await.unwrap();
    assert_eq!(head.position.offset, Offset(1));
}

/// Each step of going to the next bucket is cut off, before and after it took effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_step_to_the_next_bucket_that_is_cut_off_is_taken_again() {
    let keyspace = Keyspace::fresh();
    let server = Cassandra::shared().addresses().remove(0);
    let relay = BatchRelay::start(server).await;
    let config =
        ScyllaConfig { nodes: vec![relay.address()], bucket_records: 1, ..keyspace.config() };
    let store = ScyllaStore::connect(&config).await.unwrap();
    persist(&store, key("room"), record("a", 1)).await.unwrap();
    let mut seq = 1;
    // Seal, copied origins, begin, append.
    for step in 0..4 {
        for fault in [BatchFault::CutBefore, BatchFault::CutAfter] {
            let mut faults = vec![BatchFault::Pass; step];
            faults.push(fault);
            relay.script(&faults);
            seq += 1;
            let met = relay.met();
            let cut = persist(&store, key("room"), record("a", seq)).await;
            assert_eq!(relay.met(), met + 1, "step {step}, {fault:?}: {cut:?}");
            if cut.is_err() {
                let look = async || store.find(key("room"), origin("a", seq)).await;
                let found = in_the_end(look).await;
                let appended = step == 3 && fault == BatchFault::CutAfter;
                assert_eq!(found.is_some(), appended, "step {step}, {fault:?}");
                if !appended {
                    persist(&store, key("room"), record("a", seq)).await.unwrap();
                }
            }
            let stored = read_all(&store, key("room")).await;
            let sent = stored.iter().map(|one| one.body.origin.clone().unwrap().client_seq);
            assert!(sent.eq(1..=seq), "step {step}, {fault:?}: {stored:?}");
        }
    }
}

/// What is written behind an append is cut off wherever it can be: members and intents are there all
/// the same, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_members_and_intents_of_an_append_outlive_cuts_behind_it() {
    let keyspace = Keyspace::fresh();
    let (relay, store) = behind_a_relay(&keyspace).await;
    let slot = key("room").slot();
    let wide = PageLimit { records: 100, payload_bytes: 1 << 20 };
    let mut head = None;
    let mut seq = 0;
    for passed in 0..6 {
        for fault in [BatchFault::CutBefore, BatchFault::CutAfter] {
            seq += 1;
            let user = UserId::new(&format!("user{seq}")).unwrap();
            let member = Membership { user: user.clone(), role: Role::Member, since_ms: seq };
            let append = Append {
                members: vec![MembershipChange::Set(member.clone())],
                intents: vec![seq.to_string().into()],
                ..Append::new(key("room"), head, vec![record("a", seq)])
            };
            // The append itself passes.
            let mut faults = vec![BatchFault::Pass; passed + 1];
            faults.push(fault);
            relay.script(&faults);
            // Connections that were cut in the last round are there again.
            in_the_end(async || store.head(key("room")).await).await;
            head = Some(store.append(vec![append]).await.remove(0).unwrap().position);
            let found = loop {
                // A step that was cut off may say so; the next one goes on with it.
                if let Ok(found) = store.intents(slot, seq - 1, wide).await
                    && let Ok(Some(seen)) = store.member(key("room"), user.clone()).await
                {
                    assert_eq!(seen, member);
                    break found;
                }
            };
            let found: Vec<_> =
                found.iter().map(|one| (one.number, one.payload.to_vec())).collect();
            assert_eq!(found, [(seq, seq.to_string().into_bytes())], "{passed}, {fault:?}");
            assert_eq!(store.member_count(key("room")).await.unwrap(), seq);
            in_the_end(async || store.complete_intents(slot, seq).await).await;
        }
    }
    let slots = in_the_end(async || store.slots_with_intents().await).await;
    assert_eq!(slots, [] as [u16; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_whose_creation_was_cut_off_after_it_took_effect_is_new() {
    let keyspace = Keyspace::fresh();
    let (relay, store) = behind_a_relay(&keyspace).await;
    let alice = UserId::new("alice").unwrap();
    let record = ChannelRecord {
        name: ChannelId::new("room").unwrap(),
        kind: ChannelKind::Group,
        access: ChannelAccess::Members,
        created_by: alice.clone(),
        created_at_ms: 7,
    };
    let first = vec![Membership { user: alice, role: Role::Owner, since_ms: 7 }];
    relay.script(&[BatchFault::CutAfter]);
    let created = store.create(record.clone(), first.clone()).await.unwrap();
    assert_eq!((relay.met(), created), (1, Created::New));
    let again = store.create(record.clone(), first).await.unwrap();
    assert_eq!(again, Created::Exists(record));
    assert_eq!(store.member_count(key("room")).await.unwrap(), 1);
}
