//! AVIF as Pillow shows it, which has libavif and libyuv read it: the primary picture, as it is stored. The boxes that
//! crop, rotate or mirror it are left alone; Pillow tells of the last two as EXIF orientation, and so does
//! [`orientation`].
//!
//! | module | what |
//! |---|---|
//! | `dav1d`, `dav1d.c` | a frame of AV1 |
//! | `yuv` | brightness and colour -> RGB |

mod dav1d;
mod yuv;

use std::error::Error;

use super::heif::{Bytes, Colour, Grid, Items, Layout, Planes};
use super::{Format, Picture};
use crate::pictures::PictureError;
use crate::pictures::limits::Limits;
use dav1d::Coding;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let items = Items::of(Format::Avif, bytes)?;
    let primary = items.primary;
    let has_alpha = items.has_alpha()?;
    let colour = items.stated_colour(primary)?;
    let (size, grid) = match items.kind(primary) {
        Some(kind) if kind == *b"av01" => (items.stated_size(primary, limits)?, None),
        Some(kind) if kind == *b"grid" => {
            let grid = Grid::of(&items, limits)?;
            (grid.size, Some(grid))
        }
        Some(kind) => {
            let kind = kind.escape_ascii().to_string();
            return Err(unsupported(format!("a picture of the kind `{kind}`")));
        }
        None => return Err(corrupt("no picture")),
    };
    let first = grid.as_ref().map_or(primary, |grid| grid.cells[0]);
    let coding = coding(&items, first, limits)?;
    let whole = match grid {
        Some(_) => Coding { size, ..coding }.planes(),
        None => 0,
    };
    let memory = [whole, coding.planes(), coding.memory(), bytes.len()];
    limits.check_memory(
        Format::Avif,
        size,
        memory.into_iter().fold(0, usize::saturating_add),
    )?;
    let mut planes = match grid {
        Some(grid) => grid.decode(Format::Avif, |cell| match items.kind(cell) {
            Some(kind) if kind == *b"av01" => decode_item(&items, cell, coding),
            _ => Err(unsupported("a grid of other pictures than AV1")),
        })?,
        None => decode_item(&items, primary, coding)?,
    };
    if let Some(colour) = colour {
        planes.colour = colour;
    }
    if !yuv::is_read(planes.colour, planes.layout) {
        let Colour { matrix, .. } = planes.colour;
        return Err(unsupported(format!("colours of the kind {matrix}")));
    }
    yuv::to_rgb(&planes, has_alpha, picture.resize(size));
    Ok(())
}

/// The value of the tag `Orientation` that the boxes stand for, as Pillow tells of them; 1 where there are none,
/// whatever the EXIF data say.
pub fn orientation(bytes: &[u8]) -> Option<u64> {
    let items = Items::of(Format::Avif, bytes).ok()?;
    let first = |name| items.properties(items.primary, name).next();
    let value = |content: Option<Bytes>| content.map(|mut content| content.number(1));
    // In quarters of a turn against the clock; then whether left and right change places, or else top and bottom.
    let turns = value(first(*b"irot")).transpose().ok()?.unwrap_or(0) & 3;
    let mirror = value(first(*b"imir"))
        .transpose()
        .ok()?
        .map(|axis| axis & 1);
    Some(match (turns, mirror) {
        (0, None) => 1,
        (0, Some(1)) | (2, Some(0)) => 2,
        (2, None) => 3,
        (0, Some(_)) | (2, Some(_)) => 4,
        (1, Some(0)) | (3, Some(1)) => 5,
        (3, None) => 6,
        (1, Some(_)) | (3, Some(_)) => 7,
        _ => 8,
    })
}

/// What the boxes `ispe` and `av1C` say of an item's frame.
fn coding(items: &Items, item: u32, limits: Limits) -> Result<Coding, PictureError> {
    let size = items.stated_size(item, limits)?;
    let mut boxes = items.properties(item, *b"av1C");
    let mut content = boxes
        .next()
        .ok_or_else(|| corrupt("a frame without a configuration"))?;
    content.number(2)?;
    let flags = content.number(1)?;
    let has = |bit: u32| flags >> bit & 1 == 1;
    let layout = match (has(4), has(3), has(2)) {
        (true, ..) => Layout::Gray,
        (_, true, true) => Layout::HalfBoth,
        (_, true, false) => Layout::HalfWidth,
        (_, false, false) => Layout::Full,
        (_, false, true) => return Err(corrupt("colours of a kind that AV1 has not")),
    };
    Ok(Coding {
        size,
        layout,
        is_wide: has(6),
    })
}

fn decode_item(items: &Items, item: u32, coding: Coding) -> Result<Planes, PictureError> {
    let mut point = items.properties(item, *b"a1op");
    let point = point
        .next()
        .map_or(Ok(0), |mut content| content.number(1))? as u8
        & 31;
    dav1d::decode(&items.data(item)?, point, coding)
}

type Source = Box<dyn Error + Send + Sync>;

fn unsupported(source: impl Into<Source>) -> PictureError {
    PictureError::unsupported(Format::Avif, source)
}

fn corrupt(source: impl Into<Source>) -> PictureError {
    PictureError::corrupt(Format::Avif, source)
}
