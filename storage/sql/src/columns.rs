//! Values of a row, one after the other. A value of another type than the schema's is corruption.

use bytes::Bytes;
use mysql_async::prelude::FromValue;
use mysql_async::{Row, Value};
use sterna_proto::{ChannelKey, Epoch, InvalidId, Offset, Position, UserId};
use sterna_storage::StorageError;

use crate::failure::corrupt;

/// Columns that are left of a row, in the order of the SELECT.
pub(crate) struct Columns {
    table: &'static str,
    values: std::vec::IntoIter<Option<Value>>,
}

impl Columns {
    /// `table` names it in errors.
    pub(crate) fn of(table: &'static str, row: Row) -> Self {
        Self { table, values: row.unwrap_raw().into_iter() }
    }

    pub(crate) fn take<T: FromValue>(&mut self) -> Result<T, StorageError> {
        let value = self.values.next().flatten();
        let value = value.ok_or_else(|| self.damaged("a column is missing"))?;
        T::from_value_opt(value).map_err(|error| self.damaged(&error.to_string()))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, StorageError> {
        Ok(Bytes::from(self.take::<Vec<u8>>()?))
    }

    pub(crate) fn channel(&mut self) -> Result<ChannelKey, StorageError> {
        let key = <[u8; 16]>::try_from(self.take::<Vec<u8>>()?);
        Ok(ChannelKey(key.map_err(|_| self.damaged("a channel key has 16 bytes"))?))
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, StorageError> {
        Ok(Offset(self.take()?))
    }

    /// An offset, then its epoch.
    pub(crate) fn position(&mut self) -> Result<Position, StorageError> {
        let offset = self.offset()?;
        Ok(Position { epoch: Epoch(self.take()?), offset })
    }

    /// A name of ours.
    pub(crate) fn name<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, InvalidId>,
    ) -> Result<T, StorageError> {
        let text: String = self.take()?;
        parse(&text).map_err(|error| self.damaged(&error.to_string()))
    }

    pub(crate) fn user(&mut self) -> Result<UserId, StorageError> {
        self.name(UserId::new)
    }

    /// A number of an enumeration.
    pub(crate) fn variant<T: TryFrom<i32>>(&mut self) -> Result<T, StorageError> {
        let number: i32 = self.take()?;
        T::try_from(number).map_err(|_| self.damaged("a number that names nothing"))
    }

    pub(crate) fn damaged(&self, what: &str) -> StorageError {
        corrupt(format!("a row of {} is damaged: {what}", self.table))
    }
}

/// `row` for each of `count` rows, as VALUES wants it.
pub(crate) fn repeat(row: &str, count: usize, separator: &str) -> String {
    vec![row; count].join(separator)
}

/// The value of a binary key.
pub(crate) fn key(channel: ChannelKey) -> Value {
    Value::Bytes(channel.0.to_vec())
}

pub(crate) fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

pub(crate) fn number(number: impl Into<u64>) -> Value {
    Value::UInt(number.into())
}

/// A limit of rows; more than anybody has is as good as no limit.
pub(crate) fn limit(rows: usize) -> Value {
    Value::UInt(rows.min(MOST_ROWS) as u64)
}

const MOST_ROWS: usize = 1 << 31;
