//! Gives each schedule its place in the process. A tokio runtime mixes the number of runtimes that
//! the process has made into the choices of `tokio::select!`; so a schedule begins only when that
//! number is the one that belongs to its place, whatever ran before.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};

/// What one schedule draws: one number for its runtime, one for its thread.
const DRAWN: u64 = 2;

/// Numbers drawn in this process.
static DRAWN_SO_FAR: Mutex<u64> = Mutex::new(0);

/// Says that the runtime of the schedule has been made; the next one may begin.
#[derive(Debug)]
pub struct Started(SyncSender<()>);

/// Begins a schedule on a thread of its own and returns once its runtime has been made. Places of
/// one process have to come in rising order.
pub fn begin<T: Send + 'static>(
    place: u64,
    schedule: impl FnOnce(Started) -> T + Send + 'static,
) -> JoinHandle<T> {
    let mut drawn = drawn();
    let first = place * DRAWN;
    assert!(*drawn <= first, "place {place} comes too late in this process; run it in another one");
    while *drawn < first {
        let _ = Builder::new_current_thread();
        *drawn += 1;
    }
    let (started, wait) = sync_channel(1);
    let handle = std::thread::spawn(move || schedule(Started(started)));
    // Nobody answers when the schedule has panicked, and then joining it shows that.
    let _ = wait.recv();
    *drawn += DRAWN;
    handle
}

/// The runtime of a schedule: one thread, and time passes only while everybody waits for it.
pub fn runtime(started: &Started) -> Runtime {
    let built = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = built.unwrap_or_else(|error| panic!("no runtime: {error}"));
    // The thread draws its number on its first entry.
    runtime.block_on(async {});
    let _ = started.0.send(());
    runtime
}

fn drawn() -> MutexGuard<'static, u64> {
    DRAWN_SO_FAR.lock().unwrap_or_else(PoisonError::into_inner)
}
