//! Small pictures, to be looked at: upright, and never larger than the picture itself.

use crate::pictures::{PictureError, PictureReader, Size, orientation};

/// The quality of the JPEG files, 1 to 100: what differs from 95 is not seen, and they take half the bytes.
const QUALITY: u8 = 85;

/// A small picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// Its size.
    pub size: Size,
    /// RGB, `[size.height, size.width, 3]`, 0 to 255.
    pub pixels: Vec<u8>,
}

impl Thumbnail {
    /// Makes the picture in these bytes fit into a square of `side` pixels, turned as its EXIF orientation says.
    pub fn of(bytes: &[u8], side: usize, reader: &mut PictureReader) -> Result<Self, PictureError> {
        let (size, pixels) = reader.read_to_fit(bytes, side)?;
        let (size, pixels) = orientation::apply(orientation::of(bytes), size, pixels);
        Ok(Thumbnail { size, pixels })
    }

    /// The picture as the bytes of a JPEG file.
    ///
    /// # Panics
    /// When a side is above 65,535 pixels, which JPEG cannot have.
    pub fn jpeg(&self) -> Vec<u8> {
        jpeg(&self.pixels, self.size)
    }
}

/// Encodes RGB pixels, `[size.height, size.width, 3]`, as a JPEG file.
///
/// # Panics
/// When a side is zero or above 65,535 pixels, which JPEG cannot have.
pub fn jpeg(pixels: &[u8], size: Size) -> Vec<u8> {
    let side = |side: usize| u16::try_from(side).expect("a side of at most 65,535 pixels");
    let (width, height) = (side(size.width), side(size.height));
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, QUALITY)
        .encode(pixels, width, height, jpeg_encoder::ColorType::Rgb)
        .expect("memory takes all bytes, and the size is that of the pixels");
    bytes
}
