//! Work that operators order from a running node: archiving at once, reading the archive again, backups.
//! Owned by the node, whose tasks they are; asked through the HTTP surface. They end with the node, and
//! what they leave unfinished leaves nothing behind.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sterna_core::Tasks;
use sterna_core::link::router::Router;
use sterna_edge::http::{JobOrder, JobState, JobView, Jobs};
use sterna_proto::{ErrorCode, v1};
use sterna_storage_archive::{SHARDS, status, verify_beside};
use sterna_storage_rocks::RocksStore;
use sterna_storage_rocks::backup::{BackupOrder, create};

use crate::archive::{Archive, passed_json, status_json, verified_json};
use crate::config::BackupSettings;

/// Jobs that are remembered after their end; then the oldest is forgotten.
const JOBS_KEPT: usize = 16;

/// What a node's jobs work on.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkedOn {
    pub(crate) archive: Option<Arc<Archive>>,
    /// A store of this machine.
    pub(crate) rocks: Option<RocksStore>,
}

/// The jobs of a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeJobs {
    inner: Arc<Inner>,
}

struct Inner {
    worked_on: WorkedOn,
    backups: BackupSettings,
    node: String,
    tasks: Tasks,
    /// `None` on a node that is alone.
    router: Option<Arc<Router>>,
    jobs: Mutex<VecDeque<(u64, JobView)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl NodeJobs {
    pub(crate) fn new(
        worked_on: WorkedOn,
        backups: BackupSettings,
        node: String,
        tasks: Tasks,
        router: Option<Arc<Router>>,
    ) -> Self {
        let jobs = Mutex::default();
        Self { inner: Arc::new(Inner { worked_on, backups, node, tasks, router, jobs }) }
    }
}

impl Jobs for NodeJobs {
    fn begin(&self, order: JobOrder) -> Result<u64, v1::Error> {
        let work = self.inner.work_of(&order)?;
        let what = order.name();
        let id = self.inner.add(what)?;
        let inner = self.inner.clone();
        let ending = Ending { inner: inner.clone(), id, what };
        self.inner.tasks.spawn("job", async move {
            let ended = tokio::select! {
                // A backup that is begun hears of it by itself.
                () = inner.tasks.shutdown_started(), if !matches!(work, Work::Backup(..)) => {
                    Err("the node ends".to_owned())
                }
                ended = inner.clone().carry_out(id, work) => ended,
            };
            ending.inner.end(id, what, ended);
        });
        Ok(id)
    }

    fn job(&self, id: u64) -> Option<JobView> {
        let jobs = self.inner.jobs();
        jobs.iter().find(|(known, _)| *known == id).map(|(_, job)| job.clone())
    }

    fn archive(&self) -> BoxFuture<'_, Result<Value, v1::Error>> {
        async {
            let archive = self.inner.archive()?;
            let found = status(&archive.tiers)
                .await
                .map_err(|error| v1::Error::new(ErrorCode::Unavailable, error.to_string()))?;
            Ok(status_json(&found))
        }
        .boxed()
    }
}

/// Ends a job whose task does not come to its own end, or no other of its kind could ever begin.
struct Ending {
    inner: Arc<Inner>,
    id: u64,
    what: &'static str,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.inner.is_running(self.id) {
            self.inner.end(self.id, self.what, Err("it broke; the node's log says how".to_owned()));
        }
    }
}

/// What can be begun.
enum Work {
    Archive(Arc<Archive>),
    Verify(Arc<Archive>),
    Backup(RocksStore, PathBuf),
}

impl Inner {
    /// Refuses what this node cannot do.
    fn work_of(&self, order: &JobOrder) -> Result<Work, v1::Error> {
        Ok(match order {
            JobOrder::Archive => Work::Archive(self.archive()?),
            JobOrder::VerifyArchive => Work::Verify(self.archive()?),
            JobOrder::Backup { name } => {
                let Some(rocks) = self.worked_on.rocks.clone() else {
                    return Err(bad(
                        "the store of this node is a database or memory: it has no files \
                                    to back up; a database has tools of its own",
                    ));
                };
                let name = name.clone().unwrap_or_else(|| name_of(SystemTime::now()));
                let to = folder_of(&self.backups.directory, &name)?;
                if to.exists() {
                    let message = format!("there is a backup `{name}`");
                    return Err(v1::Error::new(ErrorCode::Conflict, message));
                }
                Work::Backup(rocks, to)
            }
        })
    }

    fn archive(&self) -> Result<Arc<Archive>, v1::Error> {
        let missing = || bad("this node has no archive: `archive.url` is not set");
        self.worked_on.archive.clone().ok_or_else(missing)
    }

    /// One of a kind at a time.
    fn add(&self, what: &'static str) -> Result<u64, v1::Error> {
        let mut jobs = self.jobs();
        let running = |job: &JobView| job.state == JobState::Running;
        if jobs.iter().any(|(_, job)| job.what == what && running(job)) {
            let message = format!("the node is at it already ({what}); one at a time");
            return Err(v1::Error::new(ErrorCode::Busy, message));
        }
        if jobs.len() >= JOBS_KEPT
            && let Some(oldest) = jobs.iter().position(|(_, job)| !running(job))
        {
            jobs.remove(oldest);
        }
        let id = rand::random();
        let (state, stage) = (JobState::Running, "begun");
        let job = JobView { what, state, stage, done: 0, of: 0, result: None, error: None };
        jobs.push_back((id, job));
        Ok(id)
    }

    async fn carry_out(self: Arc<Self>, id: u64, work: Work) -> Result<Value, String> {
        match work {
            Work::Archive(archive) => {
                let owns = |slot| self.router.as_ref().is_none_or(|router| router.owns(slot));
                let told = |stage, done: u16| self.reach(id, stage, done.into(), SHARDS.into());
                let passed = archive.pass_now(&owns, told).await;
                Ok(passed_json(&passed.map_err(|error| error.to_string())?))
            }
            Work::Verify(archive) => {
                use sterna_storage_archive::Progress::{Segments, Slots};
                let told = |progress| match progress {
                    Segments { done, of } => self.reach(id, "segments read again", done, of),
                    Slots { done, of } => {
                        self.reach(id, "chains followed", done.into(), of.into());
                    }
                };
                let verified = verify_beside(&archive.tiers, Some(&*archive.fates), told).await;
                verified.map(|found| verified_json(&found)).map_err(|error| error.to_string())
            }
            Work::Backup(rocks, to) => self.back_up(id, rocks, to).await,
        }
    }

    async fn back_up(
        self: Arc<Self>,
        id: u64,
        rocks: RocksStore,
        to: PathBuf,
    ) -> Result<Value, String> {
        let made = tokio::task::spawn_blocking(move || {
            let (node, keep_free) = (self.node.clone(), self.backups.keep_free);
            let order = BackupOrder { to: to.clone(), node, keep_free };
            let made = create(&rocks, &order, &mut |done, of| {
                self.reach(id, "bytes read", done, of);
                !self.tasks.is_shutting_down()
            });
            made.map(|made| {
                json!({
                    "path": to,
                    "commit": made.commit,
                    "files": made.files.len(),
                    "bytes": made.bytes,
                    "created_ms": made.created_ms,
                })
            })
        });
        match made.await {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn reach(&self, id: u64, stage: &'static str, done: u64, of: u64) {
        if let Some((_, job)) = self.jobs().iter_mut().find(|(known, _)| *known == id) {
            (job.stage, job.done, job.of) = (stage, done, of);
        }
    }

    fn end(&self, id: u64, what: &'static str, ended: Result<Value, String>) {
        match &ended {
            Ok(result) => tracing::info!(what, %result, "a job of an operator is done"),
            Err(error) => tracing::warn!(what, error, "a job of an operator failed"),
        }
        let result = if ended.is_ok() { "done" } else { "failed" };
        metrics::counter!("sterna_node_jobs_total", "what" => what, "result" => result)
            .increment(1);
        if let Some((_, job)) = self.jobs().iter_mut().find(|(known, _)| *known == id) {
            match ended {
                Ok(result) => (job.state, job.result) = (JobState::Done, Some(result)),
                Err(error) => (job.state, job.error) = (JobState::Failed, Some(error)),
            }
        }
    }

    fn is_running(&self, id: u64) -> bool {
        let jobs = self.jobs();
        jobs.iter().any(|(known, job)| *known == id && job.state == JobState::Running)
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<(u64, JobView)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backup's folder, right in the one for backups.
fn folder_of(directory: &Path, name: &str) -> Result<PathBuf, v1::Error> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if !plain || name.starts_with('.') || name.ends_with('/') || name.len() > NAME_BYTES {
        let message = format!(
            "`{}` is no name of a backup: a plain name in {}, without a dot before it",
            name.chars().take(40).collect::<String>(),
            directory.display()
        );
        return Err(bad(&message));
    }
    Ok(directory.join(name))
}

/// A name that sorts by time: seconds since 1970.
pub(crate) fn name_of(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("backup-{seconds:011}")
}

fn bad(message: &str) -> v1::Error {
    v1::Error::new(ErrorCode::BadRequest, message)
}

const NAME_BYTES: usize = 120;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn jobs(worked_on: WorkedOn, home: &Path) -> NodeJobs {
        let backups = BackupSettings { directory: home.join("backups"), keep_free: 0 };
        NodeJobs::new(worked_on, backups, "n1".into(), Tasks::new(), None)
    }

    async fn ended(jobs: &NodeJobs, id: u64) -> JobView {
        loop {
            let job = jobs.job(id).expect("it is remembered");
            if job.state != JobState::Running {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn a_backup_goes_into_the_folder_for_backups_and_nowhere_else() {
        let home = Path::new("/b");
        assert_eq!(folder_of(home, "monday").unwrap(), Path::new("/b/monday"));
        for bad in ["", ".", "..", "/etc", "a/b", "../a", ".hidden", "a/", &"x".repeat(200)] {
            assert!(folder_of(home, bad).is_err(), "{bad}");
        }
        let at = |seconds| name_of(UNIX_EPOCH + Duration::from_secs(seconds));
        assert!(at(999_999_999) < at(1_000_000_000) && at(1_000_000_000) < at(10_000_000_000));
    }

    #[tokio::test]
    async fn what_a_node_has_not_it_does_not_do() {
        let home = tempfile::tempdir().unwrap();
        let jobs = jobs(WorkedOn::default(), home.path());
        for order in [JobOrder::Archive, JobOrder::VerifyArchive, JobOrder::Backup { name: None }] {
            let refused = jobs.begin(order).unwrap_err();
            assert_eq!(refused.code, ErrorCode::BadRequest.number(), "{refused:?}");
        }
        assert_eq!(jobs.archive().await.unwrap_err().code, ErrorCode::BadRequest.number());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_backup_is_a_job_and_the_latest_are_remembered() {
        let home = tempfile::tempdir().unwrap();
        let config = sterna_storage_rocks::RocksConfig::new(home.path().join("store"));
        let rocks = RocksStore::open(config).unwrap();
        let jobs = jobs(WorkedOn { archive: None, rocks: Some(rocks) }, home.path());
        let begin = |name: &str| jobs.begin(JobOrder::Backup { name: Some(name.to_owned()) });
        let first = begin("b").unwrap();
        let job = ended(&jobs, first).await;
        let made = job.result.clone().expect("it is done");
        assert_eq!((job.state, job.done), (JobState::Done, job.of));
        assert_eq!(made["path"], json!(home.path().join("backups/b")), "{made}");
        assert_eq!(begin("b").unwrap_err().code, ErrorCode::Conflict.number());
        for n in 0..JOBS_KEPT {
            let id = begin(&format!("b{n}")).unwrap();
            ended(&jobs, id).await;
        }
        let remembered = jobs.inner.jobs().len();
        assert_eq!((remembered, jobs.job(first)), (JOBS_KEPT, None));
        // One at a time, and one that is running is not forgotten.
        let running = jobs.inner.add("backup").unwrap();
        assert_eq!(begin("late").unwrap_err().code, ErrorCode::Busy.number());
        jobs.inner.end(running, "backup", Err("no room".into()));
        let failed = jobs.job(running).unwrap();
        assert_eq!((failed.state, failed.error.as_deref()), (JobState::Failed, Some("no room")));
        // A task that panics is none that runs.
        let broken = jobs.inner.add("backup").unwrap();
        drop(Ending { inner: jobs.inner.clone(), id: broken, what: "backup" });
        assert_eq!(jobs.job(broken).unwrap().state, JobState::Failed);
        let failed_once = jobs.job(running).unwrap();
        drop(Ending { inner: jobs.inner.clone(), id: running, what: "backup" });
        assert_eq!(jobs.job(running).unwrap(), failed_once, "it had ended");
        // The node ends: what was begun is given up.
        jobs.inner.tasks.start_shutdown();
        let late = begin("late").unwrap();
        assert_eq!(ended(&jobs, late).await.state, JobState::Failed);
        assert!(!home.path().join("backups/late").exists());
    }
}
