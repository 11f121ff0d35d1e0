//! Whether two models give the same features, seen on one picture.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::inference::{Model, OnnxModel};

/// A model's feature of the probe picture.
pub fn probe_feature(model: &mut OnnxModel) -> Result<Vec<f32>> {
    let mut feature = Vec::new();
    model.run(
        &probe_picture(model.form().width, model.form().height),
        &mut feature,
    )?;
    Ok(feature)
}

/// How far a model's feature of the probe picture is from the `expected` one, relative to the length of that.
pub fn difference(expected: &[f32], model: &mut OnnxModel) -> Result<f64> {
    Ok(apart(expected, &probe_feature(model)?))
}

/// How long a call with one picture takes, which is not the first one.
pub fn call_time(model: &mut OnnxModel) -> Result<Duration> {
    let started = Instant::now();
    probe_feature(model)?;
    Ok(started.elapsed())
}

/// How far a model's feature of one picture is from that of the same picture when `batch` pictures are in a call,
/// relative to the length of the former.
pub fn batch_difference(model: &mut OnnxModel, batch: usize) -> Result<f64> {
    let mut pixels = probe_picture(model.form().width, model.form().height);
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    model.run(&pixels, &mut alone)?;
    // The others are as bright as pictures can be.
    pixels.resize(pixels.len() * batch, 255);
    model.run(&pixels, &mut together)?;
    together.truncate(alone.len());
    Ok(apart(&alone, &together))
}

/// How far two features are apart, relative to the length of the first.
fn apart(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let squares =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let apart = squares(
        &mut ours
            .iter()
            .zip(theirs)
            .map(|(one, other)| f64::from(one - other)),
    );
    let length = squares(&mut ours.iter().map(|value| f64::from(*value)));
    match apart == 0.0 {
        true => 0.0,
        false => (apart / length).sqrt(),
    }
}

/// A picture with colours, slopes and edges, `[height, width, 3]`.
fn probe_picture(width: usize, height: usize) -> Vec<u8> {
    let pixel = |index: usize| {
        let (x, y) = (
            (index % width) as f32 / width as f32,
            (index / width) as f32 / height as f32,
        );
        let disc = if (x - 0.4).hypot(y - 0.6) < 0.25 {
            70.0
        } else {
            0.0
        };
        let level = |phase: f32| (120.0 + 60.0 * (6.0 * x + 9.0 * y + phase).sin() + disc) as u8;
        [level(0.0), level(1.0), level(2.5)]
    };
    (0..width * height).flat_map(pixel).collect()
}
