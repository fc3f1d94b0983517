//! Sessions of users and leases of edges in Redis. They lie in different slots, so a reader joins
//! them; what an edge without a lease has left behind, the reader removes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use sterna_proto::{NodeId, SessionId, UserId};
use sterna_storage::StorageError;
use sterna_storage::volatile::{
    Beat, Directory, DirectoryEntry, ENTRIES_KEPT, SESSIONS_PER_USER, SessionPut,
};

use crate::calls::{Group, unexpected};
use crate::routes::millis;
use crate::{RedisStore, script};

impl Directory for RedisStore {
    fn put_session(
        &self,
        user: UserId,
        entry: DirectoryEntry,
    ) -> BoxFuture<'_, Result<SessionPut, StorageError>> {
        async move {
            let DirectoryEntry { session, edge, incarnation, class } = entry;
            let value = format!("{}{class}", beginning(&edge, incarnation));
            let (most, keep) = (SESSIONS_PER_USER.to_string(), millis(ENTRIES_KEPT).to_string());
            let session = session.to_string();
            let arguments = [&*session, &*value, &*most, &*keep].map(str::as_bytes);
            let key = self.sessions_key(&user);
            let stored: bool =
                self.calls.run(GROUP, &script::SESSION_PUT, &[&key], &arguments).await?;
            Ok(if stored { SessionPut::Stored } else { SessionPut::Full })
        }
        .boxed()
    }

    fn remove_session(
        &self,
        user: UserId,
        session: SessionId,
        edge: NodeId,
        incarnation: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move {
            let pair = [session.to_string(), beginning(&edge, incarnation)];
            let removed: usize = self.remove_entries(&user, &pair).await?;
            Ok(removed > 0)
        }
        .boxed()
    }

    fn sessions_of(
        &self,
        user: UserId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DirectoryEntry>, StorageError>> {
        async move {
            let mut command = redis::cmd("HGETALL");
            command.arg(self.sessions_key(&user));
            let fields: Vec<(String, String)> = self.calls.call(GROUP, &command).await?;
            let entries = fields.iter().map(|(session, entry)| parse_entry(session, entry));
            let entries: Option<Vec<_>> = entries.collect();
            let entries = entries.ok_or_else(|| unexpected("a session"))?;
            let leases = self.leases(&entries).await?;
            let runs = |entry: &DirectoryEntry| leases.get(&entry.edge) == Some(&entry.incarnation);
            let (mut running, ended): (Vec<_>, Vec<_>) = entries.into_iter().partition(runs);
            if !ended.is_empty() {
                self.remove_ended(&user, &ended).await;
            }
            running.sort_by_key(|entry| entry.session);
            running.truncate(limit);
            Ok(running)
        }
        .boxed()
    }

    fn beat_edge(
        &self,
        edge: NodeId,
        incarnation: u64,
        load: u32,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Beat, StorageError>> {
        async move {
            let numbers = [incarnation, u64::from(load), millis(lease)].map(|n| n.to_string());
            let arguments = numbers.each_ref().map(|text| text.as_bytes());
            let key = self.edge_key(&edge);
            let answer: String =
                self.calls.run(GROUP, &script::EDGE_BEAT, &[&key], &arguments).await?;
            match (&*answer, answer.parse()) {
                ("kept", _) => Ok(Beat::Kept),
                ("begun", _) => Ok(Beat::Begun),
                (_, Ok(incarnation)) => Ok(Beat::Superseded { incarnation }),
                (_, Err(_)) => Err(unexpected("a lease")),
            }
        }
        .boxed()
    }

    fn edge_load(&self, edge: NodeId) -> BoxFuture<'_, Result<Option<u32>, StorageError>> {
        async move {
            let mut command = redis::cmd("HGET");
            command.arg(self.edge_key(&edge)).arg("load");
            self.calls.call(GROUP, &command).await
        }
        .boxed()
    }

    fn drop_edge(
        &self,
        edge: NodeId,
        incarnation: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move {
            let (key, incarnation) = (self.edge_key(&edge), incarnation.to_string());
            let arguments = [incarnation.as_bytes()];
            self.calls.run(GROUP, &script::EDGE_DROP, &[&key], &arguments).await
        }
        .boxed()
    }
}

impl RedisStore {
    /// Which incarnation of each edge has a running lease.
    async fn leases(
        &self,
        entries: &[DirectoryEntry],
    ) -> Result<BTreeMap<NodeId, u64>, StorageError> {
        let mut edges: Vec<&NodeId> = entries.iter().map(|entry| &entry.edge).collect();
        edges.sort_unstable();
        edges.dedup();
        let looks = edges.into_iter().map(async |edge| {
            let mut command = redis::cmd("HGET");
            command.arg(self.edge_key(edge)).arg("incarnation");
            let found: Option<u64> = self.calls.call(GROUP, &command).await?;
            Ok::<_, StorageError>(found.map(|incarnation| (edge.clone(), incarnation)))
        });
        Ok(try_join_all(looks).await?.into_iter().flatten().collect())
    }

    /// Tidying up: whoever reads next does what fails here.
    async fn remove_ended(&self, user: &UserId, ended: &[DirectoryEntry]) {
        let pairs: Vec<String> = ended
            .iter()
            .flat_map(|entry| {
                [entry.session.to_string(), beginning(&entry.edge, entry.incarnation)]
            })
            .collect();
        if let Err(error) = self.remove_entries(user, &pairs).await {
            tracing::debug!(%error, "entries of ended edges stay for now");
        }
    }

    async fn remove_entries(&self, user: &UserId, pairs: &[String]) -> Result<usize, StorageError> {
        let arguments: Vec<&[u8]> = pairs.iter().map(|text| text.as_bytes()).collect();
        let key = self.sessions_key(user);
        self.calls.run(GROUP, &script::SESSION_REMOVE, &[&key], &arguments).await
    }

    fn sessions_key(&self, user: &UserId) -> Vec<u8> {
        let partition = self.keys.partitions.of_user(user);
        self.keys.within("sess", partition, user.as_str().as_bytes())
    }

    fn edge_key(&self, edge: &NodeId) -> Vec<u8> {
        let name = edge.as_str().as_bytes();
        self.keys.within("edge", self.keys.partitions.of_bytes(name), name)
    }
}

/// An entry is `EDGE INCARNATION CLASS`; names have no spaces.
fn beginning(edge: &NodeId, incarnation: u64) -> String {
    format!("{edge} {incarnation} ")
}

fn parse_entry(session: &str, entry: &str) -> Option<DirectoryEntry> {
    let session = SessionId(u128::from_str_radix(session, 16).ok()?);
    let mut parts = entry.split(' ');
    let edge = NodeId::new(parts.next()?).ok()?;
    let incarnation = parts.next()?.parse().ok()?;
    Some(DirectoryEntry { session, edge, incarnation, class: parts.next()?.parse().ok()? })
}

const GROUP: Group = Group::Directory;
