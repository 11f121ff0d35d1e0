//! How a shard is written: its files under temporary names, then their final ones, and a look at what is there.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use super::{ShardError, ShardFile, ShardNumber, features_shape, object_ids};
use crate::storage::checksum::{self, Checksum};
use crate::storage::files::regular;
use crate::storage::npy;
use crate::storage::sources::{Source, feature_sum};
use crate::support::fault;

/// Writes a shard's files under their temporary names, one row at a time.
#[derive(Debug)]
pub struct ShardWriter {
    number: ShardNumber,
    directory: PathBuf,
    features: BufWriter<File>,
    dimension: usize,
    rows: usize,
}

impl ShardWriter {
    /// Begins a shard of features of `dimension` numbers.
    pub fn create(directory: &Path, number: ShardNumber, dimension: usize) -> io::Result<Self> {
        let file = create_afresh(&directory.join(number.temporary_name(ShardFile::Features)))?;
        let mut features = BufWriter::with_capacity(1 << 18, file);
        // Room for the header, which is known when the rows are.
        features.write_all(&[0; npy::HEADER_LENGTH])?;
        Ok(ShardWriter {
            number,
            directory: directory.to_owned(),
            features,
            dimension,
            rows: 0,
        })
    }

    /// The number that the shard is to have.
    pub fn number(&self) -> ShardNumber {
        self.number
    }

    /// Adds a row; `data` are its numbers as they are in a file.
    pub fn push(&mut self, data: &[u8]) -> io::Result<()> {
        assert_eq!(data.len(), self.dimension * 4);
        self.features.write_all(data)?;
        self.rows += 1;
        Ok(())
    }

    /// Makes the temporary files complete and durable, where `ids` are the object ids of the rows and `sources` say
    /// what they were made from; returns the checksum of each. There is no file of sources where none is known.
    pub fn finish<'i>(
        self,
        ids: impl ExactSizeIterator<Item = &'i str> + Clone,
        sources: &[Option<&Source>],
    ) -> io::Result<Vec<(ShardFile, String)>> {
        let rows = self.rows;
        assert_eq!([ids.len(), sources.len()], [rows; 2]);
        let mut features = fault::step("write the features", || {
            let written = self.features.into_inner();
            written.map_err(io::IntoInnerError::into_error)
        })?;
        features.rewind()?;
        let header = npy::features_header(&[rows, self.dimension]);
        fault::step("write the header", || features.write_all(&header))?;
        // The header, which comes first, is known last: so the file is read once more, while the disk writes it.
        let path = (self.directory).join(self.number.temporary_name(ShardFile::Features));
        let (synced, features_sum) = thread::scope(|scope| {
            let sum = scope.spawn(|| checksum::of_file(&path));
            let synced = fault::step("sync the features", || features.sync_all());
            (
                synced,
                sum.join().unwrap_or_else(|panic| resume_unwind(panic)),
            )
        });
        synced?;
        let mut sums = vec![(ShardFile::Features, features_sum?)];
        let temporary = |file| self.directory.join(self.number.temporary_name(file));
        let width = ids.clone().map(|id| id.chars().count()).max().unwrap_or(1);
        let header = npy::object_ids_header(rows, width);
        let path = temporary(ShardFile::ObjectIds);
        let names = ["write the object ids", "sync the object ids"];
        let sum = write_rows(&path, names, &header, ids, |id, row| {
            npy::append_object_id(id, width, row);
        });
        sums.push((ShardFile::ObjectIds, sum?));
        if sources.iter().any(Option::is_some) {
            let sum = write_sources(&self.directory, self.number, sources);
            sums.push((ShardFile::Sources, sum?));
        }
        Ok(sums)
    }
}

/// Writes the sources of a shard's rows under their temporary name, and makes them durable; returns the checksum.
pub fn write_sources(
    directory: &Path,
    number: ShardNumber,
    sources: &[Option<&Source>],
) -> io::Result<String> {
    let path = directory.join(number.temporary_name(ShardFile::Sources));
    let known = sources.iter().flatten();
    let width = known.map(|source| source.path.chars().count()).max();
    let width = width.unwrap_or(1).max(1);
    let header = npy::sources_header(sources.len(), width);
    let names = ["write the sources", "sync the sources"];
    write_rows(&path, names, &header, sources.iter(), |source, row| {
        npy::append_source(*source, width, row);
    })
}

/// Writes an array row by row, and makes it durable; returns its checksum. `names` are those of the steps.
fn write_rows<T>(
    path: &Path,
    names: [&str; 2],
    header: &[u8],
    rows: impl Iterator<Item = T>,
    append: impl Fn(T, &mut Vec<u8>),
) -> io::Result<String> {
    let mut file = BufWriter::with_capacity(1 << 18, create_afresh(path)?);
    let mut sum = Checksum::default();
    let mut write = |bytes: &[u8]| {
        sum.update(bytes);
        file.write_all(bytes)
    };
    write(header)?;
    let mut bytes = Vec::new();
    for row in rows {
        bytes.clear();
        append(row, &mut bytes);
        write(&bytes)?;
    }
    let file = fault::step(names[0], || {
        let written = file.into_inner();
        written.map_err(io::IntoInnerError::into_error)
    })?;
    fault::step(names[1], || file.sync_all())?;
    Ok(sum.finish())
}

/// Makes a new file, never writing through a link or into a file that something else holds open.
fn create_afresh(path: &Path) -> io::Result<File> {
    match fault::step("remove a temporary file", || fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    fault::step("create a temporary file", || options.open(path))
}

/// Reads a shard that is in place, as whoever comes next finds it, and compares it with what was to be written: the
/// object ids and the checksum ([`feature_sum`]) of each row. What was packed is removed after this alone.
///
/// # Errors
/// When the shard cannot be read, or is another one.
pub fn read_back<'i>(
    directory: &Path,
    number: ShardNumber,
    ids: impl Iterator<Item = &'i str>,
    sums: &[u32],
) -> Result<(), ShardError> {
    let path = directory.join(number.file_name(ShardFile::Features));
    let found = object_ids(directory, number)?;
    let (_, dimension, offset) = features_shape(&path)?;
    let read_sums = || -> io::Result<Vec<u32>> {
        let mut features = BufReader::with_capacity(1 << 18, regular::open(&path)?);
        features.seek(SeekFrom::Start(offset as u64))?;
        let mut row = vec![0; dimension * 4];
        let rows = 0..found.len();
        rows.map(|_| {
            features.read_exact(&mut row)?;
            Ok(feature_sum(&row))
        })
        .collect()
    };
    let read = read_sums().map_err(|source| ShardError::Read {
        path: path.clone(),
        source,
    })?;
    match read == sums && ids.eq(found.iter().map(String::as_str)) {
        true => Ok(()),
        false => Err(ShardError::Overwritten { path }),
    }
}

/// Puts a file of a shard in place: renames the temporary file to its final name.
pub fn put_in_place(directory: &Path, number: ShardNumber, file: ShardFile) -> io::Result<()> {
    let temporary = directory.join(number.temporary_name(file));
    let finished = directory.join(number.file_name(file));
    fault::step("put in place", || fs::rename(temporary, finished))
}
