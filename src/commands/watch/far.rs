//! File systems where inotify does not tell all, since others than this machine's kernel change them.

use std::path::Path;

use nix::sys::statfs::statfs;

/// The numbers of `linux/magic.h`, and of the file systems themselves.
const KINDS: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x0bd0_0bd0, "Lustre"),
];

/// What kind of such a file system a folder is on, if it is.
pub fn kind(folder: &Path) -> Option<&'static str> {
    kind_of(statfs(folder).ok()?.filesystem_type().0 as u64)
}

fn kind_of(number: u64) -> Option<&'static str> {
    // It has 32 bits, and a sign on some machines.
    let number = number & 0xffff_ffff;
    let found = KINDS.iter().find(|(known, _)| *known == number);
    found.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::statfs;

    #[test]
    fn file_systems_that_others_change_are_told_from_local_ones() {
        let number = |kind: statfs::FsType| kind.0 as u64;
        assert_eq!(kind_of(number(statfs::NFS_SUPER_MAGIC)), Some("NFS"));
        assert_eq!(kind_of(number(statfs::FUSE_SUPER_MAGIC)), Some("FUSE"));
        assert_eq!(kind_of(0xff53_4d42_u32 as i32 as u64), Some("SMB"));
        assert_eq!(kind_of(number(statfs::EXT4_SUPER_MAGIC)), None);
        assert_eq!(kind_of(number(statfs::TMPFS_MAGIC)), None);
    }
}
