//! Who may open the control socket: its owner and one group.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

/// The groups of this host. Groups of a directory service are not looked up: ours is made by the
/// package, in this file.
const GROUPS: &str = "/etc/group";

/// Opens the socket to `group` where there is such a group and we may, else to the owner's.
pub(super) fn share(socket: &Path, group: Option<&str>) -> io::Result<()> {
    if let Some(group) = group {
        let groups = std::fs::read_to_string(GROUPS).unwrap_or_default();
        if let Some(id) = id_of(group, &groups) {
            match chown(socket, None, Some(id)) {
                // Only a member may hand a file to a group: somebody tries rigd as themselves.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::debug!(group, "The control socket stays with its owner's group.");
                }
                done => done?,
            }
        }
    }
    // Last, so that it is never open to another group than meant.
    std::fs::set_permissions(socket, Permissions::from_mode(0o660))
}

/// The number of a group: the third field of its line, see group(5).
fn id_of(group: &str, groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\nrigd-users:x:7:\nrigd:x:995:ann,bob\nbad:x:many:\n";
        assert_eq!(id_of("rigd", groups), Some(995));
        assert_eq!(id_of("root", groups), Some(0));
        assert_eq!(id_of("rig", groups), None);
        assert_eq!(id_of("bad", groups), None);
    }

    #[test]
    fn without_the_group_the_owners_may_use_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = file.as_file().metadata().unwrap().gid();
        share(file.path(), Some("no-such-group-here")).unwrap();
        let after = file.as_file().metadata().unwrap();
        assert_eq!(after.mode() & 0o777, 0o660);
        assert_eq!(after.gid(), before);
    }
}
