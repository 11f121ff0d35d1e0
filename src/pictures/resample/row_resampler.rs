//! The change of size of a picture whose rows come one after the other: of the picture, only the rows that are worked
//! on are in memory.

use super::{Axis, CHANNELS, Resampler, Run, Size};
use crate::pictures::rows::Rows;

/// How many rows come at once at most, in what [`RowResampler::memory`] counts on.
const ROWS: usize = 16;

/// As many bytes are kept behind the last row, so that the passes can load over its end.
const BEHIND: usize = 16;

/// Changes the size of a picture that comes in rows, to the bit as [`Resampler::resample`] does it with a whole one.
pub struct RowResampler<'a> {
    resampler: &'a mut Resampler,
    from: Size,
    to: Size,
    first_pass: Pass,
    /// The rows that are held in the resampler's buffer.
    held: Run,
    /// Rows that room was given for, and that are not filled yet.
    expected: usize,
    /// Vertical pass first: the next row that it makes.
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Horizontal,
    Vertical,
    /// The width stays, and so does the height.
    Neither,
}

impl<'a> RowResampler<'a> {
    pub fn new(resampler: &'a mut Resampler, to: Size) -> Self {
        Self {
            resampler,
            from: Size::default(),
            to,
            first_pass: Pass::Neither,
            held: Run { start: 0, len: 0 },
            expected: 0,
            next: 0,
        }
    }

    /// Writes the picture of the new size to `out`, `[to.height, to.width, 3]`, when all rows have come.
    pub fn finish(self, out: &mut [u8]) {
        let middle = self.middle(self.from);
        let between = std::mem::take(&mut self.resampler.between);
        if middle.width != self.to.width {
            let axis = Axis::all(middle.width, self.to.width);
            (self.resampler).horizontal(&between, middle, out, axis);
        } else if middle.height != self.to.height {
            let axis = Axis::all(middle.height, self.to.height);
            (self.resampler).vertical(&between, middle, out, axis);
        } else {
            out.copy_from_slice(&between);
        }
        self.resampler.between = between;
    }

    fn first_pass(&self, from: Size) -> Pass {
        let Size { width, height } = self.to;
        match (from.width == width, from.height == height) {
            (true, true) => Pass::Neither,
            (true, false) => Pass::Vertical,
            (false, true) => Pass::Horizontal,
            _ if self.resampler.resampling.starts_vertically(from, self.to) => Pass::Vertical,
            _ => Pass::Horizontal,
        }
    }

    /// The size between the two passes.
    fn middle(&self, from: Size) -> Size {
        match self.first_pass(from) {
            Pass::Horizontal => Size {
                width: self.to.width,
                height: from.height,
            },
            Pass::Vertical => Size {
                width: from.width,
                height: self.to.height,
            },
            Pass::Neither => from,
        }
    }

    /// How many rows the buffer is for. In the vertical pass, as many again as a run needs: then those that are still
    /// needed are moved to the front once for each run.
    fn rows_held(&self, from: Size) -> usize {
        match self.first_pass(from) {
            Pass::Vertical => {
                let coefficients = &self.resampler.coefficients;
                2 * coefficients.longest_run(from.height, self.to.height) + ROWS
            }
            _ => ROWS,
        }
    }

    fn vertical_pass(&mut self) {
        let row_len = self.from.width * CHANNELS;
        let end = self.held.start + self.held.len;
        let Resampler {
            kernel,
            coefficients,
            rows,
            between,
            ..
        } = &mut *self.resampler;
        while let Some(run) = coefficients.runs.get(self.next)
            && run.start + run.len <= end
        {
            let rows = &rows[(run.start - self.held.start) * row_len..][..run.len * row_len];
            let out = &mut between[self.next * row_len..][..row_len];
            kernel.vertical_row(rows, self.next, out, coefficients);
            self.next += 1;
        }
    }

    /// Moves the rows that are still needed to the front of the buffer.
    fn forget_rows(&mut self) {
        let row_len = self.from.width * CHANNELS;
        let end = self.held.start + self.held.len;
        let next = self.resampler.coefficients.runs.get(self.next);
        let start = match self.first_pass {
            Pass::Vertical => next.map_or(end, |run| run.start.min(end)),
            _ => end,
        };
        let gone = (start - self.held.start) * row_len;
        let len = self.held.len * row_len;
        self.resampler.rows.copy_within(gone..len, 0);
        self.held = Run {
            start,
            len: end - start,
        };
    }
}

impl Rows for RowResampler<'_> {
    fn memory(&self, size: Size) -> usize {
        let rows = self.rows_held(size).saturating_mul(size.width * CHANNELS);
        rows.saturating_add(self.middle(size).rgb_len())
    }

    fn begin(&mut self, size: Size) {
        self.from = size;
        self.first_pass = self.first_pass(size);
        self.held = Run { start: 0, len: 0 };
        self.next = 0;
        let len = self.middle(size).rgb_len();
        let Resampler {
            coefficients,
            between,
            ..
        } = &mut *self.resampler;
        between.resize(len, 0);
        match self.first_pass {
            Pass::Horizontal => coefficients.compute(size.width, self.to.width),
            Pass::Vertical => coefficients.compute(size.height, self.to.height),
            Pass::Neither => {}
        }
    }

    fn room(&mut self, first: usize, count: usize) -> &mut [u8] {
        assert_eq!(first, self.held.start + self.held.len, "rows are left out");
        let row_len = self.from.width * CHANNELS;
        let needed = |rows: usize| rows * row_len + BEHIND;
        if needed(self.held.len + count) > self.resampler.rows.len() {
            self.forget_rows();
        }
        let len = needed(self.rows_held(self.from).max(self.held.len + count));
        let rows = &mut self.resampler.rows;
        if needed(self.held.len + count) > rows.len() {
            rows.resize(len, 0);
        }
        self.expected = count;
        &mut rows[self.held.len * row_len..][..count * row_len]
    }

    fn filled(&mut self) {
        let first = self.held.start + self.held.len;
        self.held.len += self.expected;
        let from = Size {
            width: self.from.width,
            height: self.expected,
        };
        self.expected = 0;
        if self.first_pass == Pass::Vertical {
            return self.vertical_pass();
        }
        // The other pass needs no rows but these.
        let Resampler {
            kernel,
            coefficients,
            rows,
            between,
            ..
        } = &mut *self.resampler;
        let source = &rows[(first - self.held.start) * from.width * CHANNELS..];
        let out = &mut between[first * self.to.width * CHANNELS..];
        let out = &mut out[..from.height * self.to.width * CHANNELS];
        match self.first_pass {
            Pass::Horizontal => kernel.horizontal(source, from, out, coefficients),
            _ => out.copy_from_slice(&source[..out.len()]),
        }
        self.held = Run {
            start: first + from.height,
            len: 0,
        };
    }
}
