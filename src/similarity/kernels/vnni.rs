//! Products of bytes in AVX-512 VNNI: 64 of them, and their sums by four, in one instruction.

use std::arch::x86_64::*;

use super::ByteProducts;

/// Rows and queries that are multiplied at once: 28 sums, two registers of queries and four bytes of a row are in 31 of
/// the 32 registers, and nothing is added across a register.
const ROWS: usize = 14;
const QUERIES: usize = 2 * LANES;
/// Sums in a register.
const LANES: usize = 16;
/// Bytes whose products are added in one instruction.
const STEP: usize = 4;

/// The instruction takes one side without a sign: queries have so much more, and the row's sum, times this, is taken
/// off.
const OFFSET: i32 = 128;

/// Four bytes of each of [`QUERIES`] queries.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([[[u8; STEP]; LANES]; 2]);

/// See [`super::byte_products`]; `None` where there is no AVX-512 VNNI.
pub fn byte_products(queries: &[i8], dimension: usize) -> Option<ByteProducts<'static>> {
    let is_there = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    let queries = is_there.then(|| Queries::new(queries, dimension))?;
    Some(Box::new(move |rows, out| {
        #[expect(unsafe_code)]
        // SAFETY: the processor has what the function needs.
        unsafe {
            queries.products(rows, out);
        }
    }))
}

/// Queries in the order in which they are multiplied.
struct Queries {
    /// For each [`QUERIES`] queries, the lines of all steps.
    lines: Vec<Line>,
    count: usize,
    dimension: usize,
}

impl Queries {
    /// Of `[n, dimension]`.
    fn new(queries: &[i8], dimension: usize) -> Self {
        let (count, steps) = (queries.len() / dimension, dimension / STEP);
        let mut lines = vec![Line([[[0; STEP]; LANES]; 2]); count.div_ceil(QUERIES) * steps];
        for (number, query) in queries.chunks_exact(dimension).enumerate() {
            let (panel, place) = (number / QUERIES, number % QUERIES);
            let lines = &mut lines[panel * steps..][..steps];
            for (line, bytes) in lines.iter_mut().zip(query.as_chunks::<STEP>().0) {
                line.0[place / LANES][place % LANES] =
                    bytes.map(|byte| (i32::from(byte) + OFFSET) as u8);
            }
        }
        Queries {
            lines,
            count,
            dimension,
        }
    }

    /// See [`ByteProducts`].
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn products(&self, rows: &[i8], out: &mut [i32]) {
        let (dimension, m) = (self.dimension, self.count);
        let groups = rows.chunks(ROWS * dimension).zip(out.chunks_mut(ROWS * m));
        for (rows, out) in groups {
            if out.len() == ROWS * m {
                self.some_rows::<ROWS>(rows, out);
            } else {
                let rows = rows.chunks_exact(dimension);
                for (row, out) in rows.zip(out.chunks_exact_mut(m)) {
                    self.some_rows::<1>(row, out);
                }
            }
        }
    }

    /// `R` rows and all queries.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn some_rows<const R: usize>(&self, rows: &[i8], out: &mut [i32]) {
        let mut offsets = [0; R];
        for (offset, row) in offsets.iter_mut().zip(rows.chunks_exact(self.dimension)) {
            let sum: i32 = row.iter().map(|byte| i32::from(*byte)).sum();
            // Beyond 32 bits the sums of all products wrap around, and come back.
            *offset = sum.wrapping_mul(-OFFSET);
        }
        let panels = self.lines.chunks_exact(self.dimension / STEP);
        for (number, lines) in panels.enumerate() {
            let sums = tile::<R>(rows, self.dimension, offsets, lines);
            for (sums, out) in sums.iter().zip(out.chunks_exact_mut(self.count)) {
                let out = &mut out[number * QUERIES..];
                let wanted = out.len().min(QUERIES);
                let sums: [i32; QUERIES] = bytemuck::cast(*sums);
                out[..wanted].copy_from_slice(&sums[..wanted]);
            }
        }
    }
}

/// The products of `R` rows with [`QUERIES`] queries, whose sums begin with those of `offsets`.
#[expect(
    clippy::needless_range_loop,
    reason = "indices say which register is meant"
)]
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn tile<const R: usize>(
    rows: &[i8],
    dimension: usize,
    offsets: [i32; R],
    lines: &[Line],
) -> [[__m512i; 2]; R] {
    assert!(rows.len() == R * dimension && lines.len() * STEP == dimension);
    let mut sums = offsets.map(|offset| [_mm512_set1_epi32(offset); 2]);
    for (at, line) in lines.iter().enumerate() {
        let queries: [__m512i; 2] = bytemuck::cast(line.0);
        for row in 0..R {
            #[expect(unsafe_code)]
            // SAFETY: there are `R` rows of `dimension` bytes, and as many steps as a row has.
            let bytes: [u8; STEP] = unsafe {
                rows.as_ptr()
                    .add(row * dimension + at * STEP)
                    .cast::<[u8; STEP]>()
                    .read()
            };
            let bytes = _mm512_set1_epi32(i32::from_ne_bytes(bytes));
            for half in 0..2 {
                sums[row][half] = _mm512_dpbusd_epi32(sums[row][half], queries[half], bytes);
            }
        }
    }
    sums
}
