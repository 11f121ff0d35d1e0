//! What a long run has found so far, so that the next run goes on from there if this one is killed.
//!
//! The file `duplicates.partial` in the model's directory begins with a checksum of all that the pairs depend on. Then
//! there is a record for each share of the search that is done: how many bytes its pairs take, the CRC-32 of that and
//! of them, and the pairs. Records are added at the end; the last one may be cut off, and then counts as not written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use rayon::prelude::*;

use super::Compared;
use crate::similarity::collection::Collection;
use crate::similarity::scan::Metric;
use crate::similarity::scan::pairs::Pair;
use crate::storage::checksum::Checksum;
use crate::storage::files::regular;
use crate::support::fault;
use crate::support::progress::Progress;

/// From so many objects on: half a minute on two cores, with features of 1280 numbers.
pub const WORTH_IT: usize = 200_000;

/// Objects whose features one thread reads for the checksum.
const TOGETHER: usize = 4096;

/// What is kept of a run.
pub struct Kept {
    /// The record; none where nothing is kept.
    record: Option<(File, PathBuf)>,
    /// How many shares are in it.
    pub shares: usize,
}

impl Kept {
    /// Nothing, and nothing is to be.
    pub fn none() -> Self {
        Kept {
            record: None,
            shares: 0,
        }
    }

    /// Opens the record of a model's directory, and adds the pairs in it to `pairs`, `most` at most, if it is of a run
    /// with this key. One of another run is written over. Where that cannot be done, the run goes without.
    pub fn open(
        directory: &Path,
        key: &str,
        most: usize,
        pairs: &mut Vec<Pair>,
        progress: &Progress,
    ) -> Self {
        let path = directory.join("duplicates.partial");
        match open(&path, key, most, pairs) {
            Ok((file, shares)) => {
                if shares > 0 {
                    progress.note("goes on with what a run before has found");
                }
                Kept {
                    record: Some((file, path)),
                    shares,
                }
            }
            Err(error) => {
                pairs.clear();
                say_why_not(&path, &error, progress);
                Kept::none()
            }
        }
    }

    /// Adds the pairs of the next share.
    pub fn add(&mut self, pairs: &[Pair], progress: &Progress) {
        let Some((file, path)) = &mut self.record else {
            return;
        };
        let bytes: &[u8] = bytemuck::cast_slice(pairs);
        let length = (bytes.len() as u64).to_le_bytes();
        let written = fault::step("keep a share of the pairs", || {
            file.write_all(&length)?;
            file.write_all(&sum(length, bytes))?;
            file.write_all(bytes)
        });
        if let Err(error) = written {
            say_why_not(path, &error, progress);
            std::mem::replace(self, Kept::none()).remove();
        }
    }

    /// Removes it: the run has told what it found.
    pub fn remove(self) {
        if let Some((_, path)) = self.record {
            // The next run would only begin with it.
            let _ = fault::step("remove what was kept", || fs::remove_file(path));
        }
    }
}

fn say_why_not(path: &Path, error: &io::Error, progress: &Progress) {
    let path = path.display();
    progress.note(&format!(
        "what is found cannot be kept in {path}: {error}; if this run is killed, the next one begins at the start"
    ));
}

/// The record, open at its end, and how many shares are in it.
fn open(path: &Path, key: &str, most: usize, pairs: &mut Vec<Pair>) -> io::Result<(File, usize)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let mut file = fault::step("open what was kept", || options.open(path))?;
    regular::check(&file.metadata()?)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another run keeps its pairs there"),
        TryLockError::Error(error) => error,
    })?;
    let mut reader = io::BufReader::new(&mut file);
    let mut there = vec![0; key.len()];
    let is_of_this_run = reader.read_exact(&mut there).is_ok() && there == key.as_bytes();
    let (mut shares, mut end) = (0, key.len() as u64);
    if is_of_this_run {
        while let Some(length) = read_share(&mut reader, most, pairs)? {
            shares += 1;
            end += length;
        }
        fault::step("cut off what is not whole", || file.set_len(end))?;
    } else {
        fault::step("begin to keep pairs", || {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(key.as_bytes())
        })?;
    }
    file.seek(SeekFrom::Start(end))?;
    Ok((file, shares))
}

/// Adds the pairs of the next record, and says how long it is; none where there is no whole one, or there would be more
/// than `most` pairs.
fn read_share(from: &mut impl Read, most: usize, pairs: &mut Vec<Pair>) -> io::Result<Option<u64>> {
    let (mut bytes_of_length, mut sum_there) = ([0; 8], [0; 4]);
    if !read_whole(from, &mut bytes_of_length)? || !read_whole(from, &mut sum_there)? {
        return Ok(None);
    }
    let length = u64::from_le_bytes(bytes_of_length);
    let count = length / size_of::<Pair>() as u64;
    let before = pairs.len();
    if length % size_of::<Pair>() as u64 != 0 || count > (most - before.min(most)) as u64 {
        return Ok(None);
    }
    pairs.resize(before + count as usize, Pair::default());
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut pairs[before..]);
    if !read_whole(from, bytes)? || sum(bytes_of_length, bytes) != sum_there {
        pairs.truncate(before);
        return Ok(None);
    }
    Ok(Some(12 + length))
}

/// CRC-32 of a record: of its length as well, since zeros, which a power loss leaves, are not a record without pairs.
fn sum(length: [u8; 8], pairs: &[u8]) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&length);
    sum.update(pairs);
    sum.finalize().to_le_bytes()
}

/// Whether there are so many bytes.
fn read_whole(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

/// A checksum of all that pairs depend on, in hexadecimal.
pub fn key(collection: &Collection, compared: &Compared<'_>, metric: Metric, limit: f64) -> String {
    let parts = compared.objects.par_chunks(TOGETHER);
    let parts = parts.map(|positions| {
        let mut checksum = Checksum::default();
        for position in positions {
            checksum.update(bytemuck::cast_slice(collection.feature(*position)));
        }
        checksum.finish()
    });
    let parts: Vec<String> = parts.collect();
    let mut checksum = Checksum::default();
    // The version of the order in which pairs are searched.
    checksum.update(format!("1 {metric:?} {limit:?} {} ", collection.dimension()).as_bytes());
    checksum.update(parts.concat().as_bytes());
    compared.add_to(&mut checksum);
    checksum.finish()
}
