//! The size of a picture.

use std::io::{BufRead, Seek};

use super::PictureError;
use super::formats::Format;
use super::panics::catch_panic;

/// Bytes of one RGB pixel.
pub(super) const CHANNELS: usize = 3;

/// The size of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Size {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Size {
    /// How many bytes an RGB picture of this size has.
    pub fn rgb_len(self) -> usize {
        self.width * self.height * CHANNELS
    }

    /// The size with rows and columns changed over.
    pub(super) fn transposed(self) -> Self {
        Size {
            width: self.height,
            height: self.width,
        }
    }
}

/// The size of a JPEG, PNG or WebP picture as its beginning says it, before any turning; `None` for other pictures and
/// where it is not found. It reads little, and may be wrong of a damaged file.
pub fn stated_size(file: &mut (impl BufRead + Seek)) -> Option<Size> {
    let Ok(Format::Jpeg | Format::Png | Format::WebP) = Format::of(file.fill_buf().ok()?) else {
        return None;
    };
    let stated =
        catch_panic(|| imagesize::reader_size(file).map_err(|_| PictureError::NotAPicture));
    let imagesize::ImageSize { width, height } = stated.ok()?;
    (width > 0 && height > 0).then_some(Size { width, height })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Cursor;
    use std::path::Path;

    use crate::pictures::{PictureReader, PixelOptions};

    #[test]
    fn the_stated_size_is_that_of_the_decoded_pixels() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures");
        let mut reader = PictureReader::new(PixelOptions::default());
        let mut stated = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let decoded = reader.decode(&bytes).map(|(size, _)| size);
            if let (Ok(decoded), Some(size)) = (decoded, stated_size(&mut Cursor::new(&bytes))) {
                stated.push((path, size, decoded));
            }
        }
        assert!(stated.len() > 20, "{}", stated.len());
        for (path, stated, decoded) in stated {
            assert_eq!(stated, decoded, "{}", path.display());
        }
    }
}
