//! History that lies in memory, in the log and in an archive at once, while publications move from
//! one to the other, segments are made into larger ones, the object store answers 503, keeps silent,
//! cuts uploads and damages bytes, and the node is killed at steps that the seed names. Readers ask
//! from positions at random: every answer is exact, or an error that says so.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use sterna_client::{ChannelId, Client, Epoch, Error, History, Offset, Position, Transport};
use sterna_system_tests::checker::Seen;
use sterna_system_tests::crowd;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::served::{Authority, Served};
use sterna_test_engines::S3Server;
use tokio::task::JoinSet;

use super::{HIT_PATIENCE, SOME, judge};
use crate::campaign::Outcome;
use crate::gate::Gate;
use crate::injector::Injector;
use crate::place::Place;
use crate::workload::{Plan, Workload};

const AUTHORITY: &str = "authority";
/// Answers that readers wait for in one round; forty rounds are 100,000.
const CURSORS: u64 = 2_500;
const READERS: usize = 8;
const ROOMS: usize = 2;
const MOST_OF_A_PAGE: u32 = 60;
const KILLS: usize = 3;

/// Everything is old after a second, and what a second brings is far less than a segment may hold, so
/// that segments are put together.
const EAGER: &str = "after = \"1s\"\nevery = \"1s\"\ngrace = \"2s\"\nkeep_newest = 3\n\
                     segment_bytes = 1048576\n";

/// What a node calls while it reads its log, packs, uploads, reads back, refers and trims, and while
/// it answers.
const STEPS: &[&str] =
    &["pwrite64", "fdatasync", "write", "writev", "sendto", "recvfrom", "sendmsg", "futex", "read"];

pub async fn cursors(rng: &mut StdRng) -> Outcome {
    let server = S3Server::start();
    let address: SocketAddr = server.endpoint()["http://".len()..].parse().unwrap();
    let gate = Gate::open(address, rng.random()).await;
    let mut node = serve(&gate).await;
    let place = Place::of_served(&node, AUTHORITY);
    let plan = Plan { rooms: ROOMS, ..Plan::default() };
    let workload = Workload::start(&place, &plan, rng);
    // Something is replaced, and will be removed, before anybody reads and trouble begins.
    // It takes eight passes, and on a busy machine one of them ten seconds.
    let until = tokio::time::Instant::now() + 5 * PATIENCE;
    while compactions(&node).await == 0.0 {
        assert!(tokio::time::Instant::now() < until, "nothing is put together:\n{}", node.log());
        workload.go_on_for(SOME).await;
    }
    trimmed(&node).await;
    let mut readers = Readers::start(&place, rng);
    gate.trouble(true);
    let mut note = String::new();
    let mut kills = 0;
    let (mut pages, mut compacted) = (0.0, 0.0);
    for at in 1..=KILLS as u64 {
        readers.answered(CURSORS * at / (KILLS as u64 + 1)).await;
        workload.go_on_for(SOME).await;
        pages += from_archive(&node).await;
        compacted += compactions(&node).await;
        let call = STEPS.choose(rng).copied().unwrap_or("write");
        let nth = rng.random_range(1..200);
        kills += u64::from(kill_at(&mut node, call, nth, &mut note).await);
        restart(&mut node).await;
    }
    readers.answered(CURSORS).await;
    gate.trouble(false);
    let notes = readers.finish().await;
    notes.read_whole(&place).await;
    pages += from_archive(&node).await;
    compacted += compactions(&node).await;
    assert!(pages > 0.0, "the archive was never asked: this round proves nothing");
    let struck = gate.struck();
    let injected = kills + struck.iter().map(|(_, count)| count).sum::<u64>();
    let outcome = judge(&place, workload, rng, injected).await;
    node.signal(libc::SIGTERM);
    let mut violations = outcome.violations.clone();
    violations.extend(notes.wrong.lock().unwrap().drain(..));
    if node.ended().await.code() != Some(0) {
        violations.push(format!("the node did not end well:\n{}", node.log()));
    }
    let (exact, refused) =
        (notes.exact.load(Ordering::Relaxed), notes.refused.load(Ordering::Relaxed));
    note.push_str(&format!("{exact} exact, {refused} refused, {pages} from the archive, "));
    note.push_str(&format!("{compacted} segments replaced"));
    let hits = struck.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name.to_owned());
    Outcome { violations, note, hits: hits.collect(), ..outcome }
}

async fn serve(gate: &Gate) -> Served {
    let authority = Authority::new(AUTHORITY);
    let mut node = Served::prepare(&authority, "");
    node.write_secret("archive.id", S3Server::ACCESS_KEY);
    node.write_secret("archive.secret", S3Server::SECRET_KEY);
    node.write_config(&format!(
        "[archive]\nurl = \"s3://{}/faults\"\nendpoint = {:?}\nregion = \"eu\"\n\
         key_id_file = {:?}\nsecret_file = {:?}\n{EAGER}",
        S3Server::BUCKET,
        gate.endpoint(),
        node.path("archive.id"),
        node.path("archive.secret"),
    ));
    node.start(&[], &[]).await;
    node
}

/// Killed at the n-th call, or at once if it does not come to that.
async fn kill_at(node: &mut Served, call: &str, nth: usize, note: &mut String) -> bool {
    let injector = Injector::attach(node.id(), call, &format!("signal=KILL:when={nth}"));
    let hit = tokio::time::timeout(HIT_PATIENCE, node.exit()).await;
    let Ok(status) = hit else {
        injector.detach().await;
        node.kill().await;
        return false;
    };
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{call} {nth}: {}", node.log());
    note.push_str(&format!("{call}:{nth} "));
    true
}

/// Where its clients look for it.
async fn restart(node: &mut Served) {
    let address = format!("client.address={}", node.client_address());
    node.start(&[], &["--set", &address]).await;
}

/// Waits until something has left the log.
async fn trimmed(node: &Served) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while node.metric("sterna_archive_trimmed_total", "").await.unwrap_or(0.0) == 0.0 {
        assert!(tokio::time::Instant::now() < until, "nothing is archived:\n{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn from_archive(node: &Served) -> f64 {
    node.metric("sterna_archive_pages_total", "").await.unwrap_or(0.0)
}

async fn compactions(node: &Served) -> f64 {
    node.metric("sterna_archive_replaced_total", "").await.unwrap_or(0.0)
}

/// What all readers know.
#[derive(Debug, Default)]
struct Notes {
    exact: AtomicU64,
    refused: AtomicU64,
    wrong: Mutex<Vec<String>>,
    /// Whoever reads an offset again reads the same.
    known: Mutex<HashMap<(usize, u64), Seen>>,
    heads: Mutex<HashMap<usize, Position>>,
}

#[derive(Debug)]
struct Readers {
    notes: Arc<Notes>,
    tasks: JoinSet<()>,
    clients: Vec<Client>,
}

impl Readers {
    fn start(place: &Place, rng: &mut StdRng) -> Self {
        let mut readers = Self { notes: Arc::default(), tasks: JoinSet::new(), clients: vec![] };
        for at in 0..READERS {
            let transport = [Transport::Quic, Transport::WebSocket][at % 2];
            let builder = place.builder(&format!("cursor-{at}")).transports([transport]);
            let client = builder.build().unwrap();
            client.connect();
            let rng = StdRng::seed_from_u64(rng.random());
            readers.tasks.spawn(read_on(client.clone(), Arc::clone(&readers.notes), rng));
            readers.clients.push(client);
        }
        readers
    }

    /// Waits until so many positions have been answered exactly.
    async fn answered(&mut self, wanted: u64) {
        let (mut last, mut moved) = (0, tokio::time::Instant::now());
        loop {
            let exact = self.notes.exact.load(Ordering::Relaxed);
            if exact >= wanted {
                return;
            }
            if exact > last {
                (last, moved) = (exact, tokio::time::Instant::now());
            }
            {
                let wrong = self.notes.wrong.lock().unwrap();
                assert!(wrong.len() < 20, "{wrong:#?}");
            }
            assert!(self.tasks.try_join_next().is_none(), "readers go on until they are told");
            let refused = self.notes.refused.load(Ordering::Relaxed);
            let stuck = moved.elapsed() > PATIENCE;
            assert!(!stuck, "{exact} of {wanted}, {refused} refused: no reader gets on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn finish(mut self) -> Arc<Notes> {
        self.tasks.shutdown().await;
        for client in &self.clients {
            client.close().await;
        }
        self.notes
    }
}

fn room(at: usize) -> ChannelId {
    ChannelId::new(&format!("room:faults-{at}")).unwrap()
}

async fn read_on(client: Client, notes: Arc<Notes>, mut rng: StdRng) {
    loop {
        let at = rng.random_range(0..ROOMS);
        let head = notes.heads.lock().unwrap().get(&at).copied();
        let cursor = head.map(|head| Position {
            epoch: head.epoch,
            offset: Offset(rng.random_range(0..=head.offset.0)),
        });
        let history = History {
            since: cursor,
            limit: rng.random_range(1..=MOST_OF_A_PAGE),
            // Before offset 0 means before the end.
            backwards: cursor.is_some_and(|it| it.offset.0 > 0) && rng.random_bool(0.3),
        };
        match client.history(&room(at), history).await {
            Ok(page) => match notes.judge(at, &history, &page) {
                Ok(()) => drop(notes.exact.fetch_add(1, Ordering::Relaxed)),
                Err(why) => {
                    let wrong = format!("{} {history:?}: {why}", room(at));
                    notes.wrong.lock().unwrap().push(wrong);
                }
            },
            Err(Error::Protocol(why)) => notes.wrong.lock().unwrap().push(why.to_string()),
            // Said in words, and to be asked again.
            Err(_) => {
                notes.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

impl Notes {
    /// Neighbouring offsets from the cursor on, each as it was read before.
    fn judge(&self, at: usize, asked: &History, page: &sterna_client::Page) -> Result<(), String> {
        let cursor = asked.since.map_or(0, |since| since.offset.0);
        let offsets: Vec<u64> = page.publications.iter().map(|it| it.position.offset.0).collect();
        let expected = match (asked.backwards, offsets.len() as u64) {
            (false, 0) if cursor < page.head.0 => return Err("an empty page".to_owned()),
            (true, 0) if cursor > 1 => return Err("an empty page backwards".to_owned()),
            (false, count) => cursor + 1..cursor + 1 + count,
            (true, count) => cursor - count..cursor,
        };
        if !expected.clone().eq(offsets.iter().copied()) || offsets.len() > asked.limit as usize {
            return Err(format!("{offsets:?} instead of {expected:?}"));
        }
        let all = match asked.backwards {
            true => expected.start <= 1,
            false => expected.end > page.head.0,
        };
        if page.more == all {
            return Err(format!("more is {} at {expected:?} of {}", page.more, page.head.0));
        }
        let mut known = self.known.lock().unwrap();
        for publication in &page.publications {
            let seen = crowd::seen(publication);
            let before = known.entry((at, seen.offset)).or_insert_with(|| seen.clone());
            if *before != seen {
                return Err(format!("{seen:?} instead of {before:?}"));
            }
        }
        let mut heads = self.heads.lock().unwrap();
        let head = heads.entry(at).or_insert(Position { epoch: page.epoch, offset: page.head });
        head.offset = head.offset.max(page.head);
        Ok(())
    }

    /// When all trouble is over, every room is read from its beginning and nothing is refused for
    /// long.
    async fn read_whole(&self, place: &Place) {
        let client = place.builder("cursor-whole").build().unwrap();
        client.connect();
        for at in 0..ROOMS {
            let mut cursor = Position { epoch: Epoch(0), offset: Offset(0) };
            let until = tokio::time::Instant::now() + PATIENCE;
            loop {
                let since = (cursor.offset.0 > 0).then_some(cursor);
                let history = History { since, limit: 200, backwards: false };
                let page = match client.history(&room(at), history).await {
                    Ok(page) => page,
                    Err(error) => {
                        assert!(tokio::time::Instant::now() < until, "{}: {error}", room(at));
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                if let Err(why) = self.judge(at, &history, &page) {
                    self.wrong.lock().unwrap().push(format!("{} at last: {why}", room(at)));
                    break;
                }
                let Some(last) = page.publications.last().filter(|_| page.more) else { break };
                cursor = last.position;
            }
        }
        client.close().await;
    }
}

#[cfg(test)]
mod tests {
    use sterna_client::{Page, v1};

    use super::*;

    fn page(offsets: impl IntoIterator<Item = u64>, head: u64, more: bool, text: &str) -> Page {
        let publication = |offset| v1::Publication {
            epoch: 1,
            offset,
            payload: text.to_owned().into_bytes().into(),
            ..v1::Publication::default()
        };
        let publications = offsets.into_iter().map(publication).collect();
        let page = v1::HistoryPage {
            publications,
            epoch: 1,
            head_offset: head,
            more,
            ..Default::default()
        };
        page.into()
    }

    fn after(offset: u64) -> History {
        let position = Position { epoch: Epoch(1), offset: Offset(offset) };
        History { limit: 5, ..History::since(position) }
    }

    #[test]
    fn i5_what_is_not_exact_is_found() {
        let notes = Notes::default();
        notes.judge(0, &after(2), &page(3..=7, 9, true, "a")).unwrap();
        notes.judge(0, &after(7), &page(8..=9, 9, false, "a")).unwrap();
        let before = History { backwards: true, ..after(3) };
        notes.judge(0, &before, &page(1..=2, 9, false, "a")).unwrap();
        let wrong = [
            ("a hole", after(2), page([3, 5], 9, true, "a")),
            ("a double", after(2), page([3, 3], 9, true, "a")),
            ("later ones", after(2), page(4..=6, 9, true, "a")),
            ("too many", after(2), page(3..=8, 9, true, "a")),
            ("another text", after(2), page(3..=7, 9, true, "b")),
            ("nothing", after(2), page([], 9, false, "a")),
            ("no end", after(7), page(8..=9, 9, true, "a")),
            ("an early end", after(2), page(3..=7, 9, false, "a")),
            ("not the newest before", before, page([1], 9, false, "a")),
            ("nothing before", before, page([], 9, false, "a")),
        ];
        for (what, asked, page) in wrong {
            assert!(notes.judge(0, &asked, &page).is_err(), "{what}");
        }
    }
}
