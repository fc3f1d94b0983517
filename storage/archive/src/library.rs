//! Where a segment's publications lie now. Links name segments as they were written; when one was
//! replaced since, the manifest says by which, and what was asked of it is answered from there. Once
//! learnt it is remembered, for as many segments as [`ALIASES`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{
    BoxFuture, ManifestStore, PageLimit, Record, Run, SegmentKey, Segments, StorageError,
    StorageErrorKind,
};

use crate::entry::SegmentInfo;
use crate::{Tiers, corrupt};

/// Replaced segments of which is remembered what they were replaced by; above, those that nobody
/// asked for lately are forgotten and looked up again.
pub(crate) const ALIASES: usize = 65_536;

/// Replacements that are followed from one name. Each at least doubles a segment, so that more are
/// none that a compactor made.
const HOPS: usize = 64;

#[derive(Debug)]
pub(crate) struct Library {
    segments: Arc<dyn Segments>,
    manifest: Arc<dyn ManifestStore>,
    aliases: Mutex<Aliases>,
}

impl Library {
    pub(crate) fn new(tiers: &Tiers) -> Self {
        let (segments, manifest) = (tiers.segments.clone(), tiers.manifest.clone());
        Self { segments, manifest, aliases: Mutex::default() }
    }

    /// The run of a channel in a segment or in what it was replaced by, and where that was.
    /// `None`: nothing of the segment was kept.
    pub(crate) async fn run(
        &self,
        segment: SegmentKey,
        channel: ChannelKey,
    ) -> Result<Option<(SegmentKey, Option<Run>)>, StorageError> {
        self.follow(segment, |at| self.segments.run(at, channel)).await
    }

    /// A page of a channel's run; it may go on beyond the run that the segment had. Empty if nothing
    /// of it was kept.
    pub(crate) async fn read(
        &self,
        segment: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Vec<Record>, StorageError> {
        let read = self.follow(segment, |at| self.segments.read(at, channel, after, limit)).await?;
        Ok(read.map(|(_, page)| page).unwrap_or_default())
    }

    async fn follow<'a, T>(
        &'a self,
        segment: SegmentKey,
        look: impl Fn(SegmentKey) -> BoxFuture<'a, Result<T, StorageError>>,
    ) -> Result<Option<(SegmentKey, T)>, StorageError> {
        let mut at = segment;
        for _ in 0..HOPS {
            let known = self.aliases().get(&at);
            let next = match known {
                Some(next) => next,
                None => match look(at).await {
                    // It may have been replaced, and its object be gone, since the link was read.
                    Err(error) if error.kind == StorageErrorKind::Corrupt => {
                        self.learn(at, error).await?
                    }
                    Err(error) => return Err(error),
                    Ok(found) => return Ok(Some((at, found))),
                },
            };
            match next {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Err(corrupt(format!("{segment:?} was replaced more often than can be: last by {at:?}")))
    }

    /// What a segment that could not be read was replaced by, or why it could not be read.
    async fn learn(
        &self,
        segment: SegmentKey,
        error: StorageError,
    ) -> Result<Option<SegmentKey>, StorageError> {
        let entry = self.manifest.segment(segment).await?;
        let info = entry.as_ref().map(SegmentInfo::of_entry).transpose()?;
        match info.and_then(|info| info.replaced) {
            Some(replaced) => {
                self.aliases().insert(segment, replaced.by);
                Ok(replaced.by)
            }
            // Other damage was counted where it was met.
            None if error.is_missing() => {
                tracing::error!(?segment, %error, "a segment is lost");
                metrics::counter!("sterna_storage_corrupt_total", "engine" => crate::ENGINE)
                    .increment(1);
                Err(error)
            }
            None => Err(error),
        }
    }

    fn aliases(&self) -> MutexGuard<'_, Aliases> {
        // Nothing here panics half-way through a change.
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two generations instead of a list in order of use, as with [floors](crate::floors).
#[derive(Debug, Default)]
struct Aliases {
    young: HashMap<SegmentKey, Option<SegmentKey>, RandomState>,
    old: HashMap<SegmentKey, Option<SegmentKey>, RandomState>,
}

impl Aliases {
    fn get(&mut self, segment: &SegmentKey) -> Option<Option<SegmentKey>> {
        if let Some(by) = self.young.get(segment) {
            return Some(*by);
        }
        let by = self.old.remove(segment)?;
        self.insert(*segment, by);
        Some(by)
    }

    fn insert(&mut self, segment: SegmentKey, by: Option<SegmentKey>) {
        if self.young.len() >= ALIASES / 2 && !self.young.contains_key(&segment) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(segment, by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_bounded_and_those_in_use_stay() {
        let key = |segment| SegmentKey { shard: 0, first_ts_ms: 0, segment };
        let mut aliases = Aliases::default();
        for segment in 0..4 * ALIASES as u64 {
            aliases.insert(key(segment), Some(key(segment + 1)));
            assert_eq!(aliases.get(&key(0)), Some(Some(key(1))), "asked for all the time");
            assert!(aliases.young.len() + aliases.old.len() <= ALIASES);
        }
        assert_eq!(aliases.get(&key(1)), None);
    }
}
