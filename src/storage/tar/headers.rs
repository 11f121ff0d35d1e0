//! The headers of a tar, one after the other, in the formats of V7, ustar, GNU tar and pax.

use std::io::{self, BufReader, Read, Seek};

use tar::{GnuExtSparseHeader, Header};

use crate::support::hints::concerns_the_run;

/// Tars are made of blocks of so many bytes.
const BLOCK: u64 = 512;

/// The most bytes in a header that continues another: a long name of GNU tar, or the records of pax, which may hold
/// extended attributes.
const MOST_CONTINUED: u64 = 1 << 20;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its bytes are in the tar, in one piece.
    File,
    /// A folder.
    Folder,
    /// A hard or a symbolic link.
    Link,
    /// A file of which the tar leaves out the holes.
    Sparse,
    /// A device, a pipe, or a kind that is not known.
    Other,
}

/// A member, as its headers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Where its bytes begin in the tar.
    pub offset: u64,
    /// How many there are.
    pub size: u64,
}

/// Where a tar is damaged; what comes before is whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages tell what the fields are")]
pub enum Damage {
    #[error("it is no tar file")]
    NoTar,
    #[error("it is cut off at byte {length}")]
    CutOff { length: u64 },
    #[error("it is damaged at byte {at}: {what}")]
    Header { at: u64, what: &'static str },
    #[error("it cannot be read at byte {at}: {why}")]
    Unreadable { at: u64, why: String },
}

/// Why there is no next member.
#[derive(Debug)]
pub enum HeaderError {
    /// The tar is damaged, or cannot be read there.
    Damage(Damage),
    /// What concerns more than this tar.
    Io(io::Error),
}

/// Reads the headers of a tar; what is between them is passed over.
pub struct Headers<R> {
    file: BufReader<R>,
    /// Where the next header begins, and where `file` is.
    at: u64,
    length: u64,
}

/// What the headers before a member say of it.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    /// The name of a sparse file; then the other is one that GNU tar makes up.
    sparse_name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl<R: Read + Seek> Headers<R> {
    /// Of a tar of `length` bytes, from its beginning.
    pub fn new(file: R, length: u64) -> Self {
        Headers {
            // One read for the headers of the small files that WebDataset has beside each picture.
            file: BufReader::with_capacity(4096, file),
            at: 0,
            length,
        }
    }

    /// The next member; none at the end.
    pub fn next(&mut self) -> Result<Option<Member>, HeaderError> {
        let mut extended = Extended::default();
        // Where a tar may end: not behind a header that is continued.
        let mut begin = self.at;
        loop {
            let at = self.at;
            let block = self.block()?;
            // Two blocks of zeros are the end, and one is as good. Without it nothing tells that all is there.
            if block == [0; BLOCK as usize] && at == begin {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            if !(header.cksum()).is_ok_and(|sum| checksums(&block).contains(&i64::from(sum))) {
                return Err(damage(at, "there is no header"));
            }
            let size = header.entry_size();
            let size = || size.map_err(|_| damage(at, "the size of a member is no number"));
            match header.entry_type().as_byte() {
                b'L' => extended.name = Some(without_nul(self.continued(at, size()?)?)),
                // The name that a link leads to.
                b'K' => drop(self.continued(at, size()?)?),
                b'x' | b'X' => {
                    let records = self.continued(at, size()?)?;
                    (extended.read(&records))
                        .ok_or_else(|| damage(at, "a pax header is not as it should be"))?;
                }
                b'g' => {
                    let records = self.continued(at, size()?)?;
                    let mut global = Extended::default();
                    let read = global.read(&records);
                    if read.is_none() || global.name.is_some() || global.size.is_some() {
                        return Err(damage(
                            at,
                            "a pax header for all members has a name or a size",
                        ));
                    }
                    begin = self.at;
                }
                // The name of the whole tar.
                b'V' => {
                    self.skip(size()?)?;
                    begin = self.at;
                }
                kind => {
                    let name = extended.sparse_name.or(extended.name);
                    let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
                    if kind == b'S' && header.as_gnu().is_some_and(|header| header.is_extended()) {
                        self.sparse_map()?;
                    }
                    let kind = kind_of(kind, extended.is_sparse, &name);
                    let size = match (kind, extended.size) {
                        // What stands there is of the file that it was.
                        (Kind::Folder | Kind::Link, _) => 0,
                        (_, Some(size)) => size,
                        (_, None) => size()?,
                    };
                    let offset = self.at;
                    self.skip(size)?;
                    return Ok(Some(Member {
                        name,
                        kind,
                        offset,
                        size,
                    }));
                }
            }
        }
    }

    /// The next block.
    fn block(&mut self) -> Result<[u8; BLOCK as usize], HeaderError> {
        let mut block = [0; BLOCK as usize];
        match self.file.read_exact(&mut block) {
            Ok(()) => {
                self.at += BLOCK;
                Ok(block)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.cut_off()),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// What a header of that size holds that begins at `at`.
    fn continued(&mut self, at: u64, size: u64) -> Result<Vec<u8>, HeaderError> {
        if size > MOST_CONTINUED {
            return Err(damage(at, "a header is longer than 1 MiB"));
        }
        let mut bytes = Vec::new();
        for _ in 0..size.div_ceil(BLOCK) {
            bytes.extend(self.block()?);
        }
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    /// Passes over the rest of what says where the holes of a file are.
    fn sparse_map(&mut self) -> Result<(), HeaderError> {
        loop {
            let mut map = GnuExtSparseHeader::new();
            *map.as_mut_bytes() = self.block()?;
            if !map.is_extended() {
                return Ok(());
            }
        }
    }

    /// Passes over so many bytes, and what fills their last block.
    fn skip(&mut self, size: u64) -> Result<(), HeaderError> {
        let end = self.at.checked_add(size).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| self.cut_off())?;
        let next = end.next_multiple_of(BLOCK).min(self.length);
        let passed = self.file.seek_relative((next - self.at) as i64);
        passed.map_err(|error| self.unreadable(error))?;
        self.at = next;
        Ok(())
    }

    fn unreadable(&self, error: io::Error) -> HeaderError {
        match concerns_the_run(&error) {
            true => HeaderError::Io(error),
            false => HeaderError::Damage(Damage::Unreadable {
                at: self.at,
                why: error.to_string(),
            }),
        }
    }

    fn cut_off(&self) -> HeaderError {
        HeaderError::Damage(match (self.at, self.length) {
            (0, 1..) => Damage::NoTar,
            (_, length) => Damage::CutOff { length },
        })
    }
}

impl Extended {
    /// Takes the records of a pax header, each `<length> <key>=<value>\n`; `None` where they are none.
    fn read(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let digits = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = str::from_utf8(&records[..digits]).ok()?.parse().ok()?;
            let record = records.get(digits + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
                b"size" => self.size = Some(str::from_utf8(value).ok()?.parse().ok()?),
                _ => {}
            }
            self.is_sparse |= key.starts_with(b"GNU.sparse.");
            records = &records[length..];
        }
        Some(())
    }
}

fn kind_of(kind: u8, is_sparse: bool, name: &[u8]) -> Kind {
    match kind {
        // So V7 writes a folder.
        b'\0' | b'0' if name.ends_with(b"/") => Kind::Folder,
        b'\0' | b'0' | b'7' if is_sparse => Kind::Sparse,
        b'\0' | b'0' | b'7' => Kind::File,
        b'S' => Kind::Sparse,
        b'1' | b'2' => Kind::Link,
        b'5' => Kind::Folder,
        _ => Kind::Other,
    }
}

/// The sum of a header's bytes, those of the sum itself counted as spaces; and the same of signed bytes, as some old
/// programs have it.
fn checksums(block: &[u8; BLOCK as usize]) -> [i64; 2] {
    let with = |value: fn(u8) -> i64| {
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| value(*byte)).sum::<i64>();
        sum(&block[..148]) + 8 * value(b' ') + sum(&block[156..])
    };
    [with(i64::from), with(|byte| i64::from(byte as i8))]
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0);
    name.truncate(end.unwrap_or(name.len()));
    name
}

fn damage(at: u64, what: &'static str) -> HeaderError {
    HeaderError::Damage(match at {
        0 => Damage::NoTar,
        _ => Damage::Header { at, what },
    })
}
