//! One loop that writes everything: no task, no queue and no wake-up for each subscriber.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::committer::Committer;
use crate::protocol;

/// Publications that wait for the loop; a publisher then waits too.
pub(crate) const QUEUE: usize = 1024;

/// Most publications that are written to one subscriber at a time.
const BATCH: usize = 64;

/// The writing half of a subscriber.
pub(crate) trait Sink {
    /// Writes messages in one go.
    fn write(&self, messages: &[Bytes]) -> impl Future<Output = ()>;
}

pub(crate) enum Order<S> {
    Subscribe(u32, Rc<S>),
    Publish(u32, Bytes, Rc<S>),
    Echo(Bytes, Rc<S>),
}

/// Runs until all senders of orders are gone. `frame` turns a message into what the sinks write,
/// once for all of them. What is published is acknowledged after it was committed, if there is somebody
/// who commits.
pub(crate) async fn run<S: Sink>(
    mut orders: mpsc::Receiver<Order<S>>,
    frame: fn(&[u8]) -> Bytes,
    mut committer: Option<Committer>,
) {
    let subscribed = frame(&[protocol::SUBSCRIBED]);
    let published = frame(&[protocol::PUBLISHED]);
    let mut channels: HashMap<u32, Vec<Rc<S>>> = HashMap::new();
    let mut batch = Vec::with_capacity(BATCH);
    let mut waiting: HashMap<u32, Vec<Bytes>> = HashMap::new();
    let mut uncommitted: VecDeque<Rc<S>> = VecDeque::new();
    loop {
        tokio::select! {
            count = orders.recv_many(&mut batch, BATCH) => if count == 0 { return },
            count = committed(committer.as_mut()) => {
                for sink in uncommitted.drain(..count) {
                    sink.write(std::slice::from_ref(&published)).await;
                }
            }
        }
        for order in batch.drain(..) {
            match order {
                Order::Subscribe(channel, sink) => {
                    sink.write(std::slice::from_ref(&subscribed)).await;
                    channels.entry(channel).or_default().push(sink);
                }
                Order::Publish(channel, payload, sink) => {
                    let message = frame(&protocol::delivery(&payload));
                    waiting.entry(channel).or_default().push(message);
                    match &committer {
                        Some(committer) => {
                            if !committer.commit(payload) {
                                return;
                            }
                            uncommitted.push_back(sink);
                        }
                        None => sink.write(std::slice::from_ref(&published)).await,
                    }
                }
                Order::Echo(payload, sink) => {
                    sink.write(&[frame(&protocol::delivery(&payload))]).await;
                }
            }
        }
        for (channel, messages) in waiting.drain() {
            for sink in channels.get(&channel).into_iter().flatten() {
                sink.write(&messages).await;
            }
        }
    }
}

/// How many more are committed.
async fn committed(committer: Option<&mut Committer>) -> usize {
    match committer {
        // Its thread has ended: nobody is acknowledged any more.
        Some(committer) => match committer.committed.recv().await {
            Some(count) => count,
            None => pending().await,
        },
        None => pending().await,
    }
}
