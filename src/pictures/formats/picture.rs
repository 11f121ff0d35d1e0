//! What the decoders write to.

use image::metadata::Orientation;

use crate::pictures::orientation;
use crate::pictures::rows::Rows;
use crate::pictures::size::{CHANNELS, Size};

/// A decoded picture, and room for what a decoder gives before it is converted to RGB.
#[derive(Debug, Default)]
pub struct Picture {
    /// RGB, `[size.height, size.width, 3]`.
    pub pixels: Vec<u8>,
    pub size: Size,
    raw: Vec<u8>,
}

impl Picture {
    /// Makes room for a picture of `size`. The pixels are those of the picture before, or zero.
    pub fn resize(&mut self, size: Size) -> &mut [u8] {
        self.size = size;
        self.pixels.resize(size.rgb_len(), 0);
        &mut self.pixels
    }

    /// Takes `raw_len` raw bytes of a picture of `size` from `fill`, which are zeros before, and converts them with
    /// `convert`.
    pub fn fill_converted<E>(
        &mut self,
        size: Size,
        raw_len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
        convert: impl FnOnce(&[u8], &mut [u8]),
    ) -> Result<(), E> {
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        raw.resize(raw_len, 0);
        let filled = fill(&mut raw);
        if filled.is_ok() {
            convert(&raw, self.resize(size));
        }
        self.raw = raw;
        filled
    }

    /// Turns the picture upright.
    pub fn turn(&mut self, orientation: Orientation) {
        let pixels = std::mem::take(&mut self.pixels);
        (self.size, self.pixels) = orientation::apply(orientation, self.size, pixels);
    }

    pub fn capacity(&self) -> usize {
        self.pixels.capacity() + self.raw.capacity()
    }
}

impl Rows for Picture {
    fn memory(&self, size: Size) -> usize {
        size.rgb_len()
    }

    fn begin(&mut self, size: Size) {
        self.resize(size);
    }

    fn room(&mut self, first: usize, count: usize) -> &mut [u8] {
        let row_len = self.size.width * CHANNELS;
        &mut self.pixels[first * row_len..][..count * row_len]
    }

    fn filled(&mut self) {}
}
