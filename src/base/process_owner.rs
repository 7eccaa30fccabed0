//! Who this process runs as, and what that owner may write: for checks that must not write themselves.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

/// The bits of a mode that let others than the owner write.
pub const OTHERS_WRITE: u32 = 0o022;

/// The user and the groups of this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessOwner {
    /// The effective user.
    pub user: u32,
    /// The effective group and the supplementary ones.
    groups: Vec<u32>,
}

impl ProcessOwner {
    /// Of this process, from `/proc/self/status` (proc(5)).
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn of_this_process() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        Self::read(&status).ok_or_else(|| io::Error::other("/proc/self/status names no user"))
    }

    fn read(status: &str) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        // Real, effective, saved, file system.
        let (users, effective) = (numbers("Uid:")?, numbers("Gid:")?);
        let mut groups = numbers("Groups:")?;
        groups.push(*effective.get(1)?);
        Some(Self { user: *users.get(1)?, groups })
    }

    /// Whether the mode of a file or folder lets this owner write. A file system that is mounted read-only,
    /// and access control lists, are not seen.
    #[must_use]
    pub fn may_write(&self, about: &Metadata) -> bool {
        self.user == 0 || self.permits(about.uid(), about.gid(), about.mode())
    }

    fn permits(&self, user: u32, group: u32, mode: u32) -> bool {
        let bit = if user == self.user {
            0o200
        } else if self.groups.contains(&group) {
            0o020
        } else {
            0o002
        };
        mode & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_read_and_the_first_bits_that_apply_decide() {
        let status = "Name:\tx\nUid:\t7\t1000\t7\t7\nGid:\t8\t2000\t8\t8\nGroups:\t30 40 \n";
        let owner = ProcessOwner::read(status).unwrap();
        assert_eq!(owner, ProcessOwner { user: 1000, groups: vec![30, 40, 2000] });
        for (user, group, mode, expected) in [
            (1000, 1, 0o200, true),
            (1000, 30, 0o077, false),
            (1, 30, 0o020, true),
            (1, 2000, 0o020, true),
            (1, 30, 0o202, false),
            (1, 1, 0o002, true),
            (1, 1, 0o770, false),
        ] {
            assert_eq!(owner.permits(user, group, mode), expected, "{user} {group} {mode:o}");
        }
        assert_eq!(ProcessOwner::read("Uid:\tx"), None);
    }

    #[test]
    fn this_process_owns_what_it_makes() {
        let folder = tempfile::tempdir().unwrap();
        let about = fs::metadata(folder.path()).unwrap();
        let owner = ProcessOwner::of_this_process().unwrap();
        assert_eq!(owner.user, about.uid());
        assert!(owner.may_write(&about));
    }
}
