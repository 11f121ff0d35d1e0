#!/usr/bin/env bash
# image_hasher (Rust): its Blockhash is that of the grid, and not of the picture, unless the size divides evenly.
#
# Guess: `HashAlg::Blockhash` is nearly the same for a picture at 64 x 64 and at 100 x 100, and far from that of
# another picture, as blockhash.io (which it implements, as its documentation says) and the crate `blockhash` have it.
#
# Seen with image_hasher 3.1.1, without a word: at a size that is not a multiple of the hash's, a pixel that lies in
# two blocks is to be shared between them, and all of it goes to one. With 100 pixels in 16 blocks some blocks have 6
# columns and some 7, and their sums are compared as they are. A picture that is not rich in contrast gets the pattern
# of these columns for its hash: two different ones are 25 bits apart instead of 126 of 256 (so they are
# "duplicates"), and the same one at two sizes is 113 apart instead of 1. Rich ones are hit less, and larger ones too.
# (In `blockhash_slow` of `alg/blockhash.rs` the `%` of `x + 1. % block_width` binds before the `+`, so that no weight
# is ever a fraction.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >Cargo.toml <<'END_OF_FILE'
[package]
name = "hashes"
version = "0.1.0"
edition = "2021"

[dependencies]
blockhash = { version = "=1.0.0", default-features = false, features = ["std"] }
image = { version = "=0.25.10", default-features = false }
image_hasher = "=3.1.1"

[profile.dev]
debug = false
END_OF_FILE
mkdir src
cat >src/main.rs <<'END_OF_PROGRAM'
use image::{Rgb, RgbImage};
use image_hasher::{HashAlg, HasherConfig};

const PICTURES: u32 = 12;

struct Pixels(RgbImage);

impl blockhash::Image for Pixels {
    const MAX_BRIGHTNESS: u32 = 3 * 255;
    fn dimensions(&self) -> (u32, u32) {
        self.0.dimensions()
    }
    fn brightness(&self, x: u32, y: u32) -> u32 {
        self.0.get_pixel(x, y).0.iter().map(|&value| u32::from(value)).sum()
    }
}

/// A smooth grey picture: six waves, drawn at any size.
fn picture(width: u32, height: u32, seed: u64, contrast: f64) -> Pixels {
    let mut state = seed * 7919 + 1;
    let mut random = || {
        state = state * 16807 % 2147483647;
        state as f64 / 2147483647.
    };
    let waves: Vec<[f64; 3]> = (0..6).map(|_| [4. * random(), 4. * random(), 6.283 * random()]).collect();
    Pixels(RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = ((x as f64 + 0.5) / width as f64 * 6.283, (y as f64 + 0.5) / height as f64 * 6.283);
        let sum: f64 = waves.iter().map(|wave| (wave[0] * u + wave[1] * v + wave[2]).sin()).sum();
        Rgb([(128. + contrast * sum / 6.).clamp(0., 255.) as u8; 3])
    }))
}

fn main() {
    let hasher = HasherConfig::new().hash_alg(HashAlg::Blockhash).hash_size(16, 16).to_hasher();
    for contrast in [20., 60.] {
        for (width, height) in [(64, 64), (160, 160), (100, 100), (200, 150)] {
            let (mut others, mut expected_others, mut copies, mut expected_copies) = (0, 0, 0, 0);
            for seed in 0..u64::from(PICTURES) {
                let one = picture(width, height, seed, contrast);
                let other = picture(width, height, seed + 100, contrast);
                let copy = picture(64, 64, seed, contrast);
                let hash = hasher.hash_image(&one.0);
                others += hash.dist(&hasher.hash_image(&other.0));
                copies += hash.dist(&hasher.hash_image(&copy.0));
                let hash = blockhash::blockhash256(&one);
                expected_others += hash.distance(&blockhash::blockhash256(&other));
                expected_copies += hash.distance(&blockhash::blockhash256(&copy));
            }
            let [others, expected_others, copies, expected_copies] =
                [others, expected_others, copies, expected_copies].map(|sum| sum / PICTURES);
            println!(
                "contrast {contrast}, {width} x {height}: bits between two pictures: expected {expected_others}, seen \
                 {others}; between a picture and the same at 64 x 64: expected {expected_copies}, seen {copies}"
            );
            assert!(expected_others > 110 && expected_copies < 5);
            if width % 16 == 0 && height % 16 == 0 {
                assert!(others > 110 && copies < 5);
            } else if contrast < 30. {
                assert!(others < 80 && copies > 60);
            } else {
                assert!(others < 120 && copies > 30);
            }
        }
    }
}
END_OF_PROGRAM
CARGO_TARGET_DIR="$work/target" cargo run --quiet
