//! The thresholds, against a model that knows the whole history.

use super::*;
use proptest::prelude::*;
use sterna_proto::{ChannelId, UserId};

fn record(kind: ChannelKind, access: ChannelAccess) -> ChannelRecord {
    ChannelRecord {
        name: ChannelId::new("g").unwrap(),
        kind,
        access,
        created_by: UserId::new("alice").unwrap(),
        created_at_ms: 1,
    }
}

fn group() -> ChannelRecord {
    record(ChannelKind::Group, ChannelAccess::Members)
}

/// Publishes `per_minute` in each of so many minutes; what had to be done about the members.
fn minutes(
    diffusion: &mut Diffusion,
    now: &mut Instant,
    count: u32,
    per_minute: usize,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.extend(diffusion.on_published(per_minute, *now, &InboxRules::default()));
        *now += MINUTE;
    }
    changes
}

#[test]
fn only_channels_with_bounded_members_are_written() {
    for (kind, access, bounded) in [
        (ChannelKind::Direct, ChannelAccess::Members, true),
        (ChannelKind::Group, ChannelAccess::Members, true),
        (ChannelKind::Group, ChannelAccess::Open, false),
        (ChannelKind::Broadcast, ChannelAccess::Members, false),
        (ChannelKind::Broadcast, ChannelAccess::Open, false),
    ] {
        let record = record(kind, access);
        assert_eq!(Diffusion::of(&record).is_some(), bounded, "{kind:?} {access:?}");
        assert_eq!(InboxRules::default().joins_pulling(&record, 1), !bounded);
    }
}

#[test]
fn a_busy_group_is_pulled_until_it_was_calm_for_an_hour() {
    let rules = InboxRules::default();
    let (mut diffusion, mut now) = (Diffusion::default(), Instant::now());
    diffusion.on_members(101, &rules);
    assert_eq!(minutes(&mut diffusion, &mut now, 10, 21), [], "nine minutes are over");
    assert_eq!(minutes(&mut diffusion, &mut now, 1, 21), [Change::Enroll]);
    assert!(diffusion.is_written(), "until everybody is enrolled");
    diffusion.on_enrolled(false);
    assert!(diffusion.is_written());
    assert_eq!(minutes(&mut diffusion, &mut now, 10, 21), [Change::Enroll]);
    diffusion.on_enrolled(true);
    assert!(!diffusion.is_written());
    assert_eq!(minutes(&mut diffusion, &mut now, 59, 20), [], "calm, but not for long");
    assert!(!diffusion.is_written());
    assert_eq!(minutes(&mut diffusion, &mut now, 3, 1), [Change::Withdraw]);
    assert!(diffusion.is_written());
}

#[test]
fn a_pause_or_few_members_keep_a_group_written() {
    let rules = InboxRules::default();
    let mut now = Instant::now();
    let mut paused = Diffusion::default();
    paused.on_members(300, &rules);
    for _ in 0..5 {
        assert_eq!(minutes(&mut paused, &mut now, 9, 500), []);
        now += 2 * MINUTE;
    }
    let mut small = Diffusion::default();
    small.on_members(100, &rules);
    assert_eq!(minutes(&mut small, &mut now, 30, 500), []);
    assert!(paused.is_written() && small.is_written());
}

#[test]
fn a_group_that_may_become_large_stays_enrolled() {
    let rules = InboxRules::default();
    let (mut diffusion, mut now) = (Diffusion::default(), Instant::now());
    diffusion.on_members(550, &rules);
    assert_eq!(minutes(&mut diffusion, &mut now, 11, 21), [Change::Enroll]);
    diffusion.on_enrolled(true);
    now += rules.calm_after;
    assert_eq!(minutes(&mut diffusion, &mut now, 1, 1), []);
    assert!(diffusion.is_written());
}

proptest! {
    /// Above 600 pulled, below 400 written, between as it was; whoever has to pull was enrolled.
    #[test]
    fn sizes_have_hysteresis(steps in prop::collection::vec(-40_i64..60, 1..200)) {
        let (rules, record) = (InboxRules::default(), group());
        let (mut diffusion, mut members, mut pulled) = (Diffusion::default(), 0_u64, false);
        let mut all_enrolled = true;
        for step in steps {
            for _ in 0..step.unsigned_abs() {
                if step > 0 {
                    all_enrolled |= rules.enrolls_all(&record, members);
                    all_enrolled &= rules.joins_pulling(&record, members);
                    members += 1;
                } else {
                    members = members.saturating_sub(1);
                }
                let change = diffusion.on_members(members, &rules);
                let before = pulled;
                pulled = members > 600 || (pulled && members >= 400);
                prop_assert_eq!(diffusion.is_written(), !pulled);
                prop_assert_eq!(change, (before && !pulled).then_some(Change::Withdraw));
                all_enrolled &= change.is_none();
                prop_assert!(!pulled || all_enrolled, "{} members", members);
            }
        }
    }
}
