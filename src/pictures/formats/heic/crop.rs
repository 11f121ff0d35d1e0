//! The box `clap`, which says what part of a picture is shown.

use super::corrupt;
use crate::pictures::formats::Picture;
use crate::pictures::formats::heif::Bytes;
use crate::pictures::size::CHANNELS;
use crate::pictures::{PictureError, Size};

/// The part: its size, and how far its middle lies from that of the picture, right and down.
pub(super) struct Aperture {
    width: Fraction,
    height: Fraction,
    right: Fraction,
    down: Fraction,
}

/// Numerator and denominator, which is positive.
#[derive(Clone, Copy)]
struct Fraction(i128, i128);

impl Aperture {
    pub(super) fn of(mut content: Bytes) -> Result<Self, PictureError> {
        let mut fraction = || {
            let [above, below] = [content.number(4)? as i32, content.number(4)? as i32];
            match below {
                1.. => Ok(Fraction(above.into(), below.into())),
                _ => Err(corrupt("a part without a size")),
            }
        };
        Ok(Self {
            width: fraction()?,
            height: fraction()?,
            right: fraction()?,
            down: fraction()?,
        })
    }

    /// Leaves the part, or as much of it as lies in the picture.
    pub(super) fn crop(&self, picture: &mut Picture) -> Result<(), PictureError> {
        let Size { width, height } = picture.size;
        // libheif cuts off the one and rounds the other.
        let left = first(width, self.width, self.right).truncated();
        let top = first(height, self.height, self.down).rounded();
        let (Some((left, across)), Some((top, down))) = (
            overlap(left, self.width, width),
            overlap(top, self.height, height),
        ) else {
            return Err(corrupt("a part that lies outside the picture"));
        };
        let size = Size {
            width: across,
            height: down,
        };
        let row_len = across * CHANNELS;
        for y in 0..down {
            let from = ((top + y) * width + left) * CHANNELS;
            picture
                .pixels
                .copy_within(from..from + row_len, y * row_len);
        }
        picture.resize(size);
        Ok(())
    }
}

/// Where a part of `len` begins in a side of `whole` pixels: offset + (whole - 1) / 2 - (len - 1) / 2.
fn first(whole: usize, len: Fraction, offset: Fraction) -> Fraction {
    let (whole, Fraction(len, len_below), Fraction(offset, below)) = (whole as i128, len, offset);
    let above = 2 * offset * len_below + whole * below * len_below - len * below;
    Fraction(above, 2 * below * len_below)
}

/// Where the pixels from `first` begin in a side of `whole` pixels, and how many they are.
fn overlap(first: i128, Fraction(len, below): Fraction, whole: usize) -> Option<(usize, usize)> {
    let last = Fraction(len + (first - 1) * below, below).rounded();
    let (first, end) = (first.max(0), (last + 1).min(whole as i128));
    (first < end).then_some((first as usize, (end - first) as usize))
}

impl Fraction {
    fn truncated(self) -> i128 {
        self.0 / self.1
    }

    fn rounded(self) -> i128 {
        (self.0 + self.1 / 2) / self.1
    }
}
