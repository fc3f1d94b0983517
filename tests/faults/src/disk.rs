//! Small disks of our own: ext4 in a file, mounted over a loop device. A [`Disk`] owns its image and
//! its mount and takes both away when dropped. Needs root and loop devices; where they are missing
//! it says so, and the scenario is skipped, not passed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const MIB: u64 = 1024 * 1024;
/// A mount may be held for a moment by a process that is just ending.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// A file system in a file.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: TempDir,
    /// Where the image is, when the disk made it.
    _folder: Option<TempDir>,
}

impl Disk {
    /// A new one, in a folder of its own.
    pub fn make(mib: u64) -> Result<Self, String> {
        let folder = temporary("sterna-disk-");
        let image = folder.path().join("image");
        let mut disk = Self::make_in(&image, mib)?;
        disk._folder = Some(folder);
        Ok(disk)
    }

    fn make_in(image: &Path, mib: u64) -> Result<Self, String> {
        let file = fs::File::create(image).map_err(|error| error.to_string())?;
        file.set_len(mib * MIB).map_err(|error| error.to_string())?;
        // Nothing is kept back for root, who runs the tests.
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &text(image)])?;
        Self::mount(image)
    }

    /// An image that exists.
    pub fn mount(image: &Path) -> Result<Self, String> {
        let mount = temporary("sterna-mount-");
        run("mount", &["-o", "loop", &text(image), &text(mount.path())])?;
        Ok(Self { image: image.to_owned(), mount, _folder: None })
    }

    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    /// Bytes that may still be written.
    pub fn free_bytes(&self) -> u64 {
        let said = run("df", &["--output=avail", "-B1", &text(self.path())]).unwrap();
        said.lines().last().and_then(|line| line.trim().parse().ok()).expect("df says a number")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let until = Instant::now() + UNMOUNT_PATIENCE;
        while let Err(error) = run("umount", &[&text(self.path())]) {
            if Instant::now() > until {
                // The mount goes with the last process that holds it.
                let _ = run("umount", &["--lazy", &text(self.path())]);
                eprintln!("{} was held for long: {error}", self.path().display());
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A disk whose power can fail: the node's disk is a file on a disk below it, and freezing that one
/// stops what the node's disk writes in the middle of whatever it does, without telling the node's
/// file system. A copy of the file at that moment is what a power loss leaves behind: everything
/// that reached the device, nothing of what waited in memory.
#[derive(Debug)]
pub struct FragileDisk {
    // In this order: the upper one has to go first.
    upper: Disk,
    lower: Disk,
}

impl FragileDisk {
    pub fn make(mib: u64) -> Result<Self, String> {
        run("fsfreeze", &["--version"])?;
        let lower = Disk::make(2 * mib)?;
        let upper = Disk::make_in(&lower.path().join("upper"), mib)?;
        Ok(Self { upper, lower })
    }

    pub fn path(&self) -> &Path {
        self.upper.path()
    }

    /// What a power loss now would leave behind.
    pub fn copy(&self, copy: &Path) {
        let frozen = Frozen::freeze(&self.lower);
        let done = run("cp", &["--sparse=always", &text(&self.upper.image), &text(copy)]);
        drop(frozen);
        done.unwrap();
    }
}

struct Frozen<'a>(&'a Disk);

impl<'a> Frozen<'a> {
    fn freeze(disk: &'a Disk) -> Self {
        run("fsfreeze", &["--freeze", &text(disk.path())]).unwrap();
        Self(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["--unfreeze", &text(self.0.path())]).unwrap();
    }
}

pub fn temporary(prefix: &str) -> TempDir {
    tempfile::Builder::new().prefix(prefix).tempdir().unwrap()
}

/// Copies a folder with everything in it over another.
pub fn replace_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run("cp", &["-a", &text(from), &text(to)]).unwrap();
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are text").to_owned()
}

/// What a program printed, or why it failed.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()))
}
