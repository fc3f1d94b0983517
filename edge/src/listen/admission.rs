//! Who may connect: bounds on open connections, in all and per address, and on new ones in a
//! second. Shared by all workers. An address is never an identity; it only bounds what one place
//! can take.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tokio::sync::Notify;

use crate::config::EdgeLimits;

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The edge is full.
    Connections,
    /// The address has too many connections open.
    AddressOpen,
    /// The address opens them too fast.
    AddressRate,
    /// More addresses than the table can hold.
    Addresses,
    Draining,
    /// Too many handshakes in progress.
    Handshakes,
}

impl Refusal {
    /// Value of the metric label `reason`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::AddressOpen => "address_open",
            Self::AddressRate => "address_rate",
            Self::Addresses => "addresses",
            Self::Draining => "draining",
            Self::Handshakes => "handshakes",
        }
    }
}

/// Whether the address was proved to be the sender's. Senders that are not proved have a budget of
/// their own, so that forged packets cannot use up that of their victim, who answers a Retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Validated,
    Unvalidated,
}

/// The table. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: EdgeLimits,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug)]
struct Table {
    open: usize,
    addresses: AHashMap<AddressKey, Entry>,
    swept_at: Instant,
}

/// IPv4 /32 or IPv6 /64, mapped addresses as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct AddressKey(u64);

#[derive(Debug)]
struct Entry {
    open: u32,
    validated: Bucket,
    unvalidated: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// How many connections an edge has. Cheap to clone; goes on to answer when the edge has ended.
#[derive(Debug, Clone)]
pub struct Connections(Admission);

impl Connections {
    pub(crate) fn of(admission: &Admission) -> Self {
        Self(admission.clone())
    }

    /// Open ones, handshakes included.
    pub fn open(&self) -> usize {
        self.0.open()
    }
}

/// The right to be connected; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Admission,
    address: AddressKey,
}

impl Admission {
    pub(crate) fn new(limits: EdgeLimits, now: Instant) -> Self {
        let table = Table { open: 0, addresses: AHashMap::new(), swept_at: now };
        Self(Arc::new(Shared { limits, table: Mutex::new(table), changed: Notify::new() }))
    }

    pub(crate) fn try_admit(
        &self,
        remote: IpAddr,
        proof: Proof,
        now: Instant,
    ) -> Result<Admitted, Refusal> {
        let (limits, address) = (&self.0.limits, AddressKey::of(remote));
        let mut table = self.table();
        if table.open >= limits.connections {
            return Err(Refusal::Connections);
        }
        let entry = table.entry(address, limits, now)?;
        if entry.open >= limits.address_connections_open {
            return Err(Refusal::AddressOpen);
        }
        let bucket = match proof {
            Proof::Validated => &mut entry.validated,
            Proof::Unvalidated => &mut entry.unvalidated,
        };
        if !bucket.try_take(limits, now) {
            return Err(Refusal::AddressRate);
        }
        entry.open += 1;
        table.open += 1;
        Ok(Admitted { admission: self.clone(), address })
    }

    /// Connections that are open or on their way to be.
    pub(crate) fn open(&self) -> usize {
        self.table().open
    }

    /// Completes when no connection is open.
    pub(crate) async fn all_closed(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.open() == 0 {
                return;
            }
            changed.await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change below is complete before anything can panic.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// The client's address has changed: its new place has to have room as well.
    pub(crate) fn move_to(&mut self, remote: IpAddr, now: Instant) -> Result<(), Refusal> {
        let (limits, address) = (&self.admission.0.limits, AddressKey::of(remote));
        if address == self.address {
            return Ok(());
        }
        let mut table = self.admission.table();
        let entry = table.entry(address, limits, now)?;
        if entry.open >= limits.address_connections_open {
            return Err(Refusal::AddressOpen);
        }
        entry.open += 1;
        table.leave(self.address);
        self.address = address;
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut table = self.admission.table();
        table.leave(self.address);
        table.open -= 1;
        if table.open == 0 {
            self.admission.0.changed.notify_waiters();
        }
    }
}

impl Table {
    fn entry(
        &mut self,
        address: AddressKey,
        limits: &EdgeLimits,
        now: Instant,
    ) -> Result<&mut Entry, Refusal> {
        if self.addresses.len() >= ADDRESSES && !self.addresses.contains_key(&address) {
            self.sweep(limits, now);
            if self.addresses.len() >= ADDRESSES {
                return Err(Refusal::Addresses);
            }
        }
        let full = Bucket { tokens: f64::from(limits.address_connection_burst), at: now };
        Ok(self.addresses.entry(address).or_insert(Entry {
            open: 0,
            validated: full,
            unvalidated: full,
        }))
    }

    /// Forgets addresses that say nothing any more: none open and all tokens back.
    fn sweep(&mut self, limits: &EdgeLimits, now: Instant) {
        if now.duration_since(self.swept_at) < SWEEP_INTERVAL {
            return;
        }
        self.swept_at = now;
        self.addresses.retain(|_, entry| {
            entry.open > 0 || !entry.validated.is_full(limits, now) || {
                !entry.unvalidated.is_full(limits, now)
            }
        });
    }

    fn leave(&mut self, address: AddressKey) {
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.open -= 1;
        }
    }
}

impl Bucket {
    fn try_take(&mut self, limits: &EdgeLimits, now: Instant) -> bool {
        self.tokens = self.tokens_at(limits, now);
        self.at = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    fn is_full(&self, limits: &EdgeLimits, now: Instant) -> bool {
        self.tokens_at(limits, now) >= f64::from(limits.address_connection_burst)
    }

    fn tokens_at(&self, limits: &EdgeLimits, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        let tokens = self.tokens + since * f64::from(limits.address_connections_per_second);
        tokens.min(f64::from(limits.address_connection_burst))
    }
}

impl AddressKey {
    fn of(remote: IpAddr) -> Self {
        match remote.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(u32::from(address))),
            // The upper half of a unicast address is never below 2^32, so the two never meet.
            IpAddr::V6(address) => Self((u128::from(address) >> 64) as u64),
        }
    }
}

/// `address` with an IPv4 client as such, whatever socket it came through.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Addresses remembered at a time (about 5 MB). Full: addresses that are not known are refused.
const ADDRESSES: usize = 65_536;

/// A sweep looks at the whole table, so a flood of addresses must not make every packet sweep.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> EdgeLimits {
        EdgeLimits {
            connections: 5,
            address_connections_per_second: 1,
            address_connection_burst: 2,
            address_connections_open: 3,
            ..EdgeLimits::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_bounded_by_rate_and_by_what_is_open() {
        let start = Instant::now();
        let admission = Admission::new(limits(), start);
        let admit = |after: u64| {
            let now = start + Duration::from_secs(after);
            admission.try_admit(ip("10.0.0.1"), Proof::Validated, now)
        };
        let first = admit(0).unwrap();
        let _second = admit(0).unwrap();
        assert_eq!(admit(0).unwrap_err(), Refusal::AddressRate);
        let _third = admit(1).unwrap();
        assert_eq!(admit(9).unwrap_err(), Refusal::AddressOpen);
        drop(first);
        admit(9).unwrap();
    }

    #[test]
    fn forged_packets_do_not_use_up_the_budget_of_their_victim() {
        let start = Instant::now();
        let admission = Admission::new(limits(), start);
        let admit = |proof| admission.try_admit(ip("10.0.0.1"), proof, start).map(drop);
        assert_eq!(admit(Proof::Unvalidated), Ok(()));
        assert_eq!(admit(Proof::Unvalidated), Ok(()));
        assert_eq!(admit(Proof::Unvalidated), Err(Refusal::AddressRate));
        assert_eq!(admit(Proof::Validated), Ok(()));
    }

    #[test]
    fn the_edge_is_bounded_and_tells_when_it_is_empty() {
        let start = Instant::now();
        let admission = Admission::new(limits(), start);
        let all: Vec<Admitted> = (0..5)
            .map(|n| {
                let remote = IpAddr::from([10, 0, 0, n]);
                admission.try_admit(remote, Proof::Validated, start).unwrap()
            })
            .collect();
        let refused = admission.try_admit(ip("10.0.0.9"), Proof::Validated, start);
        assert_eq!(refused.unwrap_err(), Refusal::Connections);
        assert_eq!(admission.open(), 5);
        drop(all);
        assert_eq!(admission.open(), 0);
    }

    #[test]
    fn a_subnet_of_ipv6_and_a_mapped_ipv4_address_are_one_place() {
        assert_eq!(AddressKey::of(ip("2001:db8::1")), AddressKey::of(ip("2001:db8::ffff:2")));
        assert_ne!(AddressKey::of(ip("2001:db8::1")), AddressKey::of(ip("2001:db8:0:1::1")));
        assert_eq!(AddressKey::of(ip("::ffff:10.0.0.1")), AddressKey::of(ip("10.0.0.1")));
    }

    #[test]
    fn moving_takes_a_place_at_the_new_address_and_frees_the_old() {
        let start = Instant::now();
        let limits = EdgeLimits { address_connections_open: 1, ..limits() };
        let admission = Admission::new(limits, start);
        let admit = |remote| admission.try_admit(ip(remote), Proof::Validated, start);
        let mut moving = admit("10.0.0.1").unwrap();
        let taken = admit("10.0.0.2").unwrap();
        assert_eq!(moving.move_to(ip("10.0.0.2"), start), Err(Refusal::AddressOpen));
        drop(taken);
        assert_eq!(moving.move_to(ip("10.0.0.2"), start), Ok(()));
        admit("10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.2").unwrap_err(), Refusal::AddressOpen);
    }

    #[test]
    fn addresses_that_say_nothing_any_more_are_forgotten() {
        let start = Instant::now();
        let admission = Admission::new(limits(), start);
        let visit = |n: u32, now| {
            let remote = IpAddr::from(n.to_be_bytes());
            admission.try_admit(remote, Proof::Validated, now).map(drop)
        };
        (0..ADDRESSES as u32).for_each(|n| visit(n, start).unwrap());
        assert_eq!(visit(u32::MAX, start), Err(Refusal::Addresses));
        assert_eq!(visit(u32::MAX, start + Duration::from_secs(5)), Ok(()));
    }
}
