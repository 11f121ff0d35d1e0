//! What AVIF and HEIC share: HEIF, which is boxes around coded pictures.
//!
//! | module | what |
//! |---|---|
//! | `boxes` | which pictures there are, and what is said of them |
//! | `grid` | pictures that are put together from others |
//! | `planes`, `frame.h` | what the decoders give |

mod boxes;
mod grid;
mod planes;

pub use boxes::{Bytes, Items};
pub use grid::Grid;
pub use planes::{Colour, Frame, Layout, Planes};

use crate::pictures::limits::Limits;
use crate::pictures::{PictureError, Size};

impl Items<'_> {
    /// What the box `ispe` says of an item's size.
    pub fn stated_size(&self, item: u32, limits: Limits) -> Result<Size, PictureError> {
        let mut sizes = self.properties(item, *b"ispe");
        let missing = || PictureError::corrupt(self.format, "a picture without a size");
        let mut content = sizes.next().ok_or_else(missing)?;
        content.take(4)?;
        let [width, height] = [content.number(4)?, content.number(4)?];
        limits.check(self.format, width, height)
    }

    /// What the box `colr` says of an item's colours.
    pub fn stated_colour(&self, item: u32) -> Result<Option<Colour>, PictureError> {
        for mut content in self.properties(item, *b"colr") {
            if content.take(4)? != b"nclx" {
                continue;
            }
            let [primaries, _, matrix] =
                [content.number(2)?, content.number(2)?, content.number(2)?];
            return Ok(Some(Colour {
                primaries: primaries as u16,
                matrix: matrix as u16,
                is_full_range: content.number(1)? >> 7 == 1,
            }));
        }
        Ok(None)
    }

    /// Whether the primary picture has an alpha channel.
    pub fn has_alpha(&self) -> Result<bool, PictureError> {
        const ALPHA: [&[u8]; 2] = [
            b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0",
            b"urn:mpeg:hevc:2015:auxid:1\0",
        ];
        let is_alpha = |item: &u32| {
            let mut meanings = self.properties(*item, *b"auxC");
            meanings.any(|meaning| {
                let name = meaning.rest.get(4..).unwrap_or_default();
                ALPHA.iter().any(|alpha| name.starts_with(alpha))
            })
        };
        let alpha = self.referring(self.primary, *b"auxl").find(is_alpha);
        match alpha {
            Some(alpha) if self.referred(self.primary, b"prem").contains(&alpha) => {
                let text = "colours that are multiplied by alpha";
                Err(PictureError::unsupported(self.format, text))
            }
            alpha => Ok(alpha.is_some()),
        }
    }
}
