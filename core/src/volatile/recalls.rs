//! Who was present, as owners have told lately: the deltas of a partition, folded. Read when a
//! channel is taken over, kept for moments, because the channels of a partition are taken over
//! together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use prost::Message as _;
use sterna_proto::ChannelKey;
use sterna_proto::link::v1 as wire;
use sterna_proto::v1::PresenceState;
use sterna_storage::StorageError;
use sterna_storage::volatile::{DELTAS_KEPT, DeltaId, DeltaPage, Partition, PresenceDeltas};
use tokio::time::Instant;

/// Sessions that were present in one channel, each with what it said last.
pub(crate) type Recalled = Vec<wire::Present>;

type Folded = HashMap<ChannelKey, Recalled, RandomState>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recalls {
    read: Mutex<HashMap<Partition, (Instant, Arc<Folded>)>>,
    /// Whoever reads; the others wait and find it read.
    reading: [tokio::sync::Mutex<()>; PARTS],
}

impl Recalls {
    pub async fn read(
        &self,
        deltas: &dyn PresenceDeltas,
        partition: Partition,
    ) -> Result<Arc<Folded>, StorageError> {
        let _reading = self.reading[usize::from(partition.0) % PARTS].lock().await;
        if let Some(folded) = self.kept(partition) {
            return Ok(folded);
        }
        let folded = Arc::new(fold(read_all(deltas, partition).await?));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = |folded: &Folded| folded.values().map(Vec::len).sum::<usize>();
        let held: usize = read.values().map(|(_, folded)| sessions(folded)).sum();
        if held + sessions(&folded) > RECALLED_SESSIONS {
            read.clear();
        }
        read.insert(partition, (Instant::now(), folded.clone()));
        Ok(folded)
    }

    fn kept(&self, partition: Partition) -> Option<Arc<Folded>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|_, (at, _)| at.elapsed() < KEPT);
        read.get(&partition).map(|(_, folded)| folded.clone())
    }
}

async fn read_all(
    deltas: &dyn PresenceDeltas,
    partition: Partition,
) -> Result<Vec<wire::Present>, StorageError> {
    let (mut after, mut changes) = (DeltaId::START, Vec::new());
    for _ in 0..PAGES {
        match deltas.deltas(partition, after, PAGE).await? {
            DeltaPage::Trimmed { tail } => after = tail,
            DeltaPage::Deltas(page) => {
                let Some(last) = page.last() else { break };
                after = last.id;
                let decoded = page.iter().map(|delta| delta.payload.clone());
                // What cannot be read is of another release; edges say the same.
                let decoded = decoded.filter_map(|it| wire::PresenceDelta::decode(it).ok());
                changes.extend(decoded.flat_map(|delta| delta.changes));
            }
        }
    }
    Ok(changes)
}

/// The last word of each session; of two owners' the one with the higher turn.
fn fold(changes: Vec<wire::Present>) -> Folded {
    let mut last: HashMap<(ChannelKey, bytes::Bytes), wire::Present, RandomState> =
        HashMap::default();
    for change in changes {
        let Ok(channel) = <[u8; 16]>::try_from(&change.channel[..]) else { continue };
        let key = (ChannelKey(channel), change.session.clone());
        if last.get(&key).is_none_or(|known| known.turn <= change.turn) {
            last.insert(key, change);
        }
    }
    let mut folded = Folded::default();
    for ((channel, _), change) in last {
        if change.state() != PresenceState::Offline {
            folded.entry(channel).or_default().push(change);
        }
    }
    folded
}

/// Sessions that are kept in all; more, and all are forgotten and read again.
pub const RECALLED_SESSIONS: usize = 65_536;

/// As long as the channels of a slot take to be asked for.
const KEPT: Duration = Duration::from_secs(5);

/// Partitions that share a reader.
const PARTS: usize = 16;

const PAGE: usize = 256;

/// More than are kept, so that a reader that is slower than writers ends.
const PAGES: usize = 2 * DELTAS_KEPT / PAGE;

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_storage::volatile::{MemoryVolatile, Partitions};

    fn change(session: u8, turn: u64, state: PresenceState) -> wire::Present {
        let (channel, session) = (vec![1; 16].into(), vec![session; 16].into());
        wire::Present { channel, session, turn, state: state.into(), ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_of_each_session_counts_and_who_left_is_not_there() {
        let memory = MemoryVolatile::new(Partitions::new(1));
        let said = [
            change(1, 1, PresenceState::Online),
            change(2, 1, PresenceState::Online),
            change(1, 3, PresenceState::Detached),
            change(1, 2, PresenceState::Online),
            change(2, 2, PresenceState::Offline),
        ];
        for change in said {
            let delta = wire::PresenceDelta { changes: vec![change] };
            memory.append_delta(Partition(0), delta.encode_to_vec().into()).await.unwrap();
        }
        memory.append_delta(Partition(0), "of another release".into()).await.unwrap();
        let recalls = Recalls::default();
        let folded = recalls.read(&memory, Partition(0)).await.unwrap();
        let present = folded.get(&ChannelKey([1; 16])).unwrap();
        assert_eq!(*present, [change(1, 3, PresenceState::Detached)]);
        memory.forget();
        assert_eq!(recalls.read(&memory, Partition(0)).await.unwrap().len(), 1, "kept");
        tokio::time::advance(KEPT).await;
        assert!(recalls.read(&memory, Partition(0)).await.unwrap().is_empty());
    }
}
