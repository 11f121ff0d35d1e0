#!/usr/bin/env bash
# image (Rust): a colour TIFF of whole numbers of 32 bits is opened as floats, whose values are the bits of the numbers.
#
# Guess: RGB with unsigned samples of 32 bits comes out with 16 bits, or as floats from 0 to 1, as samples of 8 and 16
# bits do when they are made floats, or is refused, since the crate has no pictures of 32-bit whole numbers.
#
# Seen with image 0.25.10: where the file has no SampleFormat, which means unsigned, and which tifffile and libtiff
# leave out for unsigned samples, the picture is `Rgb32F` or `Rgba32F`, and its samples are the 4 bytes of each number
# taken for a float: white (4294967295) is NaN, a quarter of it is 2.0, an eighth is 1.1e-19. So `to_rgb8()` gives black
# and white, in the wrong places. There is no error. With a SampleFormat of 1 the same file is refused ("Unhandled TIFF
# sample format 1 for 32 bits"); 8 and 16 bits and real floats are right. (`codecs/tiff.rs` checks the format only where
# the tag is there.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 tifffile==2026.3.3
PYTHONPATH="$work/packages" python3 - <<'END'
import numpy as np
import tifffile

# From black to white in steps of an eighth.
steps = np.repeat(np.arange(9) / 8, 3).reshape(1, 9, 3)
for dtype in ("uint8", "uint16", "uint32", "float32"):
    samples = steps if dtype == "float32" else (steps * np.iinfo(dtype).max).round()
    tifffile.imwrite(f"{dtype}.tif", samples.astype(dtype), photometric="rgb")
    with tifffile.TiffFile(f"{dtype}.tif") as file:
        assert ("SampleFormat" in file.pages[0].tags) == (dtype == "float32")
END
cat >Cargo.toml <<'END'
[package]
name = "tiffs"
version = "0.1.0"
edition = "2021"

[dependencies]
image = { version = "=0.25.10", default-features = false, features = ["tiff"] }

[profile.dev]
debug = false
END
mkdir src
cat >src/main.rs <<'END'
fn main() {
    let whole = |most: f64| (0..=8).map(move |step| f64::from(step) / 8. * most).map(f64::round);
    let expected: Vec<u8> = whole(255.).map(|x| x as u8).collect();
    for name in ["uint8", "uint16", "uint32", "float32"] {
        let image = image::open(format!("{name}.tif")).expect("it is read without an error");
        let seen: Vec<u8> = image.to_rgb8().pixels().map(|pixel| pixel.0[0]).collect();
        println!("{name}, opened as {:?}: expected {expected:?}, seen {seen:?}", image.color());
        if name == "uint32" {
            let floats: Vec<f32> = image.as_rgb32f().unwrap().pixels().map(|pixel| pixel.0[0]).collect();
            println!("  its floats: {floats:?}");
            let bits: Vec<u32> = floats.iter().map(|float| float.to_bits()).collect();
            assert_eq!(bits, whole(4294967295.).map(|x| x as u32).collect::<Vec<_>>());
        } else {
            assert!(seen.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1));
        }
    }
}
END
cargo run --quiet
