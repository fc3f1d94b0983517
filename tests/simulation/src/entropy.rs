//! Takes chance out of a thread. Hash maps, `tokio::select!` and session tickets draw their
//! randomness from the operating system; inside a schedule they get a stream that follows from its
//! seed, so that the schedule repeats itself to the last event.
//!
//! The C library's `getrandom` is replaced for this process, which only test binaries link. Threads
//! that run no schedule get real randomness.

#![allow(unsafe_code)] // Replacing a symbol of the C library cannot be said otherwise.

use std::cell::{Cell, RefCell};
use std::sync::Once;

use ahash::random_state::RandomSource;

use crate::chance::Chance;

thread_local! {
    static STREAM: RefCell<Option<Chance>> = const { RefCell::new(None) };
    static HASHERS: Cell<usize> = const { Cell::new(0) };
}

/// Makes this thread repeatable; to be called first on a thread of its own.
pub fn seed_thread(seed: u64) {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(prepare);
    STREAM.set(Some(Chance::new(seed)));
    HASHERS.set(0);
}

/// What the process draws once must not depend on which schedule comes first.
fn prepare() {
    STREAM.set(Some(Chance::new(0)));
    // Refused only if somebody has set one before, and then the test of repetition fails.
    let _ = ahash::random_state::set_random_source(CountedHashers);
    let _ = ahash::RandomState::new();
}

/// Numbers hashers by thread instead of by process.
struct CountedHashers;

impl RandomSource for CountedHashers {
    fn gen_hasher_seed(&self) -> usize {
        HASHERS.set(HASHERS.get() + 1);
        HASHERS.get()
    }
}

/// As in the C library.
///
/// # Safety
///
/// `buffer` must be writable for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, len: usize, flags: u32) -> isize {
    let drawn = STREAM.try_with(|stream| {
        let mut stream = stream.try_borrow_mut().ok()?;
        let chance = stream.as_mut()?;
        for at in 0..len {
            // SAFETY: the caller promises `len` writable bytes.
            unsafe { buffer.add(at).write(chance.draw() as u8) };
        }
        Some(len as isize)
    });
    if let Ok(Some(len)) = drawn {
        return len;
    }
    // SAFETY: the arguments are those of the caller, who has made the same promise.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) as isize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn orders() -> (Vec<u64>, Vec<u64>) {
        let std: HashMap<u64, ()> = (0..50).map(|n| (n, ())).collect();
        let fast: HashMap<u64, (), ahash::RandomState> = (0..50).map(|n| (n, ())).collect();
        (std.into_keys().collect(), fast.into_keys().collect())
    }

    fn on_a_thread(seed: u64) -> (Vec<u64>, Vec<u64>) {
        std::thread::spawn(move || {
            seed_thread(seed);
            orders()
        })
        .join()
        .unwrap()
    }

    #[test]
    fn chance_follows_from_the_seed() {
        assert_eq!(on_a_thread(1), on_a_thread(1));
        assert_ne!(on_a_thread(1).0, on_a_thread(2).0);
    }
}
