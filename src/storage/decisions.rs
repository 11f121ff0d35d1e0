//! What people have decided about groups of duplicates: a file of JSON lines beside the model's directory.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde::{Deserialize, Serialize};

use crate::storage::files::{folder_of, regular};
use crate::support::fault;

/// One decision, and a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Two objects or more.
    pub object_ids: Vec<String>,
    /// The one of them to keep, or none: they are no duplicates of each other. It is always said.
    #[serde(deserialize_with = "Option::deserialize")]
    pub keep: Option<String>,
}

/// The file; it is there from the first decision on.
#[derive(Clone, Debug)]
pub struct DecisionFile(PathBuf);

impl DecisionFile {
    /// That of a model's directory, `<model>.decisions.jsonl` beside it.
    pub fn of(directory: &Path) -> Self {
        let mut name = directory.file_name().unwrap_or_default().to_owned();
        name.push(".decisions.jsonl");
        DecisionFile(directory.with_file_name(name))
    }

    /// All decisions. One that a killed server did not write to its end counts for nothing.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is no decision.
    pub fn read(&self) -> Result<Decisions> {
        let mut decisions = Decisions::default();
        for decision in self.all()? {
            decisions.add(decision);
        }
        Ok(decisions)
    }

    /// The same one after the other, as they were made.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn all(&self) -> Result<Vec<Decision>> {
        let mut decisions = Vec::new();
        let bytes = match regular::read_own(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(decisions),
            read => read.with_context(|| format!("cannot read {}", self.0.display()))?,
        };
        for (number, line) in
            (1..).zip(bytes[..whole(&bytes)].split_inclusive(|byte| *byte == b'\n'))
        {
            // Someone has taken a decision back in an editor.
            if line.trim_ascii().is_empty() {
                continue;
            }
            let decision = serde_json::from_slice(line).map_err(|error| {
                // The line that it names is the only one that it has seen.
                let why = error.to_string();
                let why = why.rsplit_once(" at line ").map_or(&*why, |(why, _)| why);
                anyhow!("line {number} is no decision: {why}")
                    .context(format!("cannot read {}", self.0.display()))
            })?;
            decisions.push(decision);
        }
        Ok(decisions)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Adds one. Once this returns it is on the disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&self, decision: &Decision) -> Result<()> {
        self.append(decision)
            .with_context(|| format!("cannot write {}", self.0.display()))
    }

    fn append(&self, decision: &Decision) -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK)
            .open(&self.0)?;
        regular::check(&file.metadata()?)?;
        // There may be several servers.
        file.lock()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let end = whole(&bytes);
        file.set_len(end as u64)?;
        file.seek(SeekFrom::Start(end as u64))?;
        let mut line = Vec::new();
        if !bytes[..end].ends_with(b"\n") && end > 0 {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, decision)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_data()?;
        // The first one makes the file, and so does one after that was moved away.
        fault::step("sync the directory of decisions", || {
            File::open(folder_of(&self.0))?.sync_all()
        })
    }
}

/// How many bytes are whole lines. An editor or a script may have left the end of the last one away.
fn whole(bytes: &[u8]) -> usize {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let end = end.map_or(0, |end| end + 1);
    match serde_json::from_slice::<Decision>(&bytes[end..]) {
        Ok(_) => bytes.len(),
        Err(_) => end,
    }
}

/// What is decided, to be looked up.
#[derive(Debug, Default)]
pub struct Decisions {
    /// How many there are.
    count: usize,
    /// By object, the numbers of the decisions that it is no duplicate of the others in them, in rising order. (Pairs
    /// would take a gigabyte for a group of some thousands.)
    apart: HashMap<String, Vec<usize>>,
    /// By the object to keep, those that are its duplicates, with it.
    kept: HashMap<String, Vec<HashSet<String>>>,
}

impl Decisions {
    fn add(&mut self, decision: Decision) {
        match decision.keep {
            Some(keep) => {
                let all = decision.object_ids.into_iter().collect();
                self.kept.entry(keep).or_default().push(all);
            }
            None => {
                for id in decision.object_ids {
                    self.apart.entry(id).or_default().push(self.count);
                }
            }
        }
        self.count += 1;
    }

    /// Whether it is decided that two objects are no duplicates.
    pub fn rules_out(&self, one: &str, other: &str) -> bool {
        let (Some(of_one), Some(of_other)) = (self.apart.get(one), self.apart.get(other)) else {
            return false;
        };
        in_common(of_one, of_other).next().is_some()
    }

    /// Whether it is decided which of these objects to keep.
    pub fn settles(&self, object_ids: &[&str]) -> bool {
        let sets = object_ids.iter().filter_map(|id| self.kept.get(*id));
        sets.flatten()
            .any(|all| object_ids.iter().all(|id| all.contains(*id)))
    }
}

/// The numbers that are in both, which are in rising order.
pub fn in_common(one: &[usize], other: &[usize]) -> impl Iterator<Item = usize> {
    let numbers = one.iter().copied();
    numbers.filter(|number| other.binary_search(number).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn decision(object_ids: &[&str], keep: Option<&str>) -> Decision {
        Decision {
            object_ids: object_ids.iter().map(|id| (*id).to_owned()).collect(),
            keep: keep.map(str::to_owned),
        }
    }

    #[test]
    fn decisions_are_read_again_and_a_torn_one_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let file = DecisionFile::of(&root.path().join("model"));
        assert!(!file.read().unwrap().settles(&["a", "b"]));
        file.add(&decision(&["b", "a", "c"], None)).unwrap();
        file.add(&decision(&["d", "e", "f"], Some("e"))).unwrap();
        file.add(&decision(&["c", "x"], None)).unwrap();
        file.add(&decision(&["y", "b"], None)).unwrap();
        let path = root.path().join("model.decisions.jsonl");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{before}{{\"object_ids\":[\"x\"")).unwrap();
        let decisions = file.read().unwrap();
        for (one, other) in [("a", "b"), ("b", "a"), ("c", "a"), ("b", "c")] {
            assert!(decisions.rules_out(one, other), "{one} {other}");
        }
        assert!(decisions.rules_out("x", "c") && decisions.rules_out("b", "y"));
        // Each of these is apart from others.
        for (one, other) in [("a", "d"), ("d", "e"), ("x", "y"), ("x", "a"), ("y", "c")] {
            assert!(!decisions.rules_out(one, other), "{one} {other}");
        }
        for (ids, expected) in [
            (&["d", "e", "f"][..], true),
            (&["f", "e"], true),
            (&["d", "f"], false),
            (&["d", "e", "f", "g"], false),
            (&["a", "b"], false),
        ] {
            assert_eq!(decisions.settles(ids), expected, "{ids:?}");
        }
        file.add(&decision(&["g", "h"], None)).unwrap();
        assert!(file.read().unwrap().rules_out("g", "h"));
        let after = fs::read_to_string(&path).unwrap();
        assert_eq!(
            after,
            format!("{before}{{\"object_ids\":[\"g\",\"h\"],\"keep\":null}}\n")
        );
        // An editor may leave an empty line, and a script no end of the last one.
        fs::write(&path, format!("\n{}", after.trim_end())).unwrap();
        assert!(file.read().unwrap().rules_out("g", "h"));
        file.add(&decision(&["i", "j"], None)).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("\n{after}{{\"object_ids\":[\"i\",\"j\"],\"keep\":null}}\n")
        );
        // What is not ours is neither read nor written over.
        fs::write(&path, "something else\n").unwrap();
        let error = format!("{:#}", file.read().unwrap_err());
        assert!(
            error.contains("line 1 is no decision: expected value"),
            "{error}"
        );
    }
}
