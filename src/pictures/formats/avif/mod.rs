//! AVIF as Pillow shows it, which has libavif and libyuv read it: the primary picture, as it is stored. The boxes that crop,
//! rotate or mirror it are left alone; Pillow tells of the last two as EXIF orientation, and so does [`orientation`].
//!
//! | module | what |
//! |---|---|
//! | `boxes` | the container |
//! | `dav1d`, `dav1d.c` | a frame of AV1 |
//! | `yuv` | brightness and colour -> RGB |

mod boxes;
mod dav1d;
mod yuv;

use std::error::Error;

use super::{Format, Picture};
use crate::pictures::limits::Limits;
use crate::pictures::{PictureError, Size};
use boxes::{Bytes, Items};
use dav1d::{Coding, Colour, Layout, Planes};

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let items = Items::of(bytes)?;
    let primary = items.primary;
    let has_alpha = has_alpha(&items)?;
    let colour = stated_colour(&items, primary)?;
    let (size, grid) = match items.kind(primary) {
        Some(kind) if kind == *b"av01" => (stated_size(&items, primary, limits)?, None),
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
        Some(grid) => grid.decode(&items, coding, limits)?,
        None => decode_item(&items, primary, coding, limits)?,
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

/// The value of the tag `Orientation` that the boxes stand for, as Pillow tells of them; 1 where there are none, whatever the
/// EXIF data say.
pub fn orientation(bytes: &[u8]) -> Option<u64> {
    let items = Items::of(bytes).ok()?;
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

/// Whether the primary picture has an alpha channel.
fn has_alpha(items: &Items) -> Result<bool, PictureError> {
    const ALPHA: [&[u8]; 2] = [
        b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0",
        b"urn:mpeg:hevc:2015:auxid:1\0",
    ];
    let is_alpha = |item: &u32| {
        let mut meanings = items.properties(*item, *b"auxC");
        meanings.any(|meaning| {
            let name = meaning.0.get(4..).unwrap_or_default();
            ALPHA.iter().any(|alpha| name.starts_with(alpha))
        })
    };
    let alpha = items.referring(items.primary, *b"auxl").find(is_alpha);
    match alpha {
        Some(alpha) if items.referred(items.primary, b"prem").contains(&alpha) => {
            Err(unsupported("colours that are multiplied by alpha"))
        }
        alpha => Ok(alpha.is_some()),
    }
}

/// What the box `colr` says of an item's colours.
fn stated_colour(items: &Items, item: u32) -> Result<Option<Colour>, PictureError> {
    for mut content in items.properties(item, *b"colr") {
        if content.take(4)? != b"nclx" {
            continue;
        }
        let [primaries, _, matrix] = [content.number(2)?, content.number(2)?, content.number(2)?];
        return Ok(Some(Colour {
            primaries: primaries as u16,
            matrix: matrix as u16,
            is_full_range: content.number(1)? >> 7 == 1,
        }));
    }
    Ok(None)
}

/// What the box `ispe` says of an item's size.
fn stated_size(items: &Items, item: u32, limits: Limits) -> Result<Size, PictureError> {
    let mut sizes = items.properties(item, *b"ispe");
    let mut content = sizes
        .next()
        .ok_or_else(|| corrupt("a picture without a size"))?;
    content.take(4)?;
    let [width, height] = [content.number(4)?, content.number(4)?];
    limits.check(Format::Avif, width, height)
}

/// What the boxes `ispe` and `av1C` say of an item's frame.
fn coding(items: &Items, item: u32, limits: Limits) -> Result<Coding, PictureError> {
    let size = stated_size(items, item, limits)?;
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

fn decode_item(
    items: &Items,
    item: u32,
    coding: Coding,
    limits: Limits,
) -> Result<Planes, PictureError> {
    let mut point = items.properties(item, *b"a1op");
    let point = point
        .next()
        .map_or(Ok(0), |mut content| content.number(1))? as u8
        & 31;
    dav1d::decode(&items.data(item)?, point, coding, limits)
}

/// A picture that is put together from cells.
struct Grid {
    size: Size,
    across: usize,
    cells: Vec<u32>,
}

impl Grid {
    fn of(items: &Items, limits: Limits) -> Result<Self, PictureError> {
        let data = items.data(items.primary)?;
        let mut content = Bytes(&data);
        content.number(1)?;
        let side_len = if content.number(1)? & 1 == 0 { 2 } else { 4 };
        let [down, across] = [content.number(1)? + 1, content.number(1)? + 1].map(|n| n as usize);
        let [width, height] = [content.number(side_len)?, content.number(side_len)?];
        let size = limits.check(Format::Avif, width, height)?;
        if size != stated_size(items, items.primary, limits)? {
            return Err(corrupt("a grid of another size than its picture"));
        }
        let cells = items.referred(items.primary, b"dimg").to_vec();
        if cells.len() != across * down {
            return Err(corrupt(format!(
                "a grid of {across} x {down} cells with {} pictures",
                cells.len()
            )));
        }
        let cell = stated_size(items, cells[0], limits)?;
        // As the standard has it, so that there is not much work for few pixels.
        let fits = |cells: usize, cell: usize, all: usize| {
            cell >= 64 && cell * cells >= all && cell * (cells - 1) < all
        };
        if !fits(across, cell.width, size.width) || !fits(down, cell.height, size.height) {
            return Err(corrupt("cells that do not fit their grid"));
        }
        Ok(Self {
            size,
            across,
            cells,
        })
    }

    /// All cells are to have the `coding` of the first.
    fn decode(
        &self,
        items: &Items,
        coding: Coding,
        limits: Limits,
    ) -> Result<Planes, PictureError> {
        let mut whole: Option<Planes> = None;
        for (index, &item) in self.cells.iter().enumerate() {
            if items.kind(item) != Some(*b"av01") {
                return Err(unsupported("a grid of other pictures than AV1"));
            }
            let cell = decode_item(items, item, coding, limits)?;
            let whole = whole
                .get_or_insert_with(|| Planes::new(self.size, cell.layout, cell.bits, cell.colour));
            let same = (whole.layout, whole.bits, whole.colour);
            if (cell.layout, cell.bits, cell.colour) != same {
                return Err(corrupt("cells of different kinds"));
            }
            self.place(&cell, index, whole)?;
        }
        whole.ok_or_else(|| corrupt("a grid without cells"))
    }

    /// Copies a cell to its place, without what lies over the edge.
    fn place(&self, cell: &Planes, index: usize, whole: &mut Planes) -> Result<(), PictureError> {
        let (column, row) = (index % self.across, index / self.across);
        for plane in 0..3 {
            let (from, to) = (cell.plane_size(plane), whole.plane_size(plane));
            let (left, top) = (column * from.width, row * from.height);
            if from.width == 0 {
                continue;
            }
            // Where colours have half the pixels, sides must be even for the cells to meet.
            let is_even = |whole: usize, part: usize| part == whole || part * 2 == whole;
            if !is_even(cell.size.width, from.width) || !is_even(cell.size.height, from.height) {
                return Err(corrupt("cells with odd sides"));
            }
            let len = from.width.min(to.width - left);
            let rows = whole.planes[plane].chunks_exact_mut(to.width).skip(top);
            for (from, to) in cell.planes[plane].chunks_exact(from.width).zip(rows) {
                to[left..][..len].copy_from_slice(&from[..len]);
            }
        }
        Ok(())
    }
}

type Source = Box<dyn Error + Send + Sync>;

fn unsupported(source: impl Into<Source>) -> PictureError {
    PictureError::unsupported(Format::Avif, source)
}

fn truncated(source: impl Into<Source>) -> PictureError {
    PictureError::truncated(Format::Avif, source)
}

fn corrupt(source: impl Into<Source>) -> PictureError {
    PictureError::corrupt(Format::Avif, source)
}
