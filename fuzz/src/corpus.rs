//! The kept inputs of a target, one file each, and where failing inputs go.

use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub(crate) struct Corpus {
    pub(crate) folder: PathBuf,
    /// In the order of their names, so that a case means the same everywhere.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) inputs: Vec<Vec<u8>>,
}

impl Corpus {
    pub(crate) fn of(target: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let inputs = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
        Self { folder, paths, inputs }
    }
}

/// Keeps a failing input beside the build, for the one who looks into it.
pub(crate) fn save(target: &str, input: &[u8]) -> Option<PathBuf> {
    let binary = std::env::current_exe().ok()?;
    let folder = binary.ancestors().nth(3)?.join("fuzz-found");
    fs::create_dir_all(&folder).ok()?;
    let path = folder.join(format!("{target}-{:016x}", fingerprint(input)));
    fs::write(&path, input).ok()?;
    Some(path)
}

/// FNV-1a; names a file.
fn fingerprint(input: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    input.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
