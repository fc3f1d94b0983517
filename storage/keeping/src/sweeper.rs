//! Gives up what is older than its channel's retention.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use sterna_proto::id::SLOTS;
use sterna_proto::v1::ChannelKind;
use sterna_proto::{ChannelId, ChannelKey, Offset};
use sterna_storage::keeping::{Kept, Retention};
use sterna_storage::{BoxFuture, Head, PageLimit, ReadError, StorageError, Stores};
use sterna_storage_archive::{Pace, Pressure};
use tokio::time::Instant;

use crate::clock::RetentionClock;
use crate::seal::DataKeys;

/// How long publications stay in channels that have no retention of their own, and how that is seen
/// to.
#[derive(Debug, Clone)]
pub struct RetentionConfig {
    pub direct: Retention,
    pub group: Retention,
    pub broadcast: Retention,
    /// From the beginning of one pass over the channels to that of the next.
    pub every: Duration,
    /// Look-ups that a node makes in a second.
    pub lookups_per_second: u32,
    /// The clock is right when the node starts: an operator has seen to that.
    pub believe_clock: bool,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            direct: Retention::Forever,
            group: Retention::Forever,
            broadcast: Retention::Forever,
            every: Duration::from_secs(3600),
            lookups_per_second: 2000,
            believe_clock: false,
        }
    }
}

impl RetentionConfig {
    fn of(&self, kind: ChannelKind) -> Retention {
        match kind {
            ChannelKind::Direct => self.direct,
            ChannelKind::Broadcast => self.broadcast,
            ChannelKind::Group => self.group,
            // Of a kind that this version does not know nothing is given up.
            ChannelKind::Unspecified => Retention::Forever,
        }
    }

    fn is_forever(&self) -> bool {
        [self.direct, self.group, self.broadcast].iter().all(|it| *it == Retention::Forever)
    }
}

/// Whoever gives something up, so that nobody answers it from memory: the channel's owner.
pub trait GivesUp: Send + Sync + Debug {
    /// Gives up what is before an offset. False: it is not to be, since the channel is on hold.
    fn give_up(
        &self,
        channel: ChannelId,
        first: Offset,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;
}

/// What one pass over the channels came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Channels that were looked at.
    pub channels: u64,
    /// Channels that do not keep everything.
    pub limited: u64,
    /// Channels of which something was given up, and how many publications.
    pub swept: u64,
    pub records: u64,
    /// Channels on hold with a retention.
    pub held: u64,
    /// Data keys that are wrapped by another root key now.
    pub rewrapped: u64,
    /// Channels that were left as they are, because of an error that was logged.
    pub failed: u64,
}

/// Sweeps the channels of some slots.
#[derive(Debug)]
pub struct Sweeper {
    stores: Stores,
    owner: Arc<dyn GivesUp>,
    keys: Option<Arc<DataKeys>>,
    config: RetentionConfig,
    pressure: Arc<dyn Pressure>,
    pace: Pace,
    clock: Option<(RetentionClock, Instant)>,
}

impl Sweeper {
    /// The log of the stores is the one that the core reads.
    pub fn new(
        stores: Stores,
        owner: Arc<dyn GivesUp>,
        keys: Option<Arc<DataKeys>>,
        config: RetentionConfig,
        pressure: Arc<dyn Pressure>,
    ) -> Self {
        let pace = Pace::new(config.lookups_per_second);
        Self { stores, owner, keys, config, pressure, pace, clock: None }
    }

    /// Goes once over the channels of the slots that `owns` names. May be dropped at any point.
    ///
    /// # Errors
    /// When the store does not answer; what was given up until then stays so.
    pub async fn pass(
        &mut self,
        owns: impl Fn(u16) -> bool,
        wall_ms: u64,
    ) -> Result<SweepReport, StorageError> {
        let slots: Vec<u16> = (0..SLOTS).filter(|slot| owns(*slot)).collect();
        match self.sweep(slots, wall_ms).await {
            Ok(report) => {
                self.tell_lag(&report, wall_ms);
                metrics::counter!("sterna_storage_retention_passes_total").increment(1);
                metrics::gauge!("sterna_storage_retention_held_channels").set(report.held as f64);
                Ok(report)
            }
            Err(error) => {
                metrics::counter!("sterna_storage_retention_failures_total").increment(1);
                Err(error)
            }
        }
    }

    /// Where it matters.
    fn tell_lag(&self, report: &SweepReport, wall_ms: u64) {
        let lag = self.clock.map_or(Duration::ZERO, |(clock, _)| clock.lag(wall_ms));
        if lag > LAG_TOLD && report.limited > 0 {
            tracing::warn!(
                lag_seconds = lag.as_secs(),
                "retention goes by a time that lies behind this machine's clock, and catches up \
                 slowly: the clock has jumped, or no node was up. Where the clock is right, start \
                 once with `retention.believe_clock`"
            );
        }
    }

    async fn sweep(&mut self, slots: Vec<u16>, wall_ms: u64) -> Result<SweepReport, StorageError> {
        let now_ms = self.tell_time(&slots, wall_ms).await?;
        let mut report = SweepReport::default();
        for slot in slots {
            let mut after = None;
            loop {
                let heads = self.stores.log.slot_heads(slot, after, CHANNELS_AT_ONCE).await?;
                let Some((last, _)) = heads.last() else { break };
                after = Some(*last);
                let keys = heads.iter().map(|(channel, _)| *channel).collect();
                let kept = self.stores.keeping.kept(keys).await?;
                for ((channel, head), kept) in heads.into_iter().zip(kept) {
                    report.channels += 1;
                    self.visit(channel, &head, &kept, now_ms, &mut report).await?;
                }
            }
        }
        Ok(report)
    }

    /// The time that ages are reckoned from. See [`RetentionClock`].
    async fn tell_time(&mut self, slots: &[u16], wall_ms: u64) -> Result<u64, StorageError> {
        let keeping = self.stores.keeping.clone();
        let (clock, seen_at) = match self.clock {
            Some(known) => known,
            None => {
                let stored_ms = keeping.raise_retention_clock(0).await?;
                let newest_ms = if stored_ms == 0 { self.newest_ms(slots).await? } else { 0 };
                if stored_ms.max(newest_ms) == 0 && !self.config.believe_clock {
                    // There is nothing that could be old, and nothing to begin with.
                    return Ok(0);
                }
                let clock = match self.config.believe_clock {
                    true => RetentionClock::start(stored_ms.max(wall_ms), 0, wall_ms),
                    false => RetentionClock::start(stored_ms, newest_ms, wall_ms),
                };
                (clock, Instant::now())
            }
        };
        let now = Instant::now();
        let clock = clock.after(now - seen_at, wall_ms);
        let clock = clock.joined(keeping.raise_retention_clock(clock.believed_ms()).await?);
        self.clock = Some((clock, now));
        metrics::gauge!("sterna_storage_retention_clock_lag_seconds")
            .set(clock.lag(wall_ms).as_secs_f64());
        Ok(clock.now_ms(wall_ms))
    }

    async fn newest_ms(&self, slots: &[u16]) -> Result<u64, StorageError> {
        let mut newest_ms = 0;
        for slot in slots {
            let mut after = None;
            loop {
                let heads = self.stores.log.slot_heads(*slot, after, CHANNELS_AT_ONCE).await?;
                let Some((last, _)) = heads.last() else { break };
                after = Some(*last);
                newest_ms = heads.iter().map(|(_, head)| head.last_ts_ms).fold(newest_ms, u64::max);
            }
        }
        Ok(newest_ms)
    }

    async fn visit(
        &mut self,
        channel: ChannelKey,
        head: &Head,
        kept: &Kept,
        now_ms: u64,
        report: &mut SweepReport,
    ) -> Result<(), StorageError> {
        while self.pressure.writes_are_slow() {
            metrics::counter!("sterna_storage_retention_pauses_total").increment(1);
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(keys) = &self.keys {
            keys.forget_destroyed(channel, kept);
            match keys.rewrap(channel, kept).await {
                Ok(rewrapped) => report.rewrapped += u64::from(rewrapped),
                Err(error) => {
                    tracing::error!(?channel, %error, "a data key is not wrapped anew");
                    report.failed += 1;
                }
            }
        }
        if kept.retention.is_none() && self.config.is_forever() {
            return Ok(());
        }
        self.pace.take(1).await;
        let Some(record) = self.stores.channels.channel(channel).await? else { return Ok(()) };
        let retention = kept.retention.unwrap_or_else(|| self.config.of(record.kind));
        let Retention::Millis(millis) = retention else { return Ok(()) };
        report.limited += 1;
        if kept.hold.is_some() {
            report.held += 1;
            return Ok(());
        }
        let cutoff_ms = now_ms.saturating_sub(millis);
        let first = self.first_young(channel, head, kept.floor, cutoff_ms).await?;
        if first <= kept.floor {
            return Ok(());
        }
        match self.owner.give_up(record.name, first).await {
            Ok(true) => {
                let records = first.0.saturating_sub(kept.floor.0);
                metrics::counter!("sterna_storage_retention_records_total").increment(records);
                report.swept += 1;
                report.records += records;
            }
            Ok(false) => report.held += 1,
            // The rest of the pass is not worse off.
            Err(error) => {
                tracing::warn!(?channel, %error, "what is too old in a channel stays for now");
                report.failed += 1;
            }
        }
        Ok(())
    }

    /// The first offset whose publication is not older than `cutoff_ms`, one beyond the last if all
    /// are. Server times never go back along a channel, so few are looked at.
    async fn first_young(
        &mut self,
        channel: ChannelKey,
        head: &Head,
        floor: Offset,
        cutoff_ms: u64,
    ) -> Result<Offset, StorageError> {
        let end = head.position.offset.next();
        if head.last_ts_ms < cutoff_ms {
            return Ok(end);
        }
        let (mut old, mut young) = (floor.0.saturating_sub(1), end.0);
        // Mostly the oldest is young enough, and that is all.
        let mut next = floor.0;
        while young - old > 1 {
            match self.server_time(channel, Offset(next)).await? {
                At::Gone { first } => old = old.max(first.0.saturating_sub(1)).min(young - 1),
                At::Is(ts_ms) if ts_ms < cutoff_ms => old = next,
                At::Is(_) => young = next,
                // Trimmed away while it was looked for.
                At::Nowhere => young = next,
            }
            next = old + (young - old) / 2;
        }
        Ok(Offset(young))
    }

    async fn server_time(
        &mut self,
        channel: ChannelKey,
        offset: Offset,
    ) -> Result<At, StorageError> {
        self.pace.take(1).await;
        match self.stores.log.read(channel, Offset(offset.0.saturating_sub(1)), ONE).await {
            Ok(page) => {
                Ok(page.first().map_or(At::Nowhere, |record| At::Is(record.body.server_ts_ms)))
            }
            Err(ReadError::Trimmed { first }) => Ok(At::Gone { first }),
            Err(ReadError::Storage(error)) => Err(error),
        }
    }
}

enum At {
    Is(u64),
    Gone { first: Offset },
    Nowhere,
}

const ONE: PageLimit = PageLimit { records: 1, payload_bytes: usize::MAX };

/// Channels that are looked up in one call.
const CHANNELS_AT_ONCE: usize = 200;

/// Between two looks whether writes are still slow.
const PAUSE: Duration = Duration::from_millis(200);

/// A lag that an operator should know of.
const LAG_TOLD: Duration = Duration::from_secs(3600);
