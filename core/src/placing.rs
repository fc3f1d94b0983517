//! Where sessions belong among the edges of a cluster: what [`balance`](crate::cluster::balance)
//! decides, asked by an edge for a newcomer, and by a node that leaves for all of its sessions.

use std::net::IpAddr;

use sterna_proto::UserId;

use crate::cluster::NodeInfo;
use crate::cluster::balance::{AffinityBy, AffinityKey, BalanceConfig, Policy};
use crate::link::router::{Router, now};
use crate::node::Node;

/// A client that asks for a session and has none to resume.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    pub remote: IpAddr,
    pub user: &'a UserId,
    /// Of the [field](Node::affinity_field) of its request, where it had one.
    pub header: Option<AffinityKey>,
}

impl Newcomer<'_> {
    fn key(&self, by: &AffinityBy) -> AffinityKey {
        let user = || AffinityKey::of(self.user.as_str().as_bytes());
        match (by, self.remote) {
            (AffinityBy::TokenSubject, _) => user(),
            (AffinityBy::Header(_), _) => self.header.unwrap_or_else(user),
            (AffinityBy::SourceAddress, IpAddr::V4(v4)) => AffinityKey::of(&v4.octets()),
            (AffinityBy::SourceAddress, IpAddr::V6(v6)) => AffinityKey::of(&v6.octets()[..8]),
        }
    }
}

impl Node {
    /// The field of a request for a WebSocket by which newcomers are placed, if they are.
    pub fn affinity_field(&self) -> Option<&str> {
        let balance = self.router()?.balance();
        match &balance.affinity {
            AffinityBy::Header(name) if balance.policy == Policy::Affinity => Some(name),
            _ => None,
        }
    }

    /// The client address of the edge at which a newcomer had better be; `None`: here.
    pub fn place(&self, newcomer: &Newcomer<'_>) -> Option<String> {
        let router = self.router()?;
        let policy = router.balance().policy;
        if policy == Policy::Off || self.is_draining() {
            return None;
        }
        let edge = router.place(newcomer.key(&router.balance().affinity), self.attached_count())?;
        metrics::counter!("sterna_core_sessions_moved_total", "policy" => policy.name())
            .increment(1);
        Some(edge)
    }
}

impl Router {
    /// How sessions are spread over edges.
    pub fn balance(&self) -> &BalanceConfig {
        &self.config().balance
    }

    /// Where a newcomer had better be than here, where there are so many `sessions`; `None`: here.
    pub(crate) fn place(&self, key: AffinityKey, sessions: u32) -> Option<String> {
        let (own, live) = (NodeInfo { sessions, ..self.own() }, self.live());
        let mut balancer = self.balancer();
        balancer.place(&own, &live, key, now()).map(|edge| edge.client_address.clone())
    }

    /// Where so many sessions of this node best go when it leaves: each to the edge with the fewest,
    /// in this region if there is one. Empty: there is no other.
    pub(crate) fn successors(&self, sessions: usize) -> Vec<String> {
        let (own, live) = (self.own(), self.live());
        let mut balancer = self.balancer();
        let next = (0..sessions).map_while(|_| balancer.successor(&own, &live, now()));
        next.map(|edge| edge.client_address.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_what_clients_have_in_common() {
        let (ana, ben) = (UserId::new("ana").unwrap(), UserId::new("ben").unwrap());
        let header = Some(AffinityKey::of(b"acme"));
        let newcomer =
            |remote: &str, user, header| Newcomer { remote: remote.parse().unwrap(), user, header };
        let here = newcomer("192.0.2.1", &ana, None);
        let there = newcomer("192.0.2.2", &ana, header);
        let other = newcomer("192.0.2.1", &ben, header);
        let by = AffinityBy::TokenSubject;
        assert_eq!(here.key(&by), there.key(&by));
        assert_ne!(here.key(&by), other.key(&by));
        let by = AffinityBy::SourceAddress;
        assert_eq!(here.key(&by), other.key(&by));
        assert_ne!(here.key(&by), there.key(&by));
        let [a, b, c] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
            .map(|remote| newcomer(remote, &ana, None).key(&by));
        assert!(a == b && a != c, "a network of 64 bits is one place");
        let by = AffinityBy::Header("x-tenant".into());
        assert_eq!(there.key(&by), other.key(&by));
        assert_eq!(here.key(&by), here.key(&AffinityBy::TokenSubject), "without it the subject");
    }
}
