//! The size of a picture.

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
