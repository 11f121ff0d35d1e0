//! Turns a tree of pictures into feature vectors that can be searched for similar pictures.
//!
//! Every command is a stage that reads files and writes files, and can be run again at any moment without harm:
//!
//! ```text
//! media tree --list--> objects.txt --extract--> <model>/ab/cd/<object id>.npy --concat--> <model>/NNNN.{features,object_ids}.npy --search--> neighbours
//! ```
//!
//! # The folders
//!
//! | folder | what is in it |
//! |---|---|
//! | `cli` | the arguments of each command, and what it prints; the only folder that names `clap` (part of the program, not of this library) |
//! | [`commands`] | `list`, `extract`, `concat`, `prune`, `watch`, `search`, `duplicates`, `index`, `export`, `status`, `verify`, `doctor`: the main function of each shows its steps in order |
//! | [`server`] | `serve`: a page and an interface for programs; the only folder that names `axum` and `tokio` |
//! | [`inference`] | from a picture to its feature: ONNX Runtime, its providers and sessions, the rewriting of graphs; the only folder that names `ort` |
//! | [`similarity`] | which features are near to which: collections, the exact scan, the approximate index |
//! | [`pictures`] | the bytes of a file -> RGB pixels -> the model's input size; works on memory alone |
//! | [`storage`] | what is on disk: lists of objects, features, shards, and what is recorded beside them |
//! | [`support`] | progress, signals, hints, wrong usage, mutexes, what pages share, faults for tests |
//!
//! A folder may use those to the left of it, and none of its own level (the test `layers` holds this):
//!
//! ```text
//! support <- storage, pictures <- inference, similarity <- commands, server <- cli <- main
//! ```
//!
//! Commands never use each other. Below them nothing prints, reads the environment or exits, except that
//! [`support::progress`] prints how a run goes, and [`support::fault`] reads which fault a test wants.
//!
//! # The walk of a picture
//!
//! 1. [`commands::list`] writes its path to `objects.txt`; [`storage::object_list`] reads it, and its file name, or all
//!    of it, is the [`ObjectId`](storage::object_id::ObjectId).
//! 2. [`commands::extract`] plans: what has a feature, in a file of its own or in a shard, is done; what failed and has
//!    not changed stays failed; the rest is pending, in shuffled order.
//! 3. A worker claims the object, with a lock that other processes see ([`storage::model_dir`]), and reads its file, or
//!    its member of a tar (`storage::media`). An object that another process has claimed is put off, asked for again at
//!    the end, and left after two minutes (`queue.rs` of [`commands::extract`]).
//! 4. The bytes become RGB pixels of the model's input size ([`pictures::PictureReader`]).
//! 5. The pixels of a batch become features in a session that the worker borrows ([`inference::model_pool`],
//!    [`inference::Model`]).
//! 6. Each feature becomes one complete `.npy` file ([`storage::npy`], [`storage::model_dir`]), or the picture a line
//!    in the report of failures (`storage::failures`). Which file it was made from is recorded before that
//!    (`storage::sources`). Who reads a feature later recognises a torn file by its length and header
//!    ([`storage::npy::feature_data`]), and `extract` makes it again.
//! 7. [`commands::concat`] packs the files into shards ([`storage::shard`]), and records their checksums
//!    ([`storage::sha256sums`]).
//!
//! One worker carries a group of pictures from step 3 to step 6; what workers share is a cursor over the pending
//! objects and the pool of sessions.
//!
//! # The walk of a query
//!
//! 1. A picture becomes a feature in the way that made the others, which `storage::recipe` records
//!    ([`inference::embed`]). An object id's feature is read from the collection, and no model is loaded.
//! 2. [`similarity::collection`] maps the shards and reads the files that are not packed yet.
//! 3. [`similarity::neighbours`] takes queries, from [`commands::search`] and from [`server`], and a metric or an
//!    index. [`similarity::scan`] passes over all of them for many queries at once: a fast pass in 32 bits or fewer
//!    rules out the rows that are certainly too far, and the rest are measured again in 64 bits, so that the answer is
//!    the same on every machine. [`similarity::hnsw`] gives candidates instead, where an approximate answer will do.
//! 4. [`commands::search`] and [`server`] show the neighbours; `storage::media` tells which file an object id stands
//!    for, [`pictures::thumbnail`] makes it small.

pub mod commands;
pub mod inference;
pub mod pictures;
pub mod server;
pub mod similarity;
pub mod storage;
pub mod support;
