//! What was written is what another reads, to the last bit.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use sterna_proto::{
    ChannelId, ChannelKey, ClientId, Epoch, Offset, Position, PublicationId, UserId,
};
use sterna_storage::{NewRecord, Origin, Record};
use sterna_storage_parquet::{GROUP_BYTES, GROUP_ROWS, PublicationFile, Row};

fn row(n: u64, payload: usize) -> Row {
    let name = ChannelId::new(&format!("room:{}", n / 7)).unwrap();
    let origin = Origin { client_id: ClientId::new("phone").unwrap(), client_seq: n };
    let body = NewRecord {
        id: PublicationId(u64::MAX - n),
        sender: UserId::new(&format!("user-{}", n % 5)).unwrap(),
        origin: (!n.is_multiple_of(3)).then_some(origin),
        client_msg_id: if n.is_multiple_of(2) {
            Bytes::from(vec![n as u8; 16])
        } else {
            Bytes::new()
        },
        server_ts_ms: 1_700_000_000_000 + n,
        client_ts_ms: n,
        kind: if n.is_multiple_of(11) { -1 } else { (n % 4) as i32 },
        target_offset: Offset(n % 4),
        payload: (0..payload).map(|at| (at as u64 * n) as u8).collect(),
    };
    let position = Position { epoch: Epoch(u32::MAX - n as u32 % 2), offset: Offset(n + 1) };
    let (channel, name) = (name.key(), (!n.is_multiple_of(5)).then_some(name));
    Row { channel, name, record: Record::new(position, body) }
}

fn text(field: &Field) -> Option<&str> {
    match field {
        Field::Str(text) => Some(text),
        Field::Null => None,
        other => panic!("{other:?}"),
    }
}

fn bytes(field: &Field) -> Option<&[u8]> {
    match field {
        Field::Bytes(bytes) => Some(bytes.data()),
        Field::Null => None,
        other => panic!("{other:?}"),
    }
}

fn number(field: &Field) -> Option<u64> {
    match field {
        Field::ULong(number) => Some(*number),
        Field::Null => None,
        other => panic!("{other:?}"),
    }
}

/// The row that a reader of another maker has.
fn row_of(fields: &[(String, Field)]) -> Row {
    let field = |name: &str| &fields.iter().find(|(found, _)| found == name).unwrap().1;
    let required = |name: &str| number(field(name)).unwrap();
    let time = |name: &str| match field(name) {
        Field::TimestampMillis(at) => *at as u64,
        other => panic!("{other:?}"),
    };
    let epoch = match field("epoch") {
        Field::UInt(epoch) => Epoch(*epoch),
        other => panic!("{other:?}"),
    };
    let kind = match field("kind") {
        Field::Int(kind) => *kind,
        other => panic!("{other:?}"),
    };
    let origin = text(field("client_id")).map(|client| Origin {
        client_id: ClientId::new(client).unwrap(),
        client_seq: required("client_seq"),
    });
    assert_eq!(origin.is_none(), number(field("client_seq")).is_none());
    let body = NewRecord {
        id: PublicationId(required("id")),
        sender: UserId::new(text(field("sender")).unwrap()).unwrap(),
        origin,
        client_msg_id: bytes(field("client_msg_id")).unwrap_or_default().to_vec().into(),
        server_ts_ms: time("server_time"),
        client_ts_ms: time("client_time"),
        kind,
        target_offset: Offset(number(field("target_offset")).unwrap_or(0)),
        payload: bytes(field("payload")).unwrap().to_vec().into(),
    };
    Row {
        channel: ChannelKey(bytes(field("channel_key")).unwrap().try_into().unwrap()),
        name: text(field("channel")).map(|name| ChannelId::new(name).unwrap()),
        record: Record::new(Position { epoch, offset: Offset(required("offset")) }, body),
    }
}

fn read(file: Vec<u8>) -> (Vec<Row>, Vec<i64>) {
    let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
    let groups = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let fields: Vec<_> = row
            .unwrap()
            .get_column_iter()
            .map(|(name, field)| (name.clone(), field.clone()))
            .collect();
        row_of(&fields)
    });
    (rows.collect(), groups)
}

#[test]
fn what_is_written_is_what_is_read() {
    let rows: Vec<Row> = (0..500).map(|n| row(n, n as usize % 300)).collect();
    let mut file = PublicationFile::new(Vec::new()).unwrap();
    for row in &rows {
        file.push(row.clone()).unwrap();
    }
    assert_eq!(file.rows(), 500);
    let (found, groups) = read(file.finish().unwrap());
    assert_eq!(found, rows);
    assert_eq!(groups, [500]);
}

#[test]
fn groups_end_with_their_rows_or_their_bytes() {
    let mut file = PublicationFile::new(Vec::new()).unwrap();
    for n in 0..GROUP_ROWS as u64 + 3 {
        file.push(row(n, 1)).unwrap();
    }
    assert!(file.bytes() > 1_000, "a group was written meanwhile");
    let (found, groups) = read(file.finish().unwrap());
    assert_eq!((found.len(), groups), (GROUP_ROWS + 3, vec![GROUP_ROWS as i64, 3]));
    let mut file = PublicationFile::new(Vec::new()).unwrap();
    for n in 0..5 {
        file.push(row(n, GROUP_BYTES / 2)).unwrap();
    }
    let (found, groups) = read(file.finish().unwrap());
    assert_eq!((found.len(), groups), (5, vec![2, 2, 1]));
    assert_eq!(found[4].record.body.payload, row(4, GROUP_BYTES / 2).record.body.payload);
}

#[test]
fn a_file_without_rows_is_one_too() {
    let file = PublicationFile::new(Vec::new()).unwrap();
    assert_eq!(read(file.finish().unwrap()), (vec![], vec![]));
}
