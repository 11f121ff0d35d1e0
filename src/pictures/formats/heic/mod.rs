//! HEIC as pillow-heif shows it, which has libheif read it: the primary picture, cropped, rotated and mirrored by its
//! boxes.
//!
//! | module | what |
//! |---|---|
//! | `headers` | what is said of a frame before it is decoded |
//! | `bits` | numbers of some bits in these headers |
//! | `de265`, `de265.c` | a frame of HEVC |
//! | `yuv` | brightness and colour -> RGB |
//! | `crop` | the box that crops |

mod bits;
mod crop;
mod de265;
mod headers;
mod yuv;

use std::error::Error;

use image::metadata::Orientation;

use super::heif::{Bytes, Colour, Grid, Items, Planes};
use super::{Format, Picture};
use crate::pictures::limits::Limits;
use crate::pictures::{PictureError, Size};
pub(super) use de265::decoder;
use headers::Headers;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let items = Items::of(Format::Heic, bytes)?;
    let primary = items.primary;
    let has_alpha = items.has_alpha()?;
    let changes = changes(&items, primary)?;
    let grid = match items.kind(primary) {
        Some(kind) if kind == *b"hvc1" => None,
        Some(kind) if kind == *b"grid" => Some(Grid::of(&items, limits)?),
        Some(kind) => {
            let kind = kind.escape_ascii().to_string();
            return Err(unsupported(format!("a picture of the kind `{kind}`")));
        }
        None => return Err(corrupt("no picture")),
    };
    let first = grid.as_ref().map_or(primary, |grid| grid.cells[0]);
    let headers = headers(&items, first, limits)?;
    let size = grid.as_ref().map_or(headers.shown, |grid| grid.size);
    let values = |size: Size| {
        let colours = headers.layout.colour_size(size);
        size.width * size.height + 2 * colours.width * colours.height
    };
    let whole = grid.as_ref().map_or(0, |grid| 2 * values(grid.size));
    let changed = if changes.is_empty() {
        0
    } else {
        size.rgb_len()
    };
    let memory = [
        whole,
        2 * values(headers.shown),
        de265::memory(&headers),
        bytes.len(),
        changed,
    ];
    limits.check_memory(
        Format::Heic,
        size,
        memory.into_iter().fold(0, usize::saturating_add),
    )?;
    let mut planes = match grid {
        Some(grid) => grid.decode(Format::Heic, |cell| {
            decode_cell(&items, cell, &headers, limits)
        })?,
        None => decode_item(&items, primary, &headers)?,
    };
    planes.colour = colour(&items, primary, planes.colour)?;
    if !yuv::is_read(planes.colour) {
        let Colour { matrix, .. } = planes.colour;
        return Err(unsupported(format!("colours of the kind {matrix}")));
    }
    yuv::to_rgb(&planes, has_alpha, picture.resize(size));
    drop(planes);
    for change in changes {
        match change {
            Change::Crop(aperture) => aperture.crop(picture)?,
            Change::Turn(orientation) => picture.turn(orientation),
        }
    }
    Ok(())
}

/// What is done to a picture after it is decoded.
enum Change {
    Crop(crop::Aperture),
    Turn(Orientation),
}

/// The boxes of an item that change it, in their order.
fn changes(items: &Items, item: u32) -> Result<Vec<Change>, PictureError> {
    let mut changes = Vec::new();
    for (name, mut content) in items.all_properties(item) {
        match &name {
            b"clap" => changes.push(Change::Crop(crop::Aperture::of(content)?)),
            b"irot" => match content.number(1)? & 3 {
                0 => {}
                // In quarters of a turn against the clock.
                1 => changes.push(Change::Turn(Orientation::Rotate270)),
                2 => changes.push(Change::Turn(Orientation::Rotate180)),
                _ => changes.push(Change::Turn(Orientation::Rotate90)),
            },
            b"imir" => changes.push(Change::Turn(match content.number(1)? & 1 {
                0 => Orientation::FlipVertical,
                _ => Orientation::FlipHorizontal,
            })),
            b"iscl" => return Err(unsupported("a picture that is to be made smaller")),
            _ => {}
        }
    }
    // One of each kind is what there may be; each takes as long as a copy of the picture.
    match changes.len() {
        0..=3 => Ok(changes),
        _ => Err(unsupported(
            "a picture that is cropped and turned again and again",
        )),
    }
}

/// What the boxes `ispe` and `hvcC` say of an item's frame.
fn headers<'a>(items: &Items<'a>, item: u32, limits: Limits) -> Result<Headers<'a>, PictureError> {
    let mut boxes = items.properties(item, *b"hvcC");
    let missing = || corrupt("a frame without a configuration");
    let headers = Headers::of(boxes.next().ok_or_else(missing)?, limits)?;
    let stated = items.stated_size(item, limits)?;
    if headers.shown != stated {
        let Size { width, height } = headers.shown;
        return Err(unsupported(format!(
            "a frame of {width} x {height} pixels where the file says {} x {}",
            stated.width, stated.height
        )));
    }
    Ok(headers)
}

/// All cells are to be coded as the first, which has these `headers`.
fn decode_cell(
    items: &Items,
    item: u32,
    first: &Headers,
    limits: Limits,
) -> Result<Planes, PictureError> {
    if items.kind(item) != Some(*b"hvc1") {
        return Err(unsupported("a grid of other pictures than HEVC"));
    }
    if !changes(items, item)?.is_empty() {
        return Err(unsupported("cells that are cropped or turned"));
    }
    let headers = headers(items, item, limits)?;
    if !headers.is_coded_as(first) {
        return Err(unsupported("cells that are coded in different ways"));
    }
    let mut planes = decode_item(items, item, &headers)?;
    planes.colour = colour(items, item, planes.colour)?;
    Ok(planes)
}

/// What an item says of its colours, or else what its frame says.
fn colour(items: &Items, item: u32, of_frame: Colour) -> Result<Colour, PictureError> {
    let stated = items.stated_colour(item)?;
    Ok(stated.map_or(of_frame, |colour| Colour {
        // Cameras have said limited of frames that say full, and are: libheif knows that too.
        is_full_range: colour.is_full_range || of_frame.is_full_range,
        ..colour
    }))
}

fn decode_item(items: &Items, item: u32, headers: &Headers) -> Result<Planes, PictureError> {
    let data = items.data(item)?;
    let slices = headers.slices(Bytes::new(Format::Heic, &data))?;
    de265::decode(headers, &slices)
}

type Source = Box<dyn Error + Send + Sync>;

fn unsupported(source: impl Into<Source>) -> PictureError {
    PictureError::unsupported(Format::Heic, source)
}

fn truncated(source: impl Into<Source>) -> PictureError {
    PictureError::truncated(Format::Heic, source)
}

fn corrupt(source: impl Into<Source>) -> PictureError {
    PictureError::corrupt(Format::Heic, source)
}
