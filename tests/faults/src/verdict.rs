//! Judges a node after its fault: reads every room as a stranger would, page by page and by
//! recovery from positions at random, and compares with what was recorded.

use rand::Rng as _;
use rand::rngs::StdRng;
use sterna_client::{ChannelId, Client, Epoch, Error, Event, History, Offset, Position};
use sterna_client::{Subscribe, Transport};
use sterna_system_tests::checker::{Checker, Seen};
use sterna_system_tests::crowd;
use sterna_system_tests::node::PATIENCE;

use crate::place::Place;
use crate::workload::{Record, Room, within};

/// Recoveries from positions at random, of each room.
const RECOVERIES: usize = 4;
const PAGE: u32 = 200;

/// What a stranger may do with an answer that is an error.
type Reading = Result<Vec<Seen>, Error>;

/// All that is wrong; empty when every promise is kept.
pub async fn check(place: &Place, record: &Record, rng: &mut StdRng) -> Vec<String> {
    let mut wrong = record.trouble.clone();
    let readers = [Transport::Quic, Transport::WebSocket].map(|transport| reader(place, transport));
    for client in &readers {
        client.connect();
        client.ready(PATIENCE).await.unwrap();
    }
    for (name, room) in &record.rooms {
        let channel = ChannelId::new(name).unwrap();
        match within("a history", history(&readers[0], &channel)).await {
            Ok(log) => {
                wrong.extend(judge(name, room, &log));
                wrong.extend(check_recoveries(&readers, &channel, &log, rng).await);
            }
            Err(error) => wrong.push(format!("{name} cannot be read: {error}")),
        }
    }
    for client in &readers {
        client.close().await;
    }
    wrong
}

/// What is read of all rooms, or the first error. Wrong answers are told beside it.
pub async fn read_all(place: &Place, record: &Record) -> Result<Vec<String>, Error> {
    let client = reader(place, Transport::Quic);
    client.connect();
    client.ready(PATIENCE).await?;
    let mut wrong = Vec::new();
    for (name, room) in &record.rooms {
        let channel = ChannelId::new(name).unwrap();
        let log = within("a history", history(&client, &channel)).await;
        match log {
            Ok(log) => wrong.extend(judge(name, room, &log)),
            Err(error) => {
                client.close().await;
                return Err(error);
            }
        }
    }
    client.close().await;
    Ok(wrong)
}

fn reader(place: &Place, transport: Transport) -> Client {
    place.builder(&format!("reader-{}", transport.name())).transports([transport]).build().unwrap()
}

fn judge(name: &str, room: &Room, log: &[Seen]) -> Vec<String> {
    let mut checker = Checker::new();
    room.attempts.iter().for_each(|(sender, text)| checker.attempt(sender, text));
    room.acked.iter().for_each(|acked| checker.ack(acked.clone()));
    room.views.iter().for_each(|(name, view)| checker.view(name, view.clone()));
    checker.view("history", log.to_vec());
    checker.faults().iter().map(|fault| format!("{name}: {fault}")).collect()
}

async fn history(client: &Client, channel: &ChannelId) -> Reading {
    let mut log: Vec<Seen> = Vec::new();
    loop {
        let since = log.last().map(|last| Position::new(last.epoch, last.offset));
        let page = History { since, ..History::default() }.with_limit(PAGE);
        let page = client.history(channel, page).await?;
        log.extend(page.publications.iter().map(crowd::seen));
        if !page.more || page.publications.is_empty() {
            return Ok(log);
        }
    }
}

async fn check_recoveries(
    readers: &[Client; 2],
    channel: &ChannelId,
    log: &[Seen],
    rng: &mut StdRng,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for at in 0..RECOVERIES {
        let skipped = rng.random_range(0..=log.len());
        let missing = &log[skipped..];
        let Some(first) = missing.first() else { continue };
        let position = Position { epoch: Epoch(first.epoch), offset: Offset(first.offset - 1) };
        let reader = &readers[at % 2];
        let recovered = within("a recovery", recover(reader, channel, position, missing.len()));
        let recovered = recovered.await;
        if recovered.as_deref() != Ok(missing) {
            wrong.push(format!(
                "{channel}: recovery after {position:?} on {:?} is not what history says: {:?}",
                reader.statistics().transport,
                recovered.map(|seen| seen.len()),
            ));
        }
    }
    wrong
}

async fn recover(
    client: &Client,
    channel: &ChannelId,
    after: Position,
    wanted: usize,
) -> Result<Vec<Seen>, String> {
    let mut subscription =
        client.subscribe(channel, Subscribe::after(after)).map_err(|error| error.to_string())?;
    let mut seen = Vec::new();
    while seen.len() < wanted {
        match subscription.next().await {
            Some(Event::Publication(it)) => seen.push(crowd::seen(&it)),
            Some(Event::State(_) | Event::Recovered { .. }) => {}
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(seen)
}
