//! From a feature to a vector of the graph: multiplied with one number, and stored in fewer bits. For the cosine it is
//! first made to have norm 1, so that the graph always works with Euclidean distances.

use half::f16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::similarity::collection::{Collection, Part};
use crate::similarity::kernels;
use crate::similarity::scan::Metric;

/// The type of the numbers in an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// 16 bits, half the size of the features.
    #[default]
    F16,
    /// 8 bits, a quarter.
    I8,
}

impl Storage {
    /// Bytes of a number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Storage::F16 => 2,
            Storage::I8 => 1,
        }
    }

    /// The largest number of a vector.
    fn largest(self) -> f32 {
        match self {
            Storage::F16 => 1.0,
            Storage::I8 => 127.0,
        }
    }
}

/// How features become vectors.
#[derive(Clone, Copy)]
pub struct Quantizer {
    pub metric: Metric,
    pub storage: Storage,
    /// What features are multiplied with.
    pub scale: f32,
}

/// A feature as the graph takes it.
pub enum Vector {
    /// The bits of f16 numbers, as usearch takes them.
    F16(Vec<i16>),
    I8(Vec<i8>),
}

impl Quantizer {
    /// With the scale that makes the largest number of all shards the largest of a vector.
    pub fn of(collection: &Collection, metric: Metric, storage: Storage) -> Self {
        let shards = collection
            .parts()
            .par_iter()
            .filter(|part| matches!(part, Part::Shard(_)));
        let largest = shards
            .flat_map(|part| part.features().par_chunks_exact(collection.dimension()))
            .map(|feature| {
                let largest = feature
                    .iter()
                    .fold(0f32, |most, number| most.max(number.abs()));
                largest / norm(feature, metric)
            })
            .filter(|number| number.is_finite())
            .reduce(|| 0.0, f32::max);
        let scale = match storage.largest() / largest {
            scale if scale.is_normal() => scale,
            _ => 1.0,
        };
        Quantizer {
            metric,
            storage,
            scale,
        }
    }

    pub fn quantize(&self, feature: &[f32]) -> Vector {
        let factor = self.scale / norm(feature, self.metric);
        let numbers = feature.iter().map(|number| number * factor);
        match self.storage {
            Storage::F16 => {
                let bits = numbers.map(|number| f16::from_f32(number).to_bits().cast_signed());
                Vector::F16(bits.collect())
            }
            // A conversion to fewer bits keeps to their range.
            Storage::I8 => Vector::I8(numbers.map(|number| number.round() as i8).collect()),
        }
    }
}

/// What a feature is divided by.
fn norm(feature: &[f32], metric: Metric) -> f32 {
    match metric {
        Metric::Euclidean => 1.0,
        Metric::Cosine => match kernels::dot(feature, feature).sqrt() as f32 {
            0.0 => 1.0,
            norm => norm,
        },
    }
}
