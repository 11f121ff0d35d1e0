//! The `.npy` format: headers as `numpy.save` writes them, and checked reads.
//!
//! Everything here works on memory. A reader never trusts a header further than the bytes that are there: sizes are
//! compared with the length of the file before anything is allocated.

use half::f16;
use ndarray_npy::npy::header::Header;
use thiserror::Error;

use crate::storage::files::FileStamp;
use crate::storage::sources::Source;

/// The most bytes a header may take before this program declines to parse it. `numpy.save` writes 128 for every
/// array that belongs here; the bound keeps crafted headers from costing time or stack.
const MAX_HEADER: usize = 4096;

/// Length of the headers of features and object ids, in bytes: `numpy.save` pads to a multiple of 64, and both kinds of
/// array come to 128 for any number of rows that fits a file.
pub const HEADER_LENGTH: usize = 128;

/// `numpy.save` leaves room for a first axis of so many digits.
const AXIS_DIGITS: usize = 21;

/// Why bytes are not a usable array.
#[derive(Debug, Error)]
pub enum NpyError {
    /// The header is missing, cut off, too long, or not a Python dictionary with the three keys.
    #[error("no .npy header, or a damaged one")]
    Header(#[source] Option<ndarray_npy::npy::header::ReadHeaderError>),
    /// The array is not what belongs here.
    #[error("holds {found}, expected {expected}")]
    Kind {
        /// What the header says.
        found: String,
        /// What is wanted.
        expected: &'static str,
    },
    /// The file is shorter or longer than its header says.
    #[error("is {found} bytes long, its header calls for {expected}")]
    Length {
        /// Length of the file in bytes.
        found: u64,
        /// Length that follows from the header, in bytes.
        expected: u64,
    },
    /// The feature has another dimension than those it is to be compared with.
    #[error("it has {found} numbers, and the features here have {dimension}")]
    Dimension {
        /// How many numbers it has.
        found: usize,
        /// How many it should have.
        dimension: usize,
    },
    /// A number is NaN or infinite.
    #[error("holds a number that is not finite (at index {index})")]
    NotFinite {
        /// Index of the first such number.
        index: usize,
    },
    /// A code point of a string is not a character.
    #[error("holds a string that is not Unicode (in row {row})")]
    NotUnicode {
        /// The row of the string.
        row: usize,
    },
}

/// The bytes that `numpy.save` writes before the data of a `<f4` array of this shape, C order.
pub fn features_header(shape: &[usize]) -> Vec<u8> {
    header("'<f4'", shape)
}

/// The bytes that `numpy.save` writes before `rows` strings of `width` characters (`<U{width}`, 4 bytes each).
pub fn object_ids_header(rows: usize, width: usize) -> Vec<u8> {
    header(&format!("'<U{width}'"), &[rows])
}

/// The bytes that `numpy.save` writes before `rows` sources whose paths have `width` characters or less.
pub(crate) fn sources_header(rows: usize, width: usize) -> Vec<u8> {
    let [before, after] = SOURCE_TYPE;
    header(&format!("{before}{width}{after}"), &[rows])
}

/// NumPy's type of a source, before and after the number of characters in a path.
const SOURCE_TYPE: [&str; 2] = ["[('path', '<U", "'), ('size', '<i8'), ('mtime_ns', '<i8')]"];

/// Bytes of a row of sources: 4 for each character of the path, 8 for the size, 8 for the time.
fn source_bytes(width: usize) -> usize {
    width * 4 + 16
}

/// The literal is NumPy's to the last character; `ndarray_npy` leaves out the comma before the brace.
fn header(descriptor: &str, shape: &[usize]) -> Vec<u8> {
    let axes = match shape {
        [one] => format!("({one},)"),
        axes => format!(
            "({})",
            axes.iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    let literal = format!("{{'descr': {descriptor}, 'fortran_order': False, 'shape': {axes}, }}");
    let room = AXIS_DIGITS - shape[0].to_string().len();
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    // The length has two bytes, and the header ends in a newline.
    let length = (bytes.len() + 2 + literal.len() + room + 1).next_multiple_of(64);
    bytes.extend(((length - bytes.len() - 2) as u16).to_le_bytes());
    bytes.extend(literal.as_bytes());
    bytes.resize(length - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// What a header says, and where the data begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayHeader {
    /// NumPy's type string, such as `<f4`.
    pub descriptor: String,
    /// Whether the array is stored column by column.
    pub fortran_order: bool,
    /// The lengths of the axes.
    pub shape: Vec<usize>,
    /// Bytes before the data.
    pub data_offset: usize,
}

/// Whether this is the beginning of a `.npy` file.
pub fn is_array(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x93NUMPY")
}

/// Reads the header at the beginning of `bytes`, which need not hold the data.
pub fn parse_header(bytes: &[u8]) -> Result<ArrayHeader, NpyError> {
    let data_offset = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0, low, high, ..] => {
            10 + usize::from(u16::from_le_bytes([*low, *high]))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, 0, a, b, c, d, ..] => {
            u32::from_le_bytes([*a, *b, *c, *d]).saturating_add(12) as usize
        }
        _ => return Err(NpyError::Header(None)),
    };
    if data_offset > MAX_HEADER || data_offset > bytes.len() {
        return Err(NpyError::Header(None));
    }
    let header = Header::from_reader(&mut &bytes[..data_offset])
        .map_err(|error| NpyError::Header(Some(error)))?;
    let descriptor = header.type_descriptor.as_string().cloned();
    Ok(ArrayHeader {
        descriptor: descriptor.unwrap_or_else(|| header.type_descriptor.to_string()),
        fortran_order: header.layout.is_fortran(),
        shape: header.shape,
        data_offset,
    })
}

/// Shape and data offset of a shard's features, `(rows, dimension, data offset)`; `<f4`, `(n, d)`, C order, `d` not 0.
///
/// `bytes` is the beginning of the file (4096 bytes are enough), `file_length` its whole length in bytes.
pub fn features_shape(bytes: &[u8], file_length: u64) -> Result<(usize, usize, usize), NpyError> {
    let header = parse_header(bytes)?;
    let (&[rows, dimension @ (1..)], "<f4", false) = (
        &header.shape[..],
        &header.descriptor[..],
        header.fortran_order,
    ) else {
        return Err(header.unexpected("float32 features (n, d) in C order"));
    };
    header.check_length(4, file_length)?;
    Ok((rows, dimension, header.data_offset))
}

/// The feature in the bytes of a whole per-object file: `<f4`, `(d,)`, every number finite.
///
/// Returns the data as they are in the file, `4 d` bytes, little-endian.
pub fn feature_data(bytes: &[u8]) -> Result<&[u8], NpyError> {
    let data = match usual_feature_data(bytes) {
        Some(data) => data,
        None => {
            let header = parse_header(bytes)?;
            let (&[(1..)], "<f4") = (&header.shape[..], &header.descriptor[..]) else {
                return Err(header.unexpected("one float32 feature (d,)"));
            };
            header.check_length(4, bytes.len() as u64)?;
            &bytes[header.data_offset..]
        }
    };
    match floats(data).position(|value| !value.is_finite()) {
        Some(index) => Err(NpyError::NotFinite { index }),
        None => Ok(data),
    }
}

/// The feature in the bytes of a whole `.npy` file as Python programs write them: `(d,)` or `(1, d)` numbers of 16, 32 or
/// 64 bits, every one finite as `f32`, to which those of 64 bits are rounded; and as many as the features that it is to be
/// compared with have.
pub fn any_feature(bytes: &[u8], dimension: usize) -> Result<Vec<f32>, NpyError> {
    let header = parse_header(bytes)?;
    let data = bytes.get(header.data_offset..).unwrap_or_default();
    let is_one = matches!(header.shape[..], [(1..)] | [1, (1..)]);
    let (width, feature): (u64, Vec<f32>) = match &header.descriptor[..] {
        "<f2" if is_one => {
            let halves = data.as_chunks().0.iter();
            (
                2,
                halves
                    .map(|half| f16::from_le_bytes(*half).into())
                    .collect(),
            )
        }
        "<f4" if is_one => (4, floats(data).collect()),
        "<f8" if is_one => {
            let doubles = data.as_chunks().0.iter();
            let rounded = doubles.map(|double| f64::from_le_bytes(*double) as f32);
            (8, rounded.collect())
        }
        _ => {
            return Err(
                header.unexpected("one feature, (d,) or (1, d), as float16, float32 or float64")
            );
        }
    };
    header.check_length(width, bytes.len() as u64)?;
    if let Some(index) = feature.iter().position(|value| !value.is_finite()) {
        return Err(NpyError::NotFinite { index });
    }
    match feature.len() {
        found if found == dimension => Ok(feature),
        found => Err(NpyError::Dimension { found, dimension }),
    }
}

/// The data of a file whose header is, byte for byte, the one for its length. (To read the Python in a header takes ten
/// times as long as to compare it, and there are hundreds of thousands.)
fn usual_feature_data(bytes: &[u8]) -> Option<&[u8]> {
    let (header, data) = bytes.split_at_checked(HEADER_LENGTH)?;
    let is_usual =
        !data.is_empty() && data.len() % 4 == 0 && header == features_header(&[data.len() / 4]);
    is_usual.then_some(data)
}

/// Shape and data offset of a shard's object ids, `(rows, width, data offset)`: `<U{width}` `(rows,)`, 4 bytes a
/// character.
///
/// `bytes` is the beginning of the file (4096 bytes are enough), `file_length` its whole length in bytes.
pub(crate) fn object_ids_shape(
    bytes: &[u8],
    file_length: u64,
) -> Result<(usize, usize, usize), NpyError> {
    let header = parse_header(bytes)?;
    let width = header
        .descriptor
        .strip_prefix("<U")
        .and_then(|width| width.parse::<u32>().ok());
    let (&[rows], Some(width @ 1..)) = (&header.shape[..], width) else {
        return Err(header.unexpected("strings (n,)"));
    };
    header.check_length(u64::from(width) * 4, file_length)?;
    Ok((rows, width as usize, header.data_offset))
}

/// The object ids in the bytes of a whole `<U…` array `(n,)`, in order.
pub fn object_ids(bytes: &[u8]) -> Result<Vec<String>, NpyError> {
    let (_, width, offset) = object_ids_shape(bytes, bytes.len() as u64)?;
    let cells = bytes[offset..].chunks_exact(width * 4).enumerate();
    cells
        .map(|(row, cell)| object_id(cell).ok_or(NpyError::NotUnicode { row }))
        .collect()
}

/// One string of a `<U…` array, 4 bytes a character; none where it is not Unicode.
pub(crate) fn object_id(cell: &[u8]) -> Option<String> {
    let points = cell.chunks_exact(4);
    let text: Option<String> = points
        .map(|point| u32::from_le_bytes([point[0], point[1], point[2], point[3]]))
        .map(char::from_u32)
        .collect();
    // NumPy pads with NUL, and drops trailing NULs when it reads.
    text.map(|text| text.trim_end_matches('\0').to_owned())
}

/// The sources in the bytes of a whole structured array `(n,)` of `path` (`<U…`), `size` and `mtime_ns` (`<i8`), in
/// order: the path below the media directory of the file that a feature was made from, its length in bytes, and the
/// time of its last change in nanoseconds since 1970. An empty path is a source that is not known.
pub(crate) fn sources(bytes: &[u8]) -> Result<Vec<Option<Source>>, NpyError> {
    let (_, width, offset) = sources_shape(bytes)?;
    let rows = bytes[offset..].chunks_exact(source_bytes(width));
    let sources = rows.enumerate().map(|(row, cells)| {
        let source = source_in(cells, width).ok_or(NpyError::NotUnicode { row })?;
        Ok((!source.path.is_empty()).then_some(source))
    });
    sources.collect()
}

/// The source in the cells of a row; none where its path is not Unicode.
fn source_in(cells: &[u8], width: usize) -> Option<Source> {
    let (path, numbers) = cells.split_at(width * 4);
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&numbers[at..at + 8]);
        i64::from_le_bytes(bytes)
    };
    let (size, modified) = (number(0) as u64, number(8));
    Some(Source {
        path: object_id(path)?.into(),
        file: FileStamp { size, modified },
    })
}

/// Shape and data offset of a whole array of [`sources`]: rows, characters in a path, bytes before the first row.
pub(crate) fn sources_shape(bytes: &[u8]) -> Result<(usize, usize, usize), NpyError> {
    let header = parse_header(bytes)?;
    let [before, after] = SOURCE_TYPE;
    let width = (header.descriptor.strip_prefix(before))
        .and_then(|rest| rest.strip_suffix(after)?.parse::<u32>().ok());
    let (&[rows], Some(width @ 1..)) = (&header.shape[..], width) else {
        return Err(header.unexpected("sources (n,) of path, size and mtime_ns"));
    };
    let width = width as usize;
    header.check_length(source_bytes(width) as u64, bytes.len() as u64)?;
    Ok((rows, width, header.data_offset))
}

/// A row of sources, whose paths have `width` characters or less; none where it is not known.
pub(crate) fn source(rows: &[u8], width: usize, row: usize) -> Option<Source> {
    let bytes = source_bytes(width);
    let source = source_in(&rows[row * bytes..][..bytes], width);
    source.filter(|source| !source.path.is_empty())
}

/// Appends one row of sources, whose path has `width` characters or less; zeros where it is not known.
pub(crate) fn append_source(source: Option<&Source>, width: usize, bytes: &mut Vec<u8>) {
    let path = source.map_or("", |source| &source.path);
    append_object_id(path, width, bytes);
    let (size, modified) = source.map_or((0, 0), |source| (source.file.size, source.file.modified));
    bytes.extend((size as i64).to_le_bytes());
    bytes.extend(modified.to_le_bytes());
}

/// Appends what `numpy.save` writes for one feature: header and data of a `<f4` `(d,)` array.
pub fn append_feature(feature: &[f32], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&features_header(&[feature.len()]));
    bytes.extend(feature.iter().flat_map(|value| value.to_le_bytes()));
}

/// Appends one string of a `<U{width}` array: `width` code points of 4 bytes, padded with NUL.
pub fn append_object_id(id: &str, width: usize, bytes: &mut Vec<u8>) {
    let end = bytes.len() + width * 4;
    bytes.extend(
        id.chars()
            .flat_map(|character| u32::from(character).to_le_bytes()),
    );
    bytes.resize(end, 0);
}

/// Little-endian 32-bit floats.
pub fn floats(data: &[u8]) -> impl ExactSizeIterator<Item = f32> {
    data.chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

impl ArrayHeader {
    fn unexpected(&self, expected: &'static str) -> NpyError {
        let order = if self.fortran_order {
            " in Fortran order"
        } else {
            ""
        };
        NpyError::Kind {
            found: format!("{} {:?}{order}", self.descriptor, self.shape),
            expected,
        }
    }

    /// Compares the length of the file with what the shape calls for.
    fn check_length(&self, element_bytes: u64, found: u64) -> Result<(), NpyError> {
        let axes = self.shape.iter().map(|axis| *axis as u64);
        let data = axes.chain([element_bytes]).try_fold(1u64, u64::checked_mul);
        match data.and_then(|data| data.checked_add(self.data_offset as u64)) {
            Some(expected) if expected == found => Ok(()),
            expected => Err(NpyError::Length {
                found,
                expected: expected.unwrap_or(u64::MAX),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What NumPy 2.4 writes for `numpy.save(f, numpy.float32([1, -2.5]))`.
    const TWO_FLOATS: &[u8] = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\
        \x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\
        \x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\
        \x20\x20\x20\x20\x20\x20\n\x00\x00\x80\x3f\x00\x00\x20\xc0";

    fn with_header(text: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(text.len() + 1).unwrap().to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.push(b'\n');
        bytes.extend(data);
        bytes
    }

    #[test]
    fn one_feature_of_any_width_is_read_and_nothing_else() {
        let numbers = [1.5f32, -0.25, 3.0];
        let halves = numbers.map(|number| f16::from_f32(number).to_le_bytes());
        let floats = numbers.map(f32::to_le_bytes);
        let doubles = numbers.map(|number| f64::from(number).to_le_bytes());
        let file = |descriptor: &str, shape: &[usize], data: &[u8]| {
            let mut file = header(&format!("'{descriptor}'"), shape);
            file.extend(data);
            file
        };
        for shape in [&[3][..], &[1, 3]] {
            for (descriptor, data) in [
                ("<f2", halves.as_flattened()),
                ("<f4", floats.as_flattened()),
                ("<f8", doubles.as_flattened()),
            ] {
                let whole = file(descriptor, shape, data);
                assert_eq!(any_feature(&whole, 3).unwrap(), numbers, "{descriptor}");
                let cut = &whole[..whole.len() - 1];
                assert!(matches!(any_feature(cut, 3), Err(NpyError::Length { .. })));
            }
        }
        for (descriptor, shape) in [("<f4", &[3, 1][..]), ("<f4", &[]), ("<i4", &[3])] {
            let other = match shape {
                [] => file(descriptor, &[0], &[]),
                shape => file(descriptor, shape, floats.as_flattened()),
            };
            assert!(matches!(any_feature(&other, 3), Err(NpyError::Kind { .. })));
        }
        let huge = file("<f8", &[1], &1e300f64.to_le_bytes());
        assert!(matches!(
            any_feature(&huge, 1),
            Err(NpyError::NotFinite { index: 0 })
        ));
    }

    #[test]
    fn a_feature_is_written_as_numpy_writes_it() {
        let mut bytes = Vec::new();
        append_feature(&[1.0, -2.5], &mut bytes);
        assert_eq!(bytes, TWO_FLOATS);
        assert_eq!(feature_data(&bytes).unwrap(), &TWO_FLOATS[128..]);
    }

    #[test]
    fn object_ids_come_back_as_they_went_in() {
        let ids = ["a.jpg", "äöü😀.png", "a much longer name.jpeg"];
        let width = ids.iter().map(|id| id.chars().count()).max().unwrap();
        let mut bytes = object_ids_header(ids.len(), width);
        ids.iter()
            .for_each(|id| append_object_id(id, width, &mut bytes));
        assert_eq!(object_ids(&bytes).unwrap(), ids);
    }

    #[test]
    fn every_torn_length_is_recognised() {
        for length in 0..TWO_FLOATS.len() {
            assert!(feature_data(&TWO_FLOATS[..length]).is_err(), "{length}");
        }
        let longer = [TWO_FLOATS, b"\0"].concat();
        assert!(matches!(
            feature_data(&longer),
            Err(NpyError::Length { .. })
        ));
        assert!(matches!(feature_data(&[0; 136]), Err(NpyError::Header(_))));
    }

    #[test]
    fn numbers_that_are_not_finite_are_named() {
        let mut bytes = Vec::new();
        append_feature(&[0.0, f32::NAN], &mut bytes);
        assert!(matches!(
            feature_data(&bytes),
            Err(NpyError::NotFinite { index: 1 })
        ));
    }

    #[test]
    fn crafted_headers_are_refused_without_allocating_what_they_promise() {
        for (text, name) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615,), }",
                "overflow",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }",
                "huge",
            ),
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
                "objects",
            ),
            (
                "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
                "big-endian",
            ),
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
                "double",
            ),
            (
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
                "record",
            ),
            ("{'descr': '<f4', 'shape': (2,), }", "no order"),
            ("[1, 2]", "no dictionary"),
            ("", "empty"),
        ] {
            let bytes = with_header(text, &[0; 8]);
            assert!(feature_data(&bytes).is_err(), "{name}");
            assert!(object_ids(&bytes).is_err(), "{name}");
            assert!(
                features_shape(&bytes, bytes.len() as u64).is_err(),
                "{name}"
            );
        }
        let two_axes = with_header(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
            &[0; 8],
        );
        assert!(matches!(
            feature_data(&two_axes),
            Err(NpyError::Kind { .. })
        ));
        let nested = with_header(&"(".repeat(60_000), &[]);
        assert!(feature_data(&nested).is_err());
        let huge_ids = with_header(
            "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (99,), }",
            &[0; 8],
        );
        assert!(matches!(
            object_ids(&huge_ids),
            Err(NpyError::Length { .. })
        ));
        let empty_ids = with_header(
            "{'descr': '<U0', 'fortran_order': False, 'shape': (9999999999999,), }",
            &[],
        );
        assert!(matches!(object_ids(&empty_ids), Err(NpyError::Kind { .. })));
        let fortran = with_header(
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }",
            &[0; 8],
        );
        assert!(matches!(
            features_shape(&fortran, fortran.len() as u64),
            Err(NpyError::Kind { .. })
        ));
    }

    /// A file of format version 2 or 3, which says that its header has `length` bytes.
    fn with_long_header(version: u8, length: u32, text: &str, data: &[u8]) -> Vec<u8> {
        let start = [b"\x93NUMPY", &[version, 0][..], &length.to_le_bytes()].concat();
        [&start, text.as_bytes(), data].concat()
    }

    #[test]
    fn headers_of_format_versions_2_and_3_are_read() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
        for version in [2, 3] {
            let one = 1f32.to_le_bytes();
            let bytes = with_long_header(version, text.len() as u32, text, &one);
            assert_eq!(feature_data(&bytes).unwrap(), one);
        }
        let other_version = with_long_header(4, text.len() as u32, text, &[0; 4]);
        assert!(matches!(
            feature_data(&other_version),
            Err(NpyError::Header(None))
        ));
    }

    #[test]
    fn a_header_that_says_to_be_longer_than_any_is_not_parsed() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
        let beyond = MAX_HEADER as u32 - 11;
        for length in [text.len() as u32 + 5, beyond, u32::MAX - 12, u32::MAX] {
            for version in [2, 3] {
                let bytes = with_long_header(version, length, text, &[0; 4]);
                assert!(matches!(parse_header(&bytes), Err(NpyError::Header(None))));
            }
        }
        // As long as it says, and still too long.
        let padded = text.replace('\n', &" ".repeat(MAX_HEADER));
        let bytes = with_long_header(2, padded.len() as u32, &padded, &[0; 4]);
        assert!(matches!(parse_header(&bytes), Err(NpyError::Header(None))));
    }

    #[test]
    fn numbers_in_the_other_byte_order_are_never_read_as_if_they_were_in_this() {
        for descriptor in [
            ">f4", "=f4", "|f4", "f4", ">U5", "<i4", "<f2", "<c8", "|S5", "<M8[s]",
        ] {
            for axes in ["(2,)", "(1, 2)", "()"] {
                let text = format!(
                    "{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {axes}, }}"
                );
                let bytes = with_header(&text, &[0; 8]);
                let length = bytes.len() as u64;
                for error in [
                    feature_data(&bytes).map(drop).unwrap_err(),
                    features_shape(&bytes, length).map(drop).unwrap_err(),
                    object_ids(&bytes).map(drop).unwrap_err(),
                ] {
                    assert!(
                        matches!(error, NpyError::Kind { .. } | NpyError::Header(_)),
                        "{text}: {error:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn shapes_whose_product_overflows_never_match_a_length() {
        let half = u64::MAX / 2 + 1;
        for axes in [
            format!("({half}, 2)"),
            format!("({half}, 8)"),
            format!("({}, {})", u64::MAX, u64::MAX),
            "(1000000000000, 1280)".to_owned(),
        ] {
            let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {axes}, }}");
            let bytes = with_header(&text, &[0; 8]);
            let error = features_shape(&bytes, bytes.len() as u64).unwrap_err();
            assert!(
                matches!(error, NpyError::Length { .. }),
                "{axes}: {error:?}"
            );
        }
    }

    #[test]
    fn features_of_no_numbers_are_none() {
        for rows in [0, 1, u64::MAX] {
            let text =
                format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 0), }}");
            let bytes = with_header(&text, &[]);
            let error = features_shape(&bytes, bytes.len() as u64).unwrap_err();
            assert!(matches!(error, NpyError::Kind { .. }), "{rows}: {error:?}");
        }
        let mut bytes = Vec::new();
        append_feature(&[], &mut bytes);
        let error = feature_data(&bytes).unwrap_err();
        assert!(matches!(error, NpyError::Kind { .. }), "{error:?}");
    }
}
