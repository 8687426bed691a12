//! How objects lie in the file: a table for each kind, by name; a version byte, then JSON.
//!
//! JSON, so that what is left of a damaged file can be read with the simplest of tools.

use std::{collections::BTreeMap, path::Path};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Loaded, StoreError};
use crate::{auth::Keys, model::World};

/// Of the file: which tables there are, and what they mean.
pub(super) const FORMAT: u32 = 1;
/// Of a value.
const VERSION: u8 = 1;

type Definition = TableDefinition<'static, &'static str, &'static [u8]>;

/// The tables of the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Clients,
    Exporters,
    Leases,
    Policies,
    Keys,
    Meta,
}

const ALL: [Table; 6] = [
    Table::Clients,
    Table::Exporters,
    Table::Leases,
    Table::Policies,
    Table::Keys,
    Table::Meta,
];
const KEYS: &str = "keys";
const META_FORMAT: &str = "format";
const META_LAST_NUMBER: &str = "last_number";

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Exporters => "exporters",
            Self::Leases => "leases",
            Self::Policies => "policies",
            Self::Keys => "keys",
            Self::Meta => "meta",
        }
    }

    fn definition(self) -> Definition {
        TableDefinition::new(self.name())
    }
}

/// What is put or taken away in one table.
#[derive(Debug)]
pub(super) struct Row {
    table: Table,
    key: String,
    value: Option<Vec<u8>>,
}

impl Row {
    pub(super) fn new(
        table: Table,
        key: &str,
        value: Option<&impl Serialize>,
    ) -> Result<Self, StoreError> {
        let encode = |value| {
            let mut bytes = vec![VERSION];
            serde_json::to_writer(&mut bytes, value).map(|()| bytes)
        };
        let value = value
            .map(encode)
            .transpose()
            .map_err(|error| StoreError::Unwritable {
                object: format!("{} {key}", table.name()),
                why: error.to_string(),
            })?;
        Ok(Self {
            table,
            key: key.to_owned(),
            value,
        })
    }

    pub(super) fn keys(keys: &Keys) -> Result<Self, StoreError> {
        Self::new(Table::Keys, KEYS, Some(keys))
    }

    pub(super) fn format() -> Result<Self, StoreError> {
        Self::new(Table::Meta, META_FORMAT, Some(&FORMAT))
    }

    pub(super) fn last_number(number: u64) -> Result<Self, StoreError> {
        Self::new(Table::Meta, META_LAST_NUMBER, Some(&number))
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(self.table.definition())?;
        match &self.value {
            Some(value) => drop(table.insert(self.key.as_str(), value.as_slice())?),
            None => drop(table.remove(self.key.as_str())?),
        }
        Ok(())
    }
}

/// Makes the tables that are not there.
pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    for table in ALL {
        transaction.open_table(table.definition())?;
    }
    Ok(())
}

/// Raises the last number that was given, in a transaction.
pub(super) fn raise_last_number(
    transaction: &WriteTransaction,
    number: u64,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(Table::Meta.definition())?;
    let known = table
        .get(META_LAST_NUMBER)?
        .and_then(|value| decode::<u64>(value.value()).ok());
    if known.is_none_or(|known| number > known) {
        let text = number.to_string();
        let bytes = [&[VERSION], text.as_bytes()].concat();
        table.insert(META_LAST_NUMBER, bytes.as_slice())?;
    }
    Ok(())
}

/// What a file that is opened turns out to be.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// A database without our tables.
    Foreign,
    /// Ours, of another format.
    Format(u32),
    /// Ours, and broken.
    Damaged(String),
}

impl Unreadable {
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Foreign => StoreError::Foreign { path },
            Self::Format(found) => StoreError::Format { path, found },
            Self::Damaged(what) => StoreError::Damaged { path, what },
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Unreadable {
    fn from(error: E) -> Self {
        Self::Damaged(error.into().to_string())
    }
}

/// Reads all of it.
pub(super) fn read(database: &Database) -> Result<Loaded, Unreadable> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(Table::Meta.definition()) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(Unreadable::Foreign),
    };
    let one = |key: &str| -> Result<Option<_>, Unreadable> {
        Ok(meta.get(key)?.map(|value| value.value().to_vec()))
    };
    let format = one(META_FORMAT)?.ok_or(Unreadable::Foreign)?;
    match decode::<u32>(&format).map_err(|why| damaged(Table::Meta, META_FORMAT, &why))? {
        FORMAT => {}
        other => return Err(Unreadable::Format(other)),
    }
    let number = one(META_LAST_NUMBER)?.unwrap_or_else(|| vec![VERSION, b'0']);
    let number = decode(&number).map_err(|why| damaged(Table::Meta, META_LAST_NUMBER, &why))?;
    let mut keys = rows::<Keys>(&transaction, Table::Keys)?;
    let keys = keys
        .remove(KEYS)
        .ok_or_else(|| Unreadable::Damaged("it has no keys".to_owned()))?;
    let mut world = World {
        clients: rows(&transaction, Table::Clients)?,
        exporters: rows(&transaction, Table::Exporters)?,
        leases: rows(&transaction, Table::Leases)?,
        policies: rows(&transaction, Table::Policies)?,
        last_number: number,
    };
    let highest = world.leases.values().map(|lease| lease.number).max();
    world.last_number = world.last_number.max(highest.unwrap_or(0));
    Ok(Loaded { world, keys })
}

fn rows<T: DeserializeOwned>(
    transaction: &ReadTransaction,
    table: Table,
) -> Result<BTreeMap<String, T>, Unreadable> {
    let mut all = BTreeMap::new();
    for row in transaction.open_table(table.definition())?.iter()? {
        let (key, value) = row?;
        let object = decode(value.value()).map_err(|why| damaged(table, key.value(), &why))?;
        all.insert(key.value().to_owned(), object);
    }
    Ok(all)
}

fn damaged(table: Table, key: &str, why: &str) -> Unreadable {
    Unreadable::Damaged(format!("{} {key:?}: {why}", table.name()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|error| {
            // Not the error's own words: they may quote a value, and values may be secrets.
            format!("unreadable at column {}", error.column())
        }),
        Some((version, _)) => Err(format!("unknown version {version}")),
        None => Err("empty".to_owned()),
    }
}
