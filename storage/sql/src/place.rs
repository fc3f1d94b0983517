//! Where rows lie: slot → database and table. Pure.

use std::hash::Hasher as _;

use sterna_proto::UserId;
use sterna_proto::id::SLOTS;

use crate::config::Layout;

/// One part of the layout: a set of tables that one transaction may write together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) database: u16,
    pub(crate) table: u16,
}

/// The home database holds what is not spread.
pub(crate) const HOME: u16 = 0;

/// All places of a layout, and the names of their tables.
#[derive(Debug)]
pub(crate) struct Places {
    /// Quoted names by number of the database.
    databases: Vec<String>,
    tables: u16,
    sharded: bool,
}

impl Places {
    /// `base` is the name in the URL. Says what is wrong with the layout or the name.
    pub(crate) fn new(layout: Layout, base: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if base.is_empty() || base.len() > LONGEST_NAME || !base.chars().all(plain) {
            return Err(format!(
                "the database name {base:?} is not 1 to {LONGEST_NAME} letters, digits, - and _"
            ));
        }
        let Layout::Sharded { databases, tables } = layout else {
            return Ok(Self { databases: vec![format!("`{base}`")], tables: 1, sharded: false });
        };
        let product = u32::from(databases) * u32::from(tables);
        if !databases.is_power_of_two() || !tables.is_power_of_two() || product > u32::from(SLOTS) {
            return Err(format!(
                "{databases} databases of {tables} tables: both must be powers of two, with a \
                 product of at most {SLOTS}"
            ));
        }
        let databases = (0..databases).map(|number| format!("`{base}_{number:02}`")).collect();
        Ok(Self { databases, tables, sharded: true })
    }

    /// The slots are cut into equal runs, first over the databases, then over their tables.
    pub(crate) fn locate(&self, slot: u16) -> Place {
        let databases = self.databases.len() as u64;
        let parts = databases * u64::from(self.tables);
        let part = u64::from(slot % SLOTS) * parts / u64::from(SLOTS);
        let tables = u64::from(self.tables);
        Place { database: (part / tables) as u16, table: (part % tables) as u16 }
    }

    /// Users are spread by a hash of their names, which belongs to the data and never changes.
    pub(crate) fn locate_user(&self, user: &UserId) -> Place {
        let mut hash = twox_hash::XxHash3_64::with_seed(0);
        hash.write(user.as_str().as_bytes());
        self.locate((hash.finish() % u64::from(SLOTS)) as u16)
    }

    pub(crate) fn databases(&self) -> u16 {
        self.databases.len() as u16
    }

    /// Every place, in the order in which locks are taken.
    pub(crate) fn all(&self) -> impl Iterator<Item = Place> + use<> {
        let tables = self.tables;
        (0..self.databases())
            .flat_map(move |database| (0..tables).map(move |table| Place { database, table }))
    }

    /// The quoted name of a database.
    pub(crate) fn database(&self, database: u16) -> &str {
        &self.databases[usize::from(database)]
    }

    /// What stands for `{t}` in a migration.
    pub(crate) fn suffixes(&self) -> Vec<String> {
        (0..self.tables).map(|table| self.suffix(table)).collect()
    }

    /// The full name of a table that is spread.
    pub(crate) fn table(&self, place: Place, table: &str) -> String {
        format!("{}.{table}{}", self.database(place.database), self.suffix(place.table))
    }

    /// The full name of a table in the home database.
    pub(crate) fn home(&self, table: &str) -> String {
        format!("{}.{table}", self.database(HOME))
    }

    fn suffix(&self, table: u16) -> String {
        if self.sharded { format!("_{table:02}") } else { String::new() }
    }
}

/// With the number behind it still a name that every server takes.
const LONGEST_NAME: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn slots_are_spread_evenly() {
        for (databases, tables) in [(1, 1), (2, 4), (64, 32), (1, 2048), (2048, 1)] {
            let places = Places::new(Layout::Sharded { databases, tables }, "db").unwrap();
            let mut counts: BTreeMap<Place, u32> = BTreeMap::new();
            (0..SLOTS).for_each(|slot| *counts.entry(places.locate(slot)).or_default() += 1);
            assert!(counts.keys().copied().eq(places.all()));
            let each = u32::from(SLOTS) / u32::from(databases) / u32::from(tables);
            assert!(counts.values().all(|count| *count == each), "{databases} x {tables}");
        }
    }

    #[test]
    fn tables_have_full_names() {
        let single = Places::new(Layout::Single, "chat").unwrap();
        assert_eq!(single.table(single.locate(2047), "heads"), "`chat`.heads");
        let sharded = Places::new(Layout::SHARDED, "chat").unwrap();
        assert_eq!(sharded.table(sharded.locate(2047), "heads"), "`chat_63`.heads_31");
        assert_eq!(sharded.home("meta"), "`chat_00`.meta");
    }

    #[test]
    fn other_layouts_are_refused() {
        for (databases, tables) in [(3, 4), (4, 3), (0, 1), (1, 0), (64, 64)] {
            assert!(Places::new(Layout::Sharded { databases, tables }, "db").is_err());
        }
        for name in ["", "a`b", "a.b", "a b"] {
            assert!(Places::new(Layout::Single, name).is_err(), "{name:?}");
        }
    }
}
