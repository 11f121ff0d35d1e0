//! Any bytes as the two files of a shard; the first two give the length of the features' file.
#![no_main]

use std::cell::OnceCell;
use std::fs;

use libfuzzer_sys::fuzz_target;
use simsearch::storage::shard::{self, ShardFile, ShardFiles, ShardNumber};
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((length, files)) = bytes.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(files.len());
    let halves = files.split_at(length);
    DIRECTORY.with(|directory| {
        let directory = directory
            .get_or_init(|| tempfile::tempdir().unwrap())
            .path();
        let number = ShardNumber::FIRST;
        let paths = ShardFile::PAIR.map(|half| directory.join(number.file_name(half)));
        fs::write(&paths[0], halves.0).unwrap();
        fs::write(&paths[1], halves.1).unwrap();
        let pairs = ShardFiles::list(directory).and_then(|files| files.pairs(directory));
        assert_eq!(pairs.unwrap(), [number]);
        if let Ok(ids) = shard::object_ids(directory, number) {
            assert_eq!(ids.len(), shard::features_shape(&paths[0]).unwrap().0);
        }
    });
});
