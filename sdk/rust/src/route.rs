//! For programs to which nobody reports changes of the network, such as those on desktops and
//! servers: looks now and then by which of this machine's addresses the server is reached. The
//! question is the operating system's to answer, from its routes; no packet is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::options::NetworkChange;
use crate::shared::Shared;
use crate::transport::Address;
use crate::transport::addresses::resolve;

/// How long addresses of a name are taken for what it resolves to.
const RESOLVED_FOR: Duration = Duration::from_secs(60);

/// How long a resolver may take.
const RESOLVED_WITHIN: Duration = Duration::from_secs(1);

/// Tells the driver when the way to a server begins at another address of this machine, or begins
/// anew after there was none. Never completes.
pub(crate) async fn follow(shared: &Shared, target: &Address, every: Duration) -> ! {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut route, mut server) = (Route::default(), None::<(Instant, SocketAddr)>);
    loop {
        ticks.tick().await;
        // First the way that is known: without a network a name may take long to resolve.
        if let Some((_, server)) = server
            && let Some(change) = route.observe(address_towards(server))
        {
            shared.set_network_change(change);
        }
        if server.is_some_and(|(at, _)| at.elapsed() < RESOLVED_FOR) {
            continue;
        }
        // A name that does not resolve any more still leads where it led.
        let found = timeout(RESOLVED_WITHIN, resolve(target)).await;
        let first = found.ok().and_then(Result::ok).and_then(|found| found.first().copied());
        server = first.or(server.map(|(_, before)| before)).map(|it| (Instant::now(), it));
    }
}

/// What has been seen of the way.
#[derive(Debug, Default)]
struct Route {
    seen: bool,
    from: Option<IpAddr>,
}

impl Route {
    fn observe(&mut self, from: Option<IpAddr>) -> Option<NetworkChange> {
        let (seen, before) = (self.seen, self.from);
        (self.seen, self.from) = (true, from);
        if !seen || from == before {
            return None;
        }
        // What has ended shows by itself; there is nowhere to move to.
        from.map(|_| if before.is_some() { NetworkChange::Path } else { NetworkChange::Online })
    }
}

fn address_towards(server: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(server).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_beginning_of_the_way_is_a_change() {
        let mut route = Route::default();
        let (wifi, cellular) = (Some([10, 0, 0, 2].into()), Some([10, 64, 0, 9].into()));
        let seen = [None, wifi, wifi, None, wifi, cellular, None, None, cellular, wifi];
        let said: Vec<Option<NetworkChange>> =
            seen.into_iter().map(|from| route.observe(from)).collect();
        let (path, online) = (Some(NetworkChange::Path), Some(NetworkChange::Online));
        assert_eq!(said, [None, online, None, None, online, path, None, None, online, path]);
    }

    #[test]
    fn the_first_look_is_no_change() {
        assert_eq!(Route::default().observe(Some([10, 0, 0, 2].into())), None);
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        for server in ["127.0.0.1:4443", "[::1]:4443"] {
            let server: SocketAddr = server.parse().unwrap();
            // A machine without IPv6 has no way there.
            if let Some(from) = address_towards(server) {
                assert_eq!(from, server.ip());
            } else {
                assert!(server.is_ipv6());
            }
        }
    }
}
