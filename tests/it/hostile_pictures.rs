//! Pictures that are broken, or made to do harm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;
use simsearch::pictures::{
    Fit, OWN_MEMORY, PictureError, PictureReader, PixelOptions, Resampling, Resize, Rounding,
};

use crate::extract::kinds;
use crate::faults::limited;
use crate::mutants::{mutant, only, originals, set_dimensions};
use crate::{Outcome, TestEnv, files_ending, need_runtime, ppm, stored_picture, wait};

/// Shared memory for each worker: what `--help` says of `--max-pixels`, less the reader's own.
const SHARE: u64 = 512 << 20;

/// How many mutants: as many as `SIMSEARCH_MUTANTS` says, from the number in `SIMSEARCH_FIRST_MUTANT` on; of pictures
/// whose names have `SIMSEARCH_MUTANTS_OF` in them.
fn numbers(default: usize) -> std::ops::Range<usize> {
    let number = |name, default| match std::env::var(name) {
        Ok(number) => number.parse().unwrap(),
        Err(_) => default,
    };
    let first = number("SIMSEARCH_FIRST_MUTANT", 0);
    first..first + number("SIMSEARCH_MUTANTS", default)
}

#[test]
fn the_same_number_makes_the_same_mutant() {
    let originals = originals();
    let set = |numbers: std::ops::Range<usize>| -> BTreeSet<_> {
        numbers.map(|number| mutant(&originals, number)).collect()
    };
    assert_eq!(set(0..50), set(0..50));
    assert_eq!(set(0..50).len(), 50);
}

/// In this process, where nothing hides how a decoder ends. One that panics has a bug, but does no harm.
#[test]
fn a_mutant_is_a_picture_or_an_error_and_the_reader_goes_on() {
    let originals = originals();
    let mut reader = PictureReader::new(PixelOptions {
        max_pixels: 4_000_000,
        ..PixelOptions::default()
    });
    let (mut out, mut kinds) = (vec![0; 30 * 20 * 3], BTreeMap::<String, usize>::new());
    let mut slowest = (Duration::ZERO, String::new());
    for number in numbers(2000) {
        let (name, bytes) = mutant(&originals, number);
        let started = Instant::now();
        let result = reader.read(&bytes, 30, 20, &mut out);
        slowest = slowest.max((started.elapsed(), name));
        let kind = result.map_or_else(|error| format!("{error:?}"), |()| "Picture".into());
        let kind = kind.split([' ', '{']).next().unwrap().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    let all_kinds = only().is_none();
    for kind in [
        "Picture",
        "Corrupt",
        "Truncated",
        "Unsupported",
        "TooLarge",
        "NotAPicture",
    ] {
        assert!(
            !all_kinds || kinds.contains_key(kind),
            "no mutant is {kind}: {kinds:?}"
        );
    }
    // Four megapixels take a fraction of a second.
    assert!(slowest.0 < Duration::from_secs(20), "{slowest:?}");
    eprintln!("{kinds:?}, slowest {slowest:?}");
}

/// Through the program: a feature or one line of the report for each, nothing else on stderr, bounded memory and time.
#[test]
fn every_mutant_has_a_feature_or_a_failure_with_its_class() {
    need_runtime!();
    let (env, originals, workers) = (TestEnv::new(), originals(), 4);
    let mut names = Vec::new();
    for number in numbers(600) {
        let (name, bytes) = mutant(&originals, number);
        env.write(format!("media/{name}"), bytes);
        names.push(name);
    }
    env.objects(&names);
    let arguments = ["--json", "--workers", "4"];
    let started = Instant::now();
    let (outcome, peak) = finish_measured(env.extract_command("nhwc", &arguments));
    let [done, _, failed, left] = outcome.exits(3).counts();
    assert_eq!((done + failed, left), (names.len() as u64, 0));
    for line in outcome.stderr.lines() {
        let known = [
            "model: ",
            "provider: ",
            "the graph ",
            "warning: ",
            &format!("{done} done, "),
        ];
        let progress = line.contains("images/s");
        assert!(
            progress || known.iter().any(|known| line.starts_with(known)),
            "{line}\n{outcome}"
        );
    }
    let tree = env.tree("features/nhwc");
    let features = files_ending(&tree, ".npy");
    let mut ids: Vec<String> = (features.keys())
        .map(|path| {
            path.rsplit('/')
                .next()
                .unwrap()
                .trim_end_matches(".npy")
                .into()
        })
        .collect();
    let (mut classes, mut panics) = (BTreeMap::<String, usize>::new(), 0);
    for line in String::from_utf8_lossy(&tree["failures.jsonl"]).lines() {
        let failure: Value = serde_json::from_str(line).unwrap();
        assert_eq!(failure["stage"], "decode", "{failure}");
        let message = failure["message"].as_str().unwrap();
        panics += usize::from(message.contains("panicked"));
        ids.push(failure["id"].as_str().unwrap().into());
        *classes.entry(failure["class"].to_string()).or_default() += 1;
    }
    ids.sort();
    names.sort();
    assert_eq!(ids, names);
    let bound = memory_bound(workers);
    assert!(peak < bound, "{peak} bytes, at most {bound} expected");
    eprintln!(
        "{} mutants: {done} features, {classes:?}, {panics} panics, {} MiB, {:.1} s",
        names.len(),
        peak >> 20,
        started.elapsed().as_secs_f64()
    );
}

#[cfg(feature = "fault-points")]
#[test]
fn a_panic_of_a_decoder_is_a_failure_of_its_picture_and_prints_nothing() {
    need_runtime!();
    let env = TestEnv::new();
    for (index, name) in ["one.ppm", "two.ppm"].into_iter().enumerate() {
        env.picture(name, index);
    }
    env.objects(&["one.ppm", "two.ppm"]);
    let mut command = env.extract_command("nhwc", &["--json", "--workers", "1"]);
    command.env("SIMSEARCH_FAULT", "panic 1");
    let (outcome, _) = finish_measured(command);
    assert_eq!(outcome.exits(3).counts(), [1, 0, 1, 0]);
    outcome.does_not_say("panicked").does_not_say("backtrace");
    let report = &env.tree("features/nhwc")["failures.jsonl"];
    let failure: Value = serde_json::from_slice(report).unwrap();
    assert_eq!(failure["class"], "corrupt");
    let message = failure["message"].as_str().unwrap();
    assert!(
        message.contains("decoder panicked: the fault that was asked for"),
        "{message}"
    );
}

/// A phone's video under the name that its messenger gave it.
#[test]
fn a_format_that_is_not_read_is_named_in_the_report() {
    need_runtime!();
    let env = TestEnv::new();
    env.write("media/phone.jpg", b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2");
    env.objects(&["phone.jpg"]);
    env.extract("nhwc", &["--workers", "1"]).exits(1);
    assert_eq!(kinds(&env, "nhwc"), ["phone.jpg decode unsupported"]);
    let report = &env.tree("features/nhwc")["failures.jsonl"];
    let failure: Value = serde_json::from_slice(report).unwrap();
    let message = "an MP4 video, which this build cannot read";
    assert_eq!(failure["message"], message);
}

/// Six cells that are all of the same 15 MB, which would be copied for each of them; there may be thousands.
#[test]
fn a_grid_whose_cells_share_megabytes_of_data_is_refused() {
    const LEN: u32 = 15_000_000;
    let is_read = [cfg!(feature = "avif"), cfg!(feature = "heic")];
    for (name, _) in (["avif_grid.avif", "heic_grid.heic"].iter().zip(is_read)).filter(|of| of.1) {
        let mut bytes = stored_picture(name);
        let start = bytes.len() as u32;
        bytes.resize((start + LEN) as usize, 0);
        // After name, version, sizes and count, and after the grid: an item of 14 bytes for each cell.
        let locations = memchr::memmem::find(&bytes, b"iloc").unwrap();
        for cell in 1..=6 {
            let extent = &mut bytes[locations + 12 + 14 * cell + 6..][..8];
            extent.copy_from_slice(&[start.to_be_bytes(), LEN.to_be_bytes()].concat());
        }
        let mut reader = PictureReader::new(PixelOptions::default());
        let error = anyhow::Error::from(reader.decode(&bytes).unwrap_err());
        let message = format!("{error:#}");
        assert!(
            message.ends_with("cells whose data are more than the file"),
            "{name}: {message}"
        );
    }
}

/// What the program may take for decoding with so many workers, and for everything else.
fn memory_bound(workers: u64) -> u64 {
    workers * (SHARE + OWN_MEMORY) + base_memory()
}

/// What the program takes for a small picture.
fn base_memory() -> u64 {
    let env = TestEnv::new();
    env.write("media/small.ppm", ppm(30, 20, 1));
    env.objects(&["small.ppm"]);
    let (outcome, peak) = finish_measured(env.extract_command("nhwc", &["--workers", "1"]));
    outcome.exits(0);
    peak
}

/// A picture of `tests/data` whose header tells of other dimensions.
fn enlarged(name: &str, width: u32, height: u32) -> Vec<u8> {
    let mut bytes = stored_picture(name);
    set_dimensions(&mut bytes, Some(width), Some(height));
    bytes
}

/// A progressive JPEG with this many scans.
#[cfg(feature = "turbojpeg")]
fn jpeg_of_scans(scans: usize) -> Vec<u8> {
    let picture = stored_picture("jpeg_gray_progressive.jpg");
    let starts: Vec<_> = (0..picture.len())
        .filter(|at| picture[*at..].starts_with(b"\xff\xda"))
        .collect();
    let (last, end) = (starts[starts.len() - 1], picture.len() - 2);
    let more = picture[last..end].repeat(scans - starts.len());
    [&picture[..end], &more, b"\xff\xd9"].concat()
}

/// Each scan is a pass over the whole picture: that many are all that one may ask for.
#[cfg(feature = "turbojpeg")]
#[test]
fn a_jpeg_of_a_hundred_scans_is_read_and_one_of_more_is_refused() {
    let mut reader = PictureReader::new(PixelOptions::default());
    reader.decode(&jpeg_of_scans(100)).unwrap();
    let error = reader.decode(&jpeg_of_scans(101)).unwrap_err();
    assert!(
        matches!(error, PictureError::Unsupported { .. }),
        "{error:?}"
    );
}

/// A gray TIFF of 8 bits with these tags besides, and as many strips or tiles, which all lie over the same `data`.
fn tiff(
    width: u32,
    height: u32,
    tags: &[(u16, u32)],
    chunks: (u16, u16, u32),
    data: &[u8],
) -> Vec<u8> {
    let (offsets_tag, lengths_tag, count) = chunks;
    let entries = tags.len() + 7;
    let values = 8 + 2 + 12 * entries + 4;
    let data_at = values + 8 * count as usize;
    let array = |at: usize, value: usize| match count {
        1 => value as u32,
        _ => at as u32,
    };
    let mut directory = vec![
        (256, 1, width),
        (257, 1, height),
        (258, 1, 8),
        (259, 1, 8),
        (262, 1, 1),
        (offsets_tag, count, array(values, data_at)),
        (
            lengths_tag,
            count,
            array(values + 4 * count as usize, data.len()),
        ),
    ];
    directory.extend(tags.iter().map(|(tag, value)| (*tag, 1, *value)));
    directory.sort();
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend((entries as u16).to_le_bytes());
    for (tag, count, value) in directory {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(4u16.to_le_bytes());
        bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes.extend([0; 4]);
    for value in [data_at, data.len()] {
        bytes.extend((value as u32).to_le_bytes().repeat(count as usize));
    }
    [&bytes, data].concat()
}

/// A small file must not make a decoder work for hours: the sides of tiles are not those of the picture, and a thousand
/// strips may each begin with the same megabyte that decodes to nothing.
#[test]
fn a_tiff_makes_no_more_work_than_its_pixels() {
    const STRIPS: (u16, u16) = (273, 279);
    const TILES: (u16, u16) = (324, 325);
    const ROWS_PER_STRIP: u16 = 278;
    const TILE_WIDTH: u16 = 322;
    const TILE_HEIGHT: u16 = 323;
    // Two rows of two pixels, as zlib stores them without compression.
    let data = b"\x78\x01\x01\x04\x00\xfb\xff\x01\x02\x03\x04\x00\x18\x00\x0b";
    let decode = |bytes: &[u8]| {
        let mut reader = PictureReader::new(PixelOptions::default());
        reader.decode(bytes).map(|(_, pixels)| pixels.to_vec())
    };
    let strip = (STRIPS.0, STRIPS.1, 1);
    let plain = tiff(2, 2, &[(ROWS_PER_STRIP, 2)], strip, data);
    assert_eq!(
        decode(&plain).unwrap(),
        [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    );
    let tile = (TILES.0, TILES.1, 1);
    let wide = tiff(
        2,
        2,
        &[(TILE_WIDTH, 1 << 30), (TILE_HEIGHT, 16)],
        tile,
        data,
    );
    let nothing = [&data[..2], &b"\0\0\0\xff\xff".repeat(20_000)].concat();
    let rows = (STRIPS.0, STRIPS.1, 1000);
    let overlapping = tiff(2, 1000, &[(ROWS_PER_STRIP, 1)], rows, &nothing);
    for bytes in [wide, overlapping] {
        let Err(PictureError::Unsupported { source, .. }) = decode(&bytes) else {
            panic!("read, or failed in another way");
        };
        assert!(
            source.to_string().starts_with("strips or tiles of"),
            "{source}"
        );
    }
}

/// A WebP picture of a few pixels with `groups` groups of Huffman tables, 1,024 at most times 256.
fn webp_of_tables(groups: u32) -> Vec<u8> {
    let (mut bits, mut bytes) = (Vec::new(), Vec::new());
    let mut put = |value: u32, count: u32| bits.extend((0..count).map(|bit| value >> bit & 1 == 1));
    let single = |put: &mut dyn FnMut(u32, u32), symbol: u32| {
        // Simple, one symbol, of 8 bits.
        put(0b101, 3);
        put(symbol, 8);
    };
    put(0x2f, 8);
    put(7, 14);
    put(7, 14);
    // No alpha, version 0, no transform; a colour cache of 2 ** 11, and groups of tables for blocks of 4 x 4.
    put(0, 5);
    put(1 | 11 << 1, 5);
    put(1, 4);
    // The picture that names the groups has the last one everywhere: green for the lower bits, red for the upper.
    put(0, 1);
    for symbol in [(groups - 1) & 0xff, (groups - 1) >> 8, 0, 0, 0] {
        single(&mut put, symbol);
    }
    for _ in 0..groups {
        // Of 2,328 symbols 2,048 have codes of 11 bits: `11` once, then `16` (six more) 341 times, and `11`.
        put(11 << 1, 5);
        for code in 0..15 {
            put(u32::from(code == 8 || code == 14), 3);
        }
        put(1 | 4 << 1, 4);
        put(341, 10);
        put(0, 1);
        for _ in 0..341 {
            put(1 | 3 << 1, 3);
        }
        put(0, 1);
        for _ in 1..5 {
            single(&mut put, 0);
        }
    }
    for byte in bits.chunks(8) {
        bytes.push(
            byte.iter()
                .rev()
                .fold(0, |byte, bit| byte << 1 | u8::from(*bit)),
        );
    }
    let len = |len: usize| (len as u32).to_le_bytes();
    let chunk = [&b"VP8L"[..], &len(bytes.len()), &bytes].concat();
    [&b"RIFF"[..], &len(chunk.len() + 4), b"WEBP", &chunk].concat()
}

/// Of a picture as narrow as this, 128,000,000 positions were gone through: 12 s for four kilobytes.
#[test]
fn the_work_for_a_picture_whose_middle_is_taken_is_bounded_by_its_pixels() {
    let mut reader = PictureReader::new(PixelOptions {
        resampling: Resampling::Torchvision,
        fit: Fit {
            resize: Resize::Shortest(256),
            rounding: Rounding::Down,
        },
        ..PixelOptions::default()
    });
    let mut ppm = b"P6 1 1000000 255\n".to_vec();
    ppm.resize(ppm.len() + 3_000_000, 7);
    // As a whole, and in rows.
    for bytes in [ppm, enlarged("jpeg_gray.jpg", 1, 60_000)] {
        let error = reader.read(&bytes, 224, 224, &mut vec![0; 224 * 224 * 3]);
        let error = error.unwrap_err();
        assert!(matches!(error, PictureError::TooNarrow { .. }), "{error:?}");
    }
}

/// The longest row has 8 MB, for which nobody asks.
#[test]
fn a_png_may_be_as_wide_as_any_picture_and_its_exif_data_not_as_long_as_the_file() {
    let read = |bytes: &[u8]| {
        let mut reader = PictureReader::new(PixelOptions::default());
        reader.read(bytes, 20, 20, &mut [0; 1200])
    };
    let wide = read(&enlarged("png_rgba_16.png", 1_000_000, 1));
    assert!(
        !matches!(wide, Err(PictureError::Unsupported { .. })),
        "{wide:?}"
    );
    let picture = stored_picture("png_rgba_16.png");
    let (head, rest) = picture.split_at(33);
    for (length, is_read) in [(10_u32 << 20, true), (30 << 20, false)] {
        let mut bytes = [head, &length.to_be_bytes(), b"eXIf"].concat();
        bytes.resize(bytes.len() + length as usize + 4, 0);
        bytes.extend(rest);
        assert_eq!(read(&bytes).is_ok(), is_read, "{length} bytes");
    }
}

/// For each format a small file that takes much memory, and the least that it takes, in MiB: it must reach what it is
/// for.
fn memory_hogs() -> [(&'static str, Vec<u8>, u64); 13] {
    [
        (
            "progressive.jpg",
            enlarged("jpeg_444_progressive.jpg", 6000, 5000),
            160,
        ),
        ("cmyk.jpg", enlarged("jpeg_cmyk.jpg", 6000, 5000), 0),
        ("rgba_16.png", enlarged("png_rgba_16.png", 6000, 5000), 200),
        (
            "interlaced.png",
            enlarged("png_rgba_16_interlaced.png", 6000, 5000),
            200,
        ),
        ("plain.gif", enlarged("gif_plain.gif", 6000, 5000), 0),
        ("lossy.webp", enlarged("webp_lossy.webp", 6000, 5000), 20),
        (
            "alpha.webp",
            enlarged("webp_alpha_lossy.webp", 6000, 5000),
            20,
        ),
        ("tables.webp", webp_of_tables(4096), 200),
        ("planar.tif", enlarged("tiff_planar.tif", 6000, 5000), 80),
        ("32.bmp", enlarged("bmp_32.bmp", 6000, 5000), 0),
        ("p6.ppm", enlarged("pnm_p6.ppm", 6000, 5000), 80),
        ("rgba.qoi", enlarged("qoi_rgba.qoi", 6000, 5000), 0),
        ("rgb.jp2", enlarged("jpeg2000_rgb.jp2", 6000, 5000), 0),
    ]
}

/// The memory that the reader asks for before it decodes a picture.
fn needed(bytes: &[u8]) -> u64 {
    let (mut reader, mut out, mut memory) =
        (PictureReader::new(PixelOptions::default()), [0; 1200], 0);
    while let Err(PictureError::NeedsMemory { bytes }) =
        reader.read_within(memory, bytes, 20, 20, &mut out)
    {
        assert!(bytes > memory);
        memory = bytes;
    }
    memory
}

#[test]
fn no_picture_takes_more_memory_than_it_asks_for() {
    need_runtime!();
    takes_no_more_memory_than_it_asks_for(memory_hogs());
}

#[test]
fn no_avif_or_jpeg_2000_takes_more_memory_than_it_asks_for() {
    /// Noise, which needs all kinds of blocks.
    const LARGE: &str = r#"
import sys
from PIL import Image
for subsampling in ["4:2:0", "4:4:4"]:
    image = Image.effect_noise((750, 500), 60).convert("RGB").resize((3000, 2000))
    image.save(f"{sys.argv[1]}/{subsampling[2:].replace(':', '')}.avif", subsampling=subsampling, speed=10)
image.save(f"{sys.argv[1]}/rgb.jp2", irreversible=True)
image.save(f"{sys.argv[1]}/tiles.jp2", tile_size=(512, 512), codeblock_size=(8, 8))
"#;
    need_runtime!();
    let mut python = crate::need_python!("PIL");
    let env = TestEnv::new();
    crate::succeed(python.args(["-c", LARGE]).arg(env.path("media")));
    let read = |name| fs::read(env.path("media").join(name)).unwrap();
    let hog = |name| (name, read(name), 30);
    takes_no_more_memory_than_it_asks_for(["rgb.jp2", "tiles.jp2"].map(hog));
    if cfg!(feature = "avif") {
        takes_no_more_memory_than_it_asks_for(["20.avif", "44.avif"].map(hog));
    }
}

#[cfg(feature = "heic")]
#[test]
fn no_heic_takes_more_memory_than_it_asks_for() {
    /// Noise, which needs all kinds of blocks.
    const LARGE: &str = r#"
import sys
import numpy as np
import pillow_heif
from PIL import Image
pillow_heif.register_heif_opener()
image = Image.effect_noise((750, 500), 60).convert("RGB").resize((3000, 2000))
deep = np.asarray(image, dtype=np.uint16) * 257
deep = pillow_heif.from_bytes("RGB;16", image.size, deep.tobytes())
options = {"enc_params": {"preset": "ultrafast", "tune": "psnr"}}
for chroma in [420, 444]:
    image.save(f"{sys.argv[1]}/{chroma}.heic", chroma=chroma, **options)
    deep.save(f"{sys.argv[1]}/deep_{chroma}.heic", chroma=chroma, **options)
image.save(f"{sys.argv[1]}/grid.heic", tile_size=512, **options)
image.save(f"{sys.argv[1]}/small_blocks.heic", enc_params={"preset": "fast"}, quality=95)
"#;
    need_runtime!();
    let mut python = crate::need_python!("PIL", "numpy", "pillow_heif");
    let env = TestEnv::new();
    crate::succeed(python.args(["-c", LARGE]).arg(env.path("media")));
    let names = [
        "420.heic",
        "444.heic",
        "deep_420.heic",
        "deep_444.heic",
        "grid.heic",
        "small_blocks.heic",
    ];
    let hog = |name| (name, fs::read(env.path("media").join(name)).unwrap(), 30);
    takes_no_more_memory_than_it_asks_for(names.map(hog));
}

/// Of pictures with their names and the least that they take, in MiB.
fn takes_no_more_memory_than_it_asks_for<const COUNT: usize>(
    hogs: [(&'static str, Vec<u8>, u64); COUNT],
) {
    let base = base_memory();
    for (name, bytes, least) in hogs {
        let needed = needed(&bytes);
        let env = TestEnv::new();
        env.write(format!("media/{name}"), &bytes);
        env.objects(&[name]);
        let started = Instant::now();
        let (outcome, peak) = finish_measured(env.extract_command("nhwc", &["--workers", "1"]));
        let took = peak.saturating_sub(base);
        let known = format!(
            "{name} of {} bytes took {} MiB and {:.1} s, asked for {} MiB",
            bytes.len(),
            took >> 20,
            started.elapsed().as_secs_f64(),
            needed >> 20
        );
        eprintln!("{known}");
        assert!(took < needed + (16 << 20), "{known}\n{outcome}");
        assert!(took >= least << 20, "{known}\n{outcome}");
    }
}

/// 792 MB that the decoder would need, and a limit that leaves less: the next run tries again.
#[test]
fn too_little_memory_is_no_fault_of_the_picture() {
    need_runtime!();
    let env = TestEnv::new();
    env.write(
        "media/large.jpg",
        enlarged("jpeg_444_progressive.jpg", 12_000, 11_000),
    );
    env.objects(&["large.jpg"]);
    let command = env.extract_command("nhwc", &["--workers", "1"]);
    limited("-v 800000", &command, &env).exits(1);
    assert_eq!(kinds(&env, "nhwc"), ["large.jpg decode out-of-memory"]);
    let outcome = env.extract("nhwc", &["--workers", "1", "--json"]);
    assert_eq!(outcome.exits(0).counts(), [1, 0, 0, 0]);
}

#[test]
fn all_workers_on_the_worst_files_stay_within_the_memory_that_help_tells_of() {
    need_runtime!();
    let (env, workers) = (TestEnv::new(), 4);
    // Each takes 800 MB: two workers at a time would be too many, and four all the more.
    let pictures = [
        ("png", enlarged("png_rgba_16.png", 10_000, 10_000)),
        ("qoi", enlarged("qoi_rgba.qoi", 20_000, 8_900)),
    ];
    let mut names = Vec::new();
    for number in 0..workers {
        for (extension, bytes) in &pictures {
            let name = format!("worst{number}.{extension}");
            env.write(format!("media/{name}"), bytes);
            names.push(name);
        }
    }
    env.objects(&names);
    let workers_argument = workers.to_string();
    let arguments = ["--json", "--workers", &workers_argument];
    let (outcome, peak) = finish_measured(env.extract_command("nhwc", &arguments));
    assert_eq!(outcome.exits(1).counts(), [0, 0, names.len() as u64, 0]);
    let bound = memory_bound(workers);
    eprintln!("{} MiB, bound {} MiB", peak >> 20, bound >> 20);
    assert!(peak < bound, "{peak} bytes, at most {bound} expected");
}

/// Runs a command to its end; also gives its peak of memory in bytes, which the system forgets when a process ends: so
/// it is asked for all the time. The peak is that of decoding, and more than a moment before the end.
#[track_caller]
pub fn finish_measured(mut command: Command) -> (Outcome, u64) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (ended, end) = mpsc::channel();
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        while end.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.map_or(0, |line| {
                line.trim().trim_end_matches(" kB").parse().unwrap()
            });
            peak = peak.max(kib << 10);
        }
        peak
    });
    let outcome = wait(format!("{command:?}"), child);
    ended.send(()).unwrap();
    (outcome, watch.join().unwrap())
}
