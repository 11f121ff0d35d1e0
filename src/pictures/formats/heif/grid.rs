//! Pictures that are put together from others.

use super::{Bytes, Items, Planes};
use crate::pictures::limits::Limits;
use crate::pictures::{Format, PictureError, Size};

/// How many bytes the data of all cells may be more than the file.
const MAX_SHARED: usize = 64 << 20;

/// A picture that is put together from cells.
pub struct Grid {
    pub size: Size,
    across: usize,
    /// The items of the cells, row by row.
    pub cells: Vec<u32>,
}

impl Grid {
    /// The primary picture of a file, which is a grid.
    pub fn of(items: &Items, limits: Limits) -> Result<Self, PictureError> {
        let corrupt = |text: String| PictureError::corrupt(items.format, text);
        let data = items.data(items.primary)?;
        let mut content = Bytes::new(items.format, &data);
        content.number(1)?;
        let side_len = if content.number(1)? & 1 == 0 { 2 } else { 4 };
        let [down, across] = [content.number(1)? + 1, content.number(1)? + 1].map(|n| n as usize);
        let [width, height] = [content.number(side_len)?, content.number(side_len)?];
        let size = limits.check(items.format, width, height)?;
        if size != items.stated_size(items.primary, limits)? {
            return Err(corrupt("a grid of another size than its picture".into()));
        }
        let cells = items.referred(items.primary, b"dimg").to_vec();
        if cells.len() != across * down {
            return Err(corrupt(format!(
                "a grid of {across} x {down} cells with {} pictures",
                cells.len()
            )));
        }
        // Cells that look the same may share their data, but not megabytes of them.
        let mut data_len = 0_usize;
        for &cell in &cells {
            data_len = data_len.saturating_add(items.data_len(cell)?);
            if data_len > items.bytes.len() + MAX_SHARED {
                return Err(corrupt("cells whose data are more than the file".into()));
            }
        }
        let cell = items.stated_size(cells[0], limits)?;
        // As the standard has it, so that there is not much work for few pixels.
        let fits = |cells: usize, cell: usize, all: usize| {
            cell >= 64 && cell * cells >= all && cell * (cells - 1) < all
        };
        if !fits(across, cell.width, size.width) || !fits(down, cell.height, size.height) {
            return Err(corrupt("cells that do not fit their grid".into()));
        }
        Ok(Self {
            size,
            across,
            cells,
        })
    }

    /// `decode` gives the frame of a cell.
    pub fn decode(
        &self,
        format: Format,
        decode: impl Fn(u32) -> Result<Planes, PictureError>,
    ) -> Result<Planes, PictureError> {
        let corrupt = |text: &'static str| PictureError::corrupt(format, text);
        let mut whole: Option<Planes> = None;
        for (index, &item) in self.cells.iter().enumerate() {
            let cell = decode(item)?;
            let whole = whole
                .get_or_insert_with(|| Planes::new(self.size, cell.layout, cell.bits, cell.colour));
            let same = (whole.layout, whole.bits, whole.colour);
            if (cell.layout, cell.bits, cell.colour) != same {
                return Err(corrupt("cells of different kinds"));
            }
            self.place(&cell, index, whole).map_err(corrupt)?;
        }
        whole.ok_or_else(|| corrupt("a grid without cells"))
    }

    /// Copies a cell to its place, without what lies over the edge.
    fn place(&self, cell: &Planes, index: usize, whole: &mut Planes) -> Result<(), &'static str> {
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
                return Err("cells with odd sides");
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
