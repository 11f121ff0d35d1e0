//! Which Pillow made the features of a directory that has no recipe: Python scripts leave none.

use anyhow::{Context, Result, bail};

use super::Options;
use crate::inference::Form;
use crate::inference::model_pool::ModelPool;
use crate::pictures::{OWN_MEMORY, PictureReader, PixelOptions, Resampling};
use crate::similarity::collection::MappedShard;
use crate::storage::media::read_file;
use crate::storage::model_dir::{FeatureState, ModelDir};
use crate::storage::npy;
use crate::storage::object_id::ObjectId;
use crate::storage::object_list::ObjectList;
use crate::storage::shard::ShardFiles;
use crate::support::progress::Progress;

/// How many features are made again. One of nine photographs is of use; the plan's sample has some seven of them.
const ENOUGH: usize = 8;

/// The versions that make other pixels.
const PILLOWS: [Resampling; 2] = [Resampling::Pillow12, Resampling::Pillow13];

/// Makes a few features of the directory again, of pictures that Pillow 12 and 13 resize differently, and compares the
/// bits. `sample` are indices into the list, of objects that have a feature. To be called where the model runs as with
/// `--exact`: else no bits agree.
///
/// # Errors
/// When the features are of the other version than the one that is asked for.
pub fn check(
    options: &Options,
    list: &ObjectList,
    sample: &[u32],
    directory: &ModelDir,
    pool: &ModelPool,
    progress: &Progress,
) -> Result<()> {
    let ids = sample.iter().map(|&index| list.object_id(index as usize));
    let features = features(&ids.collect::<Result<Vec<_>, _>>()?, directory)
        .with_context(|| format!("cannot read {}", directory.path().display()))?;
    let &Form { width, height, .. } = pool.engine().form();
    let mut readers = PILLOWS.map(|resampling| {
        PictureReader::new(PixelOptions {
            resampling,
            ..options.pixels
        })
    });
    let mut bytes = Vec::new();
    let mut pixels = [(); 2].map(|()| vec![0; width * height * 3]);
    let (mut made, mut fitting) = (0, [0; 2]);
    for (&index, feature) in sample.iter().zip(features) {
        if made == ENOUGH {
            break;
        }
        let path = options.media_dir.join(list.entry(index as usize));
        let Some(feature) = feature else { continue };
        // A picture may be gone when it has its feature.
        if read_file(&path, &mut bytes).is_err() {
            continue;
        }
        let mut pairs = readers.iter_mut().zip(&mut pixels);
        let read = pairs.try_for_each(|(reader, out)| {
            reader.read_within(OWN_MEMORY, &bytes, width, height, out)
        });
        if read.is_err() || pixels[0] == pixels[1] {
            continue;
        }
        let mut fits = [false; 2];
        for (fits, pixels) in fits.iter_mut().zip(&pixels) {
            let mut again = Vec::new();
            pool.with(|model| Ok(model.run(pixels, &mut again)?))?;
            *fits = is_same(&again, &feature);
        }
        if fits != [true, true] {
            made += 1;
            for (count, fits) in fitting.iter_mut().zip(fits) {
                *count += usize::from(fits);
            }
        }
    }
    judge(options, made, fitting, progress)
}

/// Says what came out, where something is wrong: `made` features, of which as many fit each of [`PILLOWS`].
///
/// Where the version is plainly the other one, that is an error and no warning: a warning is overlooked, the directory
/// would hold features made in two ways ever after, and the same command with the other number is all that is needed.
fn judge(options: &Options, made: usize, fitting: [usize; 2], progress: &Progress) -> Result<()> {
    let path = options.directory.display();
    let (asked, other, fit_asked, fit_other) = match options.pixels.resampling {
        Resampling::Pillow12 => (12, 13, fitting[0], fitting[1]),
        Resampling::Pillow13 => (13, 12, fitting[1], fitting[0]),
        Resampling::Torchvision => return Ok(()),
    };
    if made == 0 || (fit_asked > 0 && fit_other == 0) {
        return Ok(());
    }
    if fit_asked == 0 && fit_other > 0 {
        bail!(
            "the features in {path} are of Pillow {other}, not {asked}: {fit_other} of {made} that were made again fit to the \
             last bit; go on with --pillow {other}, or give this run another --feature-dir"
        );
    }
    progress.warn(&match fit_asked {
        0 => format!(
            "of {made} features in {path} that were made again, none came out the same to the last bit, so that nothing \
             says whether they are of Pillow 12 or 13; this run goes on with --pillow {asked}"
        ),
        _ => format!(
            "of {made} features in {path} that were made again, {fit_asked} are of Pillow {asked} and {fit_other} of \
             Pillow {other}; this run goes on with --pillow {asked}"
        ),
    });
    Ok(())
}

/// The features of objects, from their own files or the shards.
fn features(ids: &[ObjectId], directory: &ModelDir) -> Result<Vec<Option<Vec<f32>>>> {
    let mut features = vec![None; ids.len()];
    let names: Vec<&str> = ids.iter().map(ObjectId::as_str).collect();
    if names.is_empty() {
        return Ok(features);
    }
    let path = directory.path();
    for listing in ShardFiles::list_all(path)? {
        for number in listing.pairs()? {
            let shard = MappedShard::open(&listing.directory, number)?;
            let dimension = shard.dimension();
            for (index, row) in shard.find_all(&names) {
                features[index] = Some(shard.features()[row * dimension..][..dimension].to_vec());
            }
        }
    }
    let mut buffer = Vec::new();
    for (id, feature) in ids.iter().zip(&mut features) {
        if let FeatureState::Complete(_) = directory.feature_state(id, &mut buffer)? {
            *feature = Some(npy::floats(npy::feature_data(&buffer)?).collect());
        }
    }
    Ok(features)
}

fn is_same(one: &[f32], other: &[f32]) -> bool {
    let bits = one.iter().map(|value| value.to_bits());
    bits.eq(other.iter().map(|value| value.to_bits()))
}
