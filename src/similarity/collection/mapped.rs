//! A shard in memory: mapped, not read.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::storage::files::regular;
use crate::storage::npy;
use crate::storage::shard::{ShardError, ShardFile, ShardNumber, is_gone};
use crate::storage::sources::Source;

/// A shard's files, mapped. A finished file never changes: `concat` only puts others in its place, so that the pages
/// are the file's for as long as this lives, also when the file loses its name.
#[derive(Debug)]
pub struct MappedShard {
    /// A model's, or that of a part in it.
    directory: PathBuf,
    number: ShardNumber,
    /// Tells the file of the features from any other.
    file: (u64, u64),
    features: Mmap,
    features_offset: usize,
    dimension: usize,
    rows: usize,
    ids: Mmap,
    ids_offset: usize,
    id_width: usize,
    sources: Option<MappedSources>,
}

/// Which files the features of a shard were made from.
#[derive(Debug)]
struct MappedSources {
    /// Tells the file from any other.
    file: (u64, u64),
    map: Mmap,
    offset: usize,
    width: usize,
}

impl MappedShard {
    /// Maps a finished shard; checks both headers against the lengths of the files, and each other.
    pub fn open(directory: &Path, number: ShardNumber) -> Result<Self, ShardError> {
        let [features_path, ids_path] =
            ShardFile::PAIR.map(|half| directory.join(number.file_name(half)));
        let ((features, file), (ids, _)) = (map(&features_path)?, map(&ids_path)?);
        let (rows, dimension, features_offset) =
            npy::features_shape(&features, features.len() as u64).map_err(wrong(&features_path))?;
        if !features_offset.is_multiple_of(size_of::<f32>()) {
            return Err(wrong(&features_path)(npy::NpyError::Kind {
                found: format!("data at byte {features_offset}"),
                expected: "data at a multiple of 4 bytes, as `numpy.save` writes them",
            }));
        }
        let (id_rows, id_width, ids_offset) =
            npy::object_ids_shape(&ids, ids.len() as u64).map_err(wrong(&ids_path))?;
        if id_rows != rows {
            return Err(ShardError::Rows {
                features_path,
                features: rows,
                other_path: ids_path,
                others: id_rows,
            });
        }
        let sources_path = directory.join(number.file_name(ShardFile::Sources));
        let sources = match map(&sources_path) {
            Err(error) if is_gone(&error) => None,
            mapped => {
                let (map, file) = mapped?;
                let shape = npy::sources_shape(&map).map_err(wrong(&sources_path))?;
                let (source_rows, width, offset) = shape;
                if source_rows != rows {
                    return Err(ShardError::Rows {
                        features_path,
                        features: rows,
                        other_path: sources_path,
                        others: source_rows,
                    });
                }
                let file = identity(&file);
                Some(MappedSources {
                    file,
                    map,
                    offset,
                    width,
                })
            }
        };
        Ok(MappedShard {
            sources,
            directory: directory.to_owned(),
            number,
            file: identity(&file),
            features,
            features_offset,
            dimension,
            rows,
            ids,
            ids_offset,
            id_width,
        })
    }

    /// Whether this is the shard that has that number now.
    pub fn is_at(&self, directory: &Path, number: ShardNumber) -> bool {
        let there = |file| {
            let path = directory.join(number.file_name(file));
            fs::metadata(path).ok().map(|file| identity(&file))
        };
        (directory, number) == (&*self.directory, self.number)
            && there(ShardFile::Features) == Some(self.file)
            && there(ShardFile::Sources) == self.sources.as_ref().map(|sources| sources.file)
    }

    /// The file that the feature of a row was made from, where it is recorded.
    pub(crate) fn source(&self, row: usize) -> Option<Source> {
        let sources = self.sources.as_ref()?;
        npy::source(&sources.map[sources.offset..], sources.width, row)
    }

    /// The directory that it is in: a model's, or that of a part in it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its number.
    pub fn number(&self) -> ShardNumber {
        self.number
    }

    /// How many features the shard has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The features, `[rows, dimension]`. `numpy.save` puts them at a multiple of 64 bytes, and the mapping begins at a
    /// page.
    pub fn features(&self) -> &[f32] {
        bytemuck::cast_slice(&self.features[self.features_offset..])
    }

    /// The object id of a row; what is not Unicode in it is replaced.
    pub fn id(&self, row: usize) -> String {
        npy::object_id(self.cell(row)).unwrap_or_else(|| char::REPLACEMENT_CHARACTER.into())
    }

    /// The row of an object id.
    pub fn find(&self, id: &str) -> Option<usize> {
        if id.chars().count() > self.id_width {
            return None;
        }
        let mut cell = Vec::with_capacity(self.id_width * 4);
        npy::append_object_id(id, self.id_width, &mut cell);
        (0..self.rows).find(|&row| self.cell(row) == cell)
    }

    /// Indices into `ids`, and the row of each that is here.
    pub fn find_all(&self, ids: &[&str]) -> Vec<(usize, usize)> {
        let mut cells: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (index, id) in ids.iter().enumerate() {
            if id.chars().count() <= self.id_width {
                let mut cell = Vec::new();
                npy::append_object_id(id, self.id_width, &mut cell);
                cells.entry(cell).or_default().push(index);
            }
        }
        let rows = (0..self.rows).filter(|_| !cells.is_empty());
        let found = rows.filter_map(|row| Some((row, cells.get(self.cell(row))?)));
        found
            .flat_map(|(row, indices)| indices.iter().map(move |index| (*index, row)))
            .collect()
    }

    /// The bytes of a row's id in the file.
    fn cell(&self, row: usize) -> &[u8] {
        let bytes = self.id_width * 4;
        &self.ids[self.ids_offset + row * bytes..][..bytes]
    }
}

fn wrong(path: &Path) -> impl FnOnce(npy::NpyError) -> ShardError {
    let path = path.to_owned();
    move |source| ShardError::Npy { path, source }
}

/// Device and inode: they stay this file's for as long as it is mapped.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn map(path: &Path) -> Result<(Mmap, Metadata), ShardError> {
    let read = |source| ShardError::Read {
        path: PathBuf::from(path),
        source,
    };
    let file = regular::open(path).map_err(read)?;
    // SAFETY: The pages must not change while they are mapped. Nothing of this program writes to a finished shard:
    // `concat` writes a file aside and renames it, which leaves the mapped one as it is. (Truncating a shard by hand
    // while it is searched ends the search with SIGBUS, which no check here could prevent.)
    #[expect(unsafe_code)]
    let mapped = unsafe { Mmap::map(&file) };
    Ok((mapped.map_err(read)?, file.metadata().map_err(read)?))
}
