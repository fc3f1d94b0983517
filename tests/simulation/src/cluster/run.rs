//! One schedule of a cluster: faults strike while clients publish, then everything has to heal, and
//! when the last client has gone nothing may be left that still works for it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use sterna_core::link::Verb;
use sterna_proto::v1::{self, reply::Result as Reply};
use tokio::time::Instant;

use crate::cluster::{faults, nodes};
use crate::history::What;
use crate::run::{settle, settle_beliefs};
use crate::store::user_number;
use crate::world::World;

/// All that clients still have to say is said and heard within this time once faults are over: less
/// than the 10 s for which a refused publication may hold back those of a client that does not say
/// what it has settled. These clients do.
const HEALING: Duration = Duration::from_secs(9);

/// Within this time everybody is listed as present who is, and nobody who has gone.
const PRESENCE: Duration = Duration::from_secs(15);

/// Then the ways have settled.
const CALM: Duration = Duration::from_millis(4500);

/// After the last client has gone, interests are withdrawn within this time.
const WITHDRAWAL: Duration = Duration::from_secs(5);

/// Users with the number of their sessions.
type Present = BTreeMap<u32, u32>;

pub(crate) async fn act(world: &Rc<World>) {
    world.set_up().await;
    let seats = world.plan.cluster.as_ref().map_or(0, |layout| layout.nodes.len());
    for seat in 0..seats {
        nodes::start(world, seat).await;
    }
    world.start_clients();
    let active_until = Instant::now() + world.plan.active;
    faults::strike_all(world).await;
    tokio::time::sleep_until(active_until).await;
    world.over.set(true);
    world.book.note(What::Healed);
    if settle(world, HEALING).await {
        tokio::time::sleep(CALM).await;
        speak_in_calm(world).await;
        // Nothing follows these, so nothing but a beacon shows that one was lost.
        (0..world.plan.channels).for_each(|channel| world.clients[0].publish(channel));
        settle(world, 2 * world.plan.config.beacon_period + Duration::from_secs(3)).await;
        settle_lists(world).await;
        settle_beliefs(world).await;
    }
    for channel in 0..world.plan.channels {
        let store = world.store.borrow().clone();
        let items = store.items(channel).await;
        world.book.note(What::Final { channel, items });
    }
    finish(world).await;
}

/// While the ways hold, everybody says something everywhere.
async fn speak_in_calm(world: &World) {
    for client in &world.clients {
        (0..world.plan.channels).for_each(|channel| client.publish(channel));
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Waits until every owner lists exactly the sessions that there are.
async fn settle_lists(world: &World) {
    let mut expected = Present::new();
    for client in &world.clients {
        *expected.entry(client.role.user).or_default() += 1;
    }
    let deadline = Instant::now() + PRESENCE;
    for channel in 0..world.plan.channels {
        loop {
            let listed = present(world, channel).await;
            if listed.as_ref() == Some(&expected) {
                break;
            }
            if Instant::now() >= deadline {
                let what = format!("channel {channel}: listed {listed:?}, present {expected:?}");
                return world.book.note(What::Wrong(what));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn present(world: &World, channel: usize) -> Option<Present> {
    match world.operate(channel, Verb::Presence).await? {
        Ok(Reply::Presence(list)) => {
            let listed = list.members.iter();
            Some(listed.map(|member| (user_number(&member.user), member.sessions)).collect())
        }
        _ => None,
    }
}

async fn finish(world: &Rc<World>) {
    world.clients.iter().for_each(|client| client.leave());
    tokio::time::sleep(WITHDRAWAL).await;
    world.book.note(What::Deserted);
    for _ in 0..5 {
        for channel in 0..world.plan.channels {
            let publish = v1::Publish {
                channel: world.names.name(channel).to_string(),
                payload: "to nobody".into(),
                ..Default::default()
            };
            world.operate(channel, Verb::Publish(publish)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let nodes = std::mem::take(&mut *world.nodes.borrow_mut());
    for node in &nodes {
        node.end_links();
    }
    world.network.note_change();
    for node in nodes {
        let ended = node.node.shutdown(Duration::from_secs(10)).await;
        world.expect("the last nodes end", ended);
        node.end();
    }
}
