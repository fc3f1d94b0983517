//! Promises of the id bound (I10).

use tokio::task::JoinSet;

use super::Open;

pub async fn a_bound_starts_at_zero_and_never_lowers(open: Open<'_>) {
    let bounds = open().id_bound;
    assert_eq!(bounds.id_bound(0).await.unwrap(), 0);
    for (expected, raise, after) in
        [(0, 500, 500), (500, 400, 500), (500, 0, 500), (500, 501, 501), (501, u64::MAX, u64::MAX)]
    {
        assert!(bounds.raise_id_bound(0, expected, raise).await.unwrap());
        assert_eq!(bounds.id_bound(0).await.unwrap(), after);
    }
}

pub async fn i10_a_bound_that_somebody_else_raised_is_not_raised(open: Open<'_>) {
    let bounds = open().id_bound;
    assert!(!bounds.raise_id_bound(3, 5, 10).await.unwrap(), "it is 0");
    assert!(bounds.raise_id_bound(3, 0, 100).await.unwrap());
    for (expected, raise) in [(0, 200), (99, 200), (101, 200), (0, 50), (0, 100)] {
        assert!(!bounds.raise_id_bound(3, expected, raise).await.unwrap(), "{expected}");
        assert_eq!(bounds.id_bound(3).await.unwrap(), 100);
    }
}

pub async fn i10_of_many_raisers_one_succeeds(open: Open<'_>) {
    let bounds = open().id_bound;
    for round in 0..5 {
        let mut raisers = JoinSet::new();
        for n in 1..=6 {
            let bounds = bounds.clone();
            raisers.spawn(async move {
                bounds.raise_id_bound(9, round * 10, (round + 1) * 10).await.unwrap().then_some(n)
            });
        }
        let raised = raisers.join_all().await;
        assert_eq!(raised.iter().flatten().count(), 1, "round {round}: {raised:?}");
        assert_eq!(bounds.id_bound(9).await.unwrap(), (round + 1) * 10);
    }
}

pub async fn workers_have_bounds_of_their_own(open: Open<'_>) {
    let bounds = open().id_bound;
    for worker in [0, 1, 255, 256, 1023] {
        assert!(bounds.raise_id_bound(worker, 0, 1000 + u64::from(worker)).await.unwrap());
    }
    for worker in [0, 1, 255, 256, 1023] {
        assert_eq!(bounds.id_bound(worker).await.unwrap(), 1000 + u64::from(worker));
    }
    assert_eq!(bounds.id_bound(2).await.unwrap(), 0);
}
