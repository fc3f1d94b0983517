//! The verbs beside `serve` and `dev`, one file each.

pub(crate) mod archive;
pub(crate) mod backup;
pub(crate) mod certificate;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod history;
pub(crate) mod inbox;
pub(crate) mod keeping;
pub(crate) mod migrate;
pub(crate) mod presence;
pub(crate) mod publish;
pub(crate) mod revoke;
pub(crate) mod session;
pub(crate) mod subscribe;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod trace;

pub(crate) mod connect;
mod jobs;
mod machine;
pub(crate) mod operator;
mod remote_backup;
