//! What a subscriber to routes hears: one connection to each node, with the partitions whose slots
//! it serves. It runs inside the subscriber's stream, without a task of its own, and ends with it.
//!
//! Whatever goes wrong on a connection, or moves a slot away from its node, ends that connection:
//! its partitions are lost at once, and again when they are heard anew. So nothing that happened
//! in between is taken for unchanged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};
use futures_util::stream::{self, BoxStream};
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisResult, Value};
use sterna_storage::StorageError;
use sterna_storage::volatile::{Partition, Partitions, RouteChange, RouteEvent, RouteFeed};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::calls::{Calls, silent, told, unserved};
use crate::keys::{Keys, channel_of_hex};
use crate::link::{RETRY_FROM, RETRY_TO, on_reconnect};
use crate::routes::PUBLISHED;
use crate::tags::slot;
use crate::topology::{self, Address};

pub(crate) fn changes(calls: Arc<Calls>, keys: Arc<Keys>) -> BoxStream<'static, RouteEvent> {
    let feed = RouteFeed::default();
    let trouble = Arc::new(Notify::new());
    let nodes = HashMap::new();
    let listener = Listener { calls, keys, feed: feed.clone(), nodes, trouble };
    let listening = stream::once(async { match listener.run().await {} });
    stream::select(feed, listening).boxed()
}

struct Listener {
    calls: Arc<Calls>,
    keys: Arc<Keys>,
    feed: RouteFeed,
    nodes: HashMap<Address, Ear>,
    /// Told when a connection ends.
    trouble: Arc<Notify>,
}

/// A connection that listens to one node.
struct Ear {
    connection: MultiplexedConnection,
    state: Arc<EarState>,
}

/// What a connection and its pushes share.
struct EarState {
    partitions: BTreeSet<Partition>,
    has_ended: AtomicBool,
    feed: RouteFeed,
    keys: Arc<Keys>,
    trouble: Arc<Notify>,
}

impl Listener {
    async fn run(mut self) -> Infallible {
        let mut delay = RETRY_FROM;
        loop {
            match self.settle().await {
                Ok(()) => {
                    delay = RETRY_FROM;
                    // No trouble in this time is the usual case; then all is looked over.
                    let _ = timeout(LOOK_EVERY, self.trouble.notified()).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "some changes of routes are not heard");
                    delay = (delay * 2).min(RETRY_TO);
                }
            }
            // All nodes of the cluster may have seen the same trouble.
            sleep(rand::random_range(Duration::ZERO..delay)).await;
        }
    }

    /// Sees to it that every partition is heard at the node that serves it.
    async fn settle(&mut self) -> Result<(), StorageError> {
        let wanted = self.wanted().await?;
        for (address, ear) in &mut self.nodes {
            let is_right = wanted.get(address) == Some(&ear.state.partitions);
            if !is_right || !ear.answers(self.calls.connector().config().call_timeout).await {
                ear.state.end();
            }
        }
        self.nodes.retain(|_, ear| !ear.state.has_ended.load(Ordering::Acquire));
        let missing = wanted.into_iter().filter(|(address, _)| !self.nodes.contains_key(address));
        let attempts: Vec<_> = missing.collect();
        let heard = join_all(attempts.into_iter().map(|(address, partitions)| {
            let listener = &*self;
            async move { (listener.listen(&address, partitions).await, address) }
        }))
        .await;
        let mut outcome = Ok(());
        for (attempt, address) in heard {
            match attempt {
                Ok(ear) => drop(self.nodes.insert(address, ear)),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// The partitions that each node serves.
    async fn wanted(&self) -> Result<BTreeMap<Address, BTreeSet<Partition>>, StorageError> {
        let runs = topology::runs(&self.calls).await?;
        let mut wanted: BTreeMap<Address, BTreeSet<Partition>> = BTreeMap::new();
        for partition in self.keys.partitions.all() {
            let slot = slot(self.keys.tag(partition).as_bytes());
            let run = runs.iter().find(|run| run.slots.contains(&slot));
            let run = run.ok_or_else(|| unserved(slot))?;
            wanted.entry(run.node.clone()).or_default().insert(partition);
        }
        Ok(wanted)
    }

    async fn listen(
        &self,
        address: &Address,
        partitions: BTreeSet<Partition>,
    ) -> Result<Ear, StorageError> {
        let state = Arc::new(EarState {
            partitions,
            has_ended: AtomicBool::new(false),
            feed: self.feed.clone(),
            keys: self.keys.clone(),
            trouble: self.trouble.clone(),
        });
        let connector = self.calls.connector();
        let within = connector.config().connect_timeout + connector.config().call_timeout;
        let heard = state.clone();
        let connect = async {
            let pushes = move |info| heard.on_push(&info);
            let connection = connector.connect_node((&address.0, address.1), pushes).await?;
            self.subscribe(&connection, &state.partitions).await?;
            Ok(connection)
        };
        let connection = timeout(within, connect).await.map_err(|_| silent(within))?;
        let connection = connection.map_err(told)?;
        // What happened before this moment was not heard.
        self.feed.push_lost(state.partitions.iter().copied());
        Ok(Ear { connection, state })
    }

    async fn subscribe(
        &self,
        connection: &MultiplexedConnection,
        partitions: &BTreeSet<Partition>,
    ) -> RedisResult<()> {
        let names = partitions.iter().map(|at| self.keys.of_partition(PUBLISHED, *at));
        if !self.calls.connector().config().cluster {
            return connection.clone().subscribe(names.collect::<Vec<_>>()).await;
        }
        // A sharded subscription may not name several slots in one command.
        try_join_all(
            names.map(|name| {
                let mut connection = connection.clone();
                async move {
                    redis::cmd("SSUBSCRIBE").arg(name).query_async::<Value>(&mut connection).await
                }
            }),
        )
        .await?;
        Ok(())
    }
}

impl Ear {
    /// A connection may be dead without a word from it.
    async fn answers(&mut self, within: Duration) -> bool {
        let ping = redis::cmd("PING");
        let answer = timeout(within, ping.query_async::<Value>(&mut self.connection)).await;
        matches!(answer, Ok(Ok(_)))
    }
}

impl EarState {
    fn on_push(&self, info: &PushInfo) {
        match info.kind {
            PushKind::Message | PushKind::SMessage => match parse(self.keys.partitions, &info.data)
            {
                Some(change) => self.feed.push_change(change),
                // Another version's; something has changed, whatever it is.
                None => self.feed.push_lost(self.partitions.iter().copied()),
            },
            // We never unsubscribe: the slot has gone to another node. The client library takes
            // such a push for the answer to whatever waits, so the connection is of no more use.
            PushKind::Unsubscribe | PushKind::SUnsubscribe | PushKind::Disconnection => self.end(),
            _ => {}
        }
    }

    fn end(&self) {
        if !self.has_ended.swap(true, Ordering::AcqRel) {
            on_reconnect("subscription");
            self.feed.push_lost(self.partitions.iter().copied());
            self.trouble.notify_one();
        }
    }
}

/// `CHANNEL v pv`, behind the name under which it was published.
pub(crate) fn parse(partitions: Partitions, data: &[Value]) -> Option<RouteChange> {
    let [_, Value::BulkString(text)] = data else { return None };
    let mut parts = std::str::from_utf8(text).ok()?.split(' ');
    let channel = channel_of_hex(parts.next()?)?;
    let partition = partitions.of_channel(channel);
    let (v, pv) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(RouteChange { channel, partition, v, pv })
}

/// How often connections and the places of slots are looked over without any trouble.
const LOOK_EVERY: Duration = Duration::from_secs(5);
