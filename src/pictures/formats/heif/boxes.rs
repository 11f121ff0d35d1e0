//! Boxes say which pictures there are, where their data lie, and what they mean (ISO/IEC 14496-12, 23008-12 and
//! 23000-22).

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;

use crate::pictures::{Format, PictureError};

/// Reads numbers from the front of some bytes of a file in this format.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    pub rest: &'a [u8],
    format: Format,
}

impl<'a> Bytes<'a> {
    pub fn new(format: Format, rest: &'a [u8]) -> Self {
        Self { rest, format }
    }

    fn ends(self) -> PictureError {
        PictureError::truncated(self.format, "the file ends within a box")
    }

    fn corrupt(self, what: impl Into<Box<dyn Error + Send + Sync>>) -> PictureError {
        PictureError::corrupt(self.format, what)
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], PictureError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.ends())?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number of up to 8 bytes; 0 where it has none.
    pub fn number(&mut self, len: usize) -> Result<u64, PictureError> {
        let bytes = self.take(len)?;
        Ok((bytes.iter()).fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn name(&mut self) -> Result<Name, PictureError> {
        let name = self.take(4)?.first_chunk();
        name.copied().ok_or_else(|| self.ends())
    }

    /// The version and the flags that many boxes begin with.
    fn version(&mut self) -> Result<(u8, u64), PictureError> {
        let number = self.number(4)?;
        Ok(((number >> 24) as u8, number & 0xff_ffff))
    }

    /// The next box: its name and content.
    fn next_box(&mut self) -> Result<Option<(Name, Bytes<'a>)>, PictureError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let len = self.number(4)?;
        let name = self.name()?;
        let content_len = match len {
            0 => Some(self.rest.len() as u64),
            1 => self.number(8)?.checked_sub(16),
            _ => len.checked_sub(8),
        };
        let too_short = || self.corrupt("a box that is shorter than its own name");
        let content_len = content_len.ok_or_else(too_short)?;
        let content = self.take(usize::try_from(content_len).map_err(|_| self.ends())?)?;
        Ok(Some((name, Bytes::new(self.format, content))))
    }

    /// The content of the first box with this name.
    fn find(mut self, wanted: &Name) -> Result<Option<Bytes<'a>>, PictureError> {
        while let Some((name, content)) = self.next_box()? {
            if name == *wanted {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    fn need(self, wanted: &Name) -> Result<Bytes<'a>, PictureError> {
        let missing = || self.corrupt(format!("no box `{}`", wanted.escape_ascii()));
        self.find(wanted)?.ok_or_else(missing)
    }
}

pub type Name = [u8; 4];

/// The most properties that an item has.
const MAX_PROPERTIES: usize = 255;

/// The items of a file.
pub struct Items<'a> {
    pub format: Format,
    pub bytes: &'a [u8],
    /// The box `idat`.
    data: &'a [u8],
    /// The one that is shown.
    pub primary: u32,
    kinds: HashMap<u32, Name>,
    locations: HashMap<u32, Location>,
    properties: Vec<(Name, Bytes<'a>)>,
    /// Positions in `properties`, from 1.
    associations: HashMap<u32, Vec<usize>>,
    references: Vec<Reference>,
}

struct Location {
    is_in_data: bool,
    /// Start and length.
    extents: Vec<(u64, u64)>,
}

struct Reference {
    kind: Name,
    from: u32,
    to: Vec<u32>,
}

impl<'a> Items<'a> {
    pub fn of(format: Format, bytes: &'a [u8]) -> Result<Self, PictureError> {
        // What follows it need not be there.
        let mut meta = Bytes::new(format, bytes).need(b"meta")?;
        meta.version()?;
        let mut primary = meta.need(b"pitm")?;
        let (version, _) = primary.version()?;
        let properties = meta.need(b"iprp")?;
        let mut found = Items {
            format,
            bytes,
            data: meta.find(b"idat")?.map_or(&[], |content| content.rest),
            primary: primary.number(if version == 0 { 2 } else { 4 })? as u32,
            kinds: kinds(meta.need(b"iinf")?)?,
            locations: locations(meta.need(b"iloc")?)?,
            properties: Vec::new(),
            associations: HashMap::new(),
            references: meta.find(b"iref")?.map_or(Ok(Vec::new()), references)?,
        };
        let mut list = properties.need(b"ipco")?;
        while let Some(property) = list.next_box()? {
            found.properties.push(property);
        }
        let mut boxes = properties;
        while let Some((name, content)) = boxes.next_box()? {
            if name == *b"ipma" {
                associations(content, &mut found.associations)?;
            }
        }
        Ok(found)
    }

    /// What an item is: `av01`, `grid`, ...
    pub fn kind(&self, item: u32) -> Option<Name> {
        self.kinds.get(&item).copied()
    }

    /// Names and contents of an item's properties, in the order in which they apply.
    pub fn all_properties(&self, item: u32) -> impl Iterator<Item = (Name, Bytes<'a>)> {
        let positions = self.associations.get(&item).into_iter().flatten();
        let properties = positions.filter_map(|&at| self.properties.get(at.checked_sub(1)?));
        properties.copied()
    }

    /// The contents of an item's properties with this name.
    pub fn properties(&self, item: u32, wanted: Name) -> impl Iterator<Item = Bytes<'a>> {
        let all = self.all_properties(item);
        all.filter_map(move |(name, content)| (name == wanted).then_some(content))
    }

    /// The items that an item refers to in this way, in their order.
    pub fn referred(&self, item: u32, kind: &Name) -> &[u32] {
        let mut references = self.references.iter();
        references
            .find(|reference| reference.from == item && reference.kind == *kind)
            .map_or(&[], |reference| &reference.to)
    }

    /// The items that refer to an item in this way.
    pub fn referring(&self, item: u32, kind: Name) -> impl Iterator<Item = u32> {
        let references = self.references.iter();
        references
            .filter(move |reference| reference.kind == kind && reference.to.contains(&item))
            .map(|reference| reference.from)
    }

    /// The data of an item; a copy where they lie in pieces.
    pub fn data(&self, item: u32) -> Result<Cow<'a, [u8]>, PictureError> {
        let pieces = self.pieces(item)?;
        match pieces[..] {
            [piece] => Ok(piece.into()),
            // The same bytes again and again would be more than the file.
            _ if len(&pieces) > self.bytes.len() => {
                let text = "an item whose data are more than the file";
                Err(PictureError::corrupt(self.format, text))
            }
            _ => Ok(pieces.concat().into()),
        }
    }

    /// The bytes of an item's data.
    pub fn data_len(&self, item: u32) -> Result<usize, PictureError> {
        Ok(len(&self.pieces(item)?))
    }

    fn pieces(&self, item: u32) -> Result<Vec<&'a [u8]>, PictureError> {
        let missing = || PictureError::corrupt(self.format, "an item without data");
        let ends = || PictureError::truncated(self.format, "the file ends before its pictures");
        let location = self.locations.get(&item).ok_or_else(missing)?;
        let all = if location.is_in_data {
            self.data
        } else {
            self.bytes
        };
        let mut pieces = Vec::new();
        for &(start, len) in &location.extents {
            let start = usize::try_from(start).map_err(|_| ends())?;
            let rest = all.get(start..).ok_or_else(ends)?;
            // No length is all there is.
            let len = match len {
                0 => rest.len(),
                _ => usize::try_from(len).map_err(|_| ends())?,
            };
            pieces.push(rest.get(..len).ok_or_else(ends)?);
        }
        Ok(pieces)
    }
}

fn len(pieces: &[&[u8]]) -> usize {
    (pieces.iter()).fold(0, |sum, piece| sum.saturating_add(piece.len()))
}

fn kinds(mut content: Bytes) -> Result<HashMap<u32, Name>, PictureError> {
    let (version, _) = content.version()?;
    content.number(if version == 0 { 2 } else { 4 })?;
    let mut kinds = HashMap::new();
    while let Some((name, mut entry)) = content.next_box()? {
        let (version, _) = entry.version()?;
        if name != *b"infe" || version < 2 {
            continue;
        }
        let item = entry.number(if version == 2 { 2 } else { 4 })? as u32;
        entry.number(2)?;
        kinds.insert(item, entry.name()?);
    }
    Ok(kinds)
}

fn locations(mut content: Bytes) -> Result<HashMap<u32, Location>, PictureError> {
    let (version, _) = content.version()?;
    let sizes = content.number(2)?;
    let size = |shift: u32| (sizes >> shift & 15) as usize;
    let [offset_size, length_size, base_size] = [12, 8, 4].map(size);
    let index_size = if version == 0 { 0 } else { size(0) };
    if [offset_size, length_size, base_size, index_size]
        .iter()
        .any(|size| ![0, 4, 8].contains(size))
    {
        return Err(content.corrupt("positions of an unknown length"));
    }
    let number_len = if version < 2 { 2 } else { 4 };
    let mut locations = HashMap::new();
    for _ in 0..content.number(number_len)? {
        let item = content.number(number_len)? as u32;
        let method = if version == 0 {
            0
        } else {
            content.number(2)? & 15
        };
        content.number(2)?;
        let base = content.number(base_size)?;
        let mut extents = Vec::new();
        for _ in 0..content.number(2)? {
            content.number(index_size)?;
            let offset = content.number(offset_size)?;
            let len = content.number(length_size)?;
            if offset_size + length_size == 0 && !extents.is_empty() {
                return Err(content.corrupt("pieces without a position"));
            }
            let start = base.checked_add(offset);
            extents.push((start.ok_or_else(|| content.ends())?, len));
        }
        let is_in_data = method == 1;
        if method < 2 {
            let location = Location {
                is_in_data,
                extents,
            };
            locations.insert(item, location);
        }
    }
    Ok(locations)
}

fn references(mut content: Bytes) -> Result<Vec<Reference>, PictureError> {
    let (version, _) = content.version()?;
    let number_len = if version == 0 { 2 } else { 4 };
    let mut references = Vec::new();
    while let Some((kind, mut content)) = content.next_box()? {
        let from = content.number(number_len)? as u32;
        let count = content.number(2)?;
        let to = (0..count).map(|_| Ok(content.number(number_len)? as u32));
        references.push(Reference {
            kind,
            from,
            to: to.collect::<Result<_, PictureError>>()?,
        });
    }
    Ok(references)
}

fn associations(
    mut content: Bytes,
    associations: &mut HashMap<u32, Vec<usize>>,
) -> Result<(), PictureError> {
    let (version, flags) = content.version()?;
    let position_len = if flags & 1 == 0 { 1 } else { 2 };
    for _ in 0..content.number(4)? {
        let item = content.number(if version == 0 { 2 } else { 4 })? as u32;
        let count = content.number(1)?;
        // The highest bit says that the property must be understood.
        let mask = (1 << (8 * position_len - 1)) - 1;
        let positions = (0..count).map(|_| Ok((content.number(position_len)? & mask) as usize));
        let positions = positions.collect::<Result<Vec<_>, PictureError>>()?;
        let of_item: &mut Vec<usize> = associations.entry(item).or_default();
        of_item.extend(positions);
        // There is one entry for each item. Thousands would be looked through for every cell of a grid.
        if of_item.len() > MAX_PROPERTIES {
            return Err(content.corrupt("an item of more than 255 properties"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box `ipma` in which one item has its properties in `entries` entries of 200.
    fn association_box(entries: u32) -> Vec<u8> {
        let mut content = [[0; 4], entries.to_be_bytes()].concat();
        for _ in 0..entries {
            content.extend([0, 1, 200]);
            content.extend([1; 200]);
        }
        content
    }

    #[test]
    fn an_item_has_no_more_properties_than_one_entry_can_hold() {
        let count = |content: &[u8]| {
            let mut found = HashMap::new();
            associations(Bytes::new(Format::Avif, content), &mut found)?;
            Ok::<_, PictureError>(found[&1].len())
        };
        assert_eq!(count(&association_box(1)).unwrap(), 200);
        let error = count(&association_box(2)).unwrap_err();
        assert!(matches!(error, PictureError::Corrupt { .. }), "{error:?}");
    }
}
