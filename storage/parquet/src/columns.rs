//! Rows become columns.

use parquet::data_type::{
    ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;
use sterna_storage::{NewRecord, Origin};

use crate::Row;

/// Writes the column of this number in the schema.
pub(crate) fn write(
    number: usize,
    rows: &[Row],
    column: &mut SerializedColumnWriter<'_>,
) -> Result<(), ParquetError> {
    match number {
        0 => {
            let key = |row: &Row| FixedLenByteArray::from(row.channel.0.to_vec());
            let keys: Vec<_> = rows.iter().map(key).collect();
            column.typed::<FixedLenByteArrayType>().write_batch(&keys, None, None).map(drop)
        }
        1 => texts(rows, column, |row| row.name.as_ref().map(|name| name.as_str())),
        2 => int32s(rows, column, |row| row.record.position.epoch.0 as i32),
        3 => int64s(rows, column, |row| Some(row.record.position.offset.0), false),
        4 => int64s(rows, column, |row| Some(row.record.body.id.0), false),
        5 => bytes(rows, column, |body| body.sender.as_str().as_bytes()),
        6 => texts(rows, column, |row| origin(row).map(|origin| origin.client_id.as_str())),
        7 => int64s(rows, column, |row| origin(row).map(|origin| origin.client_seq), true),
        8 => {
            let id = |row: &Row| row.record.body.client_msg_id.clone();
            let ids = rows.iter().map(id).map(|id| (!id.is_empty()).then(|| ByteArray::from(id)));
            optional_bytes(ids.collect(), column)
        }
        9 => int64s(rows, column, |row| Some(row.record.body.client_ts_ms), false),
        10 => int64s(rows, column, |row| Some(row.record.body.server_ts_ms), false),
        11 => int32s(rows, column, |row| row.record.body.kind),
        12 => {
            let target = |row: &Row| row.record.body.target_offset.0;
            int64s(rows, column, |row| Some(target(row)).filter(|target| *target > 0), true)
        }
        13 => {
            let payload = |row: &Row| ByteArray::from(row.record.body.payload.clone());
            let payloads: Vec<_> = rows.iter().map(payload).collect();
            column.typed::<ByteArrayType>().write_batch(&payloads, None, None).map(drop)
        }
        other => Err(ParquetError::General(format!("there is no column {other}"))),
    }
}

fn origin(row: &Row) -> Option<&Origin> {
    row.record.body.origin.as_ref()
}

fn int32s(
    rows: &[Row],
    column: &mut SerializedColumnWriter<'_>,
    value: impl Fn(&Row) -> i32,
) -> Result<(), ParquetError> {
    let values: Vec<i32> = rows.iter().map(value).collect();
    column.typed::<Int32Type>().write_batch(&values, None, None).map(drop)
}

/// Numbers without a sign keep their bits.
fn int64s(
    rows: &[Row],
    column: &mut SerializedColumnWriter<'_>,
    value: impl Fn(&Row) -> Option<u64>,
    is_optional: bool,
) -> Result<(), ParquetError> {
    let all: Vec<Option<u64>> = rows.iter().map(value).collect();
    let levels: Vec<i16> = all.iter().map(|value| value.is_some().into()).collect();
    let values: Vec<i64> = all.into_iter().flatten().map(u64::cast_signed).collect();
    let levels = is_optional.then_some(&levels[..]);
    column.typed::<Int64Type>().write_batch(&values, levels, None).map(drop)
}

fn bytes<'a>(
    rows: &'a [Row],
    column: &mut SerializedColumnWriter<'_>,
    value: impl Fn(&'a NewRecord) -> &'a [u8],
) -> Result<(), ParquetError> {
    let values: Vec<ByteArray> =
        rows.iter().map(|row| value(&row.record.body).to_vec().into()).collect();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).map(drop)
}

fn texts<'a>(
    rows: &'a [Row],
    column: &mut SerializedColumnWriter<'_>,
    value: impl Fn(&'a Row) -> Option<&'a str>,
) -> Result<(), ParquetError> {
    let texts = rows.iter().map(|row| value(row).map(|text| text.as_bytes().to_vec().into()));
    optional_bytes(texts.collect(), column)
}

fn optional_bytes(
    all: Vec<Option<ByteArray>>,
    column: &mut SerializedColumnWriter<'_>,
) -> Result<(), ParquetError> {
    let levels: Vec<i16> = all.iter().map(|value| value.is_some().into()).collect();
    let values: Vec<ByteArray> = all.into_iter().flatten().collect();
    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).map(drop)
}
