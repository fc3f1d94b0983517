//! What a subscriber tells about its subscription, in this process or as JSON lines from another
//! one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sterna_client::{Client, Event, Position, Subscription, SubscriptionState, Transport};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    Publication {
        at_us: u64,
        epoch: u32,
        offset: u64,
    },
    /// The node was asked for the subscription, and it is live. `anew`: the first time, or by a
    /// new connection; else for a gap.
    Asked {
        anew: bool,
    },
    Counts(Counts),
    Error(String),
}

/// What the client counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) reconnects: u64,
    pub(super) resumed: u64,
    pub(super) transport: String,
}

/// Microseconds of the clock that all processes of a machine share.
pub(super) fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Tells everything until the subscription ends or nobody listens.
pub(super) async fn tell(
    client: Client,
    mut subscription: Subscription,
    mut say: impl FnMut(Told) -> Result<()>,
) -> Result<()> {
    let mut told = Counts::default();
    while let Some(event) = subscription.next().await {
        let at_us = now_us();
        let counts = counts(&client);
        if counts != told {
            say(Told::Counts(counts.clone()))?;
            told = counts;
        }
        match event {
            Event::Publication(publication) => {
                let Position { epoch, offset } = publication.position;
                say(Told::Publication { at_us, epoch: epoch.0, offset: offset.0 })?;
            }
            Event::State(SubscriptionState::Subscribed { .. }) => say(Told::Asked { anew: true })?,
            Event::Recovered { .. } => say(Told::Asked { anew: false })?,
            Event::Error(error) => say(Told::Error(error.to_string()))?,
            _ => {}
        }
    }
    Ok(())
}

fn counts(client: &Client) -> Counts {
    let statistics = client.statistics();
    Counts {
        reconnects: statistics.reconnects,
        resumed: statistics.resumed,
        transport: statistics.transport.map_or("none", Transport::name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_tells_another_understands() {
        let counts = Counts { reconnects: 2, resumed: 1, transport: "quic".into() };
        for told in [
            Told::Publication { at_us: u64::MAX, epoch: 3, offset: 42 },
            Told::Asked { anew: true },
            Told::Counts(counts),
            Told::Error("the token has expired".into()),
        ] {
            let line = serde_json::to_string(&told).unwrap();
            assert!(!line.contains('\n'));
            let understood: Told = serde_json::from_str(&line).unwrap();
            assert_eq!(understood, told);
        }
    }
}
