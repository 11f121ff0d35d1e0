//! A batch's way through the device: files -> planes -> one pass along each axis -> pixels of the model's size.

use std::collections::HashMap;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable, bytes_of, cast_slice};
use image::metadata::Orientation;

use super::GpuError;
use super::driver::{DeviceMemory, Driver, PinnedMemory, Stream};
use super::nvjpeg::{Decoder, Nvjpeg};
use crate::pictures::resample::{self, Coefficients, Target};
use crate::pictures::size::CHANNELS;
use crate::pictures::{Filter, Fit, Resampling, Size};

/// Where pictures begin in the device's memory, in bytes.
const ALIGNMENT: usize = 256;

/// The most bytes of decoded pictures that are on the device together in one lane: 64 pictures of 1.4 megapixels.
const MOST_BYTES: usize = 1 << 28;

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: i32 = 2;

/// Everything that one batch on the device needs; used again for the next.
pub(super) struct Lane {
    driver: Arc<Driver>,
    resampling: Resampling,
    to: Size,
    decoder: Decoder,
    stream: Stream,
    /// Pictures as they were decoded.
    decoded: DeviceMemory,
    /// After the first pass.
    between: DeviceMemory,
    /// `[n, height, width, 3]`
    pixels: DeviceMemory,
    /// The passes, and the coefficients that they use.
    tables: DeviceMemory,
    axes: HashMap<(usize, usize), Axis>,
    host: PinnedMemory,
}

/// `Pass` in `resample.cu`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Pass {
    from: u64,
    to: u64,
    runs: u64,
    coefficients: u64,
    stride: u32,
    outputs: u32,
    lines: u32,
    from_step: u32,
    from_line: u32,
    from_channel: u32,
    to_step: u32,
    to_line: u32,
    by_lines: u32,
    padding: u32,
}

/// The order of a picture's bytes on the device.
#[derive(Clone, Copy)]
enum Order {
    /// `[3, height, width]`
    Planes,
    /// `[height, width, 3]`
    Pixels,
}

/// A picture on the device.
#[derive(Clone, Copy)]
struct Picture {
    address: u64,
    size: Size,
    order: Order,
}

impl Lane {
    pub(super) fn new(
        driver: &Arc<Driver>,
        nvjpeg: &Arc<Nvjpeg>,
        resampling: Resampling,
        to: Size,
    ) -> Result<Self, GpuError> {
        Ok(Lane {
            driver: driver.clone(),
            resampling,
            to,
            decoder: Decoder::new(nvjpeg)?,
            stream: Stream::new(driver)?,
            decoded: DeviceMemory::new(driver),
            between: DeviceMemory::new(driver),
            pixels: DeviceMemory::new(driver),
            tables: DeviceMemory::new(driver),
            axes: HashMap::new(),
            host: PinnedMemory::new(driver),
        })
    }

    /// See [`GpuReader::read`](super::GpuReader::read).
    pub(super) fn read(
        &mut self,
        files: &[&[u8]],
        out: &mut [&mut [u8]],
    ) -> Result<Vec<bool>, GpuError> {
        self.driver.enter()?;
        let mut is_read = vec![false; files.len()];
        let sizes = files.iter().map(|file| self.decoder.size(file));
        let sizes: Vec<(usize, Size)> = (0..)
            .zip(sizes)
            .filter_map(|(at, size)| Some((at, size?)))
            .collect();
        let mut rest = &sizes[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |(_, size): &&(usize, Size)| {
                bytes += size.rgb_len();
                bytes <= MOST_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (together, others) = rest.split_at(count);
            rest = others;
            match self.read_together(files, together, out) {
                Ok(true) => together.iter().for_each(|(at, _)| is_read[*at] = true),
                // The CPU has memory of its own.
                Ok(false)
                | Err(GpuError::Call {
                    status: OUT_OF_MEMORY,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(is_read)
    }

    /// Reads the files of these numbers, whose pictures are of these sizes; whether nvJPEG decodes them.
    fn read_together(
        &mut self,
        files: &[&[u8]],
        sizes: &[(usize, Size)],
        out: &mut [&mut [u8]],
    ) -> Result<bool, GpuError> {
        let count = sizes.len();
        let mut taken_files: Vec<&[u8]> = sizes.iter().map(|&(at, _)| files[at]).collect();
        let mut taken_sizes: Vec<Size> = sizes.iter().map(|&(_, size)| size).collect();
        // The decoder gets ready anew for each size of batch, so that there are few of them.
        taken_files.resize(count.next_power_of_two(), taken_files[0]);
        taken_sizes.resize(taken_files.len(), taken_sizes[0]);
        let places = self.places(&taken_sizes)?;
        #[allow(unsafe_code, reason = "memory of the device")]
        // SAFETY: `decoded` has room for the pictures, and stays as it is until the stream has been waited for, as it
        // is below in every case.
        let decoded = unsafe { self.decoder.decode(&taken_files, &places, &self.stream) };
        if !decoded {
            self.stream.synchronize()?;
            return Ok(false);
        }
        match self.finish(&places[..count], Order::Planes) {
            Ok(pixels) => {
                let each = pixels.chunks_exact(pixels.len() / count);
                for (&(at, _), pixels) in sizes.iter().zip(each) {
                    out[at].copy_from_slice(pixels);
                }
                Ok(true)
            }
            Err(error) => {
                self.stream.synchronize()?;
                Err(error)
            }
        }
    }

    /// Resamples pictures that are `[height, width, 3]`: for a check.
    pub(super) fn resample(
        &mut self,
        sizes: &[Size],
        pictures: &[Vec<u8>],
    ) -> Result<Vec<u8>, GpuError> {
        self.driver.enter()?;
        let places = self.places(sizes)?;
        let first = places.first().map_or(0, |(address, _)| *address);
        let mut bytes = Vec::new();
        for ((address, _), picture) in places.iter().zip(pictures) {
            bytes.resize((address - first) as usize, 0);
            bytes.extend(picture);
        }
        self.stream.upload(&bytes, &mut self.decoded)?;
        Ok(self.finish(&places, Order::Pixels)?.to_vec())
    }

    /// Where pictures of these sizes go.
    fn places(&mut self, sizes: &[Size]) -> Result<Vec<(u64, Size)>, GpuError> {
        let offsets = offsets(sizes.iter().map(|size| size.rgb_len()));
        let first = self.decoded.reserve(offsets[sizes.len()])?;
        let places = sizes.iter().zip(offsets);
        Ok(places
            .map(|(&size, offset)| (first + offset as u64, size))
            .collect())
    }

    /// Resamples what is in `decoded`; gives `[n, height, width, 3]`.
    fn finish(&mut self, places: &[(u64, Size)], order: Order) -> Result<&[u8], GpuError> {
        let to = self.to;
        let middles: Vec<Size> = places
            .iter()
            .map(|&(_, from)| target(self.resampling, to).passes(from).middle)
            .collect();
        let offsets = offsets(middles.iter().map(|middle| middle.rgb_len()));
        let between = self.between.reserve(offsets[places.len()])?;
        let pixels = self.pixels.reserve(places.len() * to.rgb_len())?;
        if self.axes.len() > MOST_AXES {
            self.axes.clear();
        }
        let mut tables = Tables::new(2 * places.len(), &mut self.axes);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (number, &(address, size)) in places.iter().enumerate() {
            let decoded = Picture {
                address,
                size,
                order,
            };
            let middle = Picture {
                address: between + offsets[number] as u64,
                size: middles[number],
                order: Order::Pixels,
            };
            let last = Picture {
                address: pixels + (number * to.rgb_len()) as u64,
                size: to,
                order: Order::Pixels,
            };
            first.push(tables.pass(decoded, middle));
            second.push(tables.pass(middle, last));
        }
        let count = places.len();
        first.append(&mut second);
        let address = self.tables.reserve(tables.bytes.len())?;
        let bytes = tables.finish(&mut first, address);
        self.stream.upload(&bytes, &mut self.tables)?;
        let half = address + (count * size_of::<Pass>()) as u64;
        #[allow(unsafe_code, reason = "memory of the device")]
        // SAFETY: the passes are at that address, and all that they name was reserved above.
        unsafe {
            self.stream.resample(address, count)?;
            self.stream.resample(half, count)?;
        }
        self.stream
            .download(&self.pixels, count * to.rgb_len(), &mut self.host)
    }
}

/// All that a GPU makes of pictures.
fn target(resampling: Resampling, to: Size) -> Target {
    Target {
        resampling,
        filter: Filter::default(),
        orientation: Orientation::NoTransforms,
        fit: Fit::default(),
        to,
    }
}

/// Where things of these lengths begin, one behind the other, and where the last one ends.
fn offsets(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut offsets = vec![0];
    for length in lengths {
        let end = offsets[offsets.len() - 1] + length;
        offsets.push(end.next_multiple_of(ALIGNMENT));
    }
    offsets
}

/// What takes one length to another, as bytes for the device.
struct Axis {
    /// The runs, and behind them the coefficients.
    bytes: Vec<u8>,
    /// Where the coefficients begin.
    coefficients: usize,
    stride: usize,
}

/// How many of them are kept. One has some 10 kB.
const MOST_AXES: usize = 2000;

impl Axis {
    fn new(from: usize, to: usize) -> Self {
        let mut all = Coefficients::default();
        all.compute(resample::Axis::all(from, to));
        let mut bytes = Vec::new();
        for run in &all.runs {
            bytes.extend(bytes_of(&[run.start as u32, run.len as u32]));
        }
        let coefficients = bytes.len();
        let (fixed, stride) = all.table();
        bytes.extend(cast_slice::<i32, u8>(fixed));
        bytes.resize(bytes.len().next_multiple_of(size_of::<u64>()), 0);
        Axis {
            bytes,
            coefficients,
            stride,
        }
    }
}

/// The passes of a batch with their coefficients, as they go to the device.
struct Tables<'a> {
    /// The passes come first; before [`finish`](Self::finish) there is only room for them.
    bytes: Vec<u8>,
    axes: &'a mut HashMap<(usize, usize), Axis>,
    /// For each axis: where its runs begin, where its coefficients begin, and their stride.
    placed: HashMap<(usize, usize), [usize; 3]>,
}

impl<'a> Tables<'a> {
    fn new(passes: usize, axes: &'a mut HashMap<(usize, usize), Axis>) -> Self {
        Tables {
            bytes: vec![0; passes * size_of::<Pass>()],
            axes,
            placed: HashMap::new(),
        }
    }

    /// A pass from one picture to another that differs in one side at most. Its tables are given as offsets.
    fn pass(&mut self, from: Picture, to: Picture) -> Pass {
        let is_vertical = from.size.height != to.size.height;
        let (from_side, to_side, lines) = match is_vertical {
            true => (from.size.height, to.size.height, from.size.width),
            false => (from.size.width, to.size.width, from.size.height),
        };
        let [runs, coefficients, stride] = self.table(from_side, to_side);
        let [from_pixel, from_row, from_channel] = steps(from);
        let [to_pixel, to_row, _] = steps(to);
        let [[from_step, from_line], [to_step, to_line]] = match is_vertical {
            true => [[from_row, from_pixel], [to_row, to_pixel]],
            false => [[from_pixel, from_row], [to_pixel, to_row]],
        };
        Pass {
            from: from.address,
            to: to.address,
            runs: runs as u64,
            coefficients: coefficients as u64,
            stride: stride as u32,
            outputs: to_side as u32,
            lines: lines as u32,
            from_step,
            from_line,
            from_channel,
            to_step,
            to_line,
            by_lines: is_vertical.into(),
            padding: 0,
        }
    }

    fn table(&mut self, from: usize, to: usize) -> [usize; 3] {
        let axes = &mut *self.axes;
        let bytes = &mut self.bytes;
        *self.placed.entry((from, to)).or_insert_with(|| {
            let axis = axes
                .entry((from, to))
                .or_insert_with(|| Axis::new(from, to));
            let runs = bytes.len();
            bytes.extend(&axis.bytes);
            [runs, runs + axis.coefficients, axis.stride]
        })
    }

    /// The bytes as they are to be at `address`.
    fn finish(mut self, passes: &mut [Pass], address: u64) -> Vec<u8> {
        for pass in &mut *passes {
            pass.runs += address;
            pass.coefficients += address;
        }
        let passes: &[u8] = cast_slice(passes);
        self.bytes[..passes.len()].copy_from_slice(passes);
        self.bytes
    }
}

/// Bytes from a pixel to the next one of its row, to the one below it, and from a channel to the next.
fn steps(picture: Picture) -> [u32; 3] {
    let Size { width, height } = picture.size;
    match picture.order {
        Order::Planes => [1, width, width * height],
        Order::Pixels => [CHANNELS, width * CHANNELS, 1],
    }
    .map(|step| step as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::Resampler;
    use crate::pictures::gpu::test_picture;
    use crate::pictures::resample::{HALF, PRECISION_BITS};

    /// What the kernel does with a pass, in memory whose addresses are indices.
    fn run(pass: &Pass, memory: &mut [u8]) {
        let number = |memory: &[u8], address: u64| -> i32 {
            bytemuck::pod_read_unaligned(&memory[address as usize..][..4])
        };
        for output in 0..pass.outputs {
            let [start, len] =
                [0, 4].map(|at| number(memory, pass.runs + u64::from(output) * 8 + at) as u32);
            for line in 0..pass.lines {
                for channel in 0..CHANNELS as u32 {
                    let mut sum = HALF;
                    for tap in 0..len {
                        let at = pass.coefficients + u64::from(output * pass.stride + tap) * 4;
                        let from = line * pass.from_line
                            + (start + tap) * pass.from_step
                            + channel * pass.from_channel;
                        let from = pass.from + u64::from(from);
                        sum += number(memory, at) * i32::from(memory[from as usize]);
                    }
                    let to = line * pass.to_line + output * pass.to_step + channel;
                    memory[(pass.to + u64::from(to)) as usize] =
                        (sum >> PRECISION_BITS).clamp(0, 255) as u8;
                }
            }
        }
    }

    #[test]
    fn the_passes_are_those_of_the_processor() {
        let to = Size {
            width: 20,
            height: 16,
        };
        let sizes = [(31, 17), (20, 40), (9, 16), (20, 16), (12, 90)];
        for resampling in [Resampling::Pillow12, Resampling::Pillow13] {
            for order in [Order::Planes, Order::Pixels] {
                for (width, height) in sizes {
                    let size = Size { width, height };
                    let picture = test_picture(size);
                    let mut expected = vec![0; to.rgb_len()];
                    Resampler::new(resampling).resample(&picture, size, &mut expected, to);

                    let middle = target(resampling, to).passes(size).middle;
                    let between = size.rgb_len();
                    let pixels = between + middle.rgb_len();
                    let address = (pixels + to.rgb_len()).next_multiple_of(ALIGNMENT);
                    let at = |address: usize, size, order| Picture {
                        address: address as u64,
                        size,
                        order,
                    };
                    let mut axes = HashMap::new();
                    let mut tables = Tables::new(2, &mut axes);
                    let decoded = at(0, size, order);
                    let halfway = at(between, middle, Order::Pixels);
                    let last = at(pixels, to, Order::Pixels);
                    let mut passes = [tables.pass(decoded, halfway), tables.pass(halfway, last)];
                    let bytes = tables.finish(&mut passes, address as u64);

                    let mut memory = match order {
                        Order::Pixels => picture,
                        Order::Planes => (0..CHANNELS)
                            .flat_map(|channel| picture.iter().skip(channel).step_by(CHANNELS))
                            .copied()
                            .collect(),
                    };
                    memory.resize(address, 0);
                    memory.extend(bytes);
                    for pass in &passes {
                        run(pass, &mut memory);
                    }
                    let found = &memory[pixels..][..to.rgb_len()];
                    assert!(found == expected, "{size:?}, {resampling:?}");
                }
            }
        }
    }
}
