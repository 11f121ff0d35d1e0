//! The graph itself: usearch's HNSW, with this program's distances.

use anyhow::{Context, Result, ensure};
use half::f16;
use usearch::ffi::Matches;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::file::{Description, IndexFile};
use super::quantize::{Storage, Vector};
use crate::similarity::kernels;

/// Edges of a vector. (100,000 x 1280 between real features: with 32 the graph finds 98 % of the ten nearest with 256
/// candidates, and answers 1,448 queries a second; with usearch's default of 16 it takes 512 and answers 901.)
const CONNECTIVITY: usize = 32;
/// Candidates that are kept while a vector gets its edges; usearch's default.
const EXPANSION_ADD: usize = 128;

/// Vectors and their edges.
pub struct Graph {
    /// Before the file, whose pages it may read, so that it is dropped first.
    index: Index,
    file: Option<IndexFile>,
}

impl Graph {
    /// A graph of no vectors.
    pub fn empty(description: &Description) -> Result<Self> {
        let dimension = description.dimension;
        ensure!(dimension > 0, "features of no numbers cannot be indexed");
        let mut index = Index::new(&IndexOptions {
            dimensions: dimension,
            metric: MetricKind::L2sq,
            quantization: match description.storage {
                Storage::F16 => ScalarKind::F16,
                Storage::I8 => ScalarKind::I8,
            },
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION_ADD,
            expansion_search: description.expansion,
            multi: false,
        })
        .context("usearch cannot make an index")?;
        index
            .reserve_capacity_and_threads(0, threads())
            .context("usearch cannot reserve memory")?;
        set_distance(&mut index, description);
        Ok(Graph { index, file: None })
    }

    /// The graph in a file, which is read page by page as it is searched; the inner error says what is wrong with it.
    pub fn map(file: IndexFile) -> Result<Result<Self, String>> {
        let mut graph = Self::empty(file.description())?;
        // SAFETY: The bytes outlive the index: both are fields of one structure, and the index goes first.
        #[expect(unsafe_code)]
        let viewed = unsafe { graph.index.view_from_buffer(file.content()) };
        let checked = viewed
            .map_err(|error| format!("usearch: {error}"))
            .and_then(|()| graph.settle(file.description()));
        graph.file = Some(file);
        Ok(checked.map(|()| graph))
    }

    /// The same in memory, where it can grow.
    pub fn load(file: &IndexFile) -> Result<Result<Self, String>> {
        let mut graph = Self::empty(file.description())?;
        let checked = (graph.index.load_from_buffer(file.content()))
            .map_err(|error| format!("usearch: {error}"))
            .and_then(|()| graph.settle(file.description()));
        Ok(checked.map(|()| graph))
    }

    /// Compares what usearch has read with the description, and sets what it does not keep in its files.
    fn settle(&mut self, description: &Description) -> Result<(), String> {
        if self.len() != description.vectors || self.index.dimensions() != description.dimension {
            return Err("its contents do not match its header".into());
        }
        set_distance(&mut self.index, description);
        self.set_expansion(description.expansion);
        Ok(())
    }

    /// How many vectors it has.
    pub fn len(&self) -> usize {
        self.index.size()
    }

    /// Makes room for as many vectors more, which all threads may then add.
    pub fn reserve(&self, more: usize) -> Result<()> {
        assert!(self.file.is_none(), "a mapped graph does not grow");
        (self.index)
            .reserve_capacity_and_threads(self.len() + more, threads())
            .context("usearch cannot reserve memory")
    }

    pub fn add(&self, key: u64, vector: &Vector) -> Result<()> {
        match vector {
            Vector::F16(vector) => self.index.add(key, usearch::f16::from_i16s(vector)),
            Vector::I8(vector) => self.index.add(key, vector),
        }
        .context("usearch cannot add a vector")
    }

    /// Removes a vector, whose place the next one takes.
    pub fn remove(&self, key: u64) -> Result<()> {
        (self.index.remove(key)).context("usearch cannot remove a vector")?;
        Ok(())
    }

    /// Whether a search for a vector of the graph finds it, or as many of the same numbers as it looks for.
    ///
    /// While several threads add vectors, usearch 2.26.6 may drop the only edge to one of them (its issue #735): the
    /// vector is there, and no search comes to it.
    pub fn finds(&self, key: u64, vector: &Vector) -> bool {
        let found = self.matches(vector, 16);
        found.keys.contains(&key) || found.distances.last() == Some(&0.0)
    }

    /// Sets how many candidates a search keeps on its way, at least.
    pub fn set_expansion(&self, expansion: usize) {
        self.index.change_expansion_search(expansion);
    }

    /// The keys of the `k` nearest vectors, but for those that it misses.
    pub fn search(&self, vector: &Vector, k: usize) -> Vec<u64> {
        self.matches(vector, k).keys
    }

    fn matches(&self, vector: &Vector, k: usize) -> Matches {
        let found = match vector {
            Vector::F16(vector) => self.index.search(usearch::f16::from_i16s(vector), k),
            Vector::I8(vector) => self.index.search(vector, k),
        };
        // It fails only when memory runs out, where Rust's own collections end the process too.
        found.expect("usearch searches")
    }

    /// usearch's index, to be written.
    pub fn usearch(&self) -> &Index {
        &self.index
    }
}

/// Threads that may use a graph at a time.
fn threads() -> usize {
    rayon::current_num_threads().max(16)
}

/// Lets usearch measure distances with this program's functions; opening a file makes it use its own again.
fn set_distance(index: &mut Index, description: &Description) {
    let dimension = description.dimension;
    match description.storage {
        Storage::F16 => index.change_metric::<usearch::f16>(Box::new(move |one, other| {
            // SAFETY: usearch passes vectors of the index, or one of them and a query: `dimension` numbers of 16 bits
            // each.
            #[expect(unsafe_code)]
            let [one, other] = [one, other].map(|vector| unsafe {
                std::slice::from_raw_parts(vector.cast::<f16>(), dimension)
            });
            kernels::squared_distance_f16(one, other)
        })),
        Storage::I8 => index.change_metric::<i8>(Box::new(move |one, other| {
            // SAFETY: usearch passes vectors of the index, or one of them and a query: `dimension` bytes each.
            #[expect(unsafe_code)]
            let [one, other] =
                [one, other].map(|vector| unsafe { std::slice::from_raw_parts(vector, dimension) });
            kernels::squared_distance_i8(one, other)
        })),
    }
}
