//! Old pages of logs in Redis, which may be flushed, killed or stopped at any moment (I6).

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{eventually, few, key};
use sterna_proto::Epoch;
use sterna_storage::page::{PageCache, PageName};
use sterna_storage_redis::{PAGES_KEPT, RedisConfig, RedisStore};
use sterna_test_engines::redis::RedisServer;

mod single {
    sterna_storage::page_conformance_suite! { super::single() }
}

mod cluster {
    sterna_storage::page_conformance_suite! { super::cluster() }
}

fn single() -> Arc<RedisStore> {
    let url = common::shared_server().url();
    Arc::new(RedisStore::open(few(RedisConfig::new(url))).unwrap())
}

fn cluster() -> Arc<RedisStore> {
    let urls = common::shared_cluster().urls();
    Arc::new(RedisStore::open(few(RedisConfig::cluster(urls))).unwrap())
}

fn name(epoch: u32, number: u64) -> PageName {
    PageName { channel: key("room"), epoch: Epoch(epoch), number }
}

fn page(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn numbers(cache: &dyn PageCache, names: &[PageName]) -> Vec<(u32, u64)> {
    let found = cache.pages(names.to_vec()).await.unwrap();
    let kept = names.iter().zip(found).filter(|(_, page)| page.is_some());
    kept.map(|(name, _)| (name.epoch.0, name.number)).collect()
}

#[tokio::test]
async fn i12_of_more_pages_of_a_channel_the_oldest_go() {
    let cache = single();
    let all: Vec<PageName> =
        (90..=110).map(|number| name(1, number)).chain([name(2, 9), name(10, 1)]).collect();
    let mut shuffled = all.clone();
    shuffled.sort_by_key(|name| name.number % 7);
    // The last of all is an old one: it has to go again.
    shuffled.push(name(1, 0));
    for name in shuffled {
        cache.keep(vec![(name, page("x"))]).await.unwrap();
    }
    let newest: Vec<(u32, u64)> = all.iter().map(|it| (it.epoch.0, it.number)).collect();
    let asked: Vec<PageName> = [name(1, 0)].into_iter().chain(all).collect();
    assert_eq!(numbers(&*cache, &asked).await, newest[newest.len() - PAGES_KEPT..]);
}

#[tokio::test]
async fn pages_end_by_themselves() {
    let server = RedisServer::start();
    let cache = RedisStore::open(few(RedisConfig::new(server.url()))).unwrap();
    cache.keep(vec![(name(1, 1), page("x"))]).await.unwrap();
    let keys: Vec<String> = server.command(&["KEYS", "*hot:*"]);
    assert_eq!(keys.len(), 1);
    let ends_in: i64 = server.command(&["PTTL", &keys[0]]);
    assert!((1..=600_000).contains(&ends_in), "{ends_in}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_flush_or_a_death_loses_pages_and_nothing_else() {
    let mut server = RedisServer::start();
    let config = few(RedisConfig::new(server.url()));
    let config = RedisConfig { call_timeout: Duration::from_millis(500), ..config };
    let cache = RedisStore::open(config).unwrap();
    cache.keep(vec![(name(1, 1), page("x"))]).await.unwrap();
    server.command::<()>(&["FLUSHALL"]);
    assert_eq!(cache.pages(vec![name(1, 1)]).await.unwrap(), [None]);
    cache.keep(vec![(name(1, 1), page("y"))]).await.unwrap();
    assert_eq!(cache.pages(vec![name(1, 1)]).await.unwrap(), [Some(page("y"))]);
    server.kill();
    assert!(cache.pages(vec![name(1, 1)]).await.is_err());
    assert!(cache.keep(vec![(name(1, 2), page("z"))]).await.is_err());
    server.restart();
    let cache = &cache;
    eventually("it answers again", || async {
        cache.pages(vec![name(1, 1)]).await.is_ok_and(|found| found == [None])
    })
    .await;
}
