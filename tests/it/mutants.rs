//! Broken and hostile pictures, made from the small ones of `tests/data` in every format that is read.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use simsearch::pictures::Format;

use crate::ROOT;

/// Values that length fields and dimensions are set to.
const ABSURD: [u32; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    65500,
    1_000_001,
    0x7fff_ffff,
    0xffff_ffff,
];

/// Part of the names of the pictures that mutants are made from, where not of all.
pub fn only() -> Option<String> {
    std::env::var("SIMSEARCH_MUTANTS_OF").ok()
}

/// The pictures that mutants are made from: name and bytes, in the order of the names.
pub fn originals() -> Vec<(String, Vec<u8>)> {
    let only = only().unwrap_or_default();
    let folder = fs::read_dir(Path::new(ROOT).join("tests/data/pictures")).unwrap();
    let mut originals: Vec<_> = folder
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .filter(|(name, bytes)| !bytes.is_empty() && name.contains(&only))
        .collect();
    originals.sort();
    originals
}

/// Mutant number `index`: its name, which says what was done to what, and its bytes. Always the same for one number.
pub fn mutant(originals: &[(String, Vec<u8>)], index: usize) -> (String, Vec<u8>) {
    let mut random = StdRng::seed_from_u64(index as u64);
    let (name, original) = originals.choose(&mut random).unwrap();
    let mut bytes = original.clone();
    let mut done = Vec::new();
    for _ in 0..*[1, 1, 1, 2, 3].choose(&mut random).unwrap() {
        if bytes.is_empty() {
            break;
        }
        done.push(mutate(&mut bytes, originals, &mut random));
    }
    let extension = name.rsplit('.').next().unwrap();
    let name = format!("{index:06}-{name}-{}.{extension}", done.join("-"));
    (name, bytes)
}

fn mutate(
    bytes: &mut Vec<u8>,
    originals: &[(String, Vec<u8>)],
    random: &mut StdRng,
) -> &'static str {
    // Most of what decides lies in the beginning.
    let len = bytes.len();
    let near = if random.random() { len.min(200) } else { len };
    let at = random.random_range(0..near);
    let run = random.random_range(0..64.min(len - at) + 1);
    match random.random_range(0..10) {
        0 => {
            for _ in 0..random.random_range(1..9) {
                let at = random.random_range(0..near);
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            "flipped"
        }
        1 => {
            bytes.truncate(random.random_range(0..len));
            "truncated"
        }
        2 => {
            let (_, other) = originals.choose(random).unwrap();
            let from = random.random_range(0..other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
            "spliced"
        }
        3 => {
            let value = *ABSURD.choose(random).unwrap();
            let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
            let field: &[u8] = match random.random_range(0..4) {
                0 => &big,
                1 => &little,
                2 => &big[2..],
                _ => &little[..2],
            };
            overwrite(bytes, at, field);
            "length"
        }
        4 => {
            let [width, height] = [0, 1].map(|_| {
                random
                    .random_bool(0.7)
                    .then(|| *ABSURD.choose(random).unwrap())
            });
            set_dimensions(bytes, width, height);
            "dimensions"
        }
        5 => {
            let segment = bytes[at..at + run].to_vec();
            let to = random.random_range(0..len);
            for _ in 0..*[1, 2, 50].choose(random).unwrap() {
                bytes.splice(to..to, segment.iter().copied());
            }
            "duplicated"
        }
        6 => {
            bytes.drain(at..at + run);
            "removed"
        }
        7 => {
            let value = if random.random() { 0 } else { 0xff };
            bytes[at..at + run].fill(value);
            "filled"
        }
        8 => {
            random.fill(&mut bytes[at..at + run]);
            "overwritten"
        }
        _ => {
            bytes.extend_from_within(at..);
            "doubled"
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, field: &[u8]) {
    for (byte, value) in bytes.iter_mut().skip(at).zip(field) {
        *byte = *value;
    }
}

/// Writes other dimensions into a picture's header, where it has one.
pub fn set_dimensions(bytes: &mut Vec<u8>, width: Option<u32>, height: Option<u32>) {
    let Ok(format) = Format::of(bytes) else {
        return;
    };
    let sides = [width, height];
    let write = |bytes: &mut [u8], at: [usize; 2], len: usize, big: bool| {
        for (at, side) in at.into_iter().zip(sides) {
            if let Some(side) = side {
                let (big_bytes, little) = (side.to_be_bytes(), side.to_le_bytes());
                let field = if big {
                    &big_bytes[4 - len..]
                } else {
                    &little[..len]
                };
                overwrite(bytes, at, field);
            }
        }
    };
    let position = |bytes: &[u8], wanted: &[u8]| {
        bytes
            .windows(wanted.len())
            .position(|bytes| bytes == wanted)
    };
    match format {
        Format::Jpeg => {
            let frame = bytes
                .windows(2)
                .position(|marker| matches!(marker, [0xff, 0xc0..=0xc2]));
            if let Some(at) = frame {
                write(bytes, [at + 7, at + 5], 2, true);
            }
        }
        Format::Png => {
            write(bytes, [16, 20], 4, true);
            let checksum = crc32(bytes.get(12..29).unwrap_or_default()).to_be_bytes();
            overwrite(bytes, 29, &checksum);
        }
        Format::Gif => {
            write(bytes, [6, 8], 2, false);
            // The first frame, behind the global palette, where no extension comes before it.
            let palette = bytes.get(10).map_or(0, |flags| match flags & 0x80 {
                0 => 0,
                _ => 3 << ((flags & 7) + 1),
            });
            let frame = bytes
                .iter()
                .skip(13 + palette)
                .position(|byte| *byte == b',');
            if let Some(at) = frame.map(|at| at + 13 + palette) {
                write(bytes, [at + 5, at + 7], 2, false);
            }
        }
        Format::WebP => {
            if let Some(at) = position(bytes, b"VP8X") {
                let sides = [width, height].map(|side| side.map(|side| side.saturating_sub(1)));
                for (at, side) in [at + 12, at + 15].into_iter().zip(sides) {
                    if let Some(side) = side {
                        overwrite(bytes, at, &side.to_le_bytes()[..3]);
                    }
                }
            }
            if let Some(at) = position(bytes, b"VP8 ") {
                for (at, side) in [at + 14, at + 16].into_iter().zip(sides) {
                    if let Some(side) = side {
                        overwrite(bytes, at, &(side as u16 & 0x3fff).to_le_bytes());
                    }
                }
            }
            if let (Some(at), Some(width), Some(height)) = (position(bytes, b"VP8L"), width, height)
            {
                let side = |side: u32| side.wrapping_sub(1) & 0x3fff;
                overwrite(
                    bytes,
                    at + 9,
                    &(side(width) | side(height) << 14).to_le_bytes(),
                );
            }
        }
        Format::Bmp => write(bytes, [18, 22], 4, false),
        Format::Tiff => {
            let big = bytes[0] == b'M';
            for (tag, side) in [(256u16, width), (257, height), (278, height)] {
                for kind in [3u16, 4] {
                    let head = |value: u16| {
                        if big {
                            value.to_be_bytes()
                        } else {
                            value.to_le_bytes()
                        }
                    };
                    let Some(side) = side else { continue };
                    let Some(at) = position(bytes, &[head(tag), head(kind)].concat()) else {
                        continue;
                    };
                    // A value of 32 bits in either case.
                    overwrite(bytes, at + 2, &head(4));
                    let value = if big {
                        side.to_be_bytes()
                    } else {
                        side.to_le_bytes()
                    };
                    overwrite(bytes, at + 8, &value);
                }
            }
        }
        Format::Pnm => {
            let number = |side: Option<u32>| side.unwrap_or(7).to_string();
            let head = format!("\n{} {}\n", number(width), number(height));
            let end = bytes.iter().skip(3).position(|byte| *byte == b'\n');
            let end = end.map_or(bytes.len(), |end| end + 4);
            bytes.splice(2..end, head.into_bytes());
        }
        Format::Ico => {
            write(bytes, [6, 7], 1, false);
            if let Some(at) = position(bytes, b"IHDR") {
                write(bytes, [at + 4, at + 8], 4, true);
                let checksum = crc32(bytes.get(at..at + 17).unwrap_or_default()).to_be_bytes();
                overwrite(bytes, at + 17, &checksum);
            } else {
                write(bytes, [22 + 4, 22 + 8], 4, false);
            }
        }
        Format::Qoi => write(bytes, [4, 8], 4, true),
        Format::Jpeg2000 => {
            if let Some(at) = position(bytes, b"ihdr") {
                write(bytes, [at + 8, at + 4], 4, true);
            }
            if let Some(at) = position(bytes, b"\xff\x4f\xff\x51") {
                write(bytes, [at + 8, at + 12], 4, true);
            }
        }
        // Its sides are numbers of some bits.
        Format::JpegXl => {}
        Format::Avif | Format::Heic => {
            if let Some(at) = position(bytes, b"ispe") {
                write(bytes, [at + 8, at + 12], 4, true);
            }
        }
    }
}

/// The checksum of a PNG chunk, from its name to its last byte.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 * (crc & 1))
        })
    })
}
