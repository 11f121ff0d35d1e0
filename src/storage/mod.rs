//! What is on disk: lists of objects, features, shards, and what is recorded beside them.

pub mod checksum;
pub mod failures;
pub mod files;
pub mod media;
pub mod model_dir;
pub mod name_filter;
pub mod npy;
pub mod object_id;
pub mod object_list;
pub mod recipe;
pub mod sha256sums;
pub mod shard;
