//! Whether what is published in a channel is written into the inboxes of its members, or pulled by
//! them. Pure.
//!
//! Writing costs a stored row for each member, pulling a look at a head for each member and sync,
//! whether or not anything has happened. Direct channels and small groups are many and mostly silent:
//! written. Large groups, and those that never rest, are few for each user: pulled. Open and broadcast
//! channels have no bounded membership: always pulled.

use std::time::{Duration, Instant};

use sterna_proto::v1::{ChannelAccess, ChannelKind};
use sterna_storage::ChannelRecord;

/// Where writing ends and pulling begins. Numbers of members are of a group.
#[derive(Debug, Clone, Copy)]
pub struct InboxRules {
    /// How long marks of one channel in one inbox are merged before they are written.
    pub coalesce: Duration,
    /// From here on all members are enrolled for pulling, so that the way to `pull_above` is long
    /// enough for all of them, and for those that another owner lets in.
    pub enroll_above: u64,
    /// Above, a group is pulled.
    pub pull_above: u64,
    /// Below, it is written again.
    pub write_below: u64,
    /// Above, a group can be too busy to be written. Who joins above is enrolled for it.
    pub busy_members: u64,
    /// Busy is a minute with more publications than this.
    pub busy_per_minute: u32,
    /// So many busy minutes, one behind the other, and the group is pulled.
    pub busy_minutes: u32,
    /// It is written again this long after its last busy minute.
    pub calm_after: Duration,
}

impl Default for InboxRules {
    /// A written group of 500 costs some 60 ms of a cluster's work for each merged publication; at
    /// 600 that is more than what its members save by not having to look.
    fn default() -> Self {
        Self {
            coalesce: Duration::from_secs(5),
            enroll_above: 500,
            pull_above: 600,
            write_below: 400,
            busy_members: 100,
            busy_per_minute: 20,
            busy_minutes: 10,
            calm_after: Duration::from_secs(3600),
        }
    }
}

impl InboxRules {
    /// Whether somebody who joins a channel of so many members pulls it, or may come to.
    pub fn joins_pulling(&self, record: &ChannelRecord, members: u64) -> bool {
        !is_bounded(record) || members >= self.busy_members.min(self.write_below)
    }

    /// Whether this is where all members of a group that grows are enrolled. A range, because two
    /// owners may count at the same time.
    pub fn enrolls_all(&self, record: &ChannelRecord, members: u64) -> bool {
        let margin = (self.pull_above - self.enroll_above).min(ENROLL_MARGIN);
        is_bounded(record) && (self.enroll_above..self.enroll_above + margin).contains(&members)
    }
}

/// What has to happen to the list of what each member pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The members begin to pull; the channel is written until that is stored.
    Enroll,
    /// It is written again, and nobody has to look any more.
    Withdraw,
}

/// The mode of one channel whose members are bounded. Not stored: an owner that knows nothing yet
/// writes, which is right for any group, only dear for a large one.
#[derive(Debug, Default)]
pub struct Diffusion {
    members: u64,
    large: bool,
    traffic: Traffic,
    /// The minute that is counted, and what was published in it.
    minute: Option<Instant>,
    in_minute: u32,
    busy_minutes: u32,
    last_busy: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    #[default]
    Calm,
    /// To be pulled as soon as all members are enrolled.
    Enrolling,
    Busy,
}

impl Diffusion {
    /// `None` for channels that are always pulled: nothing is kept of them and nothing counted.
    pub fn of(record: &ChannelRecord) -> Option<Self> {
        is_bounded(record).then(Self::default)
    }

    /// Whether publications are written into inboxes.
    pub fn is_written(&self) -> bool {
        !self.large && self.traffic != Traffic::Busy
    }

    /// The channel has so many members. Those of a group that grows were enrolled long before.
    pub fn on_members(&mut self, members: u64, rules: &InboxRules) -> Option<Change> {
        self.members = members;
        if members > rules.pull_above {
            self.large = true;
        } else if members < rules.write_below && std::mem::take(&mut self.large) {
            return self.withdraw(rules);
        }
        None
    }

    /// So many publications were committed.
    pub fn on_published(
        &mut self,
        count: usize,
        now: Instant,
        rules: &InboxRules,
    ) -> Option<Change> {
        self.count(now, rules);
        self.in_minute = self.in_minute.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        let calm = |at: Instant| now.saturating_duration_since(at) >= rules.calm_after;
        match self.traffic {
            Traffic::Calm
                if self.members > rules.busy_members && self.busy_minutes >= rules.busy_minutes =>
            {
                self.traffic = Traffic::Enrolling;
                Some(Change::Enroll)
            }
            Traffic::Busy if self.last_busy.is_none_or(calm) => {
                self.traffic = Traffic::Calm;
                self.busy_minutes = 0;
                self.withdraw(rules)
            }
            _ => None,
        }
    }

    /// Members of a group that may become a large one without passing `enroll_above` stay enrolled.
    fn withdraw(&self, rules: &InboxRules) -> Option<Change> {
        (self.is_written() && self.members < rules.enroll_above).then_some(Change::Withdraw)
    }

    /// All members are enrolled, or that failed and is tried again after as many busy minutes.
    pub fn on_enrolled(&mut self, stored: bool) {
        if self.traffic == Traffic::Enrolling {
            self.traffic = if stored { Traffic::Busy } else { Traffic::Calm };
            self.busy_minutes = 0;
        }
    }

    /// Closes the minute that is over.
    fn count(&mut self, now: Instant, rules: &InboxRules) {
        let begun = *self.minute.get_or_insert(now);
        let passed = now.saturating_duration_since(begun).as_secs() / MINUTE.as_secs();
        if passed == 0 {
            return;
        }
        let busy = std::mem::take(&mut self.in_minute) > rules.busy_per_minute;
        if busy {
            self.last_busy = Some(begun + MINUTE);
        }
        // Minutes in which nothing was published have passed too.
        self.busy_minutes = if busy && passed == 1 { self.busy_minutes + 1 } else { 0 };
        self.minute = Some(begun + Duration::from_secs(passed * MINUTE.as_secs()));
    }
}

fn is_bounded(record: &ChannelRecord) -> bool {
    match record.kind {
        ChannelKind::Direct => true,
        ChannelKind::Group => record.access == ChannelAccess::Members,
        ChannelKind::Broadcast | ChannelKind::Unspecified => false,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Members that several owners may let in at once while a group passes `enroll_above`.
const ENROLL_MARGIN: u64 = 10;

#[cfg(test)]
#[path = "diffusion_tests.rs"]
mod tests;
