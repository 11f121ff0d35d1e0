//! Turns a tree of pictures into feature vectors that can be searched for similar pictures.
//!
//! Every subcommand is a stage that reads files and writes files, and can be run again at any moment without harm:
//!
//! ```text
//! media tree --list--> objects.txt --extract--> <model>/ab/cd/<object id>.npy --concat--> <model>/NNNN.{features,object_ids}.npy --search--> neighbours
//! ```
//!
//! A picture travels like this: a line of `objects.txt` gives an [`object::ObjectId`]; where its feature does not
//! exist, its bytes become RGB pixels of the model's input size ([`pixels`]), the pixels of a batch become features
//! ([`model`]), and each feature becomes one complete `.npy` file ([`npy`], [`feature_dir`]). One worker carries a
//! group of pictures from end to end ([`extract`]); what workers share is a cursor over the pending objects and a small
//! pool of sessions.
//!
//! Beside the shards stand their checksums ([`manifest`]) and what made the features ([`recipe`]).
//!
//! To be searched, the shards are mapped and the per-object files read ([`collection`]), and [`nearest`] passes over all of
//! them for many queries at once. A picture that is a query becomes a feature in the way of the recipe ([`query`]); what is
//! shown to people are [`thumbnail`]s of the listed pictures ([`media`]).
//!
//! For collections that are too large for that there are an index ([`approximate`]) and a table for other programs
//! ([`export`]). [`serve`] holds model and shards open for browsers.
//!
//! Commands ([`list`], [`extract`], [`mod@concat`], [`search`], [`serve`], [`index`], [`export`], [`status`], [`verify`],
//! [`doctor`]) use the leaves and never each other. Each outside crate has one home: `ort` in [`model`], `ndarray_npy` in
//! [`npy`], `usearch` in [`approximate`], `zstd` in [`export`], `axum` and `tokio` in [`serve`], `indicatif` in
//! [`progress`], `clap` in the binary's `cli`.

pub mod approximate;
pub mod checksum;
pub mod collection;
pub mod complete_file;
pub mod concat;
pub mod default_model;
pub mod doctor;
pub mod engine;
pub mod export;
pub mod extract;
pub mod failure;
pub mod fault;
pub mod feature_dir;
pub mod graph;
pub mod index;
pub mod interrupt;
pub mod list;
mod lock;
pub mod manifest;
pub mod media;
pub mod model;
mod name_hashes;
pub mod nearest;
pub mod npy;
pub mod object;
pub mod pixels;
pub mod progress;
pub mod query;
pub mod recipe;
pub mod regular_file;
pub mod runtime;
pub mod search;
pub mod serve;
pub mod shard;
pub mod status;
pub mod thumbnail;
pub mod verify;
pub mod way_out;
