//! Known bugs, each in its place in the real code behind [`planted!`](crate::planted!): they prove
//! that the simulation finds what it is there to find. Compiled only with the feature `planted`,
//! which is refused in release builds; without it the macro is `false`.

use std::cell::Cell;

#[cfg(not(debug_assertions))]
compile_error!("the feature `planted` puts bugs into the store and the core: never in a release");

/// What is wrong on this thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The ack goes out before the append.
    AckBeforeCommit,
    /// Half of a batch goes back to the queue in the wrong order.
    BatchReversed,
    /// Cursors take the last value instead of the highest.
    CursorsGoBack,
    /// Whatever lies below the highest number of a client counts as stored.
    DedupByHighest,
    /// Nothing is recognised as a duplicate.
    DedupForgotten,
    /// A replaced history is not told.
    EpochChangeUntold,
    /// A removed member keeps its subscription.
    EvictionIgnored,
    /// A removed member still gets what is queued for it.
    EvictionLeavesOutbox,
    /// Another user's resume ticket is honoured.
    ForeignTicket,
    /// Lag mode begins without a gap being named.
    GapUnnamed,
    /// The last of several subscriptions is passed over.
    HubSkipsLast,
    /// Ids follow a clock that goes back.
    IdsFollowClock,
    /// Neither a lost push nor the end of a quiet channel is told.
    LostPushUntold,
    /// A refusal does not hold back what follows.
    OrderGateOpen,
    /// Recovery begins one publication too late.
    RecoveryOffByOne,
    /// Two answers are given to each other's commands.
    RepliesSwapped,
    /// A session can be resumed after it was revoked.
    RevokedResumes,
    /// The ring keeps what does not follow.
    RingKeepsJump,
    /// A removed member's role stays known.
    RoleCachedForever,
    /// Server times follow the clock back.
    ServerTimeGoesBack,
    /// What came while the page was on its way is sent twice.
    SpliceDuplicate,
    /// What came while the page was on its way is lost.
    SpliceGap,
    /// The append of an owner that has missed others takes their offsets.
    StaleOwnerAccepted,
    /// An unknown outcome counts as a success.
    UnknownTakenAsStored,

    // Of clusters.
    /// An answer over a link goes to the oldest call.
    AnswerToAnother,
    /// Calls that had no answer when a link was lost wait for ever.
    CallsLostWithLink,
    /// A node goes on asking for what only a closed link has wanted.
    ClosedLinkKeepsInterest,
    /// An owner takes its append for stored although another one was before it.
    ConflictTakenAsStored,
    /// Sessions of a dead edge stay present.
    DeadEdgeStaysPresent,
    /// A publication from before a refused one lets those behind it through.
    EarlierOpensGate,
    /// An edge does not hear that a member was removed.
    EvictNotPassedOn,
    /// What an edge holds has a hole that nobody knows of.
    HeldKeepsJump,
    /// What an edge holds is given to who has no right to it.
    HeldServesRefused,
    /// A link that does not want a channel any more is still counted.
    InterestLeaks,
    /// A push of an owner that is not asked any more is delivered again.
    LatePushTaken,
    /// Whoever is subscribed does not hear of another way.
    MovedUntold,
    /// What was published while a subscription moved is not missed.
    ReattachSeesNoHead,
    /// Every node of a region asks the owner itself.
    RelayPassedBy,
    /// A watcher of presence that has missed something is not told.
    PresenceGapUnnamed,
    /// A shard does not finish with channels that another node owns.
    ReleasedSlotAnswers,
    /// What a lost link has taken with it goes behind what is newer.
    ResentOvertaken,
    /// What a client says that it has settled goes on holding back the rest.
    SettledUnheard,
    /// A node that passes calls on forgets what was refused.
    TurnsForgotten,
    /// A peer is not told that a way does not begin there any more.
    WayLeftUntold,
}

impl Bug {
    /// Those that show on a node that is alone.
    pub const ALONE: [Self; 24] = [
        Self::AckBeforeCommit,
        Self::BatchReversed,
        Self::CursorsGoBack,
        Self::DedupByHighest,
        Self::DedupForgotten,
        Self::EpochChangeUntold,
        Self::EvictionIgnored,
        Self::EvictionLeavesOutbox,
        Self::ForeignTicket,
        Self::GapUnnamed,
        Self::HubSkipsLast,
        Self::IdsFollowClock,
        Self::LostPushUntold,
        Self::OrderGateOpen,
        Self::RecoveryOffByOne,
        Self::RepliesSwapped,
        Self::RevokedResumes,
        Self::RingKeepsJump,
        Self::RoleCachedForever,
        Self::ServerTimeGoesBack,
        Self::SpliceDuplicate,
        Self::SpliceGap,
        Self::StaleOwnerAccepted,
        Self::UnknownTakenAsStored,
    ];

    /// Those of links, of placement and of what follows from them.
    pub const OF_CLUSTERS: [Self; 20] = [
        Self::AnswerToAnother,
        Self::CallsLostWithLink,
        Self::ClosedLinkKeepsInterest,
        Self::ConflictTakenAsStored,
        Self::DeadEdgeStaysPresent,
        Self::EarlierOpensGate,
        Self::EvictNotPassedOn,
        Self::InterestLeaks,
        Self::LatePushTaken,
        Self::MovedUntold,
        Self::PresenceGapUnnamed,
        Self::ReattachSeesNoHead,
        Self::RelayPassedBy,
        Self::ReleasedSlotAnswers,
        Self::ResentOvertaken,
        Self::SettledUnheard,
        Self::TurnsForgotten,
        Self::WayLeftUntold,
        Self::HeldKeepsJump,
        Self::HeldServesRefused,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// From now on this thread has this bug and no other.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
