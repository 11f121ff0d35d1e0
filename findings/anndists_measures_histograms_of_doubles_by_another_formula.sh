#!/usr/bin/env bash
# anndists (the distances of hnsw_rs, in Rust): two histograms have one distance as f32 and another as f64, and a
# histogram is not at 0 from itself.
#
# Guess: `DistHellinger` and `DistJeffreys` are the distances of these names for f32 and for f64, and differ by rounding
# only.
#
# Seen with anndists 0.1.5 (hnsw_rs 0.3.5 goes by it): of f64 each term of the sum is squared. So Hellinger is
# the root of 1 less the sum of p * q, and not of sqrt(p * q): an even histogram of eight bins is at 0.935 from every
# other and from itself, and the least even ones are the nearest to themselves. Jeffreys is smaller than it should be,
# and makes small differences smaller still. f32 and `DistJensenShannon` are right. (`fold` with `t * t` in the macros
# of `dist/distances.rs`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >Cargo.toml <<'END'
[package]
name = "distances"
version = "0.1.0"
edition = "2021"

[dependencies]
anndists = { version = "=0.1.5", default-features = false }

[profile.dev]
debug = false
END
mkdir src
cat >src/main.rs <<'END'
use anndists::dist::{DistHellinger, DistJeffreys, DistJensenShannon, Distance};

fn both<D: Distance<f32> + Distance<f64>>(distance: &D, p: &[f64], q: &[f64]) -> (f32, f32) {
    let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
    (distance.eval(&single(p), &single(q)), distance.eval(p, q))
}

fn main() {
    let even: [f64; 8] = [0.125; 8];
    let near = [0.13, 0.12, 0.125, 0.125, 0.12, 0.13, 0.125, 0.125];
    let far = [0.85, 0.05, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01];
    for (name, q) in [("itself", even), ("a near one", near), ("a far one", far)] {
        let pairs = || even.iter().zip(&q);
        let hellinger = (1. - pairs().map(|(p, q)| (p * q).sqrt()).sum::<f64>()).max(0.).sqrt() as f32;
        let jeffreys = pairs().map(|(p, q)| (p - q) * (p / q).ln()).sum::<f64>() as f32;
        let (single, double) = both(&DistHellinger, &even, &q);
        println!("Hellinger, an even histogram and {name}: expected {hellinger:.4}, f32 {single:.4}, f64 {double:.4}");
        assert!((single - hellinger).abs() < 1e-3);
        let squared = (1. - pairs().map(|(p, q)| p * q).sum::<f64>()).sqrt() as f32;
        assert!((double - squared).abs() < 1e-3 && double > 0.9);
        let (single, double) = both(&DistJeffreys, &even, &q);
        println!("Jeffreys, an even histogram and {name}: expected {jeffreys:.4}, f32 {single:.4}, f64 {double:.4}");
        assert!((single - jeffreys).abs() < 1e-3);
        let squared = pairs().map(|(p, q)| ((p - q) * (p / q).ln()).powi(2)).sum::<f64>() as f32;
        assert!((double - squared).abs() < 1e-3);
        let (single, double) = both(&DistJensenShannon, &even, &q);
        println!("Jensen-Shannon, an even histogram and {name}: f32 {single:.4}, f64 {double:.4}");
        assert!((single - double).abs() < 1e-3);
    }
    // By f64 the even one is nowhere near itself, and the far one is.
    assert!(DistHellinger.eval(&far[..], &far[..]) < 0.6 && DistHellinger.eval(&near[..], &near[..]) > 0.9);
}
END
CARGO_TARGET_DIR="$work/target" cargo run --quiet
