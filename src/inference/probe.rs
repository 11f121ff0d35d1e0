//! Whether two models give the same features, seen on one picture.

use anyhow::Result;

use crate::inference::{Model, OnnxModel};

/// How far two models' features of one picture are apart, relative to the length of the first.
pub fn difference(one: &mut OnnxModel, other: &mut OnnxModel) -> Result<f64> {
    let pixels = probe_picture(one.form().width, one.form().height);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    one.run(&pixels, &mut ours)?;
    other.run(&pixels, &mut theirs)?;
    if ours.len() != theirs.len() {
        return Ok(f64::INFINITY);
    }
    let squares =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let apart = squares(
        &mut ours
            .iter()
            .zip(&theirs)
            .map(|(one, other)| f64::from(one - other)),
    );
    let length = squares(&mut ours.iter().map(|value| f64::from(*value)));
    Ok(if apart == 0.0 {
        0.0
    } else {
        (apart / length).sqrt()
    })
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
