//! The file of an index: what usearch writes, a description of it in JSON, and a trailer that says where that begins.
//!
//! ```text
//! rows, bytes a row (4 bytes each) | vectors | graph || JSON || its length (8 bytes), its SHA-256 (64), MAGIC
//! ```
//!
//! usearch trusts the graph: where it is damaged, it would read anywhere in memory. So the graph is compared with its
//! checksum whenever the file is opened. The vectors are most of the file; damage in them can only cost neighbours, and
//! they are compared before the index grows, and by `verify`.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::quantize::{Quantizer, Storage};
use crate::similarity::scan::Metric;
use crate::storage::checksum::{self, Checksum};
use crate::storage::files::complete;
use crate::storage::model_dir::ModelDir;
use crate::storage::recipe::Recipe;

/// The version of this format.
const FORMAT: u32 = 1;
const MAGIC: &[u8] = b"simsearch index\n";
const END_BYTES: usize = 8 + 64 + MAGIC.len();
/// What is wrong with a file that is not as it was written.
pub(super) const DAMAGED: &str = "it is damaged";
/// Bytes before the vectors.
const HEAD_BYTES: usize = 8;

/// What an index holds, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Which distances it is for.
    pub metric: Metric,
    /// The type of its vectors.
    pub storage: Storage,
    /// Numbers in a vector.
    #[serde(rename = "length")]
    pub dimension: usize,
    /// How many vectors the graph has.
    pub vectors: usize,
    /// What features are multiplied with before they become vectors.
    pub scale: f32,
    /// Candidates that a search keeps on its way, at least.
    pub expansion: usize,
    /// What was measured of it.
    pub recall: Recall,
    /// What made the features.
    pub recipe: Option<Recipe>,
    /// The shards whose rows it holds.
    pub shards: Vec<Covered>,
}

/// How many of the true neighbours an index finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recall {
    /// Of the ten nearest, the share that is found, in the mean over some objects.
    pub at_10: f64,
    /// Over how many objects.
    pub queries: usize,
}

/// A shard whose rows are in an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Covered {
    /// The name of the directory of the part that the shard is in; none where that is the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The shard's number.
    pub number: u32,
    /// How many there are.
    pub rows: usize,
    /// SHA-256 of its features, where `SHA256SUMS` has it.
    pub sha256: Option<String>,
    /// SHA-256 of some of its rows, for where `SHA256SUMS` does not have it.
    #[serde(default)]
    pub sample_sha256: String,
    /// What the graph calls the shard, where that is not its number: parts count theirs from 0 too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
}

impl Covered {
    /// What the graph calls the shard.
    pub fn slot(&self) -> u32 {
        self.slot.unwrap_or(self.number)
    }

    /// Tells the shard from the others of its collection.
    pub fn place(&self) -> (Option<&str>, u32) {
        (self.part.as_deref(), self.number)
    }
}

/// The JSON in the file.
#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    #[serde(flatten)]
    description: Description,
    /// SHA-256 of the head and of the graph.
    graph_sha256: String,
    /// SHA-256 of the vectors.
    vectors_sha256: String,
}

/// A file whose trailer and graph are whole.
pub struct IndexFile {
    map: Mmap,
    /// How much of it usearch wrote.
    content_bytes: usize,
    record: Record,
}

impl IndexFile {
    /// Opens the file and compares its graph with the checksum; the inner error says what is wrong with it.
    pub fn open(file: &File) -> io::Result<Result<Self, String>> {
        let map = map(file)?;
        let Some((content_bytes, record)) = parse(&map) else {
            return Ok(Err("it is not an index, or damaged".into()));
        };
        let file = IndexFile {
            map,
            content_bytes,
            record,
        };
        Ok(match file.is_graph_whole() {
            true => Ok(file),
            false => Err(DAMAGED.into()),
        })
    }

    pub fn description(&self) -> &Description {
        &self.record.description
    }

    /// What usearch wrote.
    pub fn content(&self) -> &[u8] {
        &self.map[..self.content_bytes]
    }

    fn is_graph_whole(&self) -> bool {
        let graph = self.description().graph_offset();
        graph.is_some_and(|graph| {
            graph <= self.content_bytes
                && graph_sum(self.content(), graph) == self.record.graph_sha256
        })
    }

    /// Compares the vectors with their checksum.
    pub fn are_vectors_whole(&self) -> bool {
        let graph = self
            .description()
            .graph_offset()
            .unwrap_or(self.content_bytes);
        checksum::of_bytes(&self.content()[HEAD_BYTES..graph]) == self.record.vectors_sha256
    }
}

impl Description {
    /// How features become the vectors of this index.
    pub(super) fn quantizer(&self) -> Quantizer {
        Quantizer {
            metric: self.metric,
            storage: self.storage,
            scale: self.scale,
        }
    }

    /// Where the graph begins, in bytes.
    fn graph_offset(&self) -> Option<usize> {
        let vector = self.dimension.checked_mul(self.storage.bytes())?;
        self.vectors.checked_mul(vector)?.checked_add(HEAD_BYTES)
    }
}

/// How many bytes usearch wrote, and the record.
fn parse(bytes: &[u8]) -> Option<(usize, Record)> {
    let (rest, end) = bytes.split_at_checked(bytes.len().checked_sub(END_BYTES)?)?;
    let (json_bytes, end) = end.split_first_chunk::<8>()?;
    let (sum, magic) = end.split_at_checked(64)?;
    if magic != MAGIC {
        return None;
    }
    let json_bytes = usize::try_from(u64::from_le_bytes(*json_bytes)).ok()?;
    let content_bytes = rest.len().checked_sub(json_bytes)?;
    let json = &rest[content_bytes..];
    let record: Record = serde_json::from_slice(json).ok()?;
    let is_ours = checksum::of_bytes(json).as_bytes() == sum && record.format == FORMAT;
    is_ours.then_some((content_bytes, record))
}

fn graph_sum(content: &[u8], graph: usize) -> String {
    let mut sum = Checksum::default();
    sum.update(&content[..HEAD_BYTES]);
    sum.update(&content[graph..]);
    sum.finish()
}

/// Writes the file, complete or not at all; returns its size in bytes.
pub fn write(
    directory: &Path,
    index: &usearch::Index,
    description: &Description,
) -> io::Result<u64> {
    let mut bytes = 0;
    complete::write_file(&directory.join(ModelDir::INDEX), |file| {
        // usearch opens a file by its name; this one leads to the file that is open here, wherever that is.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        index.save(&name).map_err(io::Error::other)?;
        let content = map(&File::open(name)?)?;
        // usearch does not look at what closing the file says.
        if content.len() != index.serialized_length() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let graph = description
            .graph_offset()
            .filter(|graph| *graph <= content.len());
        let graph =
            graph.ok_or_else(|| io::Error::other("usearch wrote fewer vectors than it has"))?;
        let record = Record {
            format: FORMAT,
            description: description.clone(),
            graph_sha256: graph_sum(&content, graph),
            vectors_sha256: checksum::of_bytes(&content[HEAD_BYTES..graph]),
        };
        let json = serde_json::to_vec(&record)?;
        let sum = checksum::of_bytes(&json);
        let end = [
            &json,
            &(json.len() as u64).to_le_bytes()[..],
            sum.as_bytes(),
            MAGIC,
        ];
        file.seek(SeekFrom::End(0))?;
        file.write_all(&end.concat())?;
        bytes = file.stream_position()?;
        Ok(())
    })?;
    Ok(bytes)
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: The pages must not change while they are mapped. This program writes an index aside and renames it, which
    // leaves a mapped one as it is; and while it writes, nothing else writes to that file, which is locked.
    #[expect(unsafe_code)]
    unsafe {
        Mmap::map(file)
    }
}
