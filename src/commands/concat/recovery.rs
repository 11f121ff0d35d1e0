//! What a killed call has left is finished or removed.

use anyhow::{Context, Result, ensure};

use super::packing::{put_in_place, remove_temporary};
use crate::storage::model_dir::ModelDir;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, ShardFile, ShardFiles};

/// Brings a directory in order in which a `concat` was killed; returns the checksums that it has then.
pub fn finish_what_was_killed(directory: &ModelDir) -> Result<Sha256Sums> {
    let path = directory.path();
    let files = ShardFiles::list(path)?;
    let mut sums = Sha256Sums::read(path)?;
    sums.forget_unfinished(&files)?;
    for (&number, &[features, object_ids, sources]) in &files.temporary {
        let finished = files.finished.get(&number).copied().unwrap_or_default();
        if object_ids && matches!(finished, [true, false, _]) {
            // All were durable before the first rename, so that they need only their names.
            let temporary = path.join(number.temporary_name(ShardFile::ObjectIds));
            let features_path = path.join(number.file_name(ShardFile::Features));
            let ids = shard::read_object_ids(&temporary).with_context(|| {
                format!(
                    "{} has lost its object ids; the per-object files of its rows are still there, so move it away and \
                     run the same command again",
                    features_path.display()
                )
            })?;
            let (rows, _, _) = shard::features_shape(&features_path)?;
            ensure!(
                ids.len() == rows,
                "{} has {} rows, {} has {rows}: they do not belong together; move both away",
                temporary.display(),
                ids.len(),
                features_path.display()
            );
            if sources {
                put_in_place(directory, number, ShardFile::Sources)?;
            }
            put_in_place(directory, number, ShardFile::ObjectIds)?;
        } else {
            if object_ids {
                remove_temporary(directory, number, ShardFile::ObjectIds)?;
            }
            if sources {
                remove_temporary(directory, number, ShardFile::Sources)?;
            }
        }
        if features {
            remove_temporary(directory, number, ShardFile::Features)?;
        }
    }
    // What it put in place may not be durable yet, and what that replaces is removed next.
    directory
        .sync()
        .with_context(|| format!("cannot sync {}", path.display()))?;
    Ok(sums)
}
