//! One hot path a run, repeated: `tools/instructions.py` runs this under callgrind, which counts
//! the instructions inside [`measured`], and compares them with the counts that are committed.
//! Without arguments it lists the paths.

mod delivery;
mod fanout;
mod log;
mod publication;
mod wire;

use std::process::ExitCode;

/// A path: sets itself up, then hands the repeated part to [`measured`].
type Path = fn(repeats: u32);

const PATHS: &[(&str, Path)] = &[
    ("frame_encode", wire::frame_encode),
    ("frame_decode", wire::frame_decode),
    ("json_encode", wire::json_encode),
    ("json_decode", wire::json_decode),
    ("ticket_check", wire::ticket_check),
    ("jwt_check", wire::jwt_check),
    ("sequence_batch", log::sequence_batch),
    ("recovery_page", log::recovery_page),
    ("record_encode", log::record_encode),
    ("record_decode", log::record_decode),
    ("handle_delivery", delivery::handle_delivery),
    ("hub_delivery", delivery::hub_delivery),
    ("fanout_round", fanout::fanout_round),
    ("wss_write", fanout::wss_write),
    ("publication_round", publication::publication_round),
    ("store_commit", publication::store_commit),
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (name, repeats) = (words.next(), words.next().and_then(|text| text.parse().ok()));
    let path = PATHS.iter().find(|(known, _)| Some(*known) == name.as_deref());
    match (path, repeats) {
        (Some((_, path)), Some(repeats)) => path(repeats),
        (None, None) if name.is_none() => PATHS.iter().for_each(|(name, _)| println!("{name}")),
        _ => {
            eprintln!("usage: sterna-instructions [PATH REPEATS]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What callgrind counts: this function and all that it calls. It finds it by its name.
#[inline(never)]
fn measured(repeats: u32, run: &mut dyn FnMut()) {
    for _ in 0..repeats {
        run();
    }
}
