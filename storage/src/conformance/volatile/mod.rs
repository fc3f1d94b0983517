//! What every engine of the volatile roles must do, one function per promise:
//!
//! ```text
//! sterna_storage::volatile_conformance_suite! { place() }
//! ```
//!
//! The block opens a new, empty [`VolatilePlace`] within the test's runtime. Leases are either so
//! short that the suite waits for their end, or so long that they do not end during a test.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sterna_proto::{NodeId, SessionId};

use crate::volatile::{Partition, RouteEvent, VolatileStores};

pub mod directories;
pub mod id_floors;
pub mod idempotency;
pub mod presence_deltas;
pub mod rates;
pub mod routes;
pub mod sentinels;

/// An engine under test, and a way to lose everything in it.
#[allow(missing_debug_implementations)] // Holds a closure; nobody prints it.
pub struct VolatilePlace {
    pub stores: VolatileStores,
    pub forget: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

/// Makes one test of each promise. The engine's crate needs tokio among its test dependencies.
#[macro_export]
macro_rules! volatile_conformance_suite {
    (@each $place:tt $($group:ident :: $promise:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::conformance::volatile::$group::$promise(&$place).await;
            }
        )*
    };
    ($($place:tt)*) => {
        $crate::volatile_conformance_suite! { @each { $($place)* }
            routes::an_unknown_channel_has_no_route,
            routes::routes_are_put_replaced_and_removed,
            routes::removing_what_is_not_there_changes_nothing,
            routes::a_route_ends_unless_it_is_put_again,
            routes::a_subscriber_begins_with_every_partition_lost,
            routes::changes_are_heard_with_their_versions,
            routes::versions_leap_over_a_loss,
            routes::racing_writers_get_versions_of_their_own,
            directories::sessions_count_while_their_edge_beats,
            directories::a_lapsed_lease_begins_anew,
            directories::a_later_incarnation_supersedes,
            directories::an_entry_is_removed_by_its_own_edge_only,
            directories::a_dropped_edge_takes_its_entries,
            directories::a_user_has_so_many_sessions_and_no_more,
            directories::a_loss_asks_edges_to_put_again,
            presence_deltas::deltas_come_back_in_order_and_whole,
            presence_deltas::a_reader_left_behind_is_told_so,
            presence_deltas::a_position_from_before_a_loss_is_gone,
            presence_deltas::racing_appends_are_all_read,
            rates::a_bucket_gives_its_limit_and_then_waits,
            rates::a_bucket_fills_again,
            rates::a_cost_above_the_limit_never_fits,
            rates::racing_takers_share_one_limit,
            idempotency::a_key_is_begun_once_and_tells_its_result,
            idempotency::a_key_belongs_to_one_command,
            idempotency::what_was_abandoned_begins_anew,
            idempotency::an_old_claim_does_nothing_over_a_newer_one,
            idempotency::a_result_is_kept_for_its_time,
            idempotency::of_many_beginners_one_is_new,
            idempotency::what_is_too_long_is_refused,
            id_floors::a_floor_is_the_highest_ever_said,
            id_floors::racing_floors_leave_the_highest,
            sentinels::a_loss_is_told_once_to_each,
            sentinels::of_many_first_looks_all_see_the_same,
        }
    };
}

/// Asks until the answer satisfies; fails when it does not for a long time.
async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "waited in vain for {what}");
}

/// The next event, which has to come.
async fn next(changes: &mut BoxStream<'static, RouteEvent>) -> RouteEvent {
    let event = tokio::time::timeout(Duration::from_secs(60), changes.next()).await;
    event.unwrap_or_else(|_| panic!("no event")).unwrap_or_else(|| panic!("the stream ended"))
}

/// Reads until a partition was called lost, which means from now on its changes are heard.
async fn listened(changes: &mut BoxStream<'static, RouteEvent>, partition: Partition) {
    while next(changes).await != RouteEvent::Lost(partition) {}
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

const fn session(number: u128) -> SessionId {
    SessionId(number)
}

/// Does not end during a test.
const LONG: Duration = Duration::from_hours(1);

/// Ends soon; tests wait for its end and assert nothing before it.
const SHORT: Duration = Duration::from_millis(30);
