//! How many pairs there are below each distance: what to choose a limit by.

use std::fmt;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::{Compared, Options, chart, find_pairs, open_media};
use crate::similarity::collection::Collection;
use crate::similarity::scan::Metric;
use crate::similarity::scan::pairs;
use crate::storage::output::{self, Kind};
use crate::support::progress::Progress;

/// Objects whose distances from each other tell how far a histogram goes.
const SAMPLE: usize = 1000;
/// A histogram goes so far that there may be about so many pairs for each object.
const PAIRS_EACH: usize = 10;
/// Its steps, at least.
const STEPS: f64 = 15.0;

/// How many pairs are within each distance.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Histogram {
    /// How distances are measured.
    pub metric: Metric,
    /// How many objects were compared.
    pub objects: usize,
    /// Rising.
    pub steps: Vec<Step>,
}

/// A distance.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Step {
    /// The distance, itself included.
    pub max_distance: f64,
    /// How many pairs are within it.
    pub pairs: usize,
}

/// Counts the pairs within round distances up to `options.max_distance`, or, where that is not given, up to one that
/// leaves a few pairs for each object. Writes them to `options.html`, too.
///
/// # Errors
/// As [`super::duplicates()`].
pub fn histogram(options: &Options, progress: &Progress) -> Result<Histogram> {
    let collection = Collection::open_filled(&options.directory)?;
    let media = open_media(options, collection.id_kind())?;
    let compared = Compared::choose(&collection, media.as_ref(), options)?;
    compared.say_what_is_left_out(progress);
    let reached = match options.max_distance {
        Some(limit) => limit,
        None => reach(&collection, &compared, options.metric),
    };
    let step = RoundStep::of(reached);
    let steps = (reached / step.times(1)).ceil() as usize;
    let limit = options.max_distance.unwrap_or_else(|| step.times(steps));
    let (pairs, kept) = find_pairs(&collection, &compared, options, limit, progress)?;
    let steps = (0..=steps).map(|number| {
        let max_distance = step.times(number).min(limit);
        Step {
            max_distance,
            pairs: pairs.partition_point(|pair| pair.distance <= max_distance),
        }
    });
    let histogram = Histogram {
        metric: options.metric,
        objects: compared.objects.len(),
        steps: steps.collect(),
    };
    if let Some(path) = &options.html {
        output::write(path, Kind::Page, |file| chart::write(file, &histogram))
            .with_context(|| format!("cannot write the page {}", path.display()))?;
    }
    kept.remove();
    Ok(histogram)
}

/// A distance within which there are about [`PAIRS_EACH`] pairs for each object, as a sample of them says.
fn reach(collection: &Collection, compared: &Compared<'_>, metric: Metric) -> f64 {
    let count = compared.objects.len();
    let sample: Vec<u32> = (0..count)
        .step_by(count.div_ceil(SAMPLE).max(1))
        .map(|place| place as u32)
        .collect();
    let pairs = sample
        .par_iter()
        .enumerate()
        .flat_map_iter(|(number, one)| {
            let others = sample[number + 1..].iter();
            others.map(|other| {
                let [one, other] = [*one, *other].map(|place| compared.feature(collection, place));
                metric.between(one, other)
            })
        });
    let mut distances: Vec<f64> = pairs.collect();
    distances.retain(|distance| distance.is_finite());
    let share = (PAIRS_EACH * count) as f64 / pairs::count(count).max(1) as f64;
    let wanted = (share * distances.len() as f64) as usize;
    match distances.len() {
        0 => 1.0,
        found => {
            *distances
                .select_nth_unstable_by(wanted.min(found - 1), f64::total_cmp)
                .1
        }
    }
}

/// 1, 2 or 5 times a power of ten.
#[derive(Clone, Copy, Debug)]
struct RoundStep {
    factor: f64,
    power: i32,
}

impl RoundStep {
    /// The largest of which [`STEPS`] go into a limit.
    fn of(limit: f64) -> Self {
        let most = match limit / STEPS {
            0.0 => 1.0,
            most => most,
        };
        // Smaller ones have no power of ten to be divided by.
        let power = (most.log10().floor() as i32).max(-300);
        let steps = [5.0, 2.0, 1.0].map(|factor| RoundStep { factor, power });
        let fits = |step: &RoundStep| step.times(1) <= most;
        steps.into_iter().find(fits).unwrap_or(steps[2])
    }

    /// So many steps; divided by a power of ten rather than multiplied with a fraction, for 0.3 not to be
    /// 0.30000000000000004.
    fn times(self, number: usize) -> f64 {
        let whole = number as f64 * self.factor;
        match self.power < 0 {
            true => whole / 10f64.powi(-self.power),
            false => whole * 10f64.powi(self.power),
        }
    }
}

/// A line for each distance: the distance, a space, and how many pairs are within it.
impl fmt::Display for Histogram {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step {
            max_distance,
            pairs,
        } in &self.steps
        {
            writeln!(to, "{max_distance} {pairs}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_there_are_fifteen_to_forty_of_them() {
        for (limit, expected) in [
            (0.3, "0.02 0.06"),
            (1.0, "0.05 0.15"),
            (1.4, "0.05 0.15"),
            (40.0, "2 6"),
            (0.0031, "0.0002 0.0006"),
            (4e-12, "0.0000000000002 0.0000000000006"),
        ] {
            let step = RoundStep::of(limit);
            assert_eq!(format!("{} {}", step.times(1), step.times(3)), expected);
            let count = limit / step.times(1);
            assert!((STEPS..=40.0).contains(&count), "{limit}: {count}");
        }
    }

    #[test]
    fn there_is_a_step_for_the_smallest_of_limits() {
        for limit in [1e-290, 1e-310, f64::from_bits(1)] {
            let step = RoundStep::of(limit).times(1);
            assert!(step > 0.0 && limit / step <= 40.0, "{limit}: {step}");
        }
    }
}
