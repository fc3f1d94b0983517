//! `sterna revoke`: voids the tokens of a user, at all nodes of a cluster.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::operator::Operator;
use crate::args::RevokeArgs;
use crate::output::{self, Format};

pub(crate) fn run(args: &RevokeArgs) -> Result<ExitCode> {
    let operator = Operator::find(&args.operator)?;
    let taken = operator.post("/api/v1/revoke", &json!({ "user": args.user.as_str() }))?;
    match Format::of(args.json) {
        Format::Json => output::line(&taken.to_string())?,
        Format::Human => output::line(&format!(
            "tokens of {} issued before {} (Unix ms) are void, and the sessions made with them end",
            args.user, taken["before_ms"]
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}
