//! One stage: a rate, a fault, and what was seen meanwhile.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Options;
use super::faults::{self, Burner, Fault};
use super::world::{Gate, Tally, World};
use crate::client::Access;
use crate::meter::Percentiles;
use crate::run::Window;
use crate::run::node_metrics::{self, Samples};
use crate::target::Running;

#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) name: String,
    /// A second.
    pub(crate) arrivals: f64,
    pub(crate) predicted: f64,
    pub(crate) fault: Fault,
    pub(crate) channels: u32,
}

/// One that is over.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) stage: Stage,
    pub(crate) window: Window,
    pub(crate) tally: Tally,
    pub(crate) delivery: Percentiles,
    pub(crate) ack: Percentiles,
    pub(crate) resident: u64,
    /// What a node has said of itself; a peer says nothing.
    pub(crate) said: Option<Said>,
}

/// The metrics of a node around a stage.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) before: Samples,
    pub(crate) after: Samples,
}

impl Stage {
    /// Lets sessions gather, then watches. The fault is there from the beginning.
    pub(crate) async fn run(
        self,
        options: &Options,
        running: &mut Running,
        access: &[Access],
        (world, gate): (&Rc<World>, &mut Gate),
    ) -> Result<Done> {
        let _burner = match self.fault {
            Fault::Processor => Some(Burner::start()?),
            _ => None,
        };
        let relay = match self.fault {
            Fault::Network => Some(faults::bad_network(&running.server, options.seed).await?),
            _ => None,
        };
        let address = relay.as_ref().map_or(running.server.address, |relay| relay.address());
        let access: Vec<Access> =
            access.iter().map(|access| Access { address, ..access.clone() }).collect();
        let visitors = Visitors { stage: &self, access: &access };
        visitors.come(gate, running, options.gather()).await?;
        world.take_tally();
        running.meter().take_times();
        let before = samples(running).await?;
        let (window, ()) =
            Window::of(running, async |running| visitors.come(gate, running, options.watch).await)
                .await?;
        let (delivery, ack) = running.meter().take_times();
        let done = Done {
            window,
            tally: world.take_tally(),
            delivery,
            ack,
            resident: running.server.usage()?.resident,
            said: match (before, samples(running).await?) {
                (Some(before), Some(after)) => Some(Said { before, after }),
                _ => None,
            },
            stage: self,
        };
        // Whoever came through the relay would be cut off with it, and count as a failure.
        if let Some(relay) = relay {
            gate.keep(relay);
        }
        Ok(done)
    }
}

struct Visitors<'a> {
    stage: &'a Stage,
    access: &'a [Access],
}

impl Visitors<'_> {
    async fn come(&self, gate: &mut Gate, running: &Running, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        let come = gate.open(until, self.stage.arrivals, self.access, self.stage.channels);
        if self.stage.fault != Fault::Stall {
            come.await;
            return Ok(());
        }
        tokio::select! {
            () = come => Ok(()),
            stopped = faults::stall(&running.server) => stopped,
        }
    }
}

async fn samples(running: &Running) -> Result<Option<Samples>> {
    let Some(address) = running.metrics else { return Ok(None) };
    Ok(Some(node_metrics::read(address).await?))
}

impl Done {
    /// Whether as many came as should, soon, and next to nothing went wrong.
    pub(crate) fn stands(&self) -> bool {
        let arrived = self.tally.arrived as f64;
        let wanted = self.stage.arrivals * self.window.took.as_secs_f64();
        let failed = self.tally.failures.total() as f64;
        let connect = Percentiles::of(&self.tally.connect);
        // Arrivals are chance: three standard deviations are allowed.
        arrived >= wanted - 3.0 * wanted.sqrt()
            && failed <= arrived * MOST_FAILED
            && connect.p95 <= MOST_CONNECT.as_secs_f64() * 1e6
            && self.tally.late <= MOST_LATE
    }
}

/// In mean lifetimes: after so many, nine of ten of the sessions that there will be are there.
pub(super) const GATHER: f64 = 2.5;

const MOST_FAILED: f64 = 0.01;
const MOST_CONNECT: Duration = Duration::from_secs(1);

/// Beyond that the load generator is the limit, not the server.
const MOST_LATE: Duration = Duration::from_millis(500);
