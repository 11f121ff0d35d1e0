//! The Parquet format, for the one table that is written here: `object_id`, a string, `path`, a string or null, and
//! `feature`, a list of float32 whose length is fixed.
//!
//! Written by hand: the crate `parquet` 60.1, without `arrow` and with zstd alone, takes 5.7 minutes of processor time
//! to build with what it needs (344 s in the profile `dev`), so 2.9 minutes or more on two cores. More than two were
//! too many. <https://parquet.apache.org/docs/file-format/> is what is written here: pages of plain values, compressed
//! with zstd, and a footer in Thrift's compact encoding.

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rayon::prelude::*;

use super::thrift::{Kind, Struct, integer, text, varint};

const MAGIC: &[u8] = b"PAR1";

/// Bytes of features in a page, before compression: what others write too.
const PAGE_BYTES: usize = 1 << 20;

/// Compression level: zstd's own default.
const LEVEL: i32 = 3;

/// The table's schema as Arrow writes it (`arrow_schema.py` made it), without which readers would take the feature for
/// a list of any length. The dimension is at an offset of its own.
const ARROW_SCHEMA: &[u8] = include_bytes!("arrow_schema.bin");
const ARROW_DIMENSION_OFFSET: usize = 120;

// Numbers of the format's enumerations.
const BYTE_ARRAY: i32 = 6;
const FLOAT: i32 = 4;
const REQUIRED: i32 = 0;
const OPTIONAL: i32 = 1;
const REPEATED: i32 = 2;
const UTF8: i32 = 0;
const LIST: i32 = 3;
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const ZSTD: i32 = 6;
const DATA_PAGE: i32 = 0;

/// Writes a table, a row group at a time.
pub struct ParquetWriter<'a> {
    to: &'a mut dyn Write,
    /// Bytes written.
    at: u64,
    /// Numbers in a feature.
    dimension: usize,
    rows: usize,
    groups: Vec<Vec<u8>>,
}

/// What the footer says of a column in a row group.
struct Chunk {
    offset: u64,
    values: usize,
    plain_bytes: usize,
    bytes: usize,
}

impl<'a> ParquetWriter<'a> {
    /// Begins a table of features of `dimension` numbers, 1 or more.
    pub fn new(to: &'a mut dyn Write, dimension: usize) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        Ok(ParquetWriter {
            to,
            at: MAGIC.len() as u64,
            dimension,
            rows: 0,
            groups: Vec::new(),
        })
    }

    /// Adds rows: their ids, their paths where they are known, and features `[n, dimension]`.
    pub fn row_group(
        &mut self,
        ids: &[String],
        paths: &[Option<String>],
        features: &[f32],
    ) -> io::Result<()> {
        assert_eq!(features.len(), ids.len() * self.dimension);
        assert_eq!(paths.len(), ids.len());
        let ids_chunk = self.chunk(&[Page::of_ids(ids)?])?;
        let paths_chunk = self.chunk(&[Page::of_paths(paths)?])?;
        let page_rows = (PAGE_BYTES / (4 * self.dimension)).max(1);
        let pages: io::Result<Vec<Page>> = features
            .par_chunks(page_rows * self.dimension)
            .map(|features| Page::of_features(features, self.dimension))
            .collect();
        let features_chunk = self.chunk(&pages?)?;
        let chunks = [
            (BYTE_ARRAY, &["object_id"][..], &ids_chunk),
            (BYTE_ARRAY, &["path"], &paths_chunk),
            (FLOAT, &["feature", "list", "element"][..], &features_chunk),
        ];
        let columns = chunks.map(|(kind, path, chunk)| chunk.describe(kind, path));
        let total = |bytes: fn(&Chunk) -> usize| {
            let chunks = [&ids_chunk, &paths_chunk, &features_chunk];
            chunks.into_iter().map(bytes).sum::<usize>() as i64
        };
        self.groups.push(
            Struct::new()
                .list(1, Kind::Struct, columns.into())
                .i64(2, total(|chunk| chunk.plain_bytes))
                .i64(3, ids.len() as i64)
                .i64(5, ids_chunk.offset as i64)
                .i64(6, total(|chunk| chunk.bytes))
                .finish(),
        );
        self.rows += ids.len();
        Ok(())
    }

    /// Writes pages one after the other.
    fn chunk(&mut self, pages: &[Page]) -> io::Result<Chunk> {
        let mut chunk = Chunk {
            offset: self.at,
            values: 0,
            plain_bytes: 0,
            bytes: 0,
        };
        for page in pages {
            self.to.write_all(&page.header)?;
            self.to.write_all(&page.compressed)?;
            chunk.values += page.values;
            chunk.plain_bytes += page.header.len() + page.plain_bytes;
            chunk.bytes += page.header.len() + page.compressed.len();
        }
        self.at += chunk.bytes as u64;
        Ok(chunk)
    }

    /// Writes the footer, with more metadata of the file; returns how many bytes the file has.
    pub fn finish(mut self, metadata: &[(&str, String)]) -> io::Result<u64> {
        let arrow = ("ARROW:schema", arrow_schema(self.dimension));
        let metadata = metadata.iter().chain([&arrow]);
        let metadata =
            metadata.map(|(key, value)| Struct::new().text(1, key).text(2, value).finish());
        let footer = Struct::new()
            .i32(1, 1)
            .list(2, Kind::Struct, schema())
            .i64(3, self.rows as i64)
            .list(4, Kind::Struct, std::mem::take(&mut self.groups))
            .list(5, Kind::Struct, metadata.collect())
            .text(6, concat!("simsearch version ", env!("CARGO_PKG_VERSION")))
            .finish();
        let end = [&footer[..], &(footer.len() as u32).to_le_bytes(), MAGIC].concat();
        self.to.write_all(&end)?;
        Ok(self.at + end.len() as u64)
    }
}

impl Chunk {
    fn describe(&self, kind: i32, path: &[&str]) -> Vec<u8> {
        let encodings = [PLAIN, RLE].map(|encoding| {
            let mut bytes = Vec::new();
            integer(encoding.into(), &mut bytes);
            bytes
        });
        let metadata = Struct::new()
            .i32(1, kind)
            .list(2, Kind::I32, encodings.into())
            .list(
                3,
                Kind::Binary,
                path.iter().map(|name| text(name)).collect(),
            )
            .i32(4, ZSTD)
            .i64(5, self.values as i64)
            .i64(6, self.plain_bytes as i64)
            .i64(7, self.bytes as i64)
            .i64(9, self.offset as i64);
        Struct::new()
            .i64(2, self.offset as i64)
            .structure(3, metadata)
            .finish()
    }
}

/// Some values of a column.
struct Page {
    header: Vec<u8>,
    compressed: Vec<u8>,
    values: usize,
    plain_bytes: usize,
}

impl Page {
    fn of_ids(ids: &[String]) -> io::Result<Self> {
        let mut plain = Vec::new();
        for id in ids {
            append_string(id, &mut plain);
        }
        Page::new(&plain, ids.len())
    }

    fn of_paths(paths: &[Option<String>]) -> io::Result<Self> {
        // 1 where there is a path.
        let mut definition = Vec::new();
        for same in paths.chunk_by(|one, other| one.is_some() == other.is_some()) {
            run(same.len(), u8::from(same[0].is_some()), &mut definition);
        }
        let mut plain = Vec::new();
        plain.extend((definition.len() as u32).to_le_bytes());
        plain.extend(definition);
        for path in paths.iter().flatten() {
            append_string(path, &mut plain);
        }
        Page::new(&plain, paths.len())
    }

    fn of_features(features: &[f32], dimension: usize) -> io::Result<Self> {
        // Repetition: 0 begins a row, 1 goes on with it. Definition: each number is there.
        let (mut repetition, mut definition) = (Vec::new(), Vec::new());
        for _ in 0..features.len() / dimension {
            run(1, 0, &mut repetition);
            run(dimension - 1, 1, &mut repetition);
        }
        run(features.len(), 1, &mut definition);
        let mut plain = Vec::with_capacity(features.len() * 4 + repetition.len() + 64);
        for levels in [repetition, definition] {
            plain.extend((levels.len() as u32).to_le_bytes());
            plain.extend(levels);
        }
        plain.extend(bytemuck::cast_slice::<f32, u8>(features));
        Page::new(&plain, features.len())
    }

    fn new(plain: &[u8], values: usize) -> io::Result<Self> {
        let compressed = zstd::bulk::compress(plain, LEVEL)?;
        let data_page = Struct::new()
            .i32(1, values as i32)
            .i32(2, PLAIN)
            .i32(3, RLE)
            .i32(4, RLE);
        let header = Struct::new()
            .i32(1, DATA_PAGE)
            .i32(2, plain.len() as i32)
            .i32(3, compressed.len() as i32)
            .structure(5, data_page)
            .finish();
        Ok(Page {
            header,
            compressed,
            values,
            plain_bytes: plain.len(),
        })
    }
}

/// A plain value of a column of strings.
fn append_string(text: &str, to: &mut Vec<u8>) {
    to.extend((text.len() as u32).to_le_bytes());
    to.extend(text.as_bytes());
}

/// A level that is the same many times.
fn run(times: usize, level: u8, to: &mut Vec<u8>) {
    if times > 0 {
        varint((times as u64) << 1, to);
        to.push(level);
    }
}

/// The table's schema, an element for each node of its tree.
fn schema() -> Vec<Vec<u8>> {
    let logical = |number| Struct::new().structure(number, Struct::new());
    let root = Struct::new().text(4, "schema").i32(5, 3);
    let string = |name, repetition| {
        Struct::new()
            .i32(1, BYTE_ARRAY)
            .i32(3, repetition)
            .text(4, name)
            .i32(6, UTF8)
            .structure(10, logical(1))
    };
    let (object_id, path) = (string("object_id", REQUIRED), string("path", OPTIONAL));
    let feature = Struct::new()
        .i32(3, REQUIRED)
        .text(4, "feature")
        .i32(5, 1)
        .i32(6, LIST)
        .structure(10, logical(3));
    let list = Struct::new().i32(3, REPEATED).text(4, "list").i32(5, 1);
    let element = Struct::new()
        .i32(1, FLOAT)
        .i32(3, REQUIRED)
        .text(4, "element");
    [root, object_id, path, feature, list, element]
        .map(Struct::finish)
        .into()
}

/// The schema as Arrow's readers look for it.
fn arrow_schema(dimension: usize) -> String {
    let mut bytes = ARROW_SCHEMA.to_vec();
    bytes[ARROW_DIMENSION_OFFSET..][..4].copy_from_slice(&(dimension as u32).to_le_bytes());
    BASE64_STANDARD.encode(bytes)
}
