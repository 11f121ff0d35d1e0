//! The Rust peer of the benchmark: what a competent programmer writes with `image`, `ort` and `rayon` in an afternoon.
//!
//! ```text
//! ORT_DYLIB_PATH=libonnxruntime.so peer MEDIA_DIR FEATURE_DIR MODEL.onnx
//! ```
//!
//! Why not `fastembed` (7.7.0, read and tried with the reference model)? Its image path takes a model of one's own
//! (`ImageEmbedding::try_new_from_user_defined`, with a Hugging Face preprocessor configuration), and takes the name of
//! the input from the model; but its preprocessing always ends in `[3, height, width]` (`PILToNDarray`), so that
//! `embed`, `embed_bytes` and `embed_images` of this model, whose input is `[n, 224, 224, 3]`, end with "Got invalid
//! dimensions for input: inputs:0 ... index: 1 Got: 3 Expected: 224". Only `embed_preprocessed` takes it, given arrays
//! that the caller has decoded, resized and laid out, which is the larger part of this program; it also scales every
//! feature to length 1, so that the features are not those of the model, and runs one session behind `&mut self`.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use rayon::prelude::*;

const SIDE: usize = 224;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [media_dir, feature_dir, model] = &arguments[..] else {
        anyhow::bail!("usage: peer MEDIA_DIR FEATURE_DIR MODEL.onnx");
    };
    let (media_dir, model) = (Path::new(media_dir), Path::new(model));
    let directory = Path::new(feature_dir).join(model.file_stem().context("a model has a name")?);
    let environment = ort::init().build()?;
    let sessions: Vec<Mutex<Session>> = (0..rayon::current_num_threads())
        .map(|_| Ok(Mutex::new(open(&environment, model)?)))
        .collect::<Result<_>>()?;
    let list = fs::read_to_string(media_dir.join("objects.txt"))?;
    let entries: Vec<&str> = list.lines().collect();
    entries.par_iter().try_for_each(|entry| {
        // Each thread has its own session: nobody ever waits for the lock.
        let thread = rayon::current_thread_index().context("a thread of the pool")?;
        let mut session = sessions[thread].lock().expect("no thread panics");
        extract(entry, media_dir, &directory, &mut session).with_context(|| (*entry).to_owned())
    })
}

fn open(environment: &Environment, model: &Path) -> ort::Result<Session> {
    let session = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .commit_from_file(model)?;
    Ok(session)
}

fn extract(entry: &str, media_dir: &Path, directory: &Path, session: &mut Session) -> Result<()> {
    let name = entry.rsplit('/').next().unwrap_or(entry);
    let folder = directory.join(&name[..2]).join(&name[2..4]);
    let file = folder.join(format!("{name}.npy"));
    if file.exists() {
        return Ok(());
    }
    let picture = image::open(media_dir.join(entry))?.into_rgb8();
    let picture = imageops::resize(&picture, SIDE as u32, SIDE as u32, FilterType::CatmullRom);
    let pixels: Vec<f32> = picture
        .iter()
        .map(|&level| f32::from(level) / 255.0)
        .collect();
    let input = TensorRef::from_array_view(([1, SIDE, SIDE, 3], &pixels[..]))?;
    let outputs = session.run(ort::inputs!["inputs:0" => input])?;
    let (_, feature) = outputs["feature_vector"].try_extract_tensor::<f32>()?;
    fs::create_dir_all(&folder)?;
    fs::write(&file, npy(feature))?;
    Ok(())
}

/// A `.npy` file of format 1.0: magic, length of the header, header padded so that the data begin at 128.
fn npy(feature: &[f32]) -> Vec<u8> {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}",
        feature.len()
    );
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(feature.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}
