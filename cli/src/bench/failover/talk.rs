//! Who publishes while an edge dies: one client at another edge.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{Either, select};
use sterna_bench::client::Client;
use sterna_bench::meter::Meter;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::crowd::access;
use crate::bench::cluster::Cluster;

/// Publications that are not acknowledged yet, at most.
const IN_FLIGHT: u64 = 256;

const PAYLOAD_BYTES: usize = 128;

pub(super) struct Talk {
    client: Client,
    meter: Rc<Meter>,
    rooms: u32,
    next: Cell<u32>,
    /// In each room, those that made it too.
    published: RefCell<Vec<u64>>,
    since_taken: Cell<u64>,
}

impl Talk {
    /// Makes the rooms, so that there is something to subscribe to.
    pub(super) async fn open(cluster: &Cluster, rooms: u32, meter: &Rc<Meter>) -> Result<Self> {
        let edge = cluster.edges().last().copied().context("a cluster has edges")?;
        let access = access(cluster, edge, "publisher", meter)?;
        let client = Client::connect(&access, "publisher").await?;
        let published = RefCell::new(vec![0; rooms as usize]);
        let (next, since_taken) = (Cell::new(0), Cell::new(0));
        let meter = meter.clone();
        let talk = Self { client, meter, rooms, next, published, since_taken };
        for _ in 0..rooms {
            talk.publish().await?;
        }
        talk.acknowledged().await?;
        talk.take();
        Ok(talk)
    }

    /// How many publications there were since this was asked last.
    pub(super) fn take(&self) -> u64 {
        self.since_taken.take()
    }

    pub(super) async fn go_on(&self, rate: u32, time: Duration) -> Result<()> {
        self.until(rate, sleep(time)).await
    }

    /// Publishes at a rate, the rooms in turn, until something has happened, and waits until all is
    /// acknowledged.
    pub(super) async fn until(&self, rate: u32, happened: impl Future<Output = ()>) -> Result<()> {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let talking = async {
            loop {
                ticks.tick().await;
                if let Err(error) = self.publish().await {
                    return error;
                }
            }
        };
        match select(Box::pin(talking), Box::pin(happened)).await {
            Either::Left((error, _)) => Err(error),
            Either::Right(_) => self.acknowledged().await,
        }
    }

    /// How many publications each room has, after a last one that everybody has to hear.
    pub(super) async fn last(&self) -> Result<Vec<u64>> {
        for _ in 0..self.rooms {
            self.publish().await?;
        }
        self.acknowledged().await?;
        Ok(self.published.borrow().clone())
    }

    async fn publish(&self) -> Result<()> {
        let room = self.next.get();
        self.next.set((room + 1) % self.rooms);
        self.client.publish(room, &self.meter.payload(PAYLOAD_BYTES)).await?;
        self.published.borrow_mut()[room as usize] += 1;
        self.since_taken.set(self.since_taken.get() + 1);
        self.client.answered_but(IN_FLIGHT).await
    }

    async fn acknowledged(&self) -> Result<()> {
        self.client.answered_but(0).await?;
        let (_, refused) = self.client.answers();
        ensure!(refused == 0, "publications were refused: {}", self.meter.last_refusal());
        Ok(())
    }
}
