//! Values of statements and of rows, one after the other. A value of another type than the schema's
//! is corruption.

use bytes::Bytes;
use scylla::value::{CqlValue, MaybeUnset, Row};
use sterna_proto::{ChannelKey, Epoch, InvalidId, Offset, UserId};
use sterna_storage::StorageError;

use crate::failure::corrupt;

/// A value of a statement. What is unset is not touched, and leaves no tombstone as a null does.
pub(crate) type Value = MaybeUnset<Option<CqlValue>>;
pub(crate) type Values = Vec<Value>;

/// Columns that are left of a row, in the order of the SELECT.
pub(crate) struct Columns {
    table: &'static str,
    values: std::vec::IntoIter<Option<CqlValue>>,
}

impl Columns {
    /// `table` names it in errors.
    pub(crate) fn of(table: &'static str, row: Row) -> Self {
        Self { table, values: row.columns.into_iter() }
    }

    /// A column that may be null; one that the server did not send counts as null.
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(CqlValue) -> Option<T>,
    ) -> Result<Option<T>, StorageError> {
        let Some(value) = self.values.next().flatten() else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.damaged("a column has another type"))
    }

    pub(crate) fn integer(&mut self) -> Result<i64, StorageError> {
        let value = self.optional(integer)?;
        value.ok_or_else(|| self.damaged("a column is missing"))
    }

    pub(crate) fn int(&mut self) -> Result<i32, StorageError> {
        let number = self.integer()?;
        i32::try_from(number).map_err(|_| self.damaged("a number is too large"))
    }

    /// Passes columns over.
    pub(crate) fn skip(&mut self, columns: usize) {
        self.values.by_ref().take(columns).for_each(drop);
    }

    /// Bits of an unsigned number.
    pub(crate) fn bits(&mut self) -> Result<u64, StorageError> {
        Ok(self.integer()?.cast_unsigned())
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, StorageError> {
        Ok(Offset(self.bits()?))
    }

    pub(crate) fn epoch(&mut self) -> Result<Epoch, StorageError> {
        let epoch = self.integer()?.try_into().map_err(|_| self.damaged("an epoch is too large"));
        Ok(Epoch(epoch?))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, StorageError> {
        let value = self.optional(blob)?;
        value.map(Bytes::from).ok_or_else(|| self.damaged("a column is missing"))
    }

    pub(crate) fn channel(&mut self) -> Result<ChannelKey, StorageError> {
        let key = <[u8; 16]>::try_from(&self.bytes()?[..]);
        Ok(ChannelKey(key.map_err(|_| self.damaged("a channel key has 16 bytes"))?))
    }

    pub(crate) fn text(&mut self) -> Result<String, StorageError> {
        let value = self.optional(words)?;
        value.ok_or_else(|| self.damaged("a column is missing"))
    }

    /// A name of ours.
    pub(crate) fn name<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, InvalidId>,
    ) -> Result<T, StorageError> {
        let text = self.text()?;
        parse(&text).map_err(|error| self.damaged(&error.to_string()))
    }

    pub(crate) fn user(&mut self) -> Result<UserId, StorageError> {
        self.name(UserId::new)
    }

    /// A number of an enumeration.
    pub(crate) fn variant<T: TryFrom<i32>>(&mut self) -> Result<T, StorageError> {
        let number =
            i32::try_from(self.integer()?).ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.damaged("a number that names nothing"))
    }

    pub(crate) fn damaged(&self, what: &str) -> StorageError {
        corrupt(format!("a row of {} is damaged: {what}", self.table))
    }
}

pub(crate) fn integer(value: CqlValue) -> Option<i64> {
    match value {
        CqlValue::BigInt(number) => Some(number),
        CqlValue::Int(number) => Some(number.into()),
        CqlValue::SmallInt(number) => Some(number.into()),
        CqlValue::TinyInt(number) => Some(number.into()),
        _ => None,
    }
}

pub(crate) fn boolean(value: CqlValue) -> Option<bool> {
    if let CqlValue::Boolean(answer) = value { Some(answer) } else { None }
}

fn blob(value: CqlValue) -> Option<Vec<u8>> {
    match value {
        CqlValue::Blob(bytes) => Some(bytes),
        CqlValue::Empty => Some(Vec::new()),
        _ => None,
    }
}

pub(crate) fn words(value: CqlValue) -> Option<String> {
    match value {
        CqlValue::Text(text) | CqlValue::Ascii(text) => Some(text),
        CqlValue::Empty => Some(String::new()),
        _ => None,
    }
}

/// The value of a binary key.
pub(crate) fn key(channel: ChannelKey) -> Value {
    bytes(channel.0.to_vec())
}

pub(crate) fn bytes(bytes: Vec<u8>) -> Value {
    set(CqlValue::Blob(bytes))
}

pub(crate) fn text(text: &str) -> Value {
    set(CqlValue::Text(text.to_owned()))
}

/// A `bigint`, by its bits.
pub(crate) fn big(number: impl Into<u64>) -> Value {
    set(CqlValue::BigInt(number.into().cast_signed()))
}

/// A `bigint` that is compared: beyond the largest there is nothing.
pub(crate) fn bound(number: u64) -> Value {
    set(CqlValue::BigInt(i64::try_from(number).unwrap_or(i64::MAX)))
}

pub(crate) fn int(number: i32) -> Value {
    set(CqlValue::Int(number))
}

pub(crate) fn small(number: u16) -> Value {
    int(number.into())
}

/// A limit of rows; more than anybody has is as good as no limit.
pub(crate) fn limit(rows: usize) -> Value {
    int(i32::try_from(rows).unwrap_or(i32::MAX))
}

pub(crate) fn null() -> Value {
    MaybeUnset::Set(None)
}

pub(crate) fn set(value: CqlValue) -> Value {
    MaybeUnset::Set(Some(value))
}

pub(crate) const UNSET: Value = MaybeUnset::Unset;
