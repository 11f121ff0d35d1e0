#!/usr/bin/env bash
# image-compare (Rust): noise that nobody sees makes half of the similarity of two pictures disappear.
#
# Guess: `Algorithm::MSSIMSimple` gives the mean of the SSIM of windows of 8 x 8 pixels, by the formula in its
# documentation, with the usual constants of 0.01 * 255 and 0.03 * 255 squared.
#
# Seen with image-compare 0.5.0, without a word: the means of a window are divided by its number of pixels, the
# variances and the covariance are not. They are 64 times as large beside the constant that keeps the formula calm
# where a picture is plain. So a plain grey with a noise of one step, 0.98 by the formula, is at 0.48, and one of four
# steps, 0.79, at 0.05. In pictures with strong edges everywhere both are the same. Skies and white backgrounds after
# a JPEG at high quality are "different" by it. (`covariance` in `ssim.rs`. `rgb_hybrid_compare` and
# `rgba_hybrid_compare` go by it too.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >Cargo.toml <<'END_OF_FILE'
[package]
name = "similarity"
version = "0.1.0"
edition = "2021"

[dependencies]
image-compare = "=0.5.0"

[profile.dev]
debug = false
END_OF_FILE
mkdir src
cat >src/main.rs <<'END_OF_PROGRAM'
use image_compare::prelude::GrayImage;
use image_compare::{gray_similarity_structure, Algorithm};

const SIZE: u32 = 64;

fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    mean(&a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).collect::<Vec<_>>())
}

/// The mean SSIM of windows of 8 x 8.
fn expected(one: &GrayImage, other: &GrayImage) -> f64 {
    let (c1, c2) = ((0.01f64 * 255.).powi(2), (0.03f64 * 255.).powi(2));
    let mut sum = 0.;
    for window in 0..64u32 {
        let pixels = |picture: &GrayImage| -> Vec<f64> {
            let at = |i: u32| picture.get_pixel(window % 8 * 8 + i % 8, window / 8 * 8 + i / 8)[0];
            (0..64).map(|i| f64::from(at(i))).collect()
        };
        let (a, b) = (pixels(one), pixels(other));
        let (mean_a, mean_b) = (a.iter().sum::<f64>() / 64., b.iter().sum::<f64>() / 64.);
        let spread = (2. * covariance(&a, &b) + c2) / (covariance(&a, &a) + covariance(&b, &b) + c2);
        sum += (2. * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1) * spread;
    }
    sum / 64.
}

fn main() {
    let mut state = 1u64;
    let mut sign = || {
        state = state * 16807 % 2147483647;
        if state & 1024 == 0 { 1 } else { -1 }
    };
    let plain = GrayImage::from_vec(SIZE, SIZE, vec![128; (SIZE * SIZE) as usize]).unwrap();
    for (steps, low, high) in [(1, 0.45, 0.5), (2, 0.15, 0.2), (4, 0.03, 0.07), (8, 0.0, 0.03)] {
        let pixels = (0..SIZE * SIZE).map(|_| (128 + steps * sign()) as u8).collect();
        let noisy = GrayImage::from_vec(SIZE, SIZE, pixels).unwrap();
        let seen = gray_similarity_structure(&Algorithm::MSSIMSimple, &plain, &noisy).unwrap().score;
        let expected = expected(&plain, &noisy);
        println!("plain grey and a noise of {steps} of 255: expected {expected:.3}, seen {seen:.3}");
        assert!(low < seen && seen < high && expected > 2. * seen);
    }
    let pixels: Vec<u8> = (0..SIZE * SIZE).map(|_| (128 + 100 * sign()) as u8).collect();
    let strong = GrayImage::from_vec(SIZE, SIZE, pixels.clone()).unwrap();
    let weaker = GrayImage::from_vec(SIZE, SIZE, pixels.iter().map(|&grey| grey / 2 + 64).collect()).unwrap();
    let seen = gray_similarity_structure(&Algorithm::MSSIMSimple, &strong, &weaker).unwrap().score;
    let expected = expected(&strong, &weaker);
    println!("strong noise and the same of half the contrast: expected {expected:.3}, seen {seen:.3}");
    assert!((seen - expected).abs() < 0.01);
}
END_OF_PROGRAM
CARGO_TARGET_DIR="$work/target" cargo run --quiet
