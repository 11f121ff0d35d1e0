//! What is on disk: lists of objects, features, shards, and what is recorded beside them.
//!
//! | module | what |
//! |---|---|
//! | [`object_id`], [`object_list`] | the name of an object, and the file `objects.txt` |
//! | [`part`] | which objects of a list are in which part of it |
//! | `part_dir` | the directory of a part that writes its shards itself |
//! | `folder` | a folder of the media directory, for questions about what is below it |
//! | `media` | which file an object id stands for, and how a picture file, or a member of a tar, is read |
//! | `beneath` | files of the media directory, and none outside |
//! | `tar` | the members of tar files |
//! | `mounted` | what is looked at before pictures that cannot be found are taken for gone |
//! | [`model_dir`] | `FEATURE_DIR/<model>`: per-object files, claims and other locks, temporary files |
//! | [`npy`] | the format of features; tells a torn file from a whole one |
//! | [`shard`], [`sha256sums`], [`checksum`] | packed features, and their checksums |
//! | `shard_changes` | how shards change in one durable step, and what a killed process has left of that |
//! | `merging` | how far a merge of parts has come |
//! | `sources` | which file each feature was made from |
//! | `recipe` | what made the features of a directory |
//! | `decisions` | what people have decided about duplicates |
//! | `failures` | the report of the objects that failed, which processes share |
//! | `files` | files that are complete or absent, and regular ones |
//! | [`output`] | where a command's result goes |
//! | `name_filter` | which names have been seen, in little memory |

pub(crate) mod beneath;
pub mod checksum;
pub(crate) mod decisions;
pub(crate) mod failures;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod media;
pub(crate) mod merging;
pub mod model_dir;
pub(crate) mod mounted;
pub(crate) mod name_filter;
pub mod npy;
pub mod object_id;
pub mod object_list;
pub mod output;
pub mod part;
pub(crate) mod part_dir;
pub(crate) mod recipe;
pub mod sha256sums;
pub mod shard;
pub(crate) mod shard_changes;
pub(crate) mod sources;
pub(crate) mod tar;
