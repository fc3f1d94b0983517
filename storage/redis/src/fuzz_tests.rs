//! Fuzz target of what Redis answers and says unasked: any value of any shape is read, or is not what
//! was expected.

use redis::Value;
use sterna_fuzz::{Script, check};
use sterna_storage::volatile::{Partitions, RouteChange};

use crate::keys::hex;
use crate::{subscription, topology};

#[test]
fn fuzz_redis_replies() {
    check!("redis_replies", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        if script.flag() {
            let partitions = Partitions::new(u16::from(script.byte()) * 8);
            let data = match script.flag() {
                true => vec![Value::Nil, Value::BulkString(script.rest().to_vec())],
                false => values(&mut script, MOST_DEEP),
            };
            let change = subscription::parse(partitions, &data);
            if let Some(change) = change {
                assert!(change.partition.0 < partitions.count());
                assert_eq!(subscription::parse(partitions, &told(&change)), Some(change));
            }
        } else {
            let answer = Value::Array(values(&mut script, MOST_DEEP));
            let rows = answer.as_sequence().map_or(0, <[Value]>::len);
            if let Some(runs) = topology::parse(answer, "me") {
                assert_eq!(runs.len(), rows, "every row is a run");
                assert!(runs.iter().all(|run| !run.node.0.is_empty()));
            }
        }
    });
}

/// What a node publishes of a change.
fn told(change: &RouteChange) -> Vec<Value> {
    let text = format!("{} {} {}", hex(change.channel), change.v, change.pv);
    vec![Value::BulkString(b"name".to_vec()), Value::BulkString(text.into_bytes())]
}

fn values(script: &mut Script<'_>, deep: u8) -> Vec<Value> {
    (0..script.below(6)).map(|_| value(script, deep)).collect()
}

fn value(script: &mut Script<'_>, deep: u8) -> Value {
    match script.below(if deep == 0 { 6 } else { 9 }) {
        0 => Value::Nil,
        1 => Value::Int(script.number().cast_signed()),
        2 => Value::BulkString(script.bytes(64).to_vec()),
        3 => Value::SimpleString(String::from_utf8_lossy(script.bytes(64)).into_owned()),
        4 => Value::Okay,
        5 => Value::Double(f64::from_bits(script.number())),
        6 => Value::Set(values(script, deep - 1)),
        _ => Value::Array(values(script, deep - 1)),
    }
}

/// Answers lie two deep.
const MOST_DEEP: u8 = 3;
