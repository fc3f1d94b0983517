//! From a name to one connection: its addresses are tried in the order of RFC 8305, each a little
//! after the one before it, and the first that answers wins. The others are dropped, which closes
//! them. Starts nothing that outlives the call.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Address, LinkEnd};

/// Connects to whichever address of `target` answers first.
pub(super) async fn connect_first<T, F>(
    target: &Address,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, LinkEnd>
where
    F: Future<Output = Result<T, LinkEnd>>,
{
    let race = async { race(interleave(resolve(target).await?), connect).await };
    let nobody = |_| Err(LinkEnd::broken("no address answered in time"));
    timeout(ESTABLISH_TIMEOUT, race).await.unwrap_or_else(nobody)
}

/// The addresses behind a target, in the order of the resolver.
pub(crate) async fn resolve(target: &Address) -> Result<Vec<SocketAddr>, LinkEnd> {
    match target {
        Address::Sockets(addresses) => Ok(addresses.clone()),
        Address::Name { host, port } => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await;
            let found =
                found.map_err(|e| LinkEnd::broken(format!("cannot resolve {host}: {e}")))?;
            Ok(found.collect())
        }
    }
}

/// One of each family in turn, beginning with the family that the resolver prefers, as many as are
/// tried.
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut order = VecDeque::new();
    while order.len() < ADDRESSES_TRIED {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        order.extend(pair.into_iter().flatten());
    }
    order.truncate(ADDRESSES_TRIED);
    order
}

/// The next address is tried when the last one has failed or has had its head start.
async fn race<T, F>(
    mut addresses: VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, LinkEnd>
where
    F: Future<Output = Result<T, LinkEnd>>,
{
    let mut trying = FuturesUnordered::new();
    let mut last = LinkEnd::broken("the name has no address");
    let mut next_at = Instant::now();
    loop {
        if next_at <= Instant::now()
            && let Some(address) = addresses.pop_front()
        {
            trying.push(connect(address));
            next_at = Instant::now() + STAGGER;
        }
        tokio::select! {
            Some(outcome) = trying.next() => match outcome {
                Ok(connected) => return Ok(connected),
                Err(end) => {
                    last = last.or_untrusted(end);
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if !addresses.is_empty() => {}
            else => return Err(last),
        }
    }
}

/// The pause between two addresses that RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);
/// One attempt at a connection, all its addresses together.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// The addresses of a name beyond these are not tried.
const ADDRESSES_TRIED: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::Mutex;

    fn v4(last: u8) -> SocketAddr {
        (Ipv4Addr::new(127, 0, 0, last), 1).into()
    }

    fn v6(last: u16) -> SocketAddr {
        (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, last), 1).into()
    }

    /// What an address does, and after how long.
    type Script = fn(SocketAddr) -> (u64, Option<&'static str>);

    /// The winner, or why there is none, and what was tried when.
    async fn run(
        addresses: Vec<SocketAddr>,
        script: Script,
    ) -> (Result<SocketAddr, LinkEnd>, Vec<(u128, SocketAddr)>) {
        let tried = Mutex::new(Vec::new());
        let start = Instant::now();
        let outcome = connect_first(&Address::Sockets(addresses), |address| {
            tried.lock().unwrap().push((start.elapsed().as_millis(), address));
            async move {
                let (after, failure) = script(address);
                tokio::time::sleep(Duration::from_millis(after)).await;
                failure.map_or(Ok(address), |why| Err(LinkEnd::broken(why)))
            }
        })
        .await;
        (outcome, tried.into_inner().unwrap())
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_choice_begins() {
        let order = |addresses: &[SocketAddr]| Vec::from(interleave(addresses.to_vec()));
        assert_eq!(order(&[v6(1), v6(2), v6(3), v4(1)]), [v6(1), v4(1), v6(2), v6(3)]);
        assert_eq!(order(&[v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        let many: Vec<SocketAddr> = (1..20).map(v6).chain([v4(1)]).collect();
        assert_eq!(order(&many).len(), ADDRESSES_TRIED);
        assert!(order(&many).contains(&v4(1)), "the other family has its turn before the cut");
        assert!(order(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_a_quarter_of_a_second() {
        let silent_v6: Script = |at| (if at.is_ipv6() { 1_000_000 } else { 5 }, None);
        let (outcome, tried) = run(vec![v6(1), v6(2), v4(1), v4(2)], silent_v6).await;
        assert_eq!((outcome, tried), (Ok(v4(1)), vec![(0, v6(1)), (250, v4(1))]));
    }

    /// A connection that is being made; dropping it is closing it.
    struct Trying<'a>(&'a Mutex<usize>);

    impl Drop for Trying<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() -= 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn losers_are_closed_before_the_winner_is_used() {
        let open = Mutex::new(0);
        let won = connect_first(&Address::Sockets((1..=5).map(v4).collect()), |address| {
            *open.lock().unwrap() += 1;
            let trying = Trying(&open);
            async move {
                if address != v4(4) {
                    std::future::pending::<()>().await;
                }
                Ok(trying)
            }
        })
        .await;
        assert_eq!(*open.lock().unwrap(), 1);
        drop(won);
        assert_eq!(*open.lock().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_waited_out_and_a_slow_first_may_still_win() {
        let refused: Script = |at| (10, at.is_ipv4().then_some("refused"));
        let (outcome, tried) = run(vec![v4(1), v6(1)], refused).await;
        assert_eq!((outcome, tried), (Ok(v6(1)), vec![(0, v4(1)), (10, v6(1))]));
        let slow: Script = |at| (if at.is_ipv6() { 300 } else { 200 }, None);
        let (outcome, tried) = run(vec![v6(1), v4(1)], slow).await;
        assert_eq!((outcome, tried.len()), (Ok(v6(1)), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_answers_that_is_said_in_time() {
        let (outcome, tried) = run((1..=9).map(v4).collect(), |_| (1_000_000, None)).await;
        assert!(outcome.unwrap_err().reason.contains("in time"));
        assert_eq!(tried.len(), ADDRESSES_TRIED);
        let (outcome, _) = run(vec![v4(1), v4(2)], |_| (1, Some("refused"))).await;
        assert_eq!(outcome, Err(LinkEnd::broken("refused")));
        assert!(run(vec![], |_| (1, None)).await.0.unwrap_err().reason.contains("no address"));
    }
}
