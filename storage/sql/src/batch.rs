//! How many rows go into one statement.
//!
//! A statement is prepared once for each number of rows and then kept, by the connection and by the
//! server, and servers count what all connections keep together (`max_prepared_stmt_count`, 16,382
//! unless set otherwise). So rows come in few numbers: what is written is split into batches of
//! them, and what is asked for is padded up to one.

/// The numbers, smallest first. The small ones are all there, so that what a calm channel commits is
/// one statement; beyond, a second statement is cheaper than many that are kept.
const SIZES: [usize; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 96, MOST];

/// Most rows of one statement.
pub(crate) const MOST: usize = 128;

/// The largest batch that `rest` rows fill; `rest` is not 0.
pub(crate) fn batch(rest: usize) -> usize {
    SIZES.into_iter().rfind(|size| *size <= rest).unwrap_or(1)
}

/// The rows, in their order, in batches.
pub(crate) fn batches<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let (some, others) = rest.split_at(batch(rest.len().max(1)).min(rest.len()));
        rest = others;
        (!some.is_empty()).then_some(some)
    })
}

/// Keys to ask for, as they are but for the last one, which comes as often as a batch needs: asked
/// for twice it is found once.
pub(crate) fn padded<T: Clone>(keys: &[T]) -> impl Iterator<Item = Vec<T>> {
    keys.chunks(MOST).map(|some| {
        let size = SIZES.into_iter().find(|size| *size >= some.len()).unwrap_or(MOST);
        let last = some.last().into_iter().cycle().take(size - some.len());
        some.iter().chain(last).cloned().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_once_each_in_their_order_and_in_few_numbers() {
        for count in 0..1_000 {
            let rows: Vec<usize> = (0..count).collect();
            let split: Vec<&[usize]> = batches(&rows).collect();
            assert_eq!(split.concat(), rows);
            assert!(split.iter().all(|some| SIZES.contains(&some.len())), "{count}");
            assert!(split.len() <= count / MOST + 4, "{count} rows in {} statements", split.len());
        }
    }

    #[test]
    fn keys_are_all_asked_for_and_none_that_was_not_given() {
        for count in 0..1_000 {
            let keys: Vec<usize> = (0..count).collect();
            let mut asked: Vec<usize> = Vec::new();
            for some in padded(&keys) {
                assert!(SIZES.contains(&some.len()), "{count}");
                asked.extend(some);
            }
            asked.dedup();
            assert_eq!(asked, keys);
        }
    }
}
