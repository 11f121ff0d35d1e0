//! The checksums of a model's directory: `SHA256SUMS`, which `sha256sum -c SHA256SUMS` checks too.
//!
//! `concat` writes it and `verify` compares it. It has a line for each file of each shard, and one for `recipe.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::storage::checksum;
use crate::storage::files::{complete, regular};
use crate::storage::recipe::Recipe;
use crate::storage::shard::{ShardFile, ShardFiles, ShardNumber};

/// The checksums of a directory's files.
#[derive(Debug)]
pub struct Sha256Sums {
    directory: PathBuf,
    /// By file name.
    sums: BTreeMap<String, String>,
}

/// Why the checksums of a directory cannot be read or written.
#[allow(missing_docs, reason = "the messages tell what the fields are")]
#[derive(Debug, Error)]
pub enum Sha256SumsError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A line is not one that `sha256sum` prints for a file that belongs there.
    #[error(
        "{}: line {line} is not the checksum of a shard's file or of recipe.json; remove the line, and `simsearch concat` \
         records what is missing",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

impl Sha256Sums {
    /// The name of the file in a model's directory.
    pub const FILE_NAME: &str = "SHA256SUMS";

    /// Reads the checksums of a model's directory; none if there is no such file.
    pub fn read(directory: &Path) -> Result<Self, Sha256SumsError> {
        let path = directory.join(Self::FILE_NAME);
        let bytes = match regular::read_own(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Sha256SumsError::Io { path, source }),
        };
        // Bytes that are not text make a line that is not a checksum's.
        let text = String::from_utf8_lossy(&bytes);
        let mut sums = BTreeMap::new();
        let lines = text.lines().enumerate();
        // An editor may have left a blank one.
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            match parse(line) {
                Some((name, sum)) => sums.insert(name.to_owned(), sum.to_ascii_lowercase()),
                None => {
                    let line = index + 1;
                    return Err(Sha256SumsError::Damaged { path, line });
                }
            };
        }
        Ok(Sha256Sums {
            directory: directory.to_owned(),
            sums,
        })
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The recorded checksum of a file.
    pub fn sum(&self, file_name: &str) -> Option<&str> {
        self.sums.get(file_name).map(String::as_str)
    }

    /// The names of the files that have a checksum.
    pub(crate) fn file_names(&self) -> impl Iterator<Item = &str> {
        self.sums.keys().map(String::as_str)
    }

    /// Records the checksums of a shard's files, and makes that durable together with every name in the directory.
    pub(crate) fn record(
        &mut self,
        number: ShardNumber,
        sums: &[(ShardFile, String)],
    ) -> Result<(), Sha256SumsError> {
        self.record_all([(number, sums)].into_iter())
    }

    /// The same for several shards.
    pub(crate) fn record_all<'s>(
        &mut self,
        shards: impl Iterator<Item = (ShardNumber, &'s [(ShardFile, String)])>,
    ) -> Result<(), Sha256SumsError> {
        for (number, sums) in shards {
            for (file, sum) in sums {
                self.sums.insert(number.file_name(*file), sum.clone());
            }
        }
        self.add(Recipe::FILE_NAME)?;
        self.write()
    }

    /// Forgets a shard that was removed.
    pub(crate) fn forget(&mut self, number: ShardNumber) -> Result<(), Sha256SumsError> {
        for file in ShardFile::ALL {
            self.sums.remove(&number.file_name(file));
        }
        self.write()
    }

    /// Forgets the shards that a killed `concat` has recorded and not put in place, as long as their temporary files
    /// tell which these are. A shard that was lost in another way keeps its lines, so that it is missed.
    pub(crate) fn forget_unfinished(&mut self, files: &ShardFiles) -> Result<(), Sha256SumsError> {
        let path = self.directory.join(Self::FILE_NAME);
        complete::remove_leftover(&path).map_err(|source| Sha256SumsError::Io { path, source })?;
        let before = self.sums.len();
        for number in files.temporary.keys() {
            let finished = files.finished.get(number).copied().unwrap_or_default();
            if matches!(finished, [false, false, _]) {
                for file in ShardFile::ALL {
                    self.sums.remove(&number.file_name(file));
                }
            }
        }
        match self.sums.len() == before {
            true => Ok(()),
            false => self.write(),
        }
    }

    /// Records the files that have no checksum: shards of an earlier version or of another program.
    pub(crate) fn add_missing(&mut self, shards: &[ShardNumber]) -> Result<(), Sha256SumsError> {
        let before = self.sums.len();
        for number in shards {
            for file in ShardFile::ALL {
                self.add(&number.file_name(file))?;
            }
        }
        if !shards.is_empty() {
            self.add(Recipe::FILE_NAME)?;
        }
        match self.sums.len() == before {
            true => Ok(()),
            false => self.write(),
        }
    }

    /// Adds the checksum of a file that has none yet; nothing where there is no such file.
    fn add(&mut self, file_name: &str) -> Result<(), Sha256SumsError> {
        if self.sums.contains_key(file_name) {
            return Ok(());
        }
        let path = self.directory.join(file_name);
        match checksum::of_file(&path) {
            Ok(sum) => {
                self.sums.insert(file_name.to_owned(), sum);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Sha256SumsError::Io { path, source }),
        }
    }

    fn write(&self) -> Result<(), Sha256SumsError> {
        let path = self.directory.join(Self::FILE_NAME);
        let lines = self
            .sums
            .iter()
            .map(|(name, sum)| format!("{sum}  {name}\n"));
        let text: String = lines.collect();
        complete::write(&path, |file| file.write_all(text.as_bytes()))
            .map_err(|source| Sha256SumsError::Io { path, source })
    }
}

/// The file name and the checksum in a line of `sha256sum`, or of `sha256sum --binary`.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (sum, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Nothing else is looked at, wherever a name would lead.
    let belongs = name == Recipe::FILE_NAME || ShardNumber::parse(name).is_some();
    (is_sum && belongs).then_some((name, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_sha256sum_are_read_and_no_others() {
        let sum = "0f".repeat(32);
        for (line, expected) in [
            (
                format!("{sum}  0000.features.npy"),
                Some("0000.features.npy"),
            ),
            (
                format!("{sum} *12345.object_ids.npy"),
                Some("12345.object_ids.npy"),
            ),
            (format!("{sum}  recipe.json"), Some("recipe.json")),
            (format!("{sum} 0000.features.npy"), None),
            (format!("{sum}  ../0000.features.npy"), None),
            (format!("{sum}  /etc/passwd"), None),
            (sum.clone(), None),
            (format!("{}  recipe.json", &sum[1..]), None),
            (format!("{}g  recipe.json", &sum[1..]), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(&line).map(|(name, _)| name), expected, "{line}");
        }
    }

    #[test]
    fn a_link_is_refused_rather_than_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, directory.path().join(Sha256Sums::FILE_NAME)).unwrap();
        assert!(matches!(
            Sha256Sums::read(directory.path()),
            Err(Sha256SumsError::Io { .. })
        ));
    }
}
