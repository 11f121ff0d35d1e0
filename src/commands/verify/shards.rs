//! The two files of one shard.

use std::io::{self, Read};
use std::path::Path;

use super::{Finding, compare};
use crate::storage::checksum::{self, Checksum};
use crate::storage::files::regular;
use crate::storage::npy;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, Half, ShardError, ShardNumber};

/// Bytes of the features that are in memory at once.
const PIECE: usize = 1 << 20;

/// What to do about a shard that is damaged.
const AGAIN: &str = "put back a copy of it; or move both files of this shard away, remove their lines from SHA256SUMS, \
     and run `simsearch extract` and `simsearch concat`";

/// A shard that was looked at.
#[derive(Debug)]
pub struct Shard {
    pub number: ShardNumber,
    /// Rows and dimension of its features; none where they cannot be read.
    pub shape: Option<(usize, usize)>,
    /// The object ids, row by row; none where they cannot be read.
    pub ids: Vec<String>,
    /// What is wrong with it.
    pub problems: Vec<Finding>,
}

/// What the features' file holds.
struct Features {
    shape: (usize, usize),
    checksum: String,
    /// The first row that holds a number which is not finite.
    not_finite: Option<usize>,
}

impl Shard {
    /// Reads both files from end to end; compares them with their checksums, where there are any.
    pub fn check(directory: &Path, number: ShardNumber, sums: Option<&Sha256Sums>) -> Self {
        let mut shard = Shard {
            number,
            shape: None,
            ids: Vec::new(),
            problems: Vec::new(),
        };
        let [features_path, ids_path] =
            Half::ALL.map(|half| directory.join(number.file_name(half)));
        match read_features(&features_path) {
            Ok(features) => {
                shard.shape = Some(features.shape);
                shard
                    .problems
                    .extend(compare(sums, &features_path, &features.checksum, AGAIN));
                if let Some(row) = features.not_finite {
                    let what = format!("row {row} holds a number that is not finite; {AGAIN}");
                    shard.problems.push(Finding::new(&features_path, what));
                }
            }
            Err(error) => shard.problems.push(unreadable(&features_path, error)),
        }
        match read_object_ids(&ids_path) {
            Ok((ids, checksum)) => {
                shard
                    .problems
                    .extend(compare(sums, &ids_path, &checksum, AGAIN));
                shard.ids = ids;
            }
            Err(error) => {
                shard.problems.push(unreadable(&ids_path, error));
                return shard;
            }
        }
        if let Some((rows, _)) = shard.shape
            && rows != shard.ids.len()
        {
            let (features, ids) = (number.file_name(Half::Features), shard.ids.len());
            let what = format!("has {ids} rows, {features} has {rows}; {AGAIN}");
            shard.problems.push(Finding::new(&ids_path, what));
        }
        shard
    }
}

fn unreadable(path: &Path, error: ShardError) -> Finding {
    let error = anyhow::Error::new(error);
    Finding {
        file: path.to_owned(),
        message: format!("{error:#}; {AGAIN}"),
    }
}

fn read_features(path: &Path) -> Result<Features, ShardError> {
    let (rows, dimension, offset) = shard::features_shape(path)?;
    let read = || -> io::Result<Features> {
        let mut file = regular::open(path)?;
        let mut checksum = Checksum::default();
        let mut buffer = vec![0; offset.max(PIECE)];
        file.read_exact(&mut buffer[..offset])?;
        checksum.update(&buffer[..offset]);
        let mut not_finite = None;
        let mut left = rows * dimension * 4;
        let mut numbers = 0;
        while left > 0 {
            let piece = &mut buffer[..left.min(PIECE)];
            file.read_exact(piece)?;
            checksum.update(piece);
            if not_finite.is_none() {
                let found = npy::floats(piece).position(|number| !number.is_finite());
                not_finite = found.map(|at| (numbers + at) / dimension);
            }
            numbers += piece.len() / 4;
            left -= piece.len();
        }
        Ok(Features {
            shape: (rows, dimension),
            checksum: checksum.finish(),
            not_finite,
        })
    };
    read().map_err(|source| ShardError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The object ids, and the checksum of their file.
fn read_object_ids(path: &Path) -> Result<(Vec<String>, String), ShardError> {
    let bytes = regular::read(path).map_err(|source| ShardError::Read {
        path: path.to_owned(),
        source,
    })?;
    let ids = npy::object_ids(&bytes).map_err(|source| ShardError::Npy {
        path: path.to_owned(),
        source,
    })?;
    Ok((ids, checksum::of_bytes(&bytes)))
}
