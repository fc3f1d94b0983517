//! What every engine must do, one function per promise of the traits. An engine's test file names
//! a place and gets one test for each:
//!
//! ```text
//! sterna_storage::conformance_suite! {
//!     let directory = tempfile::tempdir().unwrap();
//!     move || RocksStore::open(RocksConfig::new(directory.path())).unwrap().stores()
//! }
//! ```
//!
//! The block makes a new, empty place; the closure opens it. Tests call it again only after they
//! have closed and dropped the stores of the call before.

// Tests, although other packages compile them.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use sterna_proto::{
    ChannelId, ChannelKey, ClientId, Epoch, Offset, Position, PublicationId, UserId,
};

use crate::{Append, Head, NewRecord, Origin, PageLimit, PublicationLog, Record, Stores};

pub mod adoptions;
pub mod archived;
pub mod channels;
pub mod concurrent;
pub mod cursors;
pub mod id_bounds;
pub mod id_leases;
pub mod inboxes;
pub mod intents;
pub mod keeping;
pub mod log;
pub mod manifests;
pub mod model;
pub mod page_caches;
pub mod pages;
pub mod redactions;
pub mod relations;
pub mod reopen;
pub mod revocations;
pub mod rosters;
pub mod segments;
pub mod trims;
pub mod volatile;

/// Opens the place under test.
pub type Open<'a> = &'a (dyn Fn() -> Stores + Send + Sync);

/// Makes one test of each promise. The engine's crate needs tokio among its test dependencies.
#[macro_export]
macro_rules! conformance_suite {
    (@each $place:tt $($group:ident :: $promise:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let open = $place;
                $crate::conformance::$group::$promise(&open).await;
            }
        )*
    };
    ($($place:tt)*) => {
        $crate::conformance_suite! { @each { $($place)* }
            log::a_channel_without_records_has_no_head,
            log::heads_of_many_channels_come_in_the_order_asked_for,
            log::offsets_are_dense_from_one,
            log::a_new_channel_begins_in_the_epoch_of_the_store,
            log::an_append_behind_another_head_is_a_conflict,
            log::channels_of_one_commit_have_verdicts_of_their_own,
            log::an_append_without_records_is_refused,
            log::a_duplicate_stores_nothing_of_its_append,
            log::a_duplicate_inside_one_append_is_found,
            log::an_origin_belongs_to_one_channel,
            log::records_without_origin_are_never_duplicates,
            log::find_tells_what_is_stored_under_an_origin,
            log::another_fingerprint_under_an_origin_is_told,
            log::server_time_of_the_head_never_decreases,
            log::an_epoch_opens_with_a_marker,
            log::an_epoch_opens_only_behind_the_expected_head,
            log::a_closed_log_takes_no_appends,
            pages::records_come_back_as_they_were_stored,
            pages::a_read_sees_every_append_before_it,
            pages::a_page_ends_at_its_limits,
            pages::the_first_record_fits_any_page,
            pages::pages_from_any_offset_join_without_seam,
            channels::create_stores_channel_and_members,
            channels::a_channel_is_created_once,
            channels::of_many_creators_one_is_new,
            channels::channels_are_listed_in_name_order,
            channels::members_are_set_replaced_and_removed_by_appends,
            channels::i11_a_change_of_members_comes_with_its_append_or_not_at_all,
            channels::members_are_paged_in_user_order,
            channels::members_of_one_channel_are_not_those_of_another,
            cursors::a_user_without_moves_has_no_cursor,
            cursors::cursors_only_move_forward_in_any_order,
            cursors::reading_implies_delivery,
            cursors::moves_of_one_call_are_answered_in_order,
            cursors::cursors_are_listed_per_channel,
            cursors::racing_moves_merge,
            id_bounds::a_bound_starts_at_zero_and_never_lowers,
            id_bounds::i10_a_bound_that_somebody_else_raised_is_not_raised,
            id_bounds::i10_of_many_raisers_one_succeeds,
            id_bounds::workers_have_bounds_of_their_own,
            id_leases::holders_have_numbers_of_their_own,
            id_leases::a_holder_keeps_its_number,
            id_leases::what_is_given_back_or_expired_is_used_again_last,
            rosters::who_beats_is_on_the_roster_in_name_order,
            rosters::who_is_silent_for_the_lease_is_off,
            rosters::an_older_incarnation_is_superseded,
            rosters::who_leaves_is_off_at_once,
            trims::a_trim_takes_the_oldest_and_leaves_the_head,
            trims::a_page_below_the_trim_point_is_a_named_gap,
            trims::a_trim_never_goes_back_and_stops_at_the_head,
            trims::origins_of_trimmed_records_are_recognised,
            trims::a_long_trim_leaves_all_that_is_behind_it,
            trims::readers_beside_a_trim_see_records_or_the_gap,
            trims::a_closed_log_is_not_trimmed,
            redactions::a_redacted_record_keeps_its_place_and_everything_but_its_payload,
            redactions::i3_a_redacted_record_is_recognised_when_it_comes_again,
            redactions::what_is_not_there_is_not_redacted,
            redactions::a_redaction_outlives_a_reopening,
            keeping::nothing_is_ordered_of_a_new_channel,
            keeping::orders_are_kept_with_who_when_and_why,
            keeping::what_is_on_hold_is_not_given_up,
            keeping::redactions_are_listed_in_order_and_the_first_ones_author_stays,
            keeping::floors_never_go_down,
            keeping::of_many_first_keys_one_is_kept_and_an_erased_one_is_gone,
            keeping::racing_orders_are_all_carried_out,
            keeping::the_clock_of_retention_never_goes_back,
            keeping::the_keeping_outlives_a_reopening,
            inboxes::a_mark_moves_a_channel_behind_all_others,
            inboxes::inboxes_of_users_are_apart,
            inboxes::an_inbox_is_paged_in_the_order_of_its_marks,
            inboxes::changes_merge_and_are_counted,
            inboxes::pulled_channels_are_apart_from_marks_and_outlive_a_reopening,
            inboxes::places_are_not_given_again,
            inboxes::racing_marks_get_places_of_their_own,
            inboxes::any_inbox_agrees_with_the_model,
            relations::a_relation_is_seen_from_both_ends,
            relations::a_late_version_never_wins,
            relations::a_removal_comes_before_its_relation,
            relations::neighbours_are_paged_from_both_ends,
            relations::any_relations_agree_with_the_model,
            revocations::i11_the_latest_revocation_of_a_user_is_kept,
            revocations::of_many_revocations_the_latest_are_told_first,
            revocations::i11_a_revocation_outlives_a_reopening,
            intents::intents_come_with_their_append_or_not_at_all,
            intents::intents_of_one_commit_are_numbered_in_its_order,
            intents::intents_are_paged_by_size,
            intents::completed_intents_are_gone_and_their_numbers_too,
            intents::any_intents_agree_with_the_model,
            manifests::a_segment_is_put_once_and_replaced_from_its_state,
            manifests::manifest_changes_happen_together_or_not_at_all,
            manifests::segments_are_listed_by_shard_and_time,
            manifests::any_manifest_agrees_with_the_model,
            archived::a_channel_is_archived_from_what_was_expected,
            archived::i7_what_is_archived_stays_archived,
            archived::channels_of_one_call_are_archived_apart,
            archived::of_many_archivers_one_wins,
            archived::how_far_a_channel_is_archived_outlives_a_reopening,
            archived::heads_of_a_slot_are_listed_in_key_order,
            adoptions::a_log_begins_behind_what_lies_elsewhere,
            adoptions::a_channel_with_records_is_not_adopted,
            adoptions::i5_an_adoption_opens_a_later_epoch_or_none,
            adoptions::members_come_with_an_adoption,
            adoptions::an_adopted_channel_outlives_a_reopening,
            concurrent::racing_writers_leave_a_dense_log,
            concurrent::a_racing_retransmission_is_stored_once,
            concurrent::readers_beside_writers_see_no_hole,
            model::any_history_agrees_with_the_model,
            reopen::everything_outlives_a_reopening,
            reopen::an_origin_is_recognised_after_a_reopening,
            reopen::the_birth_of_a_store_does_not_change,
            reopen::a_trim_outlives_a_reopening,
        }
    };
}

fn key(name: &str) -> ChannelKey {
    name_of(name).key()
}

fn name_of(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn origin(client: &str, client_seq: u64) -> Origin {
    Origin { client_id: ClientId::new(client).unwrap(), client_seq }
}

/// A record with an origin; the payload and the id follow from it.
fn record(client: &str, client_seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(1_000_000 + client_seq),
        sender: user("alice"),
        origin: Some(origin(client, client_seq)),
        client_msg_id: Bytes::from_static(b"0123456789abcdef"),
        server_ts_ms: 1_000 + client_seq,
        client_ts_ms: 900 + client_seq,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: Bytes::from(format!("{client}/{client_seq}")),
    }
}

fn marker() -> NewRecord {
    NewRecord {
        kind: sterna_proto::v1::PublicationKind::Epoch as i32,
        origin: None,
        payload: Bytes::new(),
        ..record("marker", 1)
    }
}

/// `count` records of one client, from a sequence number on.
fn records(client: &str, from: u64, count: u64) -> Vec<NewRecord> {
    (from..from + count).map(|seq| record(client, seq)).collect()
}

/// Appends behind the present head and expects success.
async fn append(log: &dyn PublicationLog, channel: ChannelKey, records: Vec<NewRecord>) -> Head {
    let expected = log.head(channel).await.unwrap().map(|head| head.position);
    let mut verdicts = log.append(vec![Append::new(channel, expected, records)]).await;
    assert_eq!(verdicts.len(), 1);
    verdicts.remove(0).unwrap()
}

/// Everything behind an offset, page by page.
async fn read_all(log: &dyn PublicationLog, channel: ChannelKey, limit: PageLimit) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let after = found.last().map_or(Offset::ZERO, |record| record.position.offset);
        let page = log.read(channel, after, limit).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

fn at(epoch: Epoch, offset: u64) -> Position {
    Position { epoch, offset: Offset(offset) }
}

/// The offsets are 1, 2, 3, ... (I2).
fn assert_dense(records: &[Record]) {
    let offsets: Vec<u64> = records.iter().map(|record| record.position.offset.0).collect();
    let dense: Vec<u64> = (1..=records.len() as u64).collect();
    assert_eq!(offsets, dense);
}

const WIDE: PageLimit = PageLimit { records: 100, payload_bytes: 1 << 20 };
