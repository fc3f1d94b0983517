//! An opendal layer under all others that makes a service fail, after a script or by a seed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use opendal::raw::*;
use opendal::*;

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 500 and the like; nothing was done.
    Internal,
    /// 503 Slow Down; nothing was done.
    SlowDown,
    /// No answer ever; nothing was done.
    Hang,
    /// Done, and then no answer came but an error.
    AnswerLost,
    /// Fewer bytes come than are there.
    Cut,
    /// One bit of what comes is another.
    Flip,
}

/// Which requests a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Stat,
    Read,
    Write,
    /// The end of an upload, which makes the object.
    Close,
    Delete,
    List,
}

/// A script of faults; clones share it.
#[derive(Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    struck: Arc<AtomicU64>,
}

#[derive(Default)]
struct Plan {
    /// For requests of this kind on objects below this folder; each strikes once, unless it stays.
    rules: Vec<(Request, &'static str, Fault, bool)>,
    /// Of 1000 requests so many fail.
    per_mille: u64,
    random: u64,
}

impl Faults {
    /// The next such request fails.
    pub fn once(&self, request: Request, folder: &'static str, fault: Fault) {
        self.plan.lock().unwrap().rules.push((request, folder, fault, false));
    }

    /// All such requests fail from now on.
    pub fn always(&self, request: Request, folder: &'static str, fault: Fault) {
        self.plan.lock().unwrap().rules.push((request, folder, fault, true));
    }

    /// From now on so many of 1000 requests fail, as the seed has it.
    pub fn by_chance(&self, seed: u64, per_mille: u64) {
        let mut plan = self.plan.lock().unwrap();
        plan.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        plan.per_mille = per_mille;
    }

    /// Nothing fails from now on.
    pub fn end(&self) {
        *self.plan.lock().unwrap() = Plan::default();
    }

    /// How many requests have failed so far.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }

    fn draw(&self, request: Request, path: &str) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap();
        let fits =
            |rule: &(Request, &str, Fault, bool)| rule.0 == request && path.starts_with(rule.1);
        let fault = match plan.rules.iter().position(fits) {
            Some(at) if plan.rules[at].3 => Some(plan.rules[at].2),
            Some(at) => Some(plan.rules.remove(at).2),
            None if plan.per_mille > 0 && plan.next() % 1000 < plan.per_mille => {
                let all: &[Fault] = match request {
                    Request::Read => {
                        &[Fault::Internal, Fault::SlowDown, Fault::Hang, Fault::Cut, Fault::Flip]
                    }
                    Request::Close | Request::Delete => {
                        &[Fault::Internal, Fault::SlowDown, Fault::Hang, Fault::AnswerLost]
                    }
                    _ => &[Fault::Internal, Fault::SlowDown, Fault::Hang],
                };
                Some(all[plan.next() as usize % all.len()])
            }
            None => None,
        };
        self.struck.fetch_add(fault.is_some().into(), Ordering::Relaxed);
        fault
    }

    /// Before the request is made.
    async fn strike(&self, fault: Option<Fault>) -> Result<()> {
        match fault {
            Some(Fault::Internal) => {
                Err(Error::new(ErrorKind::Unexpected, "internal error").set_temporary())
            }
            Some(Fault::SlowDown) => {
                Err(Error::new(ErrorKind::RateLimited, "slow down").set_temporary())
            }
            Some(Fault::Hang) => std::future::pending().await,
            _ => Ok(()),
        }
    }

    /// When it is done.
    fn after<T>(&self, fault: Option<Fault>, answer: T) -> Result<T> {
        if fault == Some(Fault::AnswerLost) {
            let error = Error::new(ErrorKind::Unexpected, "connection reset").set_temporary();
            return Err(error);
        }
        Ok(answer)
    }

    fn distort(&self, fault: Option<Fault>, bytes: Buffer) -> Buffer {
        let mut bytes = bytes.to_vec();
        match fault {
            Some(Fault::Cut) => bytes.truncate(bytes.len() / 2),
            Some(Fault::Flip) if !bytes.is_empty() => {
                let random = self.plan.lock().unwrap().next() as usize;
                let at = random % bytes.len();
                bytes[at] ^= 1 << (random % 7);
            }
            _ => {}
        }
        bytes.into()
    }
}

impl Plan {
    /// xorshift64.
    fn next(&mut self) -> u64 {
        if self.random == 0 {
            self.random = 88_172_645_463_325_252;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Layer for Faults {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(Faulty { inner, faults: self.clone() })
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Servicer,
    faults: Faults,
}

impl Service for Faulty {
    type Reader = Wrapped<oio::Reader>;
    type Writer = Wrapped<oio::Writer>;
    type Lister = Wrapped<oio::Lister>;
    type Deleter = Wrapped<oio::Deleter>;
    type Copier = oio::Copier;
    type Composer = oio::Composer;

    fn info(&self) -> ServiceInfo {
        self.inner.info_dyn()
    }

    fn capability(&self) -> Capability {
        self.inner.capability_dyn()
    }

    async fn create_dir(
        &self,
        ctx: &OperationContext,
        path: &str,
        args: OpCreateDir,
    ) -> Result<RpCreateDir> {
        self.inner.create_dir_dyn(ctx, path, args).await
    }

    async fn stat(&self, ctx: &OperationContext, path: &str, args: OpStat) -> Result<RpStat> {
        self.faults.strike(self.faults.draw(Request::Stat, path)).await?;
        self.inner.stat_dyn(ctx, path, args).await
    }

    fn read(&self, ctx: &OperationContext, path: &str, args: OpRead) -> Result<Self::Reader> {
        Ok(self.wrap(path, self.inner.read_dyn(ctx, path, args)?))
    }

    fn write(&self, ctx: &OperationContext, path: &str, args: OpWrite) -> Result<Self::Writer> {
        Ok(self.wrap(path, self.inner.write_dyn(ctx, path, args)?))
    }

    fn delete(&self, ctx: &OperationContext) -> Result<Self::Deleter> {
        Ok(self.wrap("", self.inner.delete_dyn(ctx)?))
    }

    fn list(&self, ctx: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        Ok(self.wrap(path, self.inner.list_dyn(ctx, path, args)?))
    }

    fn copy(
        &self,
        ctx: &OperationContext,
        from: &str,
        to: &str,
        args: OpCopy,
    ) -> Result<Self::Copier> {
        self.inner.copy_dyn(ctx, from, to, args)
    }

    async fn rename(
        &self,
        ctx: &OperationContext,
        from: &str,
        to: &str,
        args: OpRename,
    ) -> Result<RpRename> {
        self.inner.rename_dyn(ctx, from, to, args).await
    }

    async fn presign(
        &self,
        ctx: &OperationContext,
        path: &str,
        args: OpPresign,
    ) -> Result<RpPresign> {
        self.inner.presign_dyn(ctx, path, args).await
    }
}

impl Faulty {
    fn wrap<T>(&self, path: &str, inner: T) -> Wrapped<T> {
        Wrapped { inner, path: path.to_owned(), faults: self.faults.clone() }
    }
}

struct Wrapped<T> {
    inner: T,
    path: String,
    faults: Faults,
}

impl oio::Read for Wrapped<oio::Reader> {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let fault = self.faults.draw(Request::Read, &self.path);
        self.faults.strike(fault).await?;
        let (reply, mut stream) = self.inner.open_dyn(range).await?;
        let bytes = self.faults.distort(fault, stream.read_all_dyn().await?);
        Ok((reply, Box::new(bytes)))
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        let fault = self.faults.draw(Request::Read, &self.path);
        self.faults.strike(fault).await?;
        let (reply, bytes) = self.inner.read_dyn(range).await?;
        Ok((reply, self.faults.distort(fault, bytes)))
    }
}

impl oio::Write for Wrapped<oio::Writer> {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        self.faults.strike(self.faults.draw(Request::Write, &self.path)).await?;
        self.inner.write_dyn(bytes).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        let fault = self.faults.draw(Request::Close, &self.path);
        self.faults.strike(fault).await?;
        let metadata = self.inner.close_dyn().await?;
        self.faults.after(fault, metadata)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort_dyn().await
    }
}

impl oio::List for Wrapped<oio::Lister> {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        self.faults.strike(self.faults.draw(Request::List, &self.path)).await?;
        self.inner.next_dyn().await
    }
}

impl oio::Delete for Wrapped<oio::Deleter> {
    async fn delete(&mut self, path: &str, args: OpDelete) -> Result<()> {
        let fault = self.faults.draw(Request::Delete, path);
        self.faults.strike(fault).await?;
        self.inner.delete_dyn(path, args).await?;
        self.faults.after(fault, ())
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close_dyn().await
    }
}
