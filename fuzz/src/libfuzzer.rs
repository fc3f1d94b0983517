//! Hands a target to libFuzzer, which is linked into the test binary and ends its process.

// The C interface of libFuzzer.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

// For its C++ archive.
use libfuzzer_sys as _;

type Target = Box<dyn Fn(&[u8]) + Send + Sync>;

static TARGET: OnceLock<Target> = OnceLock::new();

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        run: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

/// Runs libFuzzer with these arguments, and ends the process with its exit code. The first one is
/// the command with which libFuzzer starts itself again to merge inputs.
pub(crate) fn drive(arguments: &str, run: impl Fn(&[u8]) + Send + Sync + 'static) -> ! {
    assert!(TARGET.set(Box::new(run)).is_ok(), "one target a process");
    let words = arguments.split_whitespace();
    let words: Vec<CString> = words.filter_map(|word| CString::new(word).ok()).collect();
    let mut argv: Vec<*mut c_char> = words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    let mut argc = argv.len() as c_int;
    argv.push(std::ptr::null_mut());
    let mut argv = argv.as_mut_ptr();
    // SAFETY: both live until the driver returns, the list ends with null, and the callback has
    // the signature that libFuzzer documents.
    let code = unsafe { LLVMFuzzerRunDriver(&raw mut argc, &raw mut argv, run_one) };
    std::process::exit(code)
}

extern "C" fn run_one(data: *const u8, len: usize) -> c_int {
    // SAFETY: libFuzzer owns these bytes for the length of the call.
    let input = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, len) } };
    let Some(target) = TARGET.get() else { return 0 };
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        // libFuzzer keeps the input of a process that aborts.
        std::process::abort();
    }
    0
}

/// Named by `libfuzzer_sys` for targets made with its macro.
#[unsafe(no_mangle)]
fn rust_fuzzer_test_input(_: &[u8]) -> i32 {
    0
}
