//! The first start: a state file appears whole or not at all.

use std::path::Path;

use redb::Database;

use super::{
    Change, StoreError, private_file,
    rows::{self, Row},
    unusable,
};
use crate::{auth::Keys, model::World};

/// Makes the file at `path`, where there must be none.
pub(super) fn create(path: &Path, world: &World, keys: &Keys) -> Result<(), StoreError> {
    let fresh = path.with_extension("redb.new");
    // Of a start that was killed: it was never in use.
    std::fs::remove_file(&fresh).ok();
    let done = fill(&fresh, world, keys).and_then(|()| {
        let placed =
            std::fs::rename(&fresh, path).and_then(|()| private_file::sync_directory_of(path));
        placed.map_err(|error| unusable(path, &error))
    });
    if done.is_err() {
        std::fs::remove_file(&fresh).ok();
    }
    done
}

fn fill(path: &Path, world: &World, keys: &Keys) -> Result<(), StoreError> {
    let mut all = vec![
        Row::format()?,
        Row::keys(keys)?,
        Row::last_number(world.last_number)?,
    ];
    for change in Change::all(world) {
        all.push(change.row()?);
    }
    let file = private_file::create(path).map_err(|error| unusable(path, &error))?;
    let database = Database::builder()
        .create_file(file)
        .map_err(|error| unusable(path, &error))?;
    write(&database, &all).map_err(|error| unusable(path, &error))
}

fn write(database: &Database, all: &[Row]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    rows::make_tables(&transaction)?;
    for row in all {
        row.write(&transaction)?;
    }
    Ok(transaction.commit()?)
}
