//! Promises of the second guard of ids (I10).

use tokio::task::JoinSet;

use super::VolatilePlace;

pub async fn a_floor_is_the_highest_ever_said(place: &VolatilePlace) {
    let floor = &place.stores.id_floor;
    let huge = u64::MAX - 1;
    for (said, highest) in [
        (0, 0),
        (999, 999),
        (1000, 1000),
        (99, 1000),
        (huge, huge),
        (7, huge),
        (u64::MAX, u64::MAX),
    ] {
        assert_eq!(floor.raise_floor(3, said).await.unwrap(), highest);
    }
    assert_eq!(floor.raise_floor(4, 1).await.unwrap(), 1);
    (place.forget)().await;
    assert_eq!(floor.raise_floor(3, 5).await.unwrap(), 5);
}

pub async fn racing_floors_leave_the_highest(place: &VolatilePlace) {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let floor = place.stores.id_floor.clone();
        writers.spawn(async move {
            for step in 0..16 {
                let said = step * 8 + writer;
                assert!(floor.raise_floor(1, said).await.unwrap() >= said);
            }
        });
    }
    writers.join_all().await;
    assert_eq!(place.stores.id_floor.raise_floor(1, 0).await.unwrap(), 127);
}
