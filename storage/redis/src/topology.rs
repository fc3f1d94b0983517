//! Which node serves which slots.

use std::ops::RangeInclusive;

use redis::{FromRedisValue as _, Value};
use sterna_storage::StorageError;

use crate::calls::{Calls, Group, unexpected};
use crate::tags::SLOTS;

/// Host and port.
pub(crate) type Address = (String, u16);

/// A node with a run of slots that it serves; a node may have several.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) slots: RangeInclusive<u16>,
    pub(crate) node: Address,
}

/// All slots that are served now. A single server serves all of them.
pub(crate) async fn runs(calls: &Calls) -> Result<Vec<Run>, StorageError> {
    let connector = calls.connector();
    let first = connector.first_address();
    if !connector.config().cluster {
        return Ok(vec![Run { slots: 0..=SLOTS - 1, node: first }]);
    }
    let answer: Value = calls.call(Group::Admin, redis::cmd("CLUSTER").arg("SLOTS")).await?;
    parse(answer, &first.0).ok_or_else(|| unexpected("the slots of a Cluster"))
}

/// Rows of first and last slot, then the serving node, then replicas. A node that does not know
/// its own name stands there with none: it is the one that answered.
pub(crate) fn parse(answer: Value, answered_by: &str) -> Option<Vec<Run>> {
    let rows = answer.into_sequence().ok()?.into_iter();
    rows.map(|row| {
        let mut parts = row.into_sequence().ok()?.into_iter();
        let first = u16::from_redis_value(parts.next()?).ok()?;
        let last = u16::from_redis_value(parts.next()?).ok()?;
        let mut node = parts.next()?.into_sequence().ok()?.into_iter();
        let host = Option::<String>::from_redis_value(node.next()?).ok()?;
        let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| answered_by.to_owned());
        let port = u16::from_redis_value(node.next()?).ok()?;
        Some(Run { slots: first..=last, node: (host, port) })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_shapes_are_read() {
        let node = |host: Value| Value::Array(vec![host, Value::Int(7000), text("id")]);
        let row = |first, last, nodes: Vec<Value>| {
            let slots = [Value::Int(first), Value::Int(last)].into_iter();
            Value::Array(slots.chain(nodes).collect())
        };
        let answer = Value::Array(vec![
            row(0, 5, vec![node(text("one"))]),
            row(6, 6, vec![node(Value::Nil), node(text("replica"))]),
            row(7, 16_383, vec![node(text("")), node(text("replica"))]),
        ]);
        let run = |slots, host: &str| Run { slots, node: (host.to_owned(), 7000) };
        let expected = vec![run(0..=5, "one"), run(6..=6, "me"), run(7..=16_383, "me")];
        assert_eq!(parse(answer, "me"), Some(expected));
        for bad in [Value::Nil, Value::Array(vec![Value::Int(1)]), row(-1, 0, Vec::new())] {
            assert_eq!(parse(bad, "me").filter(|runs| !runs.is_empty()), None);
        }
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }
}
