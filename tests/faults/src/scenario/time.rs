//! A wall clock that jumps back and forth by up to an hour, while the node runs and over a kill.

use std::path::{Path, PathBuf};

use rand::Rng as _;
use rand::rngs::StdRng;
use sterna_system_tests::node::Node;
use tempfile::TempDir;

use super::{SOME, conclude};
use crate::campaign::Outcome;
use crate::disk::temporary;
use crate::place::Place;
use crate::workload::{Plan, Workload};

const JUMPS: u64 = 4;
const HOUR_SECONDS: i64 = 3600;

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
    let workload = Workload::start(&Place::of(&node), &Plan::default(), rng);
    let mut note = String::new();
    for _ in 0..JUMPS {
        workload.go_on_for(SOME).await;
        let shift = rng.random_range(-HOUR_SECONDS..=HOUR_SECONDS);
        clock.set(shift);
        note.push_str(&format!("{shift:+} s "));
        if rng.random_bool(0.4) {
            node.kill().await;
            node.restart().await;
            note.push_str("kill ");
        }
    }
    // Whatever it says by now, it does not matter to who verifies.
    Outcome { note, ..conclude(node, workload, rng, JUMPS).await }
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
