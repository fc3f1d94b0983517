//! The `sterna` binary: the one place that knows concrete engines, certificates and environment.
//! Parses arguments, hands over to one verb, and turns its outcome into an exit code.

mod archive;
mod args;
mod bench;
mod config;
mod console;
mod dev;
mod farewell;
mod incarnation;
mod jobs;
mod keeping;
mod keys;
mod output;
mod pages;
mod raw_config;
mod running;
mod serve;
mod settings;
mod signals;
mod stores;
mod telemetry;
mod try_it;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A second provider in the process is no harm: this one is only a default.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = match Args::parse().verb {
        Verb::Dev(args) => dev::run(&args),
        Verb::Serve(args) => serve::run_configured(&args),
        Verb::Check(args) => verbs::check::run(&args),
        Verb::Migrate(args) => verbs::migrate::run(&args),
        Verb::Archive(args) => verbs::archive::run(&args),
        Verb::Backup(args) => verbs::backup::run(&args),
        Verb::Token(args) => verbs::token::run(&args),
        Verb::Certificate(args) => verbs::certificate::run(&args),
        Verb::Pub(args) => verbs::publish::run(&args),
        Verb::Sub(args) => verbs::subscribe::run(&args),
        Verb::History(args) => verbs::history::run(&args),
        Verb::Presence(args) => verbs::presence::run(&args),
        Verb::Inbox(args) => verbs::inbox::run(&args),
        Verb::Doctor(args) => verbs::doctor::run(&args),
        Verb::Top(args) => verbs::top::run(&args),
        Verb::Session(args) => verbs::session::run(&args),
        Verb::Trace(args) => verbs::trace::run(&args),
        Verb::Drain(args) => verbs::drain::run(&args),
        Verb::Revoke(args) => verbs::revoke::run(&args),
        Verb::Retention(args) => verbs::keeping::retention(&args),
        Verb::Hold(args) => verbs::keeping::hold(&args),
        Verb::Seal(args) => verbs::keeping::seal(&args),
        Verb::Redact(args) => verbs::keeping::redact(&args),
        Verb::Erase(args) => verbs::keeping::erase(&args),
        Verb::Key(args) => verbs::keeping::key(&args),
        Verb::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(code) => code,
        // Whoever read the output has had enough of it.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}
