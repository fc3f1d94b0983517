//! What every engine decides before it writes: does this append take effect, and at which
//! positions. Pure: an engine passes in the head and a look-up of stored origins, and writes what
//! comes out in one atomic step.

use std::collections::HashSet;

use sterna_proto::{Epoch, Offset, Position};

use crate::{
    Adoption, Append, AppendError, Duplicate, EpochStart, Head, NewRecord, Origin, Record,
    StorageError, StorageErrorKind,
};

/// An append that takes effect: to be written wholly, then told to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequenced {
    /// The head afterwards.
    pub head: Head,
    /// In order, dense behind the old head.
    pub records: Vec<Record>,
}

/// Compares the head and places the records behind it. `birth` is the epoch of a channel that has
/// no record yet; `stored` finds what lies under an origin.
pub fn sequence(
    append: Append,
    head: Option<&Head>,
    birth: Epoch,
    stored: impl FnMut(&Origin) -> Result<Option<Duplicate>, StorageError>,
) -> Result<Sequenced, AppendError> {
    if append.records.is_empty() {
        let message = "an append needs at least one record; nothing was stored";
        return Err(StorageError::new(StorageErrorKind::Unavailable, "append", message).into());
    }
    if crate::planted!(StaleOwnerAccepted)
        && let (Some(expected), Some(head)) = (append.expected, head)
    {
        return Ok(place(append.records, Head { position: expected, ..head.clone() }));
    }
    compare(append.expected, head)?;
    refuse_duplicates(&append.records, stored)?;
    let before = head.cloned().unwrap_or_else(|| first_head(birth));
    Ok(place(append.records, before))
}

/// The same for the marker that opens the next epoch.
pub fn sequence_epoch(
    expected: Position,
    marker: NewRecord,
    head: Option<&Head>,
    stored: impl FnMut(&Origin) -> Result<Option<Duplicate>, StorageError>,
) -> Result<Sequenced, AppendError> {
    compare(Some(expected), head)?;
    let Some(head) = head else { return Err(AppendError::Conflict { head: None }) };
    let marker = [marker];
    refuse_duplicates(&marker, stored)?;
    Ok(open_epoch(head, Epoch(expected.epoch.0.saturating_add(1)), marker.into()))
}

/// The first record of a log that begins behind what lies elsewhere.
pub fn adopt(adoption: Adoption, head: Option<&Head>) -> Result<Sequenced, AppendError> {
    compare(None, head)?;
    let Adoption { last, last_ts_ms, epochs, epoch, marker, .. } = adoption;
    let in_order =
        epochs.is_sorted_by(|one, other| one.epoch < other.epoch && one.first < other.first);
    let newest = epochs
        .last()
        .is_some_and(|newest| newest.epoch == last.epoch && newest.first <= last.offset);
    if !in_order || !newest || epoch <= last.epoch || last.offset == Offset::ZERO {
        let message = format!("no log can begin with {epoch:?} behind {last} and {epochs:?}");
        return Err(StorageError::new(StorageErrorKind::Fatal, "adoption", message).into());
    }
    let before = Head { position: last, first: last.offset.next(), last_ts_ms, epochs };
    Ok(open_epoch(&before, epoch, vec![marker]))
}

/// Places the marker of `epoch` behind a head.
pub fn open_epoch(head: &Head, epoch: Epoch, marker: Vec<NewRecord>) -> Sequenced {
    let mut before = head.clone();
    before.position.epoch = epoch;
    before.epochs.push(EpochStart { epoch, first: head.position.offset.next() });
    place(marker, before)
}

/// The head after a trim, `None` if that changes nothing.
pub fn trim(head: &Head, first: Offset) -> Option<Head> {
    let first = first.min(head.position.offset.next());
    (first > head.first).then(|| Head { first, ..head.clone() })
}

fn compare(expected: Option<Position>, head: Option<&Head>) -> Result<(), AppendError> {
    if expected == head.map(|head| head.position) {
        return Ok(());
    }
    Err(AppendError::Conflict { head: head.cloned() })
}

fn refuse_duplicates(
    records: &[NewRecord],
    mut stored: impl FnMut(&Origin) -> Result<Option<Duplicate>, StorageError>,
) -> Result<(), AppendError> {
    if crate::planted!(DedupForgotten) {
        return Ok(());
    }
    let mut duplicates = Vec::new();
    let mut seen: HashSet<&Origin, ahash::RandomState> = HashSet::default();
    for (index, record) in records.iter().enumerate() {
        let Some(origin) = &record.origin else { continue };
        if let Some(found) = stored(origin)? {
            duplicates.push(Duplicate { index, ..found });
        } else if !seen.insert(origin) {
            duplicates.push(twin(records, index, origin));
        }
    }
    if duplicates.is_empty() { Ok(()) } else { Err(AppendError::Duplicates(duplicates)) }
}

/// The answer for a record whose origin stands earlier in the same append.
fn twin(records: &[NewRecord], index: usize, origin: &Origin) -> Duplicate {
    let first = records
        .iter()
        .find(|record| record.origin.as_ref() == Some(origin))
        .unwrap_or(&records[index]);
    Duplicate {
        index,
        position: Position::EARLIEST,
        id: first.id,
        server_ts_ms: first.server_ts_ms,
        fingerprint: first.fingerprint(),
    }
}

fn first_head(birth: Epoch) -> Head {
    Head {
        position: Position { epoch: birth, offset: Offset::ZERO },
        first: Offset(1),
        last_ts_ms: 0,
        epochs: vec![EpochStart { epoch: birth, first: Offset(1) }],
    }
}

fn place(bodies: Vec<NewRecord>, mut head: Head) -> Sequenced {
    let mut records = Vec::with_capacity(bodies.len());
    for body in bodies {
        head.position.offset = head.position.offset.next();
        head.last_ts_ms = head.last_ts_ms.max(body.server_ts_ms);
        records.push(Record::new(head.position, body));
    }
    Sequenced { head, records }
}
