//! Publications as a Parquet file, for analytics. docs/archive.md says what the columns are.
//!
//! [`PublicationFile`] is filled by `sterna archive export`, which knows where files go. It has no
//! task and no I/O but what its writer does. What is held is a row group: [`GROUP_ROWS`] rows, or
//! [`GROUP_BYTES`] of payloads.

mod columns;

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use sterna_proto::{ChannelId, ChannelKey};
use sterna_storage::Record;

pub use parquet::errors::ParquetError as FileError;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub channel: ChannelKey,
    /// `None`: nobody has told its name.
    pub name: Option<ChannelId>,
    pub record: Record,
}

/// A file in the making.
pub struct PublicationFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    rows: Vec<Row>,
    payload_bytes: usize,
    count: u64,
}

impl<W: Write + Send> PublicationFile<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When the first bytes cannot be written.
    pub fn new(out: W) -> Result<Self, ParquetError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let payload = "payload".into();
        let properties = WriterProperties::builder()
            .set_created_by(concat!("sterna ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
            .set_statistics_truncate_length(Some(64))
            // Of no use for what is looked up by nobody.
            .set_column_dictionary_enabled(
                parquet::schema::types::ColumnPath::from("payload"),
                false,
            )
            .set_column_statistics_enabled(payload, EnabledStatistics::None)
            .build();
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { writer, rows: Vec::new(), payload_bytes: 0, count: 0 })
    }

    /// Takes a row; rows that make a group are written.
    ///
    /// # Errors
    /// When they cannot be.
    pub fn push(&mut self, row: Row) -> Result<(), ParquetError> {
        self.payload_bytes += row.record.body.payload.len();
        self.count += 1;
        self.rows.push(row);
        let is_full = self.rows.len() >= GROUP_ROWS || self.payload_bytes >= GROUP_BYTES;
        if is_full { self.write_group() } else { Ok(()) }
    }

    /// Rows that were taken.
    pub fn rows(&self) -> u64 {
        self.count
    }

    /// Of the file so far, without the rows that are held.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Writes what is left, and what says where all of it lies.
    ///
    /// # Errors
    /// When it cannot be written; what is there is no file of Parquet then.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        self.writer.into_inner()
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            columns::write(number, &self.rows, &mut column)?;
            column.close()?;
            number += 1;
        }
        group.close()?;
        self.rows.clear();
        self.payload_bytes = 0;
        Ok(())
    }
}

impl<W: Write + Send> std::fmt::Debug for PublicationFile<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicationFile").field("rows", &self.count).finish_non_exhaustive()
    }
}

/// The columns, in the order of [`columns::write`].
const SCHEMA: &str = "
message publication {
    REQUIRED FIXED_LEN_BYTE_ARRAY(16) channel_key;
    OPTIONAL BYTE_ARRAY channel (STRING);
    REQUIRED INT32 epoch (INTEGER(32, false));
    REQUIRED INT64 offset (INTEGER(64, false));
    REQUIRED INT64 id (INTEGER(64, false));
    REQUIRED BYTE_ARRAY sender (STRING);
    OPTIONAL BYTE_ARRAY client_id (STRING);
    OPTIONAL INT64 client_seq (INTEGER(64, false));
    OPTIONAL BYTE_ARRAY client_msg_id;
    REQUIRED INT64 client_time (TIMESTAMP(MILLIS, true));
    REQUIRED INT64 server_time (TIMESTAMP(MILLIS, true));
    REQUIRED INT32 kind (INTEGER(32, true));
    OPTIONAL INT64 target_offset (INTEGER(64, false));
    REQUIRED BYTE_ARRAY payload;
}
";

/// Rows of a group at most.
pub const GROUP_ROWS: usize = 20_000;

/// Payloads of a group, and one more record. Bytes.
pub const GROUP_BYTES: usize = 8 << 20;

/// As segments are packed.
const LEVEL: i32 = 3;
