//! Tar files as folders: which of their members are files, and where the bytes of each are.
//!
//! The headers of a tar are read once, and members are read from where they are; nothing is unpacked. A path leads into
//! a tar where a component of it that is not the last ends in `.tar`, in upper or lower case, and is a regular file.

mod headers;
mod known;

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use memchr::memchr_iter;

use crate::support::fault;
use crate::support::hints::NotRegular;
pub use headers::{Damage, Kind};
use headers::{HeaderError, Headers};
pub use known::forget_unreadable;

/// The end of a tar's name.
const EXTENSION: &[u8] = b".tar";

/// The most bytes in the name of a member: those that the system allows in a path.
const MAX_NAME_BYTES: usize = 4095;

/// Whether a file of that name is taken for a tar.
pub fn is_tar_name(name: &[u8]) -> bool {
    let end = name.len().checked_sub(EXTENSION.len());
    end.is_some_and(|end| name[end..].eq_ignore_ascii_case(EXTENSION))
}

/// A path of the list, cut after the first component that ends in `.tar`: the tar, if it is one, and its member. No
/// file is looked at.
pub fn split(entry: &str) -> Option<(&str, &str)> {
    splits(entry).next()
}

/// The same after each such component: the first that is a regular file is the tar.
pub fn splits(entry: &str) -> impl Iterator<Item = (&str, &str)> {
    slashes_after_tars(entry.as_bytes()).map(|slash| (&entry[..slash], &entry[slash + 1..]))
}

fn slashes_after_tars(path: &[u8]) -> impl Iterator<Item = usize> {
    memchr_iter(b'/', path).filter(|slash| is_tar_name(&path[..*slash]))
}

/// The tar that a path leads into, what the system says of it, and the name of the member; `None` where the path leads
/// into none.
pub fn within(path: &Path) -> Option<(&Path, Metadata, &str)> {
    let bytes = path.as_os_str().as_bytes();
    slashes_after_tars(bytes).find_map(|slash| {
        let tar = Path::new(OsStr::from_bytes(&bytes[..slash]));
        let metadata = fs::metadata(tar).ok().filter(Metadata::is_file)?;
        Some((tar, metadata, str::from_utf8(&bytes[slash + 1..]).ok()?))
    })
}

/// The members of a tar.
///
/// 32 bytes for each, and its name. The headers take 512 bytes each of the file, so that what a tar takes here is never
/// more than the tar itself.
#[derive(Debug, Default)]
pub struct Members {
    /// The names, one after the other.
    names: String,
    /// In the order of the names, each name once.
    members: Vec<Member>,
    /// Members whose names no path can have, and why.
    unusable: Vec<(Vec<u8>, &'static str)>,
    damage: Option<Damage>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    /// Where the name begins.
    name: u64,
    name_length: u32,
    kind: Kind,
    offset: u64,
    size: u64,
}

/// Where the bytes of a member are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where they begin in the tar.
    pub offset: u64,
    /// How many there are.
    pub size: u64,
}

impl Members {
    /// Those of an open tar, whose headers are read unless this process knows them.
    ///
    /// # Errors
    /// Those of the system. That a tar is damaged, or cannot be read somewhere, is none: see [`Members::damage`].
    pub fn of(file: &File) -> io::Result<Arc<Self>> {
        known::members(file, |length| {
            fault::step("read the headers of a tar", || Members::read(file, length))
        })
    }

    /// Reads the headers of a tar of `length` bytes.
    fn read(file: impl io::Read + io::Seek, length: u64) -> io::Result<Self> {
        let mut found = Members::default();
        let mut headers = Headers::new(file, length);
        loop {
            let member = match headers.next() {
                Ok(Some(member)) => member,
                Ok(None) => break,
                Err(HeaderError::Damage(damage)) => {
                    found.damage = Some(damage);
                    break;
                }
                Err(HeaderError::Io(error)) => return Err(error),
            };
            match usable(&member.name) {
                Ok(name) if member.kind != Kind::Folder => {
                    let start = found.names.len();
                    append_plain(name, &mut found.names);
                    found.members.push(Member {
                        name: start as u64,
                        name_length: (found.names.len() - start) as u32,
                        kind: member.kind,
                        offset: member.offset,
                        size: member.size,
                    });
                }
                Err(why) if member.kind != Kind::Folder => {
                    found.unusable.push((member.name, why));
                }
                _ => {}
            }
        }
        found.sort();
        Ok(found)
    }

    /// Puts the members in the order of their names. Of several of one name the last counts, as when a tar is unpacked.
    fn sort(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        members.sort_by(|one, other| self.name(one).cmp(self.name(other)));
        members.dedup_by(|later, earlier| {
            let is_same = self.name(later) == self.name(earlier);
            if is_same {
                *earlier = *later;
            }
            is_same
        });
        members.shrink_to_fit();
        self.members = members;
        self.names.shrink_to_fit();
    }

    fn name(&self, member: &Member) -> &str {
        &self.names[member.name as usize..][..member.name_length as usize]
    }

    /// All but the folders, by their names below the tar, in the order of these.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Kind)> {
        (self.members.iter()).map(|member| (self.name(member), member.kind))
    }

    /// Members whose names lead out of the tar, or that no path can have, and why.
    pub fn unusable(&self) -> &[(Vec<u8>, &'static str)] {
        &self.unusable
    }

    /// Where the tar is damaged; the members before that are whole.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Where a member is, by its name below the tar.
    ///
    /// # Errors
    /// When there is none, or it is no file whose bytes are there in one piece.
    pub fn find(&self, name: &str) -> io::Result<Place> {
        let plain = usable(name.as_bytes()).map(|name| {
            let mut plain = String::new();
            append_plain(name, &mut plain);
            plain
        });
        let plain = plain.map_err(|_| MemberError::Missing)?;
        let found = (self.members).binary_search_by(|member| self.name(member).cmp(&plain));
        let Ok(index) = found else {
            return Err(match &self.damage {
                Some(damage) => MemberError::Damaged(damage.clone()).into(),
                None => MemberError::Missing.into(),
            });
        };
        let Member {
            kind, offset, size, ..
        } = self.members[index];
        match kind {
            Kind::File => Ok(Place { offset, size }),
            Kind::Sparse => Err(MemberError::Sparse.into()),
            Kind::Link | Kind::Folder | Kind::Other => Err(io::Error::other(NotRegular)),
        }
    }

    /// How much memory it takes.
    fn bytes(&self) -> usize {
        let unusable = self.unusable.iter().map(|(name, _)| 64 + name.len());
        self.names.len() + size_of_val(&*self.members) + unusable.sum::<usize>()
    }
}

/// Why a member of a tar cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages tell what they are")]
pub enum MemberError {
    #[error("the tar has no such member")]
    Missing,
    #[error(
        "it is a sparse member, which is not read; unpack the tar, or make it without `--sparse`"
    )]
    Sparse,
    #[error("the tar has no such member before it is damaged: {0}")]
    Damaged(Damage),
}

impl MemberError {
    /// Whether the bytes of the tar are to blame, and not the disk.
    pub fn is_damage(&self) -> bool {
        matches!(self, MemberError::Damaged(damage) if !matches!(damage, Damage::Unreadable { .. }))
    }
}

impl From<MemberError> for io::Error {
    fn from(error: MemberError) -> Self {
        let kind = match error {
            MemberError::Missing => io::ErrorKind::NotFound,
            MemberError::Sparse | MemberError::Damaged(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// The name of a member as text, where a path below the tar can have it.
///
/// # Errors
/// Why none can.
fn usable(name: &[u8]) -> Result<&str, &'static str> {
    let name = str::from_utf8(name).map_err(|_| "not UTF-8")?;
    if name.starts_with('/') {
        return Err("its path is absolute");
    }
    if name.split('/').any(|component| component == "..") {
        return Err("its path holds a `..` component");
    }
    if name.contains(['\0', '\n']) {
        return Err("its path holds a NUL or a newline");
    }
    if name.len() > MAX_NAME_BYTES {
        return Err("its path is longer than the system opens");
    }
    match name.split('/').all(is_left_out) {
        true => Err("it has no name"),
        false => Ok(name),
    }
}

/// Adds the path without `.` components and doubled slashes.
fn append_plain(name: &str, to: &mut String) {
    let start = to.len();
    for component in name.split('/').filter(|component| !is_left_out(component)) {
        if to.len() > start {
            to.push('/');
        }
        to.push_str(component);
    }
}

fn is_left_out(component: &str) -> bool {
    matches!(component, "" | ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tar::{Builder, EntryType, Header};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::io::Cursor;

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header
    }

    /// Adds a member as it is, whatever its name.
    fn append(to: &mut Builder<Vec<u8>>, kind: EntryType, name: &[u8], bytes: &[u8]) {
        let mut header = header(kind, bytes.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        to.append(&header, bytes).unwrap();
    }

    fn read(bytes: &[u8]) -> Members {
        Members::read(Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    fn names(members: &Members) -> Vec<&str> {
        members.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_member_is_found_by_its_plain_name_and_the_last_of_one_name_counts() {
        let mut tar = Builder::new(Vec::new());
        for (name, bytes) in [
            (&b"./b.jpg"[..], &b"first"[..]),
            (b"a//c/./a.jpg", b"deep"),
            (b"b.jpg", b"the last"),
            (b"empty.jpg", b""),
        ] {
            append(&mut tar, EntryType::Regular, name, bytes);
        }
        let bytes = tar.into_inner().unwrap();
        let members = read(&bytes);
        assert_eq!(names(&members), ["a/c/a.jpg", "b.jpg", "empty.jpg"]);
        for (name, expected) in [
            ("b.jpg", "the last"),
            ("./b.jpg", "the last"),
            ("a/c/a.jpg", "deep"),
            ("empty.jpg", ""),
        ] {
            let Place { offset, size } = members.find(name).unwrap();
            let found = &bytes[offset as usize..][..size as usize];
            assert_eq!(str::from_utf8(found).unwrap(), expected, "{name}");
        }
        for name in ["", ".", "c/a.jpg", "../b.jpg", "/b.jpg", "b.jpg/"] {
            let found = members.find(name);
            // A slash at the end says nothing else.
            assert_eq!(found.is_ok(), name == "b.jpg/", "{name}");
        }
    }

    #[test]
    fn what_is_no_file_is_named_and_no_name_leads_out() {
        let mut tar = Builder::new(Vec::new());
        append(&mut tar, EntryType::Directory, b"folder/", b"");
        append(&mut tar, EntryType::Symlink, b"link.jpg", b"");
        append(&mut tar, EntryType::Fifo, b"pipe.jpg", b"");
        append(&mut tar, EntryType::Continuous, b"file.jpg", b"bytes");
        for name in [
            &b"/etc/passwd"[..],
            b"a/../../b.jpg",
            b"\xff.jpg",
            b"a\nb.jpg",
            b"./.",
        ] {
            append(&mut tar, EntryType::Regular, name, b"");
        }
        let members = read(&tar.into_inner().unwrap());
        let kinds: Vec<_> = members.iter().collect();
        let expected = [
            ("file.jpg", Kind::File),
            ("link.jpg", Kind::Link),
            ("pipe.jpg", Kind::Other),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(members.unusable().len(), 5);
        for (name, is_file) in [("file.jpg", true), ("link.jpg", false), ("pipe.jpg", false)] {
            assert_eq!(members.find(name).is_ok(), is_file, "{name}");
        }
    }

    #[test]
    fn wherever_a_tar_is_cut_off_the_members_before_are_whole() {
        let mut tar = Builder::new(Vec::new());
        let long = "long/".repeat(40) + "name.jpg";
        tar.append_data(&mut header(EntryType::Regular, 600), "a.jpg", &[1; 600][..])
            .unwrap();
        tar.append_data(&mut header(EntryType::Regular, 5), &long, &b"bytes"[..])
            .unwrap();
        let bytes = tar.into_inner().unwrap();
        // A header and two blocks; then a header, the name and a header.
        let second = 3 * 512 + 3 * 512;
        for length in 0..=bytes.len() {
            let members = read(&bytes[..length]);
            let is_whole = |end: usize| length >= end;
            let expected = [
                is_whole(512 + 600).then_some("a.jpg"),
                is_whole(second + 5).then_some(&*long),
            ];
            let expected: Vec<&str> = expected.into_iter().flatten().collect();
            assert_eq!(names(&members), expected, "{length}");
            // The first of the two blocks of the end tells that all is there.
            let is_fine = length >= second + 1024;
            assert_eq!(members.damage().is_none(), is_fine, "{length}");
        }
    }

    #[test]
    fn hostile_headers_are_damage_and_take_no_memory() {
        let good = |tar: &mut Builder<Vec<u8>>| {
            append(tar, EntryType::Regular, b"good.jpg", b"bytes");
        };
        let with = |bad: &dyn Fn(&mut Builder<Vec<u8>>)| {
            let mut tar = Builder::new(Vec::new());
            good(&mut tar);
            bad(&mut tar);
            good(&mut tar);
            tar.into_inner().unwrap()
        };
        let raw = |kind: u8, size: u64, bytes: &'static [u8]| {
            move |tar: &mut Builder<Vec<u8>>| {
                let mut header = header(EntryType::new(kind), size);
                header.as_old_mut().name[..5].copy_from_slice(b"x.jpg");
                header.set_cksum();
                tar.append(&header, bytes).unwrap();
            }
        };
        for (what, bytes, expected) in [
            (
                "a size beyond the file",
                with(&raw(b'0', 1 << 40, b"")),
                "cut off",
            ),
            (
                "the largest size",
                with(&raw(b'0', u64::MAX, b"")),
                "cut off",
            ),
            (
                "a long name beyond the file",
                with(&raw(b'L', 1 << 19, b"")),
                "cut off",
            ),
            (
                "a name without end",
                with(&raw(b'L', u64::MAX >> 1, b"")),
                "longer than 1 MiB",
            ),
            (
                "records that are none",
                with(&raw(b'x', 8, b"99 path=")),
                "pax header",
            ),
            (
                "a record of no length",
                with(&raw(b'x', 9, b"0 path=a\n")),
                "pax header",
            ),
            (
                "records of no number",
                with(&raw(b'x', 9, b"18446744073709551616 path=a\n")),
                "pax header",
            ),
            (
                "a size that is none",
                with(&raw(b'x', 11, b"11 size=-1\n")),
                "pax header",
            ),
            (
                "one name for all",
                with(&raw(b'g', 12, b"12 path=abc\n")),
                "for all members",
            ),
        ] {
            let members = read(&bytes);
            let damage = members.damage().map(ToString::to_string);
            let damage = damage.unwrap_or_else(|| panic!("{what}: no damage"));
            assert!(damage.contains(expected), "{what}: {damage}");
            assert_eq!(names(&members), ["good.jpg"], "{what}");
        }
        let mut wrong_sum = with(&|_| {});
        wrong_sum[1024] ^= 1;
        let damage = read(&wrong_sum).damage().unwrap().to_string();
        assert!(damage.contains("byte 1024"), "{damage}");
        assert_eq!(read(&[7; 2048]).damage(), Some(&Damage::NoTar));
    }

    /// As `git archive` begins, and volumes of GNU tar.
    #[test]
    fn headers_of_the_whole_tar_are_no_members() {
        for (kind, bytes) in [(b'g', &b"20 comment=whatever\n"[..]), (b'V', b"")] {
            for count in [0, 1] {
                let mut tar = Builder::new(Vec::new());
                append(&mut tar, EntryType::new(kind), b"whole", bytes);
                for _ in 0..count {
                    append(&mut tar, EntryType::Regular, b"a.jpg", b"bytes");
                }
                let members = read(&tar.into_inner().unwrap());
                assert_eq!(members.damage(), None, "{kind} {count}");
                assert_eq!(members.iter().count(), count, "{kind}");
            }
        }
    }

    #[test]
    fn whatever_is_broken_in_a_tar_its_members_are_inside_of_it() {
        let mut tar = Builder::new(Vec::new());
        for number in 0..4 {
            let name = format!("{}{number}.jpg", "long/".repeat(number * 30));
            let bytes = vec![number as u8; number * 300];
            let mut header = header(EntryType::Regular, bytes.len() as u64);
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
            tar.append_pax_extensions([("comment", &b"a\nb"[..])])
                .unwrap();
        }
        let original = tar.into_inner().unwrap();
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..5000 {
            let mut bytes = original.clone();
            let block = random.random_range(0..bytes.len() / 512) * 512;
            for _ in 0..random.random_range(1..4) {
                bytes[block + random.random_range(0..512)] = random.random();
            }
            // Most are found out by the sum alone otherwise.
            let mut header = Header::from_byte_slice(&bytes[block..block + 512]).clone();
            header.set_cksum();
            bytes[block..block + 512].copy_from_slice(header.as_bytes());
            bytes.truncate(random.random_range(block..=bytes.len()));
            let members = read(&bytes);
            for (name, kind) in members.iter() {
                if let (Kind::File, Ok(place)) = (kind, members.find(name)) {
                    assert!(place.offset + place.size <= bytes.len() as u64, "{name}");
                }
            }
        }
    }

    /// A disk that fails from some byte on.
    struct Failing(Cursor<Vec<u8>>, u64);

    impl io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.position() < self.1 {
                true => self.0.read(buffer),
                false => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            }
        }
    }

    impl io::Seek for Failing {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn where_a_disk_fails_the_members_before_are_known() {
        let mut tar = Builder::new(Vec::new());
        append(&mut tar, EntryType::Regular, b"a.jpg", &[1; 20_000]);
        append(&mut tar, EntryType::Regular, b"b.jpg", &[2; 20_000]);
        let bytes = tar.into_inner().unwrap();
        let length = bytes.len() as u64;
        let members = Members::read(Failing(Cursor::new(bytes), 10_000), length).unwrap();
        assert_eq!(names(&members), ["a.jpg"]);
        let damage = members.damage().unwrap().to_string();
        assert!(damage.contains("cannot be read at byte 20992"), "{damage}");
        let error = members.find("b.jpg").unwrap_err();
        let error: MemberError = error.downcast().unwrap();
        assert!(!error.is_damage(), "{error}");
    }
}
