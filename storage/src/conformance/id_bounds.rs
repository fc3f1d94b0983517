//! Promises of the id bound (I10).

use super::Open;

pub async fn a_bound_starts_at_zero_and_never_lowers(open: Open<'_>) {
    let bounds = open().id_bound;
    assert_eq!(bounds.id_bound(0).await.unwrap(), 0);
    for (raise, expected) in [(500, 500), (400, 500), (0, 500), (501, 501), (u64::MAX, u64::MAX)] {
        bounds.raise_id_bound(0, raise).await.unwrap();
        assert_eq!(bounds.id_bound(0).await.unwrap(), expected);
    }
}

pub async fn workers_have_bounds_of_their_own(open: Open<'_>) {
    let bounds = open().id_bound;
    for worker in [0, 1, 255, 256, 1023] {
        bounds.raise_id_bound(worker, 1000 + u64::from(worker)).await.unwrap();
    }
    for worker in [0, 1, 255, 256, 1023] {
        assert_eq!(bounds.id_bound(worker).await.unwrap(), 1000 + u64::from(worker));
    }
    assert_eq!(bounds.id_bound(2).await.unwrap(), 0);
}
