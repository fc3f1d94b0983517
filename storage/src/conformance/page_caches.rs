//! What every cache of pages must do.

use std::sync::Arc;

use bytes::Bytes;
use sterna_proto::{ChannelId, Epoch};

use crate::page::{PAGE_BYTES, PageCache, PageName};

/// Makes one test of each promise. The block opens a new, empty cache within the test's runtime, with
/// room for some megabytes.
#[macro_export]
macro_rules! page_conformance_suite {
    (@each $place:tt $($promise:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::conformance::page_caches::$promise($place).await;
            }
        )*
    };
    ($($place:tt)*) => {
        $crate::page_conformance_suite! { @each { $($place)* }
            what_was_never_kept_is_not_there,
            pages_come_back_as_they_were_kept_last,
            a_dropped_page_is_gone_and_its_neighbours_are_not,
            pages_of_other_epochs_and_channels_are_others,
            a_page_that_is_too_large_is_not_kept,
            racing_callers_never_see_a_mixture,
        }
    };
}

fn name(channel: &str, epoch: u32, number: u64) -> PageName {
    let channel = ChannelId::new(channel).unwrap().key();
    PageName { channel, epoch: Epoch(epoch), number }
}

fn page(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn found(cache: &dyn PageCache, names: &[PageName]) -> Vec<Option<Bytes>> {
    let found = cache.pages(names.to_vec()).await.unwrap();
    assert_eq!(found.len(), names.len());
    found
}

pub async fn what_was_never_kept_is_not_there(cache: Arc<dyn PageCache>) {
    assert!(found(&*cache, &[]).await.is_empty());
    assert_eq!(found(&*cache, &[name("a", 1, 0), name("a", 1, 9)]).await, [None, None]);
    cache.keep(Vec::new()).await.unwrap();
    cache.drop_pages(vec![name("a", 1, 0)]).await.unwrap();
    cache.drop_pages(Vec::new()).await.unwrap();
}

pub async fn pages_come_back_as_they_were_kept_last(cache: Arc<dyn PageCache>) {
    let binary: Bytes = (0..=255).collect::<Vec<u8>>().into();
    let (one, two, far) = (name("a", 1, 1), name("a", 1, 2), name("a", 1, u64::MAX / 64));
    let kept = vec![(two, page("two")), (one, binary.clone()), (far, page("far"))];
    cache.keep(kept).await.unwrap();
    let asked = [one, name("a", 1, 3), two, far];
    let expected = [Some(binary), None, Some(page("two")), Some(page("far"))];
    assert_eq!(found(&*cache, &asked).await, expected);
    cache.keep(vec![(two, page("newer"))]).await.unwrap();
    assert_eq!(found(&*cache, &[two]).await, [Some(page("newer"))]);
}

pub async fn a_dropped_page_is_gone_and_its_neighbours_are_not(cache: Arc<dyn PageCache>) {
    let names: Vec<PageName> = (0..4).map(|number| name("a", 1, number)).collect();
    cache.keep(names.iter().map(|name| (*name, page("x"))).collect()).await.unwrap();
    cache.drop_pages(names[1..3].to_vec()).await.unwrap();
    let left = [Some(page("x")), None, None, Some(page("x"))];
    assert_eq!(found(&*cache, &names).await, left);
}

pub async fn pages_of_other_epochs_and_channels_are_others(cache: Arc<dyn PageCache>) {
    for (n, other) in [name("a", 1, 5), name("a", 2, 5), name("b", 1, 5)].into_iter().enumerate() {
        cache.keep(vec![(other, page(&n.to_string()))]).await.unwrap();
    }
    let both = [name("a", 1, 5), name("a", 2, 5)];
    assert_eq!(found(&*cache, &both).await, [Some(page("0")), Some(page("1"))]);
    assert_eq!(found(&*cache, &[name("b", 1, 5)]).await, [Some(page("2"))]);
    cache.drop_pages(vec![name("a", 2, 5)]).await.unwrap();
    assert_eq!(found(&*cache, &both).await, [Some(page("0")), None]);
}

pub async fn a_page_that_is_too_large_is_not_kept(cache: Arc<dyn PageCache>) {
    let (large, small) = (name("a", 1, 0), name("a", 1, 1));
    let kept = vec![(large, vec![7; PAGE_BYTES + 1].into()), (small, page("x"))];
    cache.keep(kept).await.unwrap();
    assert_eq!(found(&*cache, &[large, small]).await, [None, Some(page("x"))]);
}

pub async fn racing_callers_never_see_a_mixture(cache: Arc<dyn PageCache>) {
    let one = name("a", 1, 0);
    let writers = (0..4u8).map(|n| {
        let cache = cache.clone();
        async move {
            for _ in 0..20 {
                cache.keep(vec![(one, vec![n; 1000].into())]).await.unwrap();
                if let [Some(page)] = &cache.pages(vec![one]).await.unwrap()[..] {
                    assert_eq!(page.len(), 1000);
                    assert!(page.iter().all(|byte| *byte == page[0]));
                }
            }
        }
    });
    futures_util::future::join_all(writers).await;
}
