//! Pictures that a GPU decodes: a group's at once, instead of one after the other.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};

use super::Options;
use super::cause::Cause;
use super::group::Waiting;
use super::work::{Shared, Work, Worker};
use crate::inference::model_pool::ModelPool;
use crate::inference::{Engine, Form};
use crate::pictures::{Filter, Fit, GpuReader, PixelOptions, Resampling};

/// A reader on the GPU that runs the model, as [`check`] has made sure.
///
/// # Errors
/// When the GPU decodes nothing.
pub fn open(options: &Options, device: i32, pool: &ModelPool) -> Result<GpuReader> {
    // While a GPU meets a model for the first time, nothing else may use it: see `ModelPool`.
    pool.with(|_| Ok(()))?;
    let Form { width, height, .. } = *pool.engine().form();
    Ok(GpuReader::open(device, options.pixels, width, height)?)
}

/// Whether a GPU decodes where it shall.
///
/// # Errors
/// When the model runs elsewhere.
pub fn check(options: &Options, engine: &dyn Engine) -> Result<()> {
    let provider = engine.execution().provider;
    ensure!(
        provider.is_gpu() || !options.pixels.decode_on_gpu,
        "--decode gpu needs a GPU that also runs the model, and that runs on {}; leave out --decode gpu",
        provider.name()
    );
    let PixelOptions {
        fit,
        filter,
        bgr,
        resampling,
        ..
    } = options.pixels;
    let is_plain = fit == Fit::default()
        && filter == Filter::default()
        && !bgr
        && resampling != Resampling::Torchvision;
    ensure!(
        is_plain || !options.pixels.decode_on_gpu,
        "--decode gpu only resizes to the model's size, bicubic, in RGB, as Pillow does, and --preprocess or --backend asks for \
         something else; leave out --decode gpu"
    );
    Ok(())
}

impl Work<'_> {
    /// Decodes what waits for it in the group. The CPU takes what the GPU leaves; pictures that it cannot decode either
    /// leave the group.
    pub(super) fn decode_on_gpu(&self, shared: &Shared<'_>, worker: &mut Worker) -> Result<()> {
        let size = self.form.width * self.form.height * 3;
        let waiting = std::mem::take(&mut worker.group.waiting);
        let (Some(gpu), false) = (self.gpu, waiting.is_empty()) else {
            return Ok(());
        };
        let files: Vec<&[u8]> = waiting.iter().map(|one| &one.bytes[..]).collect();
        let mut positions = waiting.iter().map(|one| one.position).peekable();
        let mut out: Vec<&mut [u8]> = (worker.group.pixels.chunks_exact_mut(size))
            .enumerate()
            .filter(|(number, _)| positions.next_if_eq(number).is_some())
            .map(|(_, pixels)| pixels)
            .collect();
        let is_read = gpu.read(&files, &mut out)?;
        let count = is_read.iter().filter(|is_read| **is_read).count() as u64;
        shared.decoded_on_gpu.fetch_add(count, Ordering::Relaxed);
        let mut left = Vec::new();
        let compares = (self.comparison).is_some_and(|comparison| comparison.wants_more());
        for (one, is_read) in waiting.into_iter().zip(is_read) {
            match is_read {
                // Their files are needed for the comparison alone.
                true if compares && one.position < self.batch => worker.group.decoded.push(one),
                true => {}
                false => left.push(one),
            }
        }
        // From the last to the first, so that the positions of those before stay.
        for one in left.into_iter().rev() {
            let pixels = &mut worker.group.pixels[one.position * size..][..size];
            let result = self.decode(shared, &mut worker.reader, &one.bytes, pixels);
            if let Err(error) = result {
                let (index, file) = (
                    worker.group.indices[one.position],
                    worker.group.files[one.position],
                );
                let id = worker.group.remove(one.position, size);
                let cause = Cause::decode(&error, file);
                self.give_up(shared, &id, self.list.entry(index as usize), cause)?;
            }
        }
        Ok(())
    }

    /// The pixels of the group's first batch as the CPU decodes them, where a GPU has decoded some.
    pub(super) fn exact_pixels(&self, worker: &mut Worker) -> Option<Vec<u8>> {
        self.gpu?;
        let Form { width, height, .. } = *self.form;
        let size = width * height * 3;
        let Worker { group, reader, .. } = worker;
        let count = group.ids.len().min(self.batch);
        let mut exact = group.pixels[..count * size].to_vec();
        let others = group.decoded.iter().filter(|one| one.position < count);
        for Waiting {
            position, bytes, ..
        } in others
        {
            let pixels = &mut exact[position * size..][..size];
            // What the CPU cannot decode is compared with itself.
            let _ = reader.read(bytes, width, height, pixels);
        }
        Some(exact)
    }
}
