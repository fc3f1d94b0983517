//! The commit of appends: compare-and-append in one transaction for each database.
//!
//! The transaction locks the heads in key order, looks the origins up behind those locks, decides
//! each append by [`sequence`], and writes records, origins, heads, intents and memberships. Whatever it decides
//! holds until its end, since nobody appends to a channel without the lock of its head, and two
//! first writers of a channel meet at the primary key.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use mysql_async::Conn;
use sterna_proto::{ChannelKey, Position};
use sterna_storage::sequence::{self, Sequenced, sequence, sequence_epoch};
use sterna_storage::{
    Adoption, Append, AppendError, Head, MembershipChange, NewRecord, Origin, Record,
};

use crate::channels::change_members;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::intents::{self, Owed};
use crate::origins::Stored;
use crate::place::Place;
use crate::{head, origins, records};

/// What a caller wants of one channel.
#[derive(Debug)]
pub(crate) enum Change {
    Append(Append),
    OpenEpoch { channel: ChannelKey, expected: Position, marker: NewRecord },
    Adopt(Adoption),
}

pub(crate) type Verdict = Result<Head, AppendError>;

impl Engine {
    /// Commits the changes, each with its own verdict, in the order given. Databases commit side by
    /// side.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Vec<Verdict> {
        if let Err(closed) = self.check_open() {
            return changes.iter().map(|_| Err(closed.clone().into())).collect();
        }
        let mut groups: BTreeMap<u16, Vec<Numbered>> = BTreeMap::new();
        for (index, change) in changes.into_iter().enumerate() {
            let place = self.places.locate(change.channel().slot());
            groups.entry(place.database).or_default().push(Numbered { index, place, change });
        }
        let groups = groups.into_iter().map(|(database, group)| self.commit_to(database, group));
        let mut verdicts = join_all(groups).await.concat();
        verdicts.sort_unstable_by_key(|(index, _)| *index);
        verdicts.into_iter().map(|(_, verdict)| verdict).collect()
    }

    async fn commit_to(&self, database: u16, mut changes: Vec<Numbered>) -> Vec<(usize, Verdict)> {
        changes.sort_unstable_by_key(|one| (one.place, one.change.channel()));
        let group = Group { engine: self, changes };
        let committed =
            self.server(database).transact(&group, |conn, group| group.write(conn).boxed());
        match committed.await {
            Ok(verdicts) => {
                let conflicts = verdicts.iter().filter(|(_, verdict)| is_conflict(verdict)).count();
                metrics::counter!("sterna_storage_sql_conflicts_total").increment(conflicts as u64);
                verdicts
            }
            Err(error) => {
                group.changes.iter().map(|one| (one.index, Err(error.clone().into()))).collect()
            }
        }
    }
}

/// A change with its number in the call.
#[derive(Debug)]
struct Numbered {
    index: usize,
    place: Place,
    change: Change,
}

/// The changes of one database, in the order of their locks.
#[derive(Debug)]
struct Group<'a> {
    engine: &'a Engine,
    changes: Vec<Numbered>,
}

impl Group<'_> {
    async fn write(&self, conn: &mut Conn) -> Result<Vec<(usize, Verdict)>, Failure> {
        let mut verdicts = Vec::with_capacity(self.changes.len());
        let mut owed = Vec::new();
        for changes in self.changes.chunk_by(|one, other| one.place == other.place) {
            self.write_table(conn, changes, &mut verdicts, &mut owed).await?;
        }
        // Numbered in the order of the call, and last, since the slots' rows are shared by channels.
        owed.sort_unstable_by_key(|(index, _)| *index);
        let owed: Vec<Owed> = owed.into_iter().map(|(_, owed)| owed).collect();
        intents::insert(conn, &self.engine.places, &owed).await?;
        Ok(verdicts)
    }

    async fn write_table(
        &self,
        conn: &mut Conn,
        changes: &[Numbered],
        verdicts: &mut Vec<(usize, Verdict)>,
        owed: &mut Vec<(usize, Owed)>,
    ) -> Result<(), Failure> {
        let table = |name| self.engine.places.table(changes[0].place, name);
        let channels: Vec<ChannelKey> = changes.iter().map(|one| one.change.channel()).collect();
        let heads = head::lock(conn, &table("heads"), &channels).await?;
        let head_of = |channel| heads.iter().find(|(other, _)| *other == channel);
        let origins = changes.iter().flat_map(|one| one.change.origins()).collect::<Vec<_>>();
        let stored = origins::look_up(conn, &table("origins"), &origins).await?;
        let mut staged = Staged::default();
        let mut members = Vec::new();
        for Numbered { index, change, .. } in changes {
            let channel = change.channel();
            let head = head_of(channel).map(|(_, head)| head);
            let decided = change.decide(head, self.engine.birth, &stored);
            if let Ok(sequenced) = &decided {
                let list = if head.is_some() { &mut staged.old } else { &mut staged.new };
                list.push((channel, sequenced.clone()));
                members.extend(change.members().iter().map(|one| (channel, one)));
                owed.extend(change.intents().map(|payload| {
                    (*index, Owed { slot: channel.slot(), payload: payload.clone() })
                }));
            }
            verdicts.push((*index, decided.map(|sequenced| sequenced.head)));
        }
        staged.write(conn, table).await?;
        change_members(conn, &table("memberships"), &members).await
    }
}

/// What takes effect in one table.
#[derive(Debug, Default)]
struct Staged {
    new: Vec<(ChannelKey, Sequenced)>,
    old: Vec<(ChannelKey, Sequenced)>,
}

impl Staged {
    async fn write(
        &self,
        conn: &mut Conn,
        table: impl Fn(&'static str) -> String,
    ) -> Result<(), Failure> {
        head::insert(conn, &table("heads"), &heads(&self.new)).await?;
        head::update(conn, &table("heads"), &heads(&self.old)).await?;
        let all = self.new.iter().chain(&self.old);
        let written: Vec<(ChannelKey, &Record)> = all
            .flat_map(|(channel, sequenced)| sequenced.records.iter().map(|one| (*channel, one)))
            .collect();
        records::insert(conn, &table("publications"), &written).await?;
        origins::insert(conn, &table("origins"), &written).await
    }
}

fn heads(staged: &[(ChannelKey, Sequenced)]) -> Vec<(ChannelKey, &Head)> {
    staged.iter().map(|(channel, sequenced)| (*channel, &sequenced.head)).collect()
}

impl Change {
    pub(crate) fn channel(&self) -> ChannelKey {
        match self {
            Self::Append(append) => append.channel,
            Self::OpenEpoch { channel, .. } => *channel,
            Self::Adopt(adoption) => adoption.channel,
        }
    }

    fn records(&self) -> &[NewRecord] {
        match self {
            Self::Append(append) => &append.records,
            Self::OpenEpoch { marker, .. } => std::slice::from_ref(marker),
            Self::Adopt(adoption) => std::slice::from_ref(&adoption.marker),
        }
    }

    fn origins(&self) -> impl Iterator<Item = (ChannelKey, Origin)> {
        let channel = self.channel();
        self.records().iter().filter_map(move |one| Some((channel, one.origin.clone()?)))
    }

    fn intents(&self) -> impl Iterator<Item = &Bytes> {
        match self {
            Self::Append(append) => append.intents.iter(),
            Self::OpenEpoch { .. } | Self::Adopt(_) => [].iter(),
        }
    }

    fn members(&self) -> &[MembershipChange] {
        match self {
            Self::Append(append) => &append.members,
            Self::OpenEpoch { .. } => &[],
            Self::Adopt(adoption) => &adoption.members,
        }
    }

    fn decide(
        &self,
        head: Option<&Head>,
        birth: sterna_proto::Epoch,
        stored: &Stored,
    ) -> Result<Sequenced, AppendError> {
        let find = |origin: &Origin| Ok(stored.get(&(self.channel(), origin.clone())).cloned());
        match self {
            Self::Append(append) => sequence(append.clone(), head, birth, find),
            Self::OpenEpoch { expected, marker, .. } => {
                sequence_epoch(*expected, marker.clone(), head, find)
            }
            Self::Adopt(adoption) => sequence::adopt(adoption.clone(), head),
        }
    }
}

fn is_conflict(verdict: &Verdict) -> bool {
    matches!(verdict, Err(AppendError::Conflict { .. }))
}
