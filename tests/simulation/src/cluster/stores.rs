//! What one node reaches of the store beside the log, and who is alive as the store has it. The
//! [way](Way) of a node may be frozen, slow, or at its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sterna_proto::{ChannelId, ChannelKey, UserId};
use sterna_storage::{
    BoxFuture, ChannelRecord, ChannelStore, Created, IdBoundStore, IdLeaseStore, Membership,
    RosterEntry, RosterError, RosterStore, StorageError, StorageErrorKind, Stores,
};
use tokio::time::Instant;

use crate::store::Way;

/// All roles that a core of a cluster uses go by its way; the log and the cursors do already.
pub fn through(stores: Stores, way: &Arc<Way>, roster: &Arc<SharedRoster>) -> Stores {
    Stores {
        channels: Arc::new(OneWay { inner: stores.channels, way: way.clone() }),
        id_bound: Arc::new(OneWay { inner: stores.id_bound, way: way.clone() }),
        id_leases: Arc::new(OneWay { inner: stores.id_leases, way: way.clone() }),
        roster: Arc::new(OneWay { inner: roster.clone(), way: way.clone() }),
        ..stores
    }
}

/// A role behind one node's way to it.
#[derive(Debug)]
struct OneWay<S: ?Sized> {
    inner: Arc<S>,
    way: Arc<Way>,
}

impl<S: ?Sized + Send + Sync> OneWay<S> {
    fn ask<'a, T, E>(
        &'a self,
        call: impl FnOnce(&'a S) -> BoxFuture<'a, Result<T, E>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, E>>
    where
        T: Send + 'a,
        E: From<StorageError> + Send + 'a,
    {
        Box::pin(async move {
            self.way.go().await?;
            let answer = call(&self.inner).await;
            self.way.back().await?;
            answer
        })
    }
}

impl ChannelStore for OneWay<dyn ChannelStore> {
    fn create(
        &self,
        record: ChannelRecord,
        members: Vec<Membership>,
    ) -> BoxFuture<'_, Result<Created, StorageError>> {
        self.ask(|store| store.create(record, members))
    }

    fn channel(
        &self,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<ChannelRecord>, StorageError>> {
        self.ask(move |store| store.channel(channel))
    }

    fn channels(
        &self,
        after: Option<ChannelId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelRecord>, StorageError>> {
        self.ask(move |store| store.channels(after, limit))
    }

    fn member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<Membership>, StorageError>> {
        self.ask(move |store| store.member(channel, user))
    }

    fn members(
        &self,
        channel: ChannelKey,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Membership>, StorageError>> {
        self.ask(move |store| store.members(channel, after, limit))
    }

    fn member_count(&self, channel: ChannelKey) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.ask(move |store| store.member_count(channel))
    }
}

impl IdBoundStore for OneWay<dyn IdBoundStore> {
    fn id_bound(&self, worker: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.ask(move |store| store.id_bound(worker))
    }

    fn raise_id_bound(
        &self,
        worker: u16,
        expected_ms: u64,
        bound_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.ask(move |store| store.raise_id_bound(worker, expected_ms, bound_ms))
    }
}

impl IdLeaseStore for OneWay<dyn IdLeaseStore> {
    fn lease_id_worker<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<u16>, StorageError>> {
        self.ask(move |store| store.lease_id_worker(holder, lease))
    }

    fn renew_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StorageError>> {
        self.ask(move |store| store.renew_id_worker(worker, holder, lease))
    }

    fn release_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        self.ask(move |store| store.release_id_worker(worker, holder))
    }
}

impl RosterStore for OneWay<SharedRoster> {
    fn beat(
        &self,
        entry: RosterEntry,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Vec<RosterEntry>, RosterError>> {
        self.ask(move |roster| Box::pin(std::future::ready(roster.beat(entry, lease))))
    }

    fn leave<'a>(
        &'a self,
        name: &'a str,
        incarnation: u64,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        self.ask(move |roster| Box::pin(std::future::ready(roster.leave(name, incarnation))))
    }
}

/// Who is alive as the store has it, in virtual time.
#[derive(Debug, Default)]
pub struct SharedRoster {
    nodes: Mutex<BTreeMap<String, (RosterEntry, Option<Instant>)>>,
    silent: AtomicBool,
}

impl SharedRoster {
    /// It answers nobody.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    fn beat(&self, entry: RosterEntry, lease: Duration) -> Result<Vec<RosterEntry>, RosterError> {
        self.check()?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = nodes.get(&entry.name).map(|(stored, _)| stored.incarnation);
        if let Some(incarnation) = stored.filter(|stored| *stored > entry.incarnation) {
            return Err(RosterError::Superseded { incarnation });
        }
        nodes.insert(entry.name.clone(), (entry, Some(Instant::now())));
        let alive = nodes.values().filter(|(_, at)| at.is_some_and(|at| at.elapsed() < lease));
        Ok(alive.map(|(entry, _)| entry.clone()).collect())
    }

    fn leave(&self, name: &str, incarnation: u64) -> Result<(), StorageError> {
        self.check()?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, at)) = nodes.get_mut(name).filter(|(one, _)| one.incarnation <= incarnation)
        {
            *at = None;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.silent.load(Ordering::Relaxed) {
            let message = "the roster does not answer";
            return Err(StorageError::new(StorageErrorKind::Unavailable, "simulated", message));
        }
        Ok(())
    }
}
