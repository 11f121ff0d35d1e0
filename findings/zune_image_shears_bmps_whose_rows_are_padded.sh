#!/usr/bin/env bash
# zune-image (Rust): a BMP of 1, 4 or 16 bits for a pixel comes out sheared, or partly black, for most widths.
#
# Guess: a BMP comes out right whatever its width and its number of bits are. Each row of a BMP is filled up to a
# multiple of 4 bytes, as every reader of BMPs has to know.
#
# Seen with zune-image 0.5.0 (zune-bmp 0.5.2; both the newest): with 8 and 24 bits every width is right. With 1 and 4
# bits (2 and 16 colours) only those widths are right whose rows need no more bytes to fill them up; with all others
# the bytes that fill a row become pixels, so that what follows is shifted further with each row. With 16 bits only 2 of
# the widths from 8 to 40 come out right (19 and 20 for a height of 10, 23 and 24 for one of 11), and of the others
# whole rows at the top can be black. There is no error. (The length of a row of 16 bits is reckoned from the number of
# rows in `decoder.rs`.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >Cargo.toml <<'END'
[package]
name = "bmp"
version = "0.1.0"
edition = "2021"

[dependencies]
zune-bmp = "=0.5.2"
zune-core = "=0.5.3"
zune-image = { version = "=0.5.0", default-features = false, features = ["bmp"] }

[profile.dev]
debug = false
END
mkdir src
cat >src/main.rs <<'END'
use zune_core::bytestream::ZCursor;
use zune_image::image::Image;

/// The index of the pixel at `x`, `y`, or its gray value.
fn pixel(x: usize, y: usize, most: usize) -> usize {
    (x * x + 3 * y + x * y) % (most + 1)
}

/// A BMP, and its red samples from the top row to the bottom one.
fn bmp(width: usize, height: usize, bits: usize) -> (Vec<u8>, Vec<u8>) {
    let most = if bits > 8 { 31 } else { (1 << bits) - 1 };
    let gray = |value: usize| (value * 255 / most) as u8;
    let colours = if bits > 8 { 0 } else { most + 1 };
    let row_length = (width * bits).div_ceil(32) * 4;
    let start = 54 + colours * 4;
    let mut file = b"BM".to_vec();
    for number in [start + row_length * height, 0, start, 40, width, height, 1 | bits << 16, 0, row_length * height] {
        file.extend((number as u32).to_le_bytes());
    }
    file.extend([0; 8]);
    file.extend((colours as u32).to_le_bytes());
    file.extend([0; 4]);
    for value in 0..colours {
        file.extend([gray(value), gray(value), gray(value), 0]);
    }
    for y in (0..height).rev() {
        let mut row = vec![0; row_length];
        for x in 0..width {
            let value = pixel(x, y, most);
            match bits {
                24 => row[x * 3..x * 3 + 3].fill(gray(value)),
                16 => row[x * 2..x * 2 + 2].copy_from_slice(&((value * (1 + 32 + 1024)) as u16).to_le_bytes()),
                _ => row[x * bits / 8] |= (value << (8 - bits - x * bits % 8)) as u8,
            }
        }
        file.extend(row);
    }
    (file, (0..width * height).map(|i| gray(pixel(i % width, i / width, most))).collect())
}

fn main() {
    let mut wrong = std::collections::BTreeMap::<(usize, usize), Vec<usize>>::new();
    for bits in [1, 4, 8, 16, 24] {
        for height in [10, 11] {
            for width in 8..=40 {
                let (file, expected) = bmp(width, height, bits);
                let image = Image::read(ZCursor::new(&file), Default::default()).expect("it is read without an error");
                assert_eq!(image.dimensions(), (width, height));
                let samples = &image.flatten_to_u8()[0];
                let seen: Vec<u8> = samples.chunks(samples.len() / expected.len()).map(|pixel| pixel[0]).collect();
                let same = seen.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 8);
                if !same {
                    wrong.entry((bits, height)).or_default().push(width);
                }
                if (bits, height, width) == (4, 10, 10) || (bits, height, width) == (16, 10, 11) {
                    println!("{bits} bits, {width} wide: the two upper rows, expected and seen");
                    println!("  {:?}\n  {:?}", &expected[..2 * width], &seen[..2 * width]);
                }
            }
            println!("{bits} bits, {height} high: wrong widths from 8 to 40 {:?}", wrong.get(&(bits, height)));
        }
    }
    for height in [10, 11] {
        for bits in [1_usize, 4] {
            let filled = (8..=40).filter(|width| (width * bits).div_ceil(8) % 4 > 0).collect::<Vec<_>>();
            assert_eq!(wrong.get(&(bits, height)), Some(&filled));
        }
        assert_eq!(wrong.get(&(16, height)).map(Vec::len), Some(31));
    }
    assert_eq!(wrong.len(), 6);
}
END
cargo run --quiet
