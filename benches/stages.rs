//! How long each stage of a picture's way takes on one core.
//!
//! ```text
//! cargo bench --bench stages -- MEDIA_DIR MODEL ROUNDS [exact | bf16 | cuda | tf32 | fp16] [batch=N] [runtime=FILE]
//!     [scratch=DIR] [exhaustive] [workspace] [nhwc]
//! ```
//!
//! The last three are for CUDA: how cuDNN searches for algorithms, and what they may use.
//!
//! Prints one JSON object: milliseconds a picture, the median of the rounds, for reading the file, decoding and
//! resampling, the model, and writing the feature; their sum; and the seconds that the model took to start. The
//! features go below `scratch` and stay there, or else below a temporary directory that is removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use simsearch::inference::{
    self, ConvolutionSearch, CudaOptions, Engine, ModelFile, OnnxEngine, Places, Precision,
    Provider, Wanted,
};
use simsearch::pictures::{PictureReader, PixelOptions};
use simsearch::storage::model_dir::ModelDir;
use simsearch::storage::npy;
use simsearch::storage::object_id::{IdKind, ObjectId};
use simsearch::storage::object_list::ObjectList;

const STAGES: [&str; 4] = ["read", "decode_and_resample", "model", "write"];

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let [media_dir, model, rounds, options @ ..] = &arguments[..] else {
        anyhow::bail!(
            "usage: stages MEDIA_DIR MODEL ROUNDS [exact | bf16 | cuda | tf32 | fp16] [batch=N] [runtime=FILE] [scratch=DIR] \
             [exhaustive] [workspace] [nhwc]"
        );
    };
    let has = |word: &str| options.iter().any(|option| option == word);
    let value = |name: &str| {
        let mut values = options
            .iter()
            .filter_map(|option| option.strip_prefix(name));
        values.next().map(str::to_owned)
    };
    let kinds = [
        ("bf16", Provider::OpenVino, Precision::Bf16),
        ("tf32", Provider::Cuda, Precision::Tf32),
        ("fp16", Provider::Cuda, Precision::Fp16),
        ("cuda", Provider::Cuda, Precision::Fp32),
    ];
    let kind = kinds.into_iter().find(|(word, ..)| has(word));
    let (provider, precision) = kind.map_or(
        (Provider::Cpu, Precision::Fp32),
        |(_, provider, precision)| (provider, precision),
    );
    let engine_options = inference::Options {
        wanted: Wanted::Only(provider),
        precision,
        device: 0,
        output_name: None,
        finish: inference::Finish::default(),
        batch_size: value("batch=").map(|number| number.parse()).transpose()?,
        exact: has("exact"),
        preprocess: None,
        cuda: CudaOptions {
            search: match has("exhaustive") {
                true => ConvolutionSearch::Exhaustive,
                false => ConvolutionSearch::Heuristic,
            },
            max_workspace: has("workspace"),
            prefer_nhwc: has("nhwc"),
        },
    };
    let places = Places {
        named: value("runtime=").map(PathBuf::from),
        program: std::env::current_exe().ok(),
        library_path: std::env::var_os("LD_LIBRARY_PATH"),
        trial: None,
    };
    let model = ModelFile::read(Some(Path::new(model)))?;
    let started = Instant::now();
    let engine = OnnxEngine::start(&places, model, &engine_options, &|line| eprintln!("{line}"))?;
    let batch = engine.execution().batch;
    let mut model = engine.open()?;
    let start = started.elapsed().as_secs_f64();
    let (width, height) = (model.form().width, model.form().height);
    let dimension = model.form().dimension;

    let media_dir = Path::new(media_dir);
    let list = ObjectList::read(&media_dir.join("objects.txt"), IdKind::Name)?;
    let entries: Vec<&str> = list.entries().take(1000).collect();
    let temporary = tempfile::tempdir()?;
    let scratch_folder =
        value("scratch=").map_or_else(|| temporary.path().to_owned(), PathBuf::from);

    let mut reader = PictureReader::new(PixelOptions::default());
    // As many pictures go from stage to stage together as in the program (`commands/extract/work/`).
    let size = width * height * 3;
    let together = batch * (32 / batch).max(1);
    let mut pixels = vec![0; together * size];
    let (mut features, mut file) = (Vec::new(), Vec::new());
    let mut milliseconds = STAGES.map(|_| Vec::new());
    for round in 0..rounds.parse::<usize>()? {
        // A fresh one each time, as in a run: to rename over a file that is there is slower than to make a new one.
        let directory = ModelDir::create(&scratch_folder.join(round.to_string()))?;
        let scratch = directory.scratch()?;
        let mut seconds = [0.0; STAGES.len()];
        for entries in entries.chunks(together) {
            for (entry, pixels) in entries.iter().zip(pixels.chunks_mut(size)) {
                let started = Instant::now();
                let bytes = fs::read(media_dir.join(entry))?;
                seconds[0] += started.elapsed().as_secs_f64();
                let started = Instant::now();
                reader.read(&bytes, width, height, pixels)?;
                seconds[1] += started.elapsed().as_secs_f64();
            }
            let started = Instant::now();
            features.clear();
            for pixels in pixels[..entries.len() * size].chunks(batch * size) {
                model.run(pixels, &mut features)?;
            }
            seconds[2] += started.elapsed().as_secs_f64();
            let started = Instant::now();
            for (entry, feature) in entries.iter().zip(features.chunks(dimension)) {
                file.clear();
                npy::append_feature(feature, &mut file);
                scratch.write_feature(
                    &directory,
                    &ObjectId::from_entry(IdKind::Name, entry)?,
                    0,
                    &file,
                )?;
            }
            seconds[3] += started.elapsed().as_secs_f64();
        }
        for (all, seconds) in milliseconds.iter_mut().zip(seconds) {
            all.push(seconds * 1000.0 / entries.len() as f64);
        }
    }
    let medians = milliseconds.map(median);
    let mut found = serde_json::Map::new();
    for (stage, median) in STAGES.iter().zip(medians) {
        found.insert((*stage).to_owned(), median.into());
    }
    found.insert("sum".into(), medians.iter().sum::<f64>().into());
    found.insert("batch".into(), batch.into());
    found.insert("start".into(), start.into());
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
