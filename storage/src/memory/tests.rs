//! The memory engine beyond the conformance suite.

use std::time::{Duration, UNIX_EPOCH};

use sterna_proto::Epoch;

use super::{MemoryStore, birth_of};

crate::conformance_suite! {
    let store = MemoryStore::new();
    move || store.stores()
}

#[test]
fn birth_counts_seconds_since_2024() {
    let new_year_2024 = UNIX_EPOCH + Duration::from_secs(1_704_067_200);
    assert_eq!(birth_of(new_year_2024 + Duration::from_secs(86_400)), Epoch(86_400));
    assert_eq!(birth_of(UNIX_EPOCH), Epoch(1), "a clock that was never set");
}
