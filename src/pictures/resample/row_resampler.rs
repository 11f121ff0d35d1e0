//! The change of size of a picture whose rows come one after the other: of the picture, only the rows that are worked
//! on are in memory.

use super::{CHANNELS, Pass, Passes, Resampler, Run, Size, Target};
use crate::pictures::rows::Rows;

/// How many rows come at once at most, in what [`RowResampler::memory`] counts on.
const ROWS: usize = 16;

/// As many bytes are kept behind the last row, so that the passes can load over its end.
const BEHIND: usize = 16;

/// Changes the size of a picture that comes in rows, to the bit as [`Resampler::take_through`] that of a whole one.
pub struct RowResampler<'a> {
    resampler: &'a mut Resampler,
    target: Target,
    passes: Passes,
    /// The rows that are held in the resampler's buffer.
    held: Run,
    /// Rows that room was given for, and that are not filled yet.
    expected: usize,
    /// Vertical pass first: the next row that it makes.
    next: usize,
}

impl<'a> RowResampler<'a> {
    pub fn new(resampler: &'a mut Resampler, target: Target) -> Self {
        Self {
            resampler,
            target,
            passes: Passes::default(),
            held: Run::all(0),
            expected: 0,
            next: 0,
        }
    }

    /// Writes the picture of the new size to `out`, `[to.height, to.width, 3]`, when all rows have come.
    pub fn finish(self, out: &mut [u8]) {
        let between = std::mem::take(&mut self.resampler.between);
        self.resampler.finish(&self.passes, &between, out);
        self.resampler.between = between;
    }

    /// How many rows the buffer is for. In the vertical pass, as many again as a run needs: then those that are still
    /// needed are moved to the front once for each run.
    fn rows_held(&self, passes: &Passes) -> usize {
        match passes.first {
            Some(Pass::Vertical(axis)) => 2 * axis.longest_run(self.target.filter) + ROWS,
            _ => ROWS,
        }
    }

    fn vertical_pass(&mut self) {
        let row_len = self.passes.from.width * CHANNELS;
        let out_len = self.passes.middle.width * CHANNELS;
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
            let start = (run.start - self.held.start) * row_len;
            let rows = &rows[start + self.passes.lines.start * CHANNELS..];
            let out = &mut between[self.next * out_len..][..out_len];
            kernel.vertical_row(rows, row_len, self.next, out, coefficients);
            self.next += 1;
        }
    }

    /// The horizontal pass over the rows that have come, of which the first is row `first`, or where there is none they
    /// themselves.
    fn horizontal_pass(&mut self, first: usize, count: usize) {
        let Passes {
            from,
            lines,
            middle,
            ..
        } = self.passes;
        // All others are read by nothing.
        let start = first.max(lines.start);
        let end = (first + count).min(lines.start + lines.len);
        if start >= end {
            return;
        }
        let Resampler {
            kernel,
            coefficients,
            rows,
            between,
            ..
        } = &mut *self.resampler;
        let source = &rows[(start - self.held.start) * from.width * CHANNELS..];
        let out_len = middle.width * CHANNELS;
        let out = &mut between[(start - lines.start) * out_len..][..(end - start) * out_len];
        let from = Size {
            height: end - start,
            ..from
        };
        match self.passes.first {
            Some(_) => kernel.horizontal(source, from, out, coefficients),
            None => out.copy_from_slice(&source[..out.len()]),
        }
    }

    /// Moves the rows that are still needed to the front of the buffer.
    fn forget_rows(&mut self) {
        let row_len = self.passes.from.width * CHANNELS;
        let end = self.held.start + self.held.len;
        let next = self.resampler.coefficients.runs.get(self.next);
        let start = match self.passes.first {
            Some(Pass::Vertical(_)) => {
                next.map_or(end, |run| run.start.clamp(self.held.start, end))
            }
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
        let rows = self.rows_held(&self.target.passes(size));
        rows.saturating_mul(size.width * CHANNELS)
    }

    fn begin(&mut self, size: Size) {
        self.passes = self.target.passes(size);
        self.held = Run::all(0);
        self.next = 0;
        let Resampler {
            coefficients,
            between,
            ..
        } = &mut *self.resampler;
        between.resize(self.passes.middle.rgb_len(), 0);
        if let Some(first) = self.passes.first {
            coefficients.compute(first.axis());
        }
    }

    fn room(&mut self, first: usize, count: usize) -> &mut [u8] {
        assert_eq!(first, self.held.start + self.held.len, "rows are left out");
        let row_len = self.passes.from.width * CHANNELS;
        let needed = |rows: usize| rows * row_len + BEHIND;
        if needed(self.held.len + count) > self.resampler.rows.len() {
            self.forget_rows();
        }
        let len = needed(self.rows_held(&self.passes).max(self.held.len + count));
        let rows = &mut self.resampler.rows;
        if needed(self.held.len + count) > rows.len() {
            rows.resize(len, 0);
        }
        self.expected = count;
        &mut rows[self.held.len * row_len..][..count * row_len]
    }

    fn filled(&mut self) {
        let first = self.held.start + self.held.len;
        let count = std::mem::take(&mut self.expected);
        self.held.len += count;
        if let Some(Pass::Vertical(_)) = self.passes.first {
            return self.vertical_pass();
        }
        // The other pass needs no rows but these.
        self.horizontal_pass(first, count);
        self.held = Run {
            start: first + count,
            len: 0,
        };
    }
}
