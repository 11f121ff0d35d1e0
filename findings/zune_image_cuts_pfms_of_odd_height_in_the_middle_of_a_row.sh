#!/usr/bin/env bash
# zune-image (Rust): a PFM with an odd number of rows comes out with the left and the right half of each row exchanged.
#
# Guess: a PFM, whose rows go from the bottom of the picture to its top, comes out with the top row first, as it does
# with an even number of rows.
#
# Seen with zune-image 0.5.0 (zune-ppm 0.5.1; both the newest): with an even number of rows the picture is right. With
# an odd one all samples are cut in two halves to turn the rows over, and the cut goes through the middle of a row. So
# each row begins with the right half of another one and ends with its own left half: what was at the edge is in the
# middle. There is no error. Gray and colour are alike. (`zune-ppm`'s `decoder.rs` cuts at `result.len() / 2`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >Cargo.toml <<'END'
[package]
name = "pfm"
version = "0.1.0"
edition = "2021"

[dependencies]
zune-core = "=0.5.3"
zune-image = { version = "=0.5.0", default-features = false, features = ["ppm"] }
zune-ppm = "=0.5.1"

[profile.dev]
debug = false
END
mkdir src
cat >src/main.rs <<'END'
use zune_core::bytestream::ZCursor;
use zune_image::image::Image;

/// The row and column that each pixel of a row came from, as two digits.
fn show(row: &[f32], channels: usize) -> String {
    row.iter().step_by(channels).map(|sample| format!(" {:02.0}", sample * 100.)).collect()
}

fn main() {
    for (letter, channels) in [('f', 1), ('F', 3)] {
        for height in [4, 5] {
            let width = 4;
            // Row 2, column 3 is 0.23.
            let expected: Vec<f32> = (0..height * width * channels)
                .map(|i| ((i / channels / width * 10 + i / channels % width) as f32) / 100.)
                .collect();
            let mut file = format!("P{letter}\n{width} {height}\n-1.0\n").into_bytes();
            for row in expected.chunks(width * channels).rev() {
                file.extend(row.iter().flat_map(|sample| sample.to_le_bytes()));
            }
            let image = Image::read(ZCursor::new(&file), Default::default()).expect("it is read without an error");
            assert_eq!(image.dimensions(), (width, height));
            let seen = &image.flatten_frames::<f32>()[0];
            println!("P{letter}, {height} rows (row and column of each pixel):");
            for (expected, seen) in expected.chunks(width * channels).zip(seen.chunks(width * channels)) {
                println!("  expected{}  seen{}", show(expected, channels), show(seen, channels));
            }
            assert_eq!(seen == &expected, height % 2 == 0);
        }
    }
}
END
cargo run --quiet
