//! The time of a process as a file that it reads: libfaketime shows it the wall clock so many seconds
//! before or after the real one, looked at anew each time. Monotonic time goes on as it does.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// See the module. For as long as a process runs by it.
#[derive(Debug)]
pub struct FakeClock {
    folder: TempDir,
}

impl FakeClock {
    /// A clock that is right.
    pub fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        clock.set("+0");
        clock
    }

    /// By so many seconds before or after the real time.
    pub fn set(&self, shift: &str) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, shift).unwrap();
        // In one step: who reads half a line has no wrong time but the right one.
        std::fs::rename(fresh, self.file()).unwrap();
    }

    /// What a process is started through that is to live by this clock.
    pub fn launcher(&self) -> Vec<String> {
        vec![
            "env".into(),
            format!("LD_PRELOAD={}", library().display()),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
            "NO_FAKE_STAT=1".into(),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("shift")
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Where Debian and others put the library of the program faketime.
fn library() -> PathBuf {
    let beside = |folder: &Path| folder.join("faketime/libfaketimeMT.so.1");
    let mut folders = vec![PathBuf::from("/usr/lib"), "/usr/lib64".into(), "/usr/local/lib".into()];
    let triplets = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    folders.extend(triplets);
    let found = folders.iter().map(|folder| beside(folder)).find(|path| path.exists());
    found.expect("libfaketime is missing: `tools/setup.sh test` installs the package faketime")
}
