//! `sterna check`: everything that `serve` would refuse, without binding or changing anything.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::ConfigArgs;
use crate::config::Config;
use crate::output;
use crate::raw_config::{RawConfig, environment};

pub(crate) fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let raw = RawConfig::gather(&args.config, environment(), &args.overrides);
    match Config::from_raw(raw) {
        Ok(_) => {
            output::line(&format!("{} is fine", args.config.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(complaints) => {
            complaints.iter().for_each(|it| output::complain(&anyhow::anyhow!("{it}")));
            Ok(ExitCode::FAILURE)
        }
    }
}
