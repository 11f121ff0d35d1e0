//! The first directory of a TIFF: its tags, and their values where they lie in the file.

use super::truncated;
use crate::pictures::PictureError;

/// The first directory of a TIFF or BigTIFF.
#[derive(Clone, Copy)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    /// The file's byte order.
    pub(super) little: bool,
    /// Whether lengths and offsets have 8 bytes.
    big: bool,
    entries_at: usize,
    entries: usize,
}

impl<'a> Directory<'a> {
    /// Finds the directory. The number after the byte order may be in the other one, as Pillow has it.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, PictureError> {
        let little = bytes.starts_with(b"II");
        let big = matches!(bytes, [b'I', _, b'+', 0, ..] | [b'M', _, 0, b'+', ..]);
        let mut directory = Directory {
            bytes,
            little,
            big,
            entries_at: 0,
            entries: 0,
        };
        let end = || truncated("no directory where the header says");
        let (position_at, count_len) = if big { (8, 8) } else { (4, 2) };
        let at = directory
            .integer(position_at, directory.offset_len())
            .ok_or_else(end)?;
        directory.entries = directory.integer(at, count_len).ok_or_else(end)?;
        directory.entries_at = at.checked_add(count_len).ok_or_else(end)?;
        Ok(directory)
    }

    /// The values of a tag; `None` where the directory does not have it.
    pub(super) fn values(&self, tag: u16) -> Result<Option<Values<'a>>, PictureError> {
        let (entry_len, count_at) = if self.big { (20, 4) } else { (12, 4) };
        let value_at = count_at + self.offset_len();
        let positions = (0..self.entries)
            .map_while(|entry| self.entries_at.checked_add(entry.checked_mul(entry_len)?));
        for at in positions {
            match self.integer(at, 2) {
                None => return Err(truncated("the directory ends early")),
                Some(found) if found != usize::from(tag) => continue,
                Some(_) => {}
            }
            // Values of a type that nobody knows are as good as missing.
            let Some(kind) = self.integer(at + 2, 2).and_then(Kind::of) else {
                return Ok(None);
            };
            let count = self.integer(at + count_at, self.offset_len());
            let len = count.and_then(|count| count.checked_mul(kind.len()));
            let len = len.ok_or_else(|| truncated(format!("the values of tag {tag} are cut")))?;
            let start = match len <= self.offset_len() {
                true => Some(at + value_at),
                false => self.integer(at + value_at, self.offset_len()),
            };
            let data = start.and_then(|start| self.bytes.get(start..start.checked_add(len)?));
            let data = data.ok_or_else(|| truncated(format!("the values of tag {tag} are cut")))?;
            return Ok(Some(Values {
                data,
                kind,
                little: self.little,
            }));
        }
        Ok(None)
    }

    /// The first value of a tag.
    pub(super) fn number(&self, tag: u16) -> Result<Option<u64>, PictureError> {
        Ok(self.values(tag)?.and_then(|values| values.get(0)))
    }

    fn offset_len(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    fn integer(&self, at: usize, len: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(len)?)?;
        usize::try_from(integer(bytes, self.little)).ok()
    }
}

/// The types of values that a tag can have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Byte,
    Short,
    Long,
    Long8,
    Rational,
    Float,
    Double,
}

impl Kind {
    fn of(number: usize) -> Option<Self> {
        Some(match number {
            1 | 2 | 6 | 7 => Kind::Byte,
            3 | 8 => Kind::Short,
            4 | 9 | 13 => Kind::Long,
            16..=18 => Kind::Long8,
            5 | 10 => Kind::Rational,
            11 => Kind::Float,
            12 => Kind::Double,
            _ => return None,
        })
    }

    fn len(self) -> usize {
        match self {
            Kind::Byte => 1,
            Kind::Short => 2,
            Kind::Long | Kind::Float => 4,
            Kind::Long8 | Kind::Rational | Kind::Double => 8,
        }
    }
}

/// The values of one tag.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    /// As they are in the file.
    pub(super) data: &'a [u8],
    kind: Kind,
    little: bool,
}

impl Values<'_> {
    pub(super) fn len(&self) -> usize {
        self.data.len() / self.kind.len()
    }

    /// Whether they are bytes or text.
    pub(super) fn are_bytes(&self) -> bool {
        self.kind == Kind::Byte
    }

    /// The value at `index`, where it is there and an integer.
    pub(super) fn get(&self, index: usize) -> Option<u64> {
        let integers = [Kind::Byte, Kind::Short, Kind::Long, Kind::Long8];
        let bytes = self.data.chunks_exact(self.kind.len()).nth(index)?;
        (integers.contains(&self.kind)).then(|| integer(bytes, self.little))
    }

    /// The value at `index` as a real number.
    pub(super) fn real(&self, index: usize) -> Option<f64> {
        let bytes = self.data.chunks_exact(self.kind.len()).nth(index)?;
        let number = integer(bytes, self.little);
        Some(match self.kind {
            Kind::Float => f32::from_bits(number as u32).into(),
            Kind::Double => f64::from_bits(number),
            Kind::Rational => {
                let [above, below] =
                    [&bytes[..4], &bytes[4..]].map(|half| integer(half, self.little) as f64);
                above / below
            }
            _ => number as f64,
        })
    }

    /// All values that are integers.
    pub(super) fn integers(&self) -> impl Iterator<Item = u64> {
        (0..self.len()).map_while(|index| self.get(index))
    }
}

fn integer(bytes: &[u8], little: bool) -> u64 {
    let join = |number, &byte: &u8| number << 8 | u64::from(byte);
    if little {
        bytes.iter().rev().fold(0, join)
    } else {
        bytes.iter().fold(0, join)
    }
}
