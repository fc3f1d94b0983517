//! Work of a node that takes longer than a request, as operators order and watch it: archiving at once,
//! reading the archive again, a backup. The composition root does it; here are the rights and the shapes.

use std::fmt::Debug;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sterna_proto::{ErrorCode, v1};

use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::input::Body;
use super::{Shared, Surface};

/// What an operator has ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOrder {
    /// Archive at once what is old enough.
    Archive,
    /// Read all of the archive again.
    VerifyArchive,
    /// A backup of the store; without a name it gets one of the time.
    Backup { name: Option<String> },
}

impl JobOrder {
    /// As it is told.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::VerifyArchive => "verify archive",
            Self::Backup { .. } => "backup",
        }
    }
}

/// How a job has ended, if it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Running,
    Done,
    Failed,
}

/// A job as it is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobView {
    pub what: &'static str,
    pub state: JobState,
    /// What it is at.
    pub stage: &'static str,
    /// So much of so much.
    pub done: u64,
    pub of: u64,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Does jobs of a node.
pub trait Jobs: Send + Sync + Debug {
    /// Begins one and answers its number. Refused if one of the same kind is running, or if this node
    /// has nothing that it could be done with.
    fn begin(&self, order: JobOrder) -> Result<u64, v1::Error>;

    /// One that is running, or that has ended lately.
    fn job(&self, id: u64) -> Option<JobView>;

    /// What lies in the archive.
    fn archive(&self) -> BoxFuture<'_, Result<Value, v1::Error>>;
}

#[derive(Debug, Serialize)]
pub(super) struct BegunBody {
    /// Names the job.
    job: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobQuery {
    job: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NothingBody {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupBody {
    name: Option<String>,
}

pub(super) async fn archive(State(surface): Shared, caller: Caller) -> Answer<Value> {
    caller.check_observer("look at the archive")?;
    success(jobs(&surface)?.archive().await?)
}

pub(super) async fn run_archive(
    State(surface): Shared,
    caller: Caller,
    Body(NothingBody {}): Body<NothingBody>,
) -> Answer<BegunBody> {
    begin(&surface, &caller, JobOrder::Archive)
}

pub(super) async fn verify_archive(
    State(surface): Shared,
    caller: Caller,
    Body(NothingBody {}): Body<NothingBody>,
) -> Answer<BegunBody> {
    begin(&surface, &caller, JobOrder::VerifyArchive)
}

pub(super) async fn backup(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<BackupBody>,
) -> Answer<BegunBody> {
    begin(&surface, &caller, JobOrder::Backup { name: body.name })
}

pub(super) async fn job(
    State(surface): Shared,
    caller: Caller,
    query: Result<Query<JobQuery>, QueryRejection>,
) -> Answer<JobView> {
    caller.check_observer("look at a job")?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let id = u64::from_str_radix(&query.job, 16)
        .map_err(|_| ApiError::bad_request("job is what beginning it has answered"))?;
    let found = jobs(&surface)?.job(id).ok_or_else(|| {
        let message = "no such job on this node, or it has ended long ago";
        ApiError(v1::Error::new(ErrorCode::UnknownChannel, message))
    })?;
    success(found)
}

fn begin(surface: &Surface, caller: &Caller, order: JobOrder) -> Answer<BegunBody> {
    caller.check_operator(match order {
        JobOrder::Archive => "have the node archive",
        JobOrder::VerifyArchive => "have the archive read again",
        JobOrder::Backup { .. } => "make a backup",
    })?;
    let id = jobs(surface)?.begin(order)?;
    success(BegunBody { job: format!("{id:016x}") })
}

fn jobs(surface: &Surface) -> Result<&dyn Jobs, ApiError> {
    surface
        .parts
        .jobs
        .as_deref()
        .ok_or_else(|| ApiError::bad_request("this node has no store; ask one that has"))
}
