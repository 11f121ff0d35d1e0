//! What is on disk: lists of objects, features, shards, and what is recorded beside them.

pub mod checksum;
pub(crate) mod failures;
pub(crate) mod files;
pub(crate) mod media;
pub mod model_dir;
pub(crate) mod name_filter;
pub mod npy;
pub mod object_id;
pub mod object_list;
pub(crate) mod recipe;
pub mod sha256sums;
pub mod shard;
