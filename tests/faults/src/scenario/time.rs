//! A wall clock that jumps back and forth by up to an hour, while the node runs and over a kill.

use std::future::IntoFuture as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng as _;
use rand::rngs::StdRng;
use sterna_client::{ChannelId, History, Transport};
use sterna_system_tests::node::{Node, PATIENCE};
use tempfile::TempDir;

use super::{SOME, conclude};
use crate::campaign::Outcome;
use crate::disk::temporary;
use crate::place::Place;
use crate::workload::{Plan, Workload, within};

const JUMPS: u64 = 4;
const HOUR_SECONDS: i64 = 3600;
/// A shift is seen when the node's time is off by it, give or take what a busy machine takes.
const SLACK_SECONDS: i64 = 60;

pub async fn clock(rng: &mut StdRng) -> Outcome {
    let Some(library) = library() else {
        return Outcome::skipped("libfaketime is missing: `tools/setup.sh test` installs it");
    };
    let clock = FakeClock { folder: temporary("sterna-clock-") };
    clock.set(0);
    let mut node = Node::start().await;
    assert!(node.terminate().await.success());
    let settings = [
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.file().display()),
    ];
    let [library, file] = &settings;
    let plain = ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"];
    node.launch_through(&[&["env", library, file], &plain[..]].concat());
    node.restart().await;
    let place = Place::of(&node);
    let workload = Workload::start(&place, &Plan::default(), rng);
    let (mut seen, mut note) = (0, String::new());
    for at in 0..JUMPS {
        workload.go_on_for(SOME).await;
        let shift = draw(rng);
        clock.set(shift);
        note.push_str(&format!("{shift:+} s "));
        if rng.random_bool(0.4) {
            node.kill().await;
            node.restart().await;
            note.push_str("kill ");
        }
        let shown = shift_shown(&place, at).await;
        if (shown - shift).abs() < SLACK_SECONDS {
            seen += 1;
        } else {
            note.push_str(&format!("(unseen: {shown:+} s) "));
        }
    }
    // Whatever it says by now, it does not matter to who verifies.
    Outcome { note, ..conclude(node, workload, rng, seen).await }
}

/// Large enough to be told from no shift at all.
fn draw(rng: &mut StdRng) -> i64 {
    let shift = rng.random_range(2 * SLACK_SECONDS..=HOUR_SECONDS);
    if rng.random_bool(0.5) { shift } else { -shift }
}

/// By how much the node's wall clock is ahead of this process's: as a publication says that is the
/// first of its channel, since time never goes back along one.
async fn shift_shown(place: &Place, at: u64) -> i64 {
    let room = ChannelId::new(&format!("room:clock-{at}")).unwrap();
    let client = place.builder("watchmaker").transports([Transport::Quic]).build().unwrap();
    client.connect();
    client.ready(PATIENCE).await.unwrap();
    within("an answer", client.publish(&room, "what time is it?").into_future()).await.unwrap();
    let history = History { since: None, limit: 1, backwards: false };
    let page = within("a page", client.history(&room, history)).await.unwrap();
    client.close().await;
    let theirs_ms = page.publications[0].server_ts_ms as i64;
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (theirs_ms - ours.as_millis() as i64) / 1_000
}

/// The time of a process, as a file that it reads.
struct FakeClock {
    folder: TempDir,
}

impl FakeClock {
    fn set(&self, shift_seconds: i64) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, format!("{shift_seconds:+}")).unwrap();
        // In one step: who reads half a line has the right time.
        std::fs::rename(fresh, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("shift")
    }
}

/// Where Debian and others put the library of the program faketime.
fn library() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(Into::into).into();
    let inside = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    folders.extend(inside(Path::new("/usr/lib")).map(|entry| entry.path()));
    folders.iter().map(|it| it.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}
