#!/usr/bin/env bash
# pic-scale (Rust): `Area` and `Box` make a picture smaller with four times as many pixels as they should.
#
# Guess: `ResamplingFunction::Area` ("replicates `INTER_AREA` behaviour from OpenCV", says its documentation) and `Box`
# give the mean of those pixels that lie under each pixel of the result: of two, where a row is halved.
#
# Seen with pic-scale 0.7.12 (the newest), with 8 bits and with floats: to halve a row both take the mean of 8 pixels,
# for a third that of 12. The picture is blurred over the neighbours on both sides: one bright pixel among black ones,
# which should make one pixel of half its brightness, makes four of an eighth, and a sharp edge becomes a slope. There
# is no error. `Area` is right where it enlarges. (`sampler.rs` gives both a window of 2 on each side; half a pixel is
# meant.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >Cargo.toml <<'END'
[package]
name = "scale"
version = "0.1.0"
edition = "2021"

[dependencies]
pic-scale = "=0.7.12"

[profile.dev]
debug = false
END
mkdir src
cat >src/main.rs <<'END'
use pic_scale::{ImageSize, ImageStore, ImageStoreMut, ResamplingFunction, Scaler, ThreadingPolicy};

const HEIGHT: usize = 4;

/// A picture of one row, repeated, in another width: as floats.
fn resize(row: &[f32], width: usize, function: ResamplingFunction) -> Vec<f32> {
    let pixels = row.repeat(HEIGHT);
    let mut scaler = Scaler::new(function);
    scaler.set_threading_policy(ThreadingPolicy::Single);
    let from = ImageStore::<f32, 1>::from_slice(&pixels, row.len(), HEIGHT).unwrap();
    let mut to = ImageStoreMut::<f32, 1>::alloc(width, HEIGHT);
    let sizes = (ImageSize::new(row.len(), HEIGHT), ImageSize::new(width, HEIGHT));
    let plan = scaler.plan_planar_resampling_f32(sizes.0, sizes.1).unwrap();
    plan.resample(&from, &mut to).unwrap();
    to.as_bytes()[..width].to_vec()
}

/// The same with 8 bits.
fn resize_bytes(row: &[f32], width: usize, function: ResamplingFunction) -> Vec<f32> {
    let pixels: Vec<u8> = row.repeat(HEIGHT).iter().map(|&pixel| pixel as u8).collect();
    let mut scaler = Scaler::new(function);
    scaler.set_threading_policy(ThreadingPolicy::Single);
    let from = ImageStore::<u8, 1>::from_slice(&pixels, row.len(), HEIGHT).unwrap();
    let mut to = ImageStoreMut::<u8, 1>::alloc(width, HEIGHT);
    let sizes = (ImageSize::new(row.len(), HEIGHT), ImageSize::new(width, HEIGHT));
    let plan = scaler.plan_planar_resampling(sizes.0, sizes.1).unwrap();
    plan.resample(&from, &mut to).unwrap();
    to.as_bytes()[..width].iter().map(|&pixel| f32::from(pixel)).collect()
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1.)
}

fn main() {
    for (factor, size) in [(2, 32), (3, 48)] {
        let mut row = vec![0.; size];
        row[size / 2] = 240.;
        let expected: Vec<f32> = row.chunks(factor).map(|pixels| pixels.iter().sum::<f32>() / factor as f32).collect();
        println!("one pixel of 240 among {size}, to 1/{factor}: expected {expected:?}");
        let wide: Vec<f32> = (0..16)
            .map(|x| (x as f32 + 0.5) * factor as f32 - 0.5 - (size / 2) as f32)
            .map(|distance| if distance.abs() < 2. * factor as f32 { 60. / factor as f32 } else { 0. })
            .collect();
        for (name, function) in [("Area", ResamplingFunction::Area), ("Box", ResamplingFunction::Box)] {
            let (floats, bytes) = (resize(&row, 16, function), resize_bytes(&row, 16, function));
            println!("  {name}: seen {floats:?}, with 8 bits {bytes:?}");
            assert!(!near(&floats, &expected) && near(&floats, &wide) && near(&bytes, &wide));
        }
    }
    let enlarged = resize(&[0., 100., 200., 50.], 8, ResamplingFunction::Area);
    assert_eq!(enlarged, [0., 0., 100., 100., 200., 200., 50., 50.]);
}
END
cargo run --quiet
