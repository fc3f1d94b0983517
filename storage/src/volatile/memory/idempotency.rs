//! Idempotency keys in memory.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::{ENGINE, Ending, MemoryVolatile};
use crate::StorageError;
use crate::volatile::idempotency::{check_key, check_result};
use crate::volatile::{Begun, Claim, IdempotencyStore};

impl IdempotencyStore for MemoryVolatile {
    fn begin(
        &self,
        key: Bytes,
        fingerprint: u64,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Begun, StorageError>> {
        if let Err(error) = check_key(ENGINE, &key) {
            return ready(Err(error)).boxed();
        }
        let now = self.now();
        let mut content = self.content();
        content.commands.make_room(|command| command.ends_at <= now);
        let found = content.commands.map.get(&key).filter(|command| command.ends_at > now);
        let begun = match found {
            Some(command) if command.fingerprint != fingerprint => Begun::Mismatch,
            Some(Command { state: State::Done(result), .. }) => Begun::Done(result.clone()),
            Some(_) => Begun::Running,
            None => {
                let claim = Claim(u128::from(content.number()));
                let state = State::Running(claim);
                let command = Command { fingerprint, state, ends_at: now.saturating_add(lease) };
                content.commands.map.insert(key, command);
                Begun::New { claim }
            }
        };
        ready(Ok(begun)).boxed()
    }

    fn finish(
        &self,
        key: Bytes,
        claim: Claim,
        result: Bytes,
        keep: Duration,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        if let Err(error) = check_result(ENGINE, &result) {
            return ready(Err(error)).boxed();
        }
        let now = self.now();
        let mut content = self.content();
        let command = content.commands.map.get_mut(&key).filter(|found| found.holds(claim, now));
        let holds = command.is_some();
        if let Some(command) = command {
            command.state = State::Done(result);
            command.ends_at = now.saturating_add(keep);
        }
        ready(Ok(holds)).boxed()
    }

    fn abandon(&self, key: Bytes, claim: Claim) -> BoxFuture<'_, Result<bool, StorageError>> {
        let now = self.now();
        let mut content = self.content();
        let holds = content.commands.map.get(&key).is_some_and(|found| found.holds(claim, now));
        if holds {
            content.commands.map.remove(&key);
        }
        ready(Ok(holds)).boxed()
    }
}

pub(super) type Commands = Ending<Bytes, Command>;

#[derive(Debug)]
pub(super) struct Command {
    fingerprint: u64,
    state: State,
    ends_at: Duration,
}

#[derive(Debug)]
enum State {
    Running(Claim),
    Done(Bytes),
}

impl Command {
    fn holds(&self, claim: Claim, now: Duration) -> bool {
        self.ends_at > now && matches!(self.state, State::Running(running) if running == claim)
    }
}
