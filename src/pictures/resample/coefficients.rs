//! How source positions are weighed, in fixed point.

use super::{Axis, Filter, PRECISION_BITS, Resampling};

/// What one axis needs: for every output position, where its run of source positions starts and their coefficients.
#[derive(Debug, Default)]
pub struct Coefficients {
    /// The runs, one per output position.
    pub runs: Vec<Run>,
    /// `[runs, stride]` coefficients with [`PRECISION_BITS`] fractional bits, zero behind a run's end.
    fixed: Vec<i32>,
    /// `[runs, stride / 2]`: the same coefficients two by two, split for 16-bit multiplications.
    pairs: Vec<Pair>,
    /// `[runs, stride / 4]`: the same coefficients four by four, split for 8-bit multiplications.
    quads: Vec<Quad>,
    /// Room for one run's coefficients, a multiple of 4.
    stride: usize,
    pub filter: Filter,
    split: Split,
    /// Whether coefficients have 16 bits, as torchvision's.
    are_short: bool,
    weights: Vec<f64>,
}

/// What coefficients are split into, besides being there as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    #[default]
    None,
    Pairs,
    Quads,
}

/// A run of source positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    pub start: usize,
    pub len: usize,
}

impl Run {
    /// All of so many positions.
    pub fn all(len: usize) -> Self {
        Self { start: 0, len }
    }

    /// The same counted from the other end of so many positions.
    pub fn mirrored(self, of: usize) -> Self {
        Self {
            start: of - self.start - self.len,
            ..self
        }
    }
}

/// Two neighbouring coefficients, each split into `high * 256 + low` with a signed high and an unsigned low part; the
/// first coefficient is in the lower 16 bits.
///
/// High parts fit 16 bits as long as coefficients are below 2 in absolute value; the filter is at most 1, and half of
/// its positive lobe always falls on the picture, so normalised coefficients stay below 1.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pair {
    pub high: i32,
    pub low: i32,
}

impl Pair {
    fn new([first, second]: [i32; 2]) -> Self {
        let pack = |first: i32, second: i32| (first & 0xffff) | (second << 16);
        Self {
            high: pack(first >> 8, second >> 8),
            low: pack(first & 0xff, second & 0xff),
        }
    }
}

/// Four neighbouring coefficients, each split into `high * 65536 + middle * 256 + low` with signed parts of 8 bits; the
/// first coefficient is in the lowest bits.
///
/// High parts fit 8 bits as long as coefficients are below 31 in absolute value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quad {
    pub high: i32,
    pub middle: i32,
    pub low: i32,
}

impl Quad {
    fn new(coefficients: [i32; 4]) -> Self {
        let mut parts = [[0; 4]; 3];
        for (index, coefficient) in coefficients.into_iter().enumerate() {
            let low = coefficient as i8;
            let rest = (coefficient - i32::from(low)) >> 8;
            let middle = rest as i8;
            let high = (rest - i32::from(middle)) >> 8;
            for (part, value) in parts.iter_mut().zip([high as i8, middle, low]) {
                part[index] = value as u8;
            }
        }
        let [high, middle, low] = parts.map(i32::from_le_bytes);
        Self { high, middle, low }
    }
}

impl Coefficients {
    /// None yet.
    pub fn new(resampling: Resampling, filter: Filter, split: Split) -> Self {
        Self {
            filter,
            split,
            are_short: resampling == Resampling::Torchvision,
            ..Self::default()
        }
    }

    /// Fills in the coefficients of the positions of an axis that are made, from the first as the pass counts them; in
    /// the order of operations of Pillow's `precompute_coeffs`, which the last bit of a coefficient can depend on.
    pub fn compute(&mut self, axis: Axis) {
        let filter = self.filter;
        self.weights.clear();
        self.weights.reserve_exact(axis.longest_run(filter));
        let bits = match self.are_short {
            true => self.short_bits(axis),
            false => PRECISION_BITS,
        };
        self.stride = axis.stride(filter);
        self.runs.clear();
        self.fixed.clear();
        self.runs.reserve_exact(axis.count);
        self.fixed.reserve_exact(axis.count * self.stride);
        let mut center = axis.center(filter, axis.first);
        for position in axis.first..axis.first + axis.count {
            let run = self.weigh(axis, center);
            let sum: f64 = self.weights.iter().sum();
            let first = self.fixed.len();
            self.fixed
                .extend((self.weights.iter()).map(|weight| fixed_point(weight / sum, bits)));
            self.fixed.resize(first + self.stride, 0);
            self.runs.push(run);
            center = match filter {
                // As `Axis::center` does it, and not from the beginning each time.
                Filter::Nearest => center + axis.scale(),
                _ => axis.center(filter, position + 1),
            };
        }
        if axis.is_mirrored {
            self.runs.reverse();
            self.fixed.reverse();
            let all = self.fixed.chunks_exact_mut(self.stride);
            for (run, coefficients) in self.runs.iter_mut().zip(all) {
                *run = run.mirrored(axis.from);
                // The zeros behind the run came before it.
                coefficients.rotate_left(self.stride - run.len);
            }
        }
        for run in &mut self.runs {
            run.start -= axis.skipped;
        }
        self.pairs.clear();
        self.quads.clear();
        match self.split {
            Split::None => {}
            Split::Pairs => {
                let (twos, _) = self.fixed.as_chunks();
                self.pairs.reserve_exact(twos.len());
                self.pairs.extend(twos.iter().copied().map(Pair::new));
            }
            Split::Quads => {
                let (fours, _) = self.fixed.as_chunks();
                self.quads.reserve_exact(fours.len());
                self.quads.extend(fours.iter().copied().map(Quad::new));
            }
        }
    }

    /// Makes `weights` those around `center`, before they are divided by their sum; gives where they are.
    fn weigh(&mut self, axis: Axis, center: f64) -> Run {
        let filter = self.filter;
        let run = axis.run(filter, center);
        let inverse = 1.0 / axis.filter_scale();
        let distance = |step: usize| ((step + run.start) as f64 - center + 0.5) * inverse;
        self.weights.clear();
        self.weights
            .extend((0..run.len).map(|step| filter.weight(distance(step))));
        run
    }

    /// How many fractional bits a coefficient has in torchvision: as many as the largest of the axis leaves in 16, and
    /// no more than 22.
    fn short_bits(&mut self, axis: Axis) -> u32 {
        let mut most = 0.0_f64;
        for position in 0..axis.whole {
            self.weigh(axis, (position as f64 + 0.5) * axis.scale());
            let sum: f64 = self.weights.iter().sum();
            let largest = self.weights.iter().map(|weight| weight / sum);
            most = largest.fold(most, f64::max);
        }
        let is_too_large =
            |bits: &u32| 0.5 + most * f64::from(1 << (bits + 1)) >= f64::from(1 << 15);
        (0..PRECISION_BITS)
            .find(is_too_large)
            .unwrap_or(PRECISION_BITS)
    }

    /// The bytes that are kept for the next picture.
    pub fn capacity(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
            + self.fixed.capacity() * size_of::<i32>()
            + self.pairs.capacity() * size_of::<Pair>()
            + self.quads.capacity() * size_of::<Quad>()
            + self.weights.capacity() * size_of::<f64>()
    }

    /// All coefficients, `[runs, stride]`, and the stride.
    pub fn table(&self) -> (&[i32], usize) {
        (&self.fixed, self.stride)
    }

    /// The coefficients of the run at `position`, without padding.
    pub fn fixed(&self, position: usize) -> &[i32] {
        &self.fixed[position * self.stride..][..self.runs[position].len]
    }

    /// The run at `position` in groups of `2 * pairs` coefficients, the last one filled up with zeros.
    pub fn pairs(&self, position: usize, group: usize) -> &[Pair] {
        let groups = self.runs[position].len.div_ceil(2 * group);
        &self.pairs[position * self.stride / 2..][..groups * group]
    }

    /// The run at `position`, the last quad filled up with zeros.
    pub fn quads(&self, position: usize) -> &[Quad] {
        &self.quads[position * self.stride / 4..][..self.runs[position].len.div_ceil(4)]
    }
}

/// A weight with [`PRECISION_BITS`] fractional bits, of which it has `bits` and the others are zero: sums are then what
/// they would be with fewer.
fn fixed_point(weight: f64, bits: u32) -> i32 {
    let scaled = weight * f64::from(1 << bits);
    // Rounds half away from zero: the cast cuts the fraction off.
    let rounded = (scaled + 0.5_f64.copysign(scaled)) as i32;
    rounded << (PRECISION_BITS - bits)
}
