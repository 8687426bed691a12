//! What reads whole files on the lab host: hash and copy, in steps that leave room for others.

use std::{
    fs::{File, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::Arc,
};

use rigd_driver::{Call, DriverError};
use serde::Deserialize;
use sha2::digest::DynDigest;

use super::{
    error::PathError,
    path::RelPath,
    store::Store,
    tree::{made_parent, same_file, two_files},
};
use crate::{
    lane::Lane,
    transfer::{self, Medium},
};

/// Bytes of one step: some ten milliseconds of hashing.
const STEP: u64 = 4 * 1024 * 1024;
/// Bytes hashed at a time.
const PIECE: usize = 64 * 1024;

/// Digests that clients may ask for.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HashAlgo {
    Md5,
    #[default]
    Sha256,
}

/// The digest of a file in hexadecimal.
pub(super) async fn hash(
    store: &Arc<Store>,
    lane: &Lane,
    call: &Call,
    path: RelPath,
    algo: HashAlgo,
) -> Result<String, DriverError> {
    let file = {
        let (store, path) = (store.clone(), path.clone());
        lane.run(call, move |_| store.open_to_read(&path)).await?
    };
    let file = Arc::new(file);
    let mut hasher: Box<dyn DynDigest + Send> = match algo {
        HashAlgo::Md5 => Box::<md5::Md5>::default(),
        HashAlgo::Sha256 => Box::<sha2::Sha256>::default(),
    };
    loop {
        let (file, path) = (file.clone(), path.clone());
        let step = lane.run(call, move |_| {
            let more = hash_step(&file, &mut *hasher);
            let more = more.map_err(|e| PathError::from(e).told("read", &path))?;
            Ok((hasher, more))
        });
        let more;
        (hasher, more) = step.await?;
        if !more {
            break;
        }
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Tells whether there is more.
fn hash_step(file: &File, hasher: &mut dyn DynDigest) -> io::Result<bool> {
    let mut piece = vec![0; PIECE];
    let mut rest = file.take(STEP);
    loop {
        match rest.read(&mut piece) {
            Ok(0) => return Ok(rest.limit() == 0),
            Ok(n) => hasher.update(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Copies a file with its permissions and syncs the copy.
pub(super) async fn copy(
    store: &Arc<Store>,
    lane: &Lane,
    call: &Call,
    from: RelPath,
    to: RelPath,
) -> Result<(), DriverError> {
    two_files("copy", &from, &to)?;
    let (source, target) = {
        let (store, from, to) = (store.clone(), from.clone(), to.clone());
        let both = lane.run(call, move |call| open_both(&store, call, &from, &to));
        both.await?
    };
    let name: Arc<str> = to.shown().into();
    loop {
        let (source, target, to) = (source.clone(), target.clone(), to.clone());
        let step = lane.run(call, move |_| {
            // The standard library lets the kernel copy where it can.
            let copied = io::copy(&mut (&*source).take(STEP), &mut &*target);
            copied.map_err(|e| PathError::from(e).told("copy", &to))
        });
        if step.await? == 0 {
            break;
        }
    }
    transfer::sync(Medium { file: target, name }).await
}

fn open_both(
    store: &Store,
    call: &Call,
    from: &RelPath,
    to: &RelPath,
) -> Result<(Arc<File>, Arc<File>), DriverError> {
    let op = "copy";
    let source = store.root.read(from).map_err(|e| e.told(op, from))?;
    store.change(call, |created| {
        created.room()?;
        made_parent(&store.root, to).map_err(|e| e.told(op, to))?;
        let target = store.root.write(to).map_err(|e| e.told(op, to))?;
        // From here on the target may be new, so it counts as made by this lease.
        created.add(to);
        let prepared: io::Result<bool> = (|| {
            let (old, new) = (source.metadata()?, target.metadata()?);
            if (old.dev(), old.ino()) == (new.dev(), new.ino()) {
                return Ok(false);
            }
            target.set_len(0)?;
            // Not the set-uid bits: a copy must not gain rights by its name.
            target.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
            Ok(true)
        })();
        match prepared {
            Ok(true) => Ok((Arc::new(source), Arc::new(target))),
            // Two names of one file, by a link: emptying the target would empty the source.
            Ok(false) => Err(same_file(op, to)),
            Err(e) => Err(PathError::from(e).told(op, to)),
        }
    })
}
