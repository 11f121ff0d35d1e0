//! Which passes a picture goes through, in which order, and what lies between them.

use image::metadata::Orientation;

use super::{Filter, Pair, Resampling, Run, Size};
use crate::pictures::fit::Fit;
use crate::pictures::orientation::{self, Turn};
use crate::pictures::{MAX_SIDE, PictureError};

/// What is made of pictures.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub resampling: Resampling,
    pub filter: Filter,
    /// How pictures are turned before their size is changed.
    pub orientation: Orientation,
    pub fit: Fit,
    /// The size that comes out.
    pub to: Size,
}

impl Target {
    /// Whether it can be made of a picture of size `from`. One of 1 x 1,000,000 pixels would become 256 x 256,000,000
    /// before its middle is cut out: work is to be bounded by the pixels that are in the file.
    pub fn check(&self, from: Size) -> Result<(), PictureError> {
        let whole = self.whole(from);
        let Size { width, height } = from;
        match whole.width.max(whole.height) <= MAX_SIDE {
            true => Ok(()),
            false => Err(PictureError::TooNarrow { width, height }),
        }
    }

    /// The size that all of a picture of size `from` is resampled to, as it is stored.
    pub fn whole(&self, from: Size) -> Size {
        let (whole, _) = self.fit.of(self.turned(from), self.to);
        self.turned(whole)
    }

    /// A size that is stored, turned; and the other way round.
    pub fn turned(&self, size: Size) -> Size {
        match orientation::turn(self.orientation).swaps_sides {
            true => size.transposed(),
            false => size,
        }
    }

    /// What a picture of size `from` goes through, as it is stored: what comes out is to be turned, to the last bit as
    /// if the picture had been turned before. So the passes are those of the turned picture, in their order, along the
    /// sides that become its own, and weigh positions from the other end where the picture is mirrored. (To turn all of
    /// 12 megapixels took as long as to decode them.)
    ///
    /// # Panics
    ///
    /// When a side is zero, or what comes out is not a part of the whole.
    pub fn passes(&self, from: Size) -> Passes {
        let turned = self.turned(from);
        let (whole, corner) = self.fit.of(turned, self.to);
        let across = Axis::new(turned.width, whole.width, corner[0], self.to.width);
        let down = Axis::new(turned.height, whole.height, corner[1], self.to.height);
        let Turn {
            mirrors_rows,
            mirrors_columns,
            swaps_sides,
        } = orientation::turn(self.orientation);
        let mut passes = match swaps_sides {
            false => [
                Pass::Horizontal(across.mirrored(mirrors_rows)),
                Pass::Vertical(down.mirrored(mirrors_columns)),
            ],
            true => [
                Pass::Vertical(across.mirrored(mirrors_columns)),
                Pass::Horizontal(down.mirrored(mirrors_rows)),
            ],
        };
        if self.resampling.starts_vertically(turned, whole) {
            passes.reverse();
        }
        let mut passes = passes.into_iter().filter(|pass| !pass.axis().is_identity());
        let (first, second) = (passes.next(), passes.next());
        let lines = match (second, first) {
            (Some(second), _) => second.axis().reach(self.filter),
            (None, Some(Pass::Vertical(_))) => Run::all(from.width),
            (None, _) => Run::all(from.height),
        };
        let middle = match first {
            Some(Pass::Horizontal(axis)) => Size {
                width: axis.count,
                height: lines.len,
            },
            Some(Pass::Vertical(axis)) => Size {
                width: lines.len,
                height: axis.count,
            },
            None => from,
        };
        let axes = [first, second].into_iter().flatten().map(Pass::axis);
        let coefficients = axes.map(|axis| axis.coefficient_bytes(self.filter)).max();
        Passes {
            from,
            first,
            lines,
            middle,
            second: second.map(|pass| pass.without(lines.start)),
            memory: middle.rgb_len() + coefficients.unwrap_or(0),
        }
    }
}

/// What a picture goes through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passes {
    pub from: Size,
    /// `None` where nothing changes.
    pub first: Option<Pass>,
    /// The rows, or of a vertical pass the columns, that the first pass makes: those that the second one reads.
    pub lines: Run,
    /// The size between the passes.
    pub middle: Size,
    /// `None` where one side or none changes.
    pub second: Option<Pass>,
    /// Bytes for what is between the passes, and for coefficients.
    pub memory: usize,
}

/// A pass along one axis.
#[derive(Debug, Clone, Copy)]
pub enum Pass {
    Horizontal(Axis),
    Vertical(Axis),
}

impl Pass {
    pub fn axis(self) -> Axis {
        match self {
            Self::Horizontal(axis) | Self::Vertical(axis) => axis,
        }
    }

    /// The same over a picture that lacks the first positions.
    fn without(self, skipped: usize) -> Self {
        let axis = Axis {
            skipped,
            ..self.axis()
        };
        match self {
            Self::Horizontal(_) => Self::Horizontal(axis),
            Self::Vertical(_) => Self::Vertical(axis),
        }
    }
}

/// What becomes of the positions of one axis.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    pub from: usize,
    /// All positions that there would be.
    pub whole: usize,
    /// The first one that is made.
    pub first: usize,
    /// How many are made.
    pub count: usize,
    /// Whether all positions are counted from the other end than those of the pass.
    pub is_mirrored: bool,
    /// How many of the first positions from which others are made are left out of what the pass gets.
    pub skipped: usize,
}

impl Axis {
    fn new(from: usize, whole: usize, first: usize, count: usize) -> Self {
        assert!(from > 0 && count > 0, "a picture has at least one pixel");
        assert!(first + count <= whole, "a part of the whole");
        Self {
            from,
            whole,
            first,
            count,
            is_mirrored: false,
            skipped: 0,
        }
    }

    fn mirrored(self, is_mirrored: bool) -> Self {
        Self {
            is_mirrored,
            ..self
        }
    }

    /// All positions of the new length.
    pub fn all(from: usize, to: usize) -> Self {
        Self::new(from, to, 0, to)
    }

    fn is_identity(&self) -> bool {
        self.from == self.whole && self.count == self.whole
    }

    pub fn scale(&self) -> f64 {
        self.from as f64 / self.whole as f64
    }

    /// A filter narrower than one pixel would leave pixels out: it grows when shrinking, never shrinks.
    pub fn filter_scale(&self) -> f64 {
        self.scale().max(1.0)
    }

    /// Where a position of the new length has its middle among those of before.
    pub fn center(&self, filter: Filter, position: usize) -> f64 {
        let scale = self.scale();
        match filter {
            // Pillow looks the nearest pixel up elsewhere (`Geometry.c`), where it adds up the positions.
            Filter::Nearest => (0..position).fold(scale * 0.5, |center, _| center + scale),
            _ => (position as f64 + 0.5) * scale,
        }
    }

    /// The positions that are weighed around a center.
    pub fn run(&self, filter: Filter, center: f64) -> Run {
        let (start, end) = match filter {
            Filter::Nearest => {
                let start = (center as usize).min(self.from - 1);
                (start, start + 1)
            }
            _ => {
                let support = filter.support() * self.filter_scale();
                // The casts saturate at zero, where Pillow clamps.
                let start = (center - support + 0.5) as usize;
                let end = ((center + support + 0.5) as usize).min(self.from);
                (start, end)
            }
        };
        Run {
            start,
            len: end - start,
        }
    }

    /// All positions that are weighed, as the pass counts them.
    fn reach(&self, filter: Filter) -> Run {
        let run = |position| self.run(filter, self.center(filter, position));
        let (first, last) = (run(self.first), run(self.first + self.count - 1));
        let reach = Run {
            start: first.start,
            len: last.start + last.len - first.start,
        };
        match self.is_mirrored {
            true => reach.mirrored(self.from),
            false => reach,
        }
    }

    /// How many positions the longest run has.
    pub fn longest_run(&self, filter: Filter) -> usize {
        let support = filter.support() * self.filter_scale();
        (support.ceil() as usize * 2 + 1).min(self.from)
    }

    /// Room for the coefficients of a run.
    pub fn stride(&self, filter: Filter) -> usize {
        self.longest_run(filter).next_multiple_of(4)
    }

    /// What [`Coefficients`](super::Coefficients) need at most, in bytes: each coefficient, the same split, and runs.
    fn coefficient_bytes(&self, filter: Filter) -> usize {
        let coefficient = size_of::<i32>() + size_of::<Pair>() / 2;
        let weights = self.longest_run(filter) * size_of::<f64>();
        self.count * (self.stride(filter) * coefficient + size_of::<Run>()) + weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::fit::Resize;

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    #[test]
    fn a_picture_may_be_so_narrow_that_nothing_can_be_made_of_it() {
        let target = |resize| Target {
            fit: Fit {
                resize,
                ..Fit::default()
            },
            orientation: Orientation::NoTransforms,
            to: size(224, 192),
            resampling: Resampling::default(),
            filter: Filter::default(),
        };
        let shortest = target(Resize::Shortest(256));
        assert!(shortest.check(size(1, 3906)).is_ok());
        for narrow in [size(1, 3907), size(3907, 1), size(1, MAX_SIDE)] {
            let error = shortest.check(narrow).unwrap_err();
            assert!(matches!(error, PictureError::TooNarrow { .. }), "{error:?}");
            for resize in [Resize::Squash, Resize::Exact(256, 256)] {
                assert!(target(resize).check(narrow).is_ok());
            }
        }
    }
}
