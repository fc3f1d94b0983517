//! What many sessions of a worker follow is given to them slice by slice; what happens meanwhile.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::rc::Rc;

use sterna_core::Worker;
use sterna_proto::v1::{self, Activity, command::Verb, push::Event};
use sterna_storage::memory::MemoryStore;
use support::{
    TestClient, config, counted, counts, publish, subscribe, with_held_clock, with_worker,
};
use tokio::task::{JoinSet, yield_now};

const NEWS: &str = "news";

/// More than are given a publication without a pause.
const FOLLOWERS: usize = 150;

async fn followers(worker: &Worker, count: usize) -> Vec<TestClient> {
    let mut followers = Vec::new();
    for n in 0..count {
        let mut client = TestClient::connect(worker, &format!("reader{n}")).await;
        client.subscribe(NEWS, None).await;
        followers.push(client);
    }
    followers
}

#[test]
fn i11_a_worker_does_what_it_is_asked_before_all_have_had_a_publication() {
    with_worker(|node, worker| async move {
        let mut writer = TestClient::connect(&worker, "writer").await;
        let had = Rc::new(Cell::new(0));
        let mut reading = JoinSet::new();
        for (n, mut client) in followers(&worker, FOLLOWERS).await.into_iter().enumerate() {
            let (node, had) = (node.clone(), had.clone());
            reading.spawn_local(async move {
                assert_eq!(client.publication().await.offset, 1);
                had.set(had.get() + 1);
                if n > 0 {
                    return None;
                }
                let session = client.attachment.session_id();
                assert!(node.examine(session).await.is_some());
                Some(had.get())
            });
        }
        // All of them wait.
        yield_now().await;
        writer.publish(NEWS, 1, "to all").await;
        let answered_after = reading.join_all().await.into_iter().flatten().next().unwrap();
        assert_eq!(had.get(), FOLLOWERS);
        assert!(answered_after < FOLLOWERS, "the worker answered only when all had had it");
    });
}

#[test]
fn i3_i5_who_stays_has_everything_in_order_while_others_come_and_go() {
    const PUBLICATIONS: u64 = 300;
    with_worker(|_, worker| async move {
        let mut writer = TestClient::connect(&worker, "writer").await;
        let mut reading = JoinSet::new();
        for mut client in followers(&worker, FOLLOWERS).await {
            reading.spawn_local(async move {
                for offset in 1..=PUBLICATIONS {
                    match client.push().await {
                        Event::Publication(publication) => assert_eq!(publication.offset, offset),
                        other => panic!("{other:?} and not {offset}"),
                    }
                }
            });
        }
        let mut churning = JoinSet::new();
        for n in 0..20 {
            let worker = worker.clone();
            churning.spawn_local(async move {
                for turn in 0.. {
                    let user = format!("guest{n}-{turn}");
                    let mut client = TestClient::connect(&worker, &user).await;
                    client.ask(subscribe(NEWS, None)).await;
                    for activity in [Activity::Background, Activity::Foreground, Activity::Active] {
                        let channel = NEWS.into();
                        let set = v1::SetActivity { channel, activity: activity.into() };
                        client.ask(Verb::SetActivity(set)).await;
                    }
                }
            });
        }
        for first in (1..=PUBLICATIONS).step_by(4) {
            let sent: Vec<_> =
                (first..first + 4).map(|seq| writer.send(publish(NEWS, seq, "news"))).collect();
            for id in sent {
                writer.reply(id).await;
            }
        }
        reading.join_all().await;
        churning.shutdown().await;
    });
}

/// What is asked of an owner again is answered before all have had what is on its way: that is no gap.
#[test]
fn i5_who_attaches_again_while_publications_go_round_is_told_of_no_gap() {
    const PUBLICATIONS: u64 = 100;
    let mut config = config();
    // Every removal of a member is a word to everybody to attach again.
    config.queues.owed_evicts = 0;
    let test = |_, workers: Vec<Worker>| async move {
        let mut owner = TestClient::connect(&workers[0], "owner").await;
        let member = |user: &str| v1::Member { user: user.into(), role: v1::Role::Member.into() };
        let create = v1::CreateChannel {
            channel: NEWS.into(),
            access: v1::ChannelAccess::Members.into(),
            members: [member("reader"), member("writer")].into(),
            ..Default::default()
        };
        owner.ask(Verb::CreateChannel(create)).await;
        let mut writer = TestClient::connect(&workers[0], "writer").await;
        let mut reading = JoinSet::new();
        for _ in 0..FOLLOWERS {
            let mut client = TestClient::connect(&workers[0], "reader").await;
            let start = client.subscribe(NEWS, None).await.position.unwrap().offset;
            reading.spawn_local(async move {
                let (mut had, mut offset) = (0, 0);
                while had < PUBLICATIONS {
                    match client.push().await {
                        Event::Publication(it) => {
                            offset += 1;
                            assert_eq!(it.offset, start + offset);
                            had += u64::from(it.sender == "writer");
                        }
                        other => panic!("{other:?} after {offset} publications"),
                    }
                }
            });
        }
        let mut changing = JoinSet::new();
        changing.spawn_local(async move {
            let set = v1::SetMember { channel: NEWS.into(), member: Some(member("guest")) };
            let remove = v1::RemoveMember { channel: NEWS.into(), user: "guest".into() };
            loop {
                owner.ask(Verb::SetMember(set.clone())).await;
                owner.ask(Verb::RemoveMember(remove.clone())).await;
            }
        });
        for seq in 1..=PUBLICATIONS {
            writer.publish(NEWS, seq, "news").await;
        }
        reading.join_all().await;
        changing.shutdown().await;
    };
    counted(|snapshotter| {
        with_held_clock(config, MemoryStore::new().stores(), 1, test);
        let replaced = counts(snapshotter, &["sterna_core_evicts_replaced_total"])[0];
        assert!(replaced > 0, "nobody was told to attach again");
    });
}
