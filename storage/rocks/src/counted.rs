//! The way of a record into a value and back, and that of a commit, for the instruction counts of
//! `bench/instructions`. No part of the API; the log itself goes the same way.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sterna_proto::{Offset, Position};
use sterna_storage::{Append, AppendError, Record, StorageError};

use crate::RocksConfig;
use crate::database::Database;
use crate::encoding::{decode_record, seal_record, unseal};
use crate::group::Group;
use crate::open::open;

/// The value of a record under this key.
pub fn encode(key: &[u8], record: &Record) -> Vec<u8> {
    let mut value = Vec::new();
    seal_record(key, record, &mut value);
    value
}

/// The record of a value found under this key.
pub fn decode(key: &[u8], value: &[u8]) -> Option<Record> {
    let content = unseal(key, value).ok()?;
    decode_record(Offset(1), Bytes::copy_from_slice(content)).ok()
}

/// A store that is written to on the caller's thread, and never synced.
#[derive(Debug)]
pub struct OwnThread {
    database: Arc<Database>,
    group: Group,
}

impl OwnThread {
    /// Opens a directory that nobody else has open.
    pub fn open(directory: &Path) -> Result<Self, StorageError> {
        let config = RocksConfig::new(directory);
        let opened = open(&config)?;
        let group = Group::new(opened.database.clone(), opened.birth, config.cached_heads);
        Ok(Self { database: opened.database, group })
    }

    /// One group; where each channel ends then.
    pub fn commit(&mut self, appends: Vec<Append>) -> Vec<Result<Position, AppendError>> {
        let heads = appends.into_iter().map(|append| self.group.append(append));
        let heads: Vec<_> = heads.map(|head| head.map(|head| head.position)).collect();
        let written = self.group.take().map(|group| self.database.write(group.batch, false));
        match written {
            Some(Err(error)) => heads.iter().map(|_| Err(error.clone().into())).collect(),
            _ => heads,
        }
    }
}
