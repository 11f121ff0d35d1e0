//! The pixels of pictures against those of Pillow 13.0.0.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
#[cfg(feature = "turbojpeg")]
use simsearch::pictures::{Fit, Resize};
use simsearch::pictures::{PictureError, PictureReader, PixelOptions, Resampling};

use crate::TestEnv;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Pictures that Pillow refuses and that come out all the same, with the reason; `docs/formats.md` has them too.
const READ_WHERE_PILLOW_REFUSES: [(&str, &str); 6] = [
    (
        "jpeg_short_adobe.jpg",
        "the Adobe segment's content is not needed",
    ),
    ("jpeg_without_end.jpg", "all of its rows are there"),
    ("png_wrong_header_crc.png", "checksums are not looked at"),
    (
        "png_animation_no_sequence.png",
        "what is said of an animation is not looked at",
    ),
    (
        "png_animation_short.png",
        "what is said of an animation is not looked at",
    ),
    (
        "png_animation_wide.png",
        "what is said of an animation is not looked at",
    ),
];

/// Pictures of which Pillow 13.0.0 shows something else than they hold, with one that holds the same and that it reads;
/// `docs/formats.md` has them too.
const PILLOW_IS_WRONG: [(&str, &str); 3] = [
    // It takes the bytes of samples for samples.
    ("tiff_planar_16_raw.tif", "tiff_planar_16_raw_control.tif"),
    // It shows the negative.
    (
        "tiff_gray_16_white_is_zero.tif",
        "tiff_gray_16_white_is_zero_control.tif",
    ),
    // It takes the bytes of big-endian numbers in the other order, where libtiff has turned them already.
    (
        "tiff_float32_predictor_big_endian.tif",
        "tiff_float32_big_endian.tif",
    ),
];

/// Pictures whose pixels may differ from Pillow's by one level.
const NEARLY_SAME: [&str; 1] = ["jpeg2000_lossy.jp2"];

/// One line of `tests/data/pixels.sha256` or `pixels_pillow12.sha256`.
struct Expectation {
    hash: String,
    width: usize,
    height: usize,
    name: String,
}

fn data() -> PathBuf {
    Path::new(ROOT).join("tests/data")
}

fn picture(name: &str) -> Vec<u8> {
    fs::read(data().join("pictures").join(name)).unwrap()
}

/// What Pillow 13.0.0 makes of every picture. For Pillow 12 with what 12.3.0 makes of those that it reads the same and
/// resizes otherwise.
fn expectations(pillow: Resampling) -> Vec<Expectation> {
    let mut expectations = read_list("pixels.sha256");
    if pillow == Resampling::Pillow12 {
        for other in read_list("pixels_pillow12.sha256") {
            let of_this = |expected: &&mut Expectation| {
                (expected.width, expected.height, &expected.name)
                    == (other.width, other.height, &other.name)
            };
            let expected = expectations.iter_mut().find(of_this).unwrap();
            assert_ne!(expected.hash, other.hash, "{}", other.name);
            *expected = other;
        }
    }
    expectations
}

fn read_list(file: &str) -> Vec<Expectation> {
    let list = fs::read_to_string(data().join(file)).unwrap();
    let parse = |line: &str| {
        let [hash, size, name] = line.split("  ").collect::<Vec<_>>().try_into().unwrap();
        let (width, height) = size.split_once('x').unwrap();
        Expectation {
            hash: hash.to_owned(),
            width: width.parse().unwrap(),
            height: height.parse().unwrap(),
            name: name.to_owned(),
        }
    };
    list.lines().map(parse).collect()
}

pub(crate) fn hash(pixels: &[u8]) -> String {
    Sha256::digest(pixels)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The hash of the picture in the wanted size; `0x0` is its own.
fn read(
    reader: &mut PictureReader,
    bytes: &[u8],
    width: usize,
    height: usize,
) -> Result<String, PictureError> {
    if width == 0 {
        return reader.decode(bytes).map(|(_, pixels)| hash(pixels));
    }
    let mut out = vec![0; width * height * 3];
    reader
        .read(bytes, width, height, &mut out)
        .map(|()| hash(&out))
}

fn listed(name: &str, list: &[(&str, &str)]) -> bool {
    list.iter().any(|(listed, _)| *listed == name)
}

#[test]
fn every_format_and_mode_comes_out_as_pillow_reads_it() {
    comes_out_as_of(Resampling::Pillow13);
}

#[test]
fn tall_pictures_come_out_as_pillow_12_resizes_them_and_all_others_as_before() {
    comes_out_as_of(Resampling::Pillow12);
}

fn comes_out_as_of(pillow: Resampling) {
    let exact_jpeg = cfg!(feature = "turbojpeg");
    let mut reader = PictureReader::new(PixelOptions {
        resampling: pillow,
        ..PixelOptions::default()
    });
    let mut wrong = Vec::new();
    let expectations = expectations(pillow);
    assert!(
        expectations.len() > 500,
        "only {} expectations",
        expectations.len()
    );
    for Expectation {
        hash,
        width,
        height,
        name,
    } in expectations
    {
        let found = read(&mut reader, &picture(&name), width, height);
        let fits = match &found {
            Err(_) => hash == "refused",
            Ok(_) if hash == "refused" => listed(&name, &READ_WHERE_PILLOW_REFUSES),
            Ok(_) if NEARLY_SAME.contains(&&*name) => true,
            Ok(found) => *found == hash || listed(&name, &PILLOW_IS_WRONG),
        };
        let about_jpeg = name.contains("jpeg") || name.contains("mpo");
        let is_read = cfg!(feature = "avif") || !name.ends_with("avif");
        if !fits && is_read && (exact_jpeg || !about_jpeg) {
            wrong.push(format!("{width}x{height} {name}: {found:?}, not {hash}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Writes a picture in each orientation, in each format and place where the orientation can be told, and what Pillow
/// makes of it: upright in its own size, and resized to 4 x 6 after that.
const ORIENTED: &str = r#"
import io, pathlib, struct, sys, zlib
from PIL import Image, ImageOps, PngImagePlugin
folder = pathlib.Path(sys.argv[1])
image = Image.new("RGB", (16, 11))
image.putdata([(x * 16, y * 23, (x * 31 + y * 57) % 256) for y in range(11) for x in range(16)])
def packet(value, attribute):
    tag = f' tiff:Orientation="{value}"/>' if attribute else f"><tiff:Orientation>{value}</tiff:Orientation>"
    return f"<x:xmpmeta><rdf:RDF><rdf:Description{tag}</rdf:RDF></x:xmpmeta>".encode()
def with_chunk(png, name, data):
    chunk = struct.pack(">I", len(data)) + name + data
    return png[:33] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + png[33:]
def saved(format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
formats = [
    ("jpg", "JPEG", {"quality": 100, "subsampling": 0}), ("png", "PNG", {}), ("webp", "WEBP", {"lossless": True}),
    ("tif", "TIFF", {"compression": "tiff_lzw"}),
]
for value in range(10):
    files = {}
    exif = Image.Exif()
    exif[0x0112] = value
    plain = saved("PNG")
    for ending, format, options in formats:
        if format == "TIFF" and value not in range(1, 9):
            continue  # libtiff writes no others
        files[f"exif.{ending}"] = saved(format, exif=exif, **options)
        if format in ["JPEG", "WEBP"]:
            for attribute in [False, True]:
                files[f"xmp{attribute}.{ending}"] = saved(format, xmp=packet(value, attribute), **options)
            other = packet(3, True)
            files[f"both.{ending}"] = saved(format, exif=exif, xmp=other, **options)
    # Other types of number than the usual one.
    for kind, number in [("byte", b"\1\0\1\0\0\0" + bytes([value, 0, 0, 0])), ("long", b"\4\0\1\0\0\0" + bytes([value, 0, 0, 0]))]:
        tiff = b"II*\0\x08\0\0\0\1\0\x12\1" + number + bytes(4)
        files[f"{kind}.png"] = with_chunk(plain, b"eXIf", tiff)
        files[f"late_{kind}.png"] = plain[:-12] + with_chunk(bytes(33), b"eXIf", tiff)[33:] + plain[-12:]
    profile = exif.tobytes()
    profile = f"\nexif\n{len(profile):8}\n{profile.hex()}\n".encode()
    files["text.png"] = with_chunk(plain, b"tEXt", b"Raw profile type exif\0" + profile)
    files["compressed.png"] = with_chunk(plain, b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))
    xmp = packet(value, True)
    files["xmp.png"] = with_chunk(plain, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    files["xmp_compressed.png"] = with_chunk(plain, b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0x\0" + zlib.compress(xmp))
    for name, data in files.items():
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        path = folder / f"{value}_{name}"
        path.write_bytes(data)
        small = upright.resize((4, 6))
        (folder / f"{path.name}.upright").write_bytes(bytes(upright.size) + upright.tobytes() + small.tobytes())
"#;

#[test]
fn pictures_are_turned_where_pillow_turns_them() {
    let mut python = crate::need_python!("PIL");
    let env = TestEnv::new();
    crate::succeed(python.args(["-c", ORIENTED]).arg(env.path("media")));
    let reader = |apply_orientation| {
        PictureReader::new(PixelOptions {
            apply_orientation,
            ..PixelOptions::default()
        })
    };
    let (mut upright, mut as_stored) = (reader(true), reader(false));
    let (mut turned, mut tiffs) = (0, 0);
    for (name, bytes) in env.tree("media") {
        let Ok(expected) = fs::read(env.path(format!("media/{name}.upright"))) else {
            continue;
        };
        let mut small = vec![0; 4 * 6 * 3];
        upright.read(&bytes, 4, 6, &mut small).unwrap();
        let (size, pixels) = upright.decode(&bytes).unwrap();
        let head = [size.width as u8, size.height as u8];
        let is_jpeg = name.ends_with("jpg");
        if cfg!(feature = "turbojpeg") || !is_jpeg {
            assert_eq!([&head, pixels, &small].concat(), expected, "{name}");
        }
        let (size, stored) = as_stored.decode(&bytes).unwrap();
        if name.ends_with("tif") {
            assert_eq!(stored, pixels, "{name}");
            tiffs += 1;
        } else {
            assert_eq!((size.width, size.height), (16, 11), "{name}");
            turned += usize::from(stored != pixels);
        }
    }
    // Of ten values, seven turn. "both" has one in its EXIF data that does.
    assert_eq!((turned, tiffs), (15 * 7, 8));
}

/// The memory that the reader asks for before it decodes a JPEG of this size, which is turned by a quarter where
/// orientations are applied.
#[cfg(feature = "turbojpeg")]
fn needed(width: u32, height: u32, options: PixelOptions) -> u64 {
    let mut bytes = picture("jpeg_exif_orientation.jpg");
    crate::mutants::set_dimensions(&mut bytes, Some(width), Some(height));
    let mut out = vec![0; 224 * 192 * 3];
    match PictureReader::new(options).read_within(0, &bytes, 224, 192, &mut out) {
        Err(PictureError::NeedsMemory { bytes }) => bytes,
        other => panic!("{other:?}"),
    }
}

#[cfg(feature = "turbojpeg")]
#[test]
fn a_jpeg_that_is_turned_or_cropped_is_never_in_memory_as_a_whole() {
    const WHOLE: u64 = 4000 * 3000 * 3;
    for apply_orientation in [false, true] {
        for resize in [Resize::Squash, Resize::Shortest(256)] {
            let fit = Fit {
                resize,
                ..Fit::default()
            };
            let options = PixelOptions {
                apply_orientation,
                fit,
                ..PixelOptions::default()
            };
            let needed = needed(4000, 3000, options);
            assert!(needed < WHOLE / 3, "{options:?}: {needed}");
        }
    }
}

/// With a shorter side of 256, of which 224 are cut out, 1800 pixels would become 900, which is 3.5 times as many.
#[cfg(feature = "turbojpeg")]
#[test]
fn a_scaled_jpeg_has_four_times_the_pixels_that_it_is_resampled_to_before_it_is_cropped() {
    let needed = |height, scaled_decode| {
        let options = PixelOptions {
            scaled_decode,
            fit: Fit {
                resize: Resize::Shortest(256),
                ..Fit::default()
            },
            ..PixelOptions::default()
        };
        needed(4000, height, options)
    };
    for (height, is_scaled) in [(1800, false), (2040, false), (2048, true)] {
        assert_eq!(
            needed(height, true) < needed(height, false),
            is_scaled,
            "{height}"
        );
    }
}

/// AVIFs of all kinds that Pillow writes, with the pixels that it makes of them, in their own size and turned.
#[cfg(feature = "avif")]
const AVIFS: &str = r#"
import io, pathlib, sys
from PIL import Image, ImageOps
folder = pathlib.Path(sys.argv[1])
def picture(width, height, mode):
    image = Image.new("RGB", (width, height))
    pixels = [(x, y) for y in range(height) for x in range(width)]
    image.putdata([((x * 255 // width + x * y % 29) % 256, (y * 255 // height + x % 13) % 256, (x * 31 + y * 57) % 256)
                   for x, y in pixels])
    alpha = Image.new("L", (width, height))
    alpha.putdata([(x * 5 + y * 9) % 256 for x, y in pixels])
    if mode == "RGBA":
        image.putalpha(alpha)
    return alpha if mode == "L" else image
def write(name, image, change=lambda file: file, **options):
    file = io.BytesIO()
    image.save(file, "AVIF", speed=9, **options)
    (folder / f"{name}.avif").write_bytes(change(file.getvalue()))
    shown = Image.open(folder / f"{name}.avif")
    stored, upright = shown.convert("RGB"), ImageOps.exif_transpose(shown).convert("RGB")
    for kind, pixels in [("stored", stored), ("upright", upright)]:
        (folder / f"{name}.avif.{kind}").write_bytes(bytes(pixels.size) + pixels.tobytes())
for subsampling in ["4:2:0", "4:2:2", "4:4:4", "4:0:0"]:
    for range_ in ["full", "limited"]:
        for mode in ["RGB", "RGBA", "L"]:
            for width, height in [(1, 1), (2, 3), (5, 4), (37, 29), (64, 48), (131, 66)]:
                for quality in [30, 100]:
                    name = f"{subsampling.replace(':', '')}_{range_}_{mode}_{width}x{height}_{quality}"
                    write(name, picture(width, height, mode), subsampling=subsampling, range=range_, quality=quality)
for value in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = value
    write(f"turned_{value}", picture(16, 11, "RGB"), exif=exif)
frames = [picture(40, 30, mode).convert("RGB") for mode in ["RGB", "L"]]
write("animation", frames[0], save_all=True, append_images=frames[1:])
# Real encoders have said 4:4:4 in the box `av1C`, whose third byte has the subsampling, of frames that were not.
def says_444(file):
    at = file.index(b"av1C") + 6
    return file[:at] + bytes([file[at] & ~0b1100]) + file[at + 1:]
for subsampling in ["4:2:0", "4:2:2"]:
    write(f"says_444_of_{subsampling[::2]}", picture(37, 29, "RGB"), says_444, subsampling=subsampling, quality=60)
"#;

/// AVIFs that Pillow does not write, by `avifenc`: more bits, other weights of colours, grids, and boxes that crop,
/// turn and mirror.
#[cfg(feature = "avif")]
const MORE_AVIFS: &str = r#"
import itertools, pathlib, subprocess, sys
from PIL import Image, ImageOps
folder = pathlib.Path(sys.argv[1])
def picture(width, height, has_alpha):
    image = Image.new("RGBA" if has_alpha else "RGB", (width, height))
    image.putdata([((x * 255 // width + x * y % 29) % 256, (y * 255 // height + x % 13) % 256, (x * 31 + y * 57) % 256,
                    (x * 5 + y * 9) % 256)[: len(image.mode)] for y in range(height) for x in range(width)])
    path = folder / f"{width}x{height}{has_alpha}.png"
    image.save(path)
    return path
def write(name, source, *options):
    path = folder / f"{name}.avif"
    command = ["avifenc", "-s", "10", *options, source, path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shown = Image.open(path)
    stored, upright = shown.convert("RGB"), ImageOps.exif_transpose(shown).convert("RGB")
    for kind, pixels in [("stored", stored), ("upright", upright)]:
        (folder / f"{name}.avif.{kind}").write_bytes(bytes(pixels.size) + pixels.tobytes())
matrices = ["1/13/1", "1/13/2", "1/13/4", "1/13/5", "1/13/6", "1/13/7", "9/16/9", "1/13/12", "9/16/12", "6/13/12"]
sources = [picture(37, 29, has_alpha) for has_alpha in [False, True]]
for source, depth, layout, range_ in itertools.product(sources, ["8", "10", "12"], ["444", "422", "420", "400"], "lf"):
    for matrix in matrices + ["1/13/0"] * (layout == "444") + ["1/13/8"] * (range_ == "f"):
        name = f"{source.stem}_{depth}_{layout}_{range_}_{matrix.replace('/', '-')}"
        write(name, source, "-d", depth, "-y", layout, "-r", range_, "--cicp", matrix)
large = picture(192, 160, False)
for depth, layout, grid in itertools.product(["8", "10"], ["444", "422", "420"], ["3x1", "1x2", "3x2"]):
    write(f"grid_{depth}_{layout}_{grid}", large, "-d", depth, "-y", layout, "-g", grid)
for angle, axis in itertools.product([None, "0", "1", "2", "3"], [None, "0", "1"]):
    boxes = ["--irot", angle] * (angle is not None) + ["--imir", axis] * (axis is not None)
    write(f"turned_{angle}_{axis}", sources[0], *boxes, "--crop", "2,2,20,20", "-y", "444")
"#;

/// TIFFs that `tiffcp` of libtiff makes of Pillow's: compressions, predictors, strips, tiles, planes, orders of bits
/// and bytes.
#[cfg(feature = "turbojpeg")]
const TIFFS: &str = r#"
import itertools, pathlib, subprocess, sys
from PIL import Image, ImageOps
folder = pathlib.Path(sys.argv[1])
width, height = 37, 29
pixels = [((x * 255 // width + x * y % 29) % 256, (y * 255 // height + x % 13) % 256, (x * 31 + y * 57) % 256,
           (x * 5 + y * 9) % 256) for y in range(height) for x in range(width)]
full = Image.new("RGBA", (width, height))
full.putdata(pixels)
deep = Image.new("I;16", (width, height))
deep.putdata([(r * 257 + g * 3) % 65536 for r, g, _, _ in pixels])
modes = {"1": full.convert("RGB").convert("1"), "L": full.convert("RGB").convert("L"), "P": full.convert("RGB").convert("P"),
         "RGB": full.convert("RGB"), "RGBA": full, "CMYK": full.convert("RGB").convert("CMYK"), "I16": deep}
layouts = {"one": [], "strips": ["-s", "-r", "5"], "tiles": ["-t", "-w", "16", "-l", "16"]}
orders = {"msb": ["-f", "msb2lsb", "-B"], "lsb": ["-f", "lsb2msb", "-L"]}
anyone = ["none", "packbits", "lzw", "zip", "lzma", "zstd"]
for mode, image in modes.items():
    source = folder / f"{mode}.base"
    image.save(source, "TIFF")
    compressions = list(anyone)
    if mode == "1":
        compressions += ["g3:1d", "g3:2d", "g4"]
    else:
        compressions += ["lzw:2", "zip:2"]
    if mode in ("L", "RGB"):
        compressions += ["jpeg:r:90"]
    planes = ["contig"] if len(image.getbands()) == 1 else ["contig", "separate"]
    for compression, layout, order, plane in itertools.product(compressions, layouts, orders, planes):
        if (compression, order, plane) == ("none", "lsb", "separate"):
            # Pillow 13.0.0 leaves the bits turned; docs/formats.md.
            continue
        name = f"{mode}_{compression.replace(':', '-')}_{layout}_{order}_{plane}"
        path = folder / f"{name}.tif"
        command = ["tiffcp", "-c", compression, *layouts[layout], *orders[order], "-p", plane, source, path]
        if subprocess.run(command, capture_output=True).returncode != 0:
            path.unlink(missing_ok=True)
            continue
        try:
            shown = Image.open(path)
            stored = shown.convert("RGB")
            upright = ImageOps.exif_transpose(shown).convert("RGB")
        except Exception:
            # What Pillow does not read has nothing to be compared with.
            path.unlink()
            continue
        for kind, found in [("stored", stored), ("upright", upright)]:
            (folder / f"{name}.tif.{kind}").write_bytes(bytes(found.size) + found.tobytes())
"#;

#[cfg(feature = "turbojpeg")]
#[test]
fn tiffs_of_tiffcp_come_out_as_pillow_reads_them() {
    if std::process::Command::new("tiffcp").output().is_err() {
        crate::skip!("no tiffcp");
    }
    pictures_come_out(TIFFS, ".tif", 300..);
}

#[cfg(feature = "avif")]
#[test]
fn avifs_of_pillow_come_out_as_it_reads_them() {
    let count = 4 * 2 * 3 * 6 * 2 + 8 + 1 + 2;
    pictures_come_out(AVIFS, ".avif", count..=count);
}

#[cfg(feature = "avif")]
#[test]
fn avifs_of_avifenc_come_out_as_pillow_reads_them() {
    if std::process::Command::new("avifenc")
        .arg("-V")
        .output()
        .is_err()
    {
        crate::skip!("no avifenc");
    }
    let matrices = 2 * 3 * (4 * (2 * 10 + 1) + 2);
    let count = matrices + 2 * 3 * 3 + 5 * 3;
    pictures_come_out(MORE_AVIFS, ".avif", count..=count);
}

/// Runs a script that writes pictures, and beside each `.stored` and `.upright`: its size, and the pixels that Pillow
/// makes of it.
#[cfg(any(feature = "avif", feature = "turbojpeg"))]
fn pictures_come_out(script: &str, ending: &str, count: impl std::ops::RangeBounds<usize>) {
    let mut python = crate::need_python!("PIL");
    let env = TestEnv::new();
    crate::succeed(python.args(["-c", script]).arg(env.path("media")));
    let files = crate::files_ending(&env.tree("media"), ending);
    let mut wrong = Vec::new();
    for (kind, apply_orientation) in [("stored", false), ("upright", true)] {
        let mut reader = PictureReader::new(PixelOptions {
            apply_orientation,
            ..PixelOptions::default()
        });
        for (name, bytes) in &files {
            let expected = fs::read(env.path(format!("media/{name}.{kind}"))).unwrap();
            let found = reader
                .decode(bytes)
                .map(|(size, pixels)| [&[size.width as u8, size.height as u8], pixels].concat());
            match found {
                Ok(found) if found == expected => {}
                Ok(found) if found.len() == expected.len() => {
                    let differences = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
                    let count = differences
                        .clone()
                        .filter(|&difference| difference > 0)
                        .count();
                    let most = differences.max();
                    wrong.push(format!("{name} {kind}: {count} values differ, by {most:?}"));
                }
                found => wrong.push(format!("{name} {kind}: {found:?}")),
            }
        }
    }
    assert!(count.contains(&files.len()), "{} pictures", files.len());
    assert!(
        wrong.is_empty(),
        "{} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// JPEG 2000 of all kinds that Pillow writes, with the pixels that it makes of them.
const JPEG_2000S: &str = r#"
import io, itertools, pathlib, sys
import numpy as np
from PIL import Image
folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(1)
def picture(width, height, channels, top):
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * top // width, y * top // height, (x * 5 + y * 11) * top // 255 % (top + 1), (x * y + 40) % (top + 1)]
    pixels = np.stack(planes[:channels], -1).astype(np.int64)
    pixels = (pixels + random.integers(0, top // 12 + 1, pixels.shape)).clip(0, top)
    return (pixels[..., 0] if channels == 1 else pixels).astype(np.uint8 if top == 255 else np.uint16)
def write(name, image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG2000", **options)
    (folder / f"{name}.jp2").write_bytes(file.getvalue())
    shown = Image.open(file).convert("RGB")
    (folder / f"{name}.jp2.stored").write_bytes(bytes(shown.size) + shown.tobytes())
modes = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
for (mode, channels), irreversible, rate, plain in itertools.product(modes.items(), [False, True], [None, 15], [False, True]):
    options = {"irreversible": irreversible, "no_jp2": plain}
    options |= {"quality_mode": "rates", "quality_layers": [rate]} if rate else {}
    kind = "lossy" if irreversible else "lossless"
    for width, height in [(61, 43), (160, 120)]:
        image = Image.fromarray(picture(width, height, channels, 255), mode)
        write(f"{kind}_{mode}_{rate}_{plain}_{width}", image, **options)
        if mode == "RGB":
            write(f"{kind}_ycc_{rate}_{plain}_{width}", image, mct=1, **options)
for top in [600, 4095, 65535]:
    write(f"lossless_gray_{top}", Image.fromarray(picture(61, 43, 1, top)))
"#;

#[test]
fn jpeg_2000s_come_out_as_pillow_reads_them_but_for_a_level_in_lossy_ones() {
    let mut python = crate::need_python!("PIL", "numpy");
    let env = TestEnv::new();
    crate::succeed(python.args(["-c", JPEG_2000S]).arg(env.path("media")));
    let files = crate::files_ending(&env.tree("media"), ".jp2");
    assert_eq!(files.len(), 2 * 2 * 2 * 2 * 5 + 3);
    let mut reader = PictureReader::new(PixelOptions::default());
    let (mut values, mut differing) = (0, 0);
    for (name, bytes) in &files {
        let expected = fs::read(env.path(format!("media/{name}.stored"))).unwrap();
        let (size, pixels) = reader.decode(bytes).unwrap();
        assert_eq!(
            [size.width as u8, size.height as u8],
            expected[..2],
            "{name}"
        );
        let pairs = pixels.iter().zip(&expected[2..]);
        let differences = pairs
            .map(|(a, b)| a.abs_diff(*b))
            .filter(|&difference| difference > 0);
        let (count, most) = (differences.clone().count(), differences.max());
        if name.starts_with("lossless") {
            assert_eq!(count, 0, "{name}: by {most:?}");
        } else {
            assert!(
                most.is_none_or(|most| most == 1),
                "{name}: {count} by {most:?}"
            );
            values += pixels.len();
            differing += count;
        }
    }
    // In one run 7 of 10,000.
    assert!(
        differing * 500 < values,
        "{differing} of {values} values differ"
    );
    eprintln!("{differing} of {values} values of lossy pictures differ by one level");
}

#[test]
fn jpeg_xl_comes_out_as_it_was_coded_and_upright() {
    let mut reader = PictureReader::new(PixelOptions::default());
    let mut read = |name| {
        let (size, pixels) = reader.decode(&picture(name)).unwrap();
        ([size.width, size.height], pixels.to_vec())
    };
    let (size, control) = read("jpeg_xl_control.png");
    assert_eq!(size, [61, 43]);
    for name in ["jpeg_xl_rgb.jxl", "jpeg_xl_rgba.jxl"] {
        assert!(read(name) == (size, control.clone()), "{name}");
    }
    let (turned_size, turned) = read("jpeg_xl_turned.jxl");
    assert_eq!(turned_size, [43, 61]);
    // A quarter to the right: rows from below become columns from the left.
    let at = |x: usize, y: usize| &control[(y * 61 + x) * 3..][..3];
    let expected = (0..61).flat_map(|y| (0..43).rev().flat_map(move |x| at(y, x)));
    assert!(turned.iter().eq(expected));
    let (size, gray) = read("jpeg_xl_l.jxl");
    assert_eq!(size, [61, 43]);
    let (pixels, _) = gray.as_chunks::<3>();
    // The weights of ITU-R BT.601, by which Pillow makes gray.
    for (rgb, [red, green, blue]) in control.chunks_exact(3).zip(pixels) {
        let [r, g, b] = [0, 1, 2].map(|channel| f64::from(rgb[channel]));
        assert!(red == green && green == blue);
        assert!((0.299 * r + 0.587 * g + 0.114 * b - f64::from(*red)).abs() < 1.0);
    }
    let lossy = read("jpeg_xl_lossy.jxl").1;
    let pairs = control.iter().zip(&lossy);
    let off: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    let mean = f64::from(off) / control.len() as f64;
    assert!(mean > 0.0 && mean < 12.0, "{mean} levels");
    assert!(read("jpeg_xl_boxes.jxl").1 == lossy);
}

/// JPEG XL of all kinds that pillow-jxl-plugin writes, with the pixels that it makes of them.
const JPEG_XLS: &str = r#"
import io, pathlib, sys
import numpy as np
import pillow_jxl
from PIL import Image
folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(1)
def picture(width, height, channels):
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 // width, y * 255 // height, (x * 5 + y * 11) % 256, (x * y + 40) % 256]
    pixels = np.stack(planes[:channels], -1)
    pixels = (pixels + random.integers(0, 22, pixels.shape)).clip(0, 255).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels
for mode, channels in {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}.items():
    for width, height in [(61, 43), (200, 270)]:
        image = Image.fromarray(picture(width, height, channels), mode)
        for kind, options in {"lossless": {"lossless": True}, "lossy_50": {"quality": 50}, "lossy_90": {"quality": 90}}.items():
            for boxes in [False, True]:
                file = io.BytesIO()
                image.save(file, "JXL", use_container=boxes, **options)
                name = f"{kind}_{mode}_{width}_{boxes}.jxl"
                (folder / name).write_bytes(file.getvalue())
                (folder / f"{name}.stored").write_bytes(Image.open(file).convert("RGB").tobytes())
"#;

#[test]
fn jpeg_xls_come_out_as_pillow_jxl_plugin_reads_them_but_for_a_level_in_lossy_ones() {
    let mut python = crate::need_python!("PIL", "numpy", "pillow_jxl");
    let env = TestEnv::new();
    crate::succeed(python.args(["-c", JPEG_XLS]).arg(env.path("media")));
    let files = crate::files_ending(&env.tree("media"), ".jxl");
    assert_eq!(files.len(), 4 * 2 * 3 * 2);
    let mut reader = PictureReader::new(PixelOptions::default());
    for (name, bytes) in &files {
        let expected = fs::read(env.path(format!("media/{name}.stored"))).unwrap();
        let (_, pixels) = reader.decode(bytes).unwrap();
        assert_eq!(pixels.len(), expected.len(), "{name}");
        let pairs = pixels.iter().zip(&expected);
        let most = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        let allowed = u8::from(name.starts_with("lossy"));
        assert!(most <= allowed, "{name}: by {most}");
    }
}

#[test]
fn a_picture_does_not_depend_on_those_that_were_read_before_it() {
    let loud = |reader: &mut PictureReader| {
        // Larger than all others, of bytes that are neither black nor white, in each of the buffers.
        for (header, len) in [
            ("P6\n320 320\n255\n", 307_200),
            ("P6\n320 320\n65535\n", 614_400),
        ] {
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend((0..len).map(|index: u32| (index % 251) as u8 | 1));
            reader.decode(&bytes).unwrap();
        }
    };
    let names = fs::read_dir(data().join("pictures")).unwrap();
    let mut wrong = Vec::new();
    for path in names.map(|entry| entry.unwrap().path()) {
        let bytes = fs::read(&path).unwrap();
        // Whole, and cut off where its pixels are.
        for bytes in [&bytes[..], &bytes[..bytes.len() * 3 / 4]] {
            let mut fresh = PictureReader::new(PixelOptions::default());
            let mut used = PictureReader::new(PixelOptions::default());
            loud(&mut used);
            let read = |reader: &mut PictureReader| read(reader, bytes, 0, 0).ok();
            if read(&mut fresh) != read(&mut used) {
                wrong.push(format!("{} of {} bytes", path.display(), bytes.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[cfg(feature = "turbojpeg")]
fn a_lossless_jpeg_is_never_shrunk_while_it_is_decoded() {
    let bytes = picture("jpeg_lossless_gray.jpg");
    let exact = &mut PictureReader::new(PixelOptions::default());
    let scaled = &mut PictureReader::new(PixelOptions {
        scaled_decode: true,
        ..PixelOptions::default()
    });
    // Small enough that any other JPEG would be.
    let [exact, scaled] = [exact, scaled].map(|reader| read(reader, &bytes, 1, 1).unwrap());
    assert_eq!(exact, scaled);
}

#[test]
fn where_pillow_is_wrong_the_picture_comes_out_as_the_file_holds_it() {
    let mut reader = PictureReader::new(PixelOptions::default());
    for (wrong, control) in PILLOW_IS_WRONG {
        let [wrong, control] =
            [wrong, control].map(|name| read(&mut reader, &picture(name), 0, 0).unwrap());
        assert_eq!(wrong, control);
    }
}

#[test]
fn failures_say_of_which_kind_they_are() {
    let mut reader = PictureReader::new(PixelOptions::default());
    let mut failure = |name: &str| {
        let error = reader.decode(&picture(name)).unwrap_err();
        match error {
            PictureError::Empty => "empty",
            PictureError::NotAPicture => "not a picture",
            PictureError::NotRead { .. } => "not read",
            PictureError::Unsupported { .. } => "unsupported",
            PictureError::Truncated { .. } => "truncated",
            PictureError::Corrupt { .. } => "corrupt",
            PictureError::TooLarge { .. } => "too large",
            _ => "other",
        }
    };
    assert_eq!(failure("empty.jpg"), "empty");
    assert_eq!(failure("text.jpg"), "not a picture");
    for name in [
        "png_truncated.png",
        "gif_truncated.gif",
        "webp_truncated.webp",
        "bmp_truncated.bmp",
    ] {
        assert_eq!(failure(name), "truncated", "{name}");
    }
    for name in [
        "tiff_truncated.tif",
        "tiff_deflate_cut.tif",
        "pnm_truncated.ppm",
        "bmp_rle8_cut.bmp",
        "qoi_truncated.qoi",
    ] {
        assert_eq!(failure(name), "truncated", "{name}");
    }
    if cfg!(feature = "avif") {
        assert_eq!(failure("avif_truncated.avif"), "truncated");
        assert_eq!(failure("avif_grid_cut.avif"), "truncated");
    }
    if cfg!(feature = "heic") {
        assert_eq!(failure("heic_truncated.heic"), "truncated");
    } else {
        assert_eq!(failure("heic_truncated.heic"), "not read");
    }
    assert_eq!(failure("jpeg2000_truncated.jp2"), "corrupt");
    assert_eq!(failure("jpeg_xl_truncated.jxl"), "truncated");
    assert_eq!(failure("bmp_masks_odd.bmp"), "unsupported");
    assert_eq!(failure("png_huge_header.png"), "too large");
    if cfg!(feature = "turbojpeg") {
        assert_eq!(failure("jpeg_12_bit.jpg"), "unsupported");
        assert_eq!(failure("jpeg_warning_then_error.jpg"), "corrupt");
        for name in [
            "jpeg_header_only.jpg",
            "jpeg_truncated.jpg",
            "jpeg_progressive_without_end.jpg",
            "jpeg_truncated_progressive.jpg",
        ] {
            assert_eq!(failure(name), "truncated", "{name}");
        }
    }
}

#[test]
fn a_header_that_claims_a_huge_picture_fails_before_there_is_memory_for_it() {
    let mut jpeg = picture("jpeg_420.jpg");
    let frame = jpeg
        .windows(2)
        .position(|marker| marker == [0xff, 0xc0])
        .unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    let mut reader = PictureReader::new(PixelOptions::default());
    let error = reader.decode(&jpeg).unwrap_err();
    assert!(
        matches!(
            error,
            PictureError::TooLarge {
                width: 65500,
                height: 65500,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn the_limit_is_on_pixels_and_inclusive() {
    let bytes = picture("png_rgb_8.png");
    let read = |max_pixels| {
        let options = PixelOptions {
            max_pixels,
            ..PixelOptions::default()
        };
        PictureReader::new(options)
            .decode(&bytes)
            .map(|(size, _)| (size.width, size.height))
    };
    assert_eq!(read(29 * 21).unwrap(), (29, 21));
    assert!(matches!(
        read(29 * 21 - 1),
        Err(PictureError::TooLarge { limit: 608, .. })
    ));
}

/// libjpeg-turbo 3.1 gives the size of the picture before for the picture after a header without a scan: a buffer of
/// that size may be too small.
#[test]
fn a_jpeg_header_without_a_scan_does_not_confuse_the_next_picture() {
    let mut reader = PictureReader::new(PixelOptions::default());
    let size = |reader: &mut PictureReader, name| {
        let decoded = reader.decode(&picture(name));
        decoded.map(|(size, _)| (size.width, size.height)).ok()
    };
    assert_eq!(size(&mut reader, "jpeg_1x1.jpg"), Some((1, 1)));
    assert_eq!(size(&mut reader, "jpeg_header_only.jpg"), None);
    assert_eq!(size(&mut reader, "jpeg_230x340.jpg"), Some((230, 340)));
}

#[test]
fn damaged_pictures_never_panic_and_leave_the_reader_as_it_was() {
    let mut reader = PictureReader::new(PixelOptions {
        max_pixels: 1_000_000,
        ..PixelOptions::default()
    });
    let good = picture("png_rgb_8.png");
    let expected = hash(reader.decode(&good).unwrap().1);
    let mut state = 1_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as usize % below
    };
    for entry in fs::read_dir(data().join("pictures")).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        for round in 0..if whole.is_empty() { 0 } else { 12 } {
            let mut bytes = whole.clone();
            for _ in 0..1 + round % 4 {
                let at = random(
                    bytes
                        .len()
                        .min(if round % 2 == 0 { 200 } else { usize::MAX }),
                );
                bytes[at] = random(256) as u8;
            }
            if round % 3 == 0 {
                bytes.truncate(random(bytes.len()));
            }
            let panicked = matches!(
                reader.decode(&bytes),
                Err(PictureError::DecoderPanicked { .. })
            );
            assert!(!panicked, "{} round {round}", path.display());
        }
    }
    assert_eq!(hash(reader.decode(&good).unwrap().1), expected);
}

/// Only for libjpeg-turbo: the pure Rust decoder always decodes in full size.
#[cfg(feature = "turbojpeg")]
#[test]
fn scaled_decoding_comes_close_to_the_exact_pixels() {
    let bytes = picture("jpeg_230x340.jpg");
    let read = |scaled_decode| {
        let mut out = vec![0; 25 * 35 * 3];
        let options = PixelOptions {
            scaled_decode,
            ..PixelOptions::default()
        };
        PictureReader::new(options)
            .read(&bytes, 25, 35, &mut out)
            .unwrap();
        out
    };
    let (exact, scaled) = (read(false), read(true));
    assert_ne!(exact, scaled);
    let difference: u32 = exact
        .iter()
        .zip(&scaled)
        .map(|(a, b)| u32::from(a.abs_diff(*b)))
        .sum();
    let mean = f64::from(difference) / exact.len() as f64;
    assert!(mean < 3.0, "differ by {mean} levels in the mean");
}

/// Only for libjpeg-turbo: with the pure Rust decoder the pixels differ a little.
#[cfg(feature = "turbojpeg")]
#[test]
fn the_190_shared_photographs_are_exact() {
    let shared = std::env::var_os("SIMSEARCH_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(ROOT).join("../shared"));
    let Ok(list) = fs::read_to_string(shared.join("golden/pixels.sha256")) else {
        println!("skipped: no golden/pixels.sha256 in {}", shared.display());
        return;
    };
    let mut reader = PictureReader::new(PixelOptions::default());
    let mut wrong = Vec::new();
    for line in list.lines() {
        let (expected, name) = line.split_once("  ").unwrap();
        let path = shared
            .join("media/object")
            .join(&name[..2])
            .join(&name[2..4])
            .join(name);
        if read(&mut reader, &fs::read(path).unwrap(), 224, 224).unwrap() != expected {
            wrong.push(name);
        }
    }
    assert_eq!(list.lines().count(), 190);
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Small files that each show one trait of real ones; `../shared/pictures` says which.
#[test]
fn every_trait_of_real_files_comes_out_as_pillow_reads_it() {
    let pictures = crate::need_shared!().join("pictures");
    let Ok(list) = fs::read_to_string(pictures.join("pixels.sha256")) else {
        crate::skip!("no pixels.sha256 in {}", pictures.display());
    };
    let mut reader = PictureReader::new(PixelOptions::default());
    let mut wrong = Vec::new();
    for line in list.lines() {
        let [expected, name, _] = line.split("  ").collect::<Vec<_>>().try_into().unwrap();
        let found = read(
            &mut reader,
            &fs::read(pictures.join(name)).unwrap(),
            224,
            224,
        );
        let exact = cfg!(feature = "turbojpeg") || !name.contains("jpeg");
        if exact && found.as_ref().ok().map(String::as_str) != Some(expected) {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert_eq!(list.lines().count(), 57);
    assert!(
        wrong.is_empty(),
        "{} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What Pillow's pixels are in the mean: red, green and blue.
#[cfg(all(feature = "pure-rust", not(feature = "turbojpeg")))]
const PURE_RUST_MEANS: [(&str, [u8; 3]); 7] = [
    ("jpeg_420.jpg", [143, 142, 139]),
    ("jpeg_422_progressive.jpg", [142, 142, 140]),
    ("jpeg_gray.jpg", [142, 142, 142]),
    ("jpeg_rgb.jpg", [143, 142, 140]),
    ("jpeg_cmyk.jpg", [56, 57, 57]),
    ("jpeg_ycck.jpg", [66, 60, 67]),
    ("jpeg_cmyk_without_adobe.jpg", [56, 57, 57]),
];

/// Only for the pure Rust decoder: every kind of JPEG comes out, with nearly the pixels of libjpeg-turbo.
#[cfg(all(feature = "pure-rust", not(feature = "turbojpeg")))]
#[test]
fn the_pure_rust_decoder_reads_gray_and_cmyk() {
    let mut reader = PictureReader::new(PixelOptions::default());
    let mut mean = |name: &str| {
        let (_, pixels) = reader.decode(&picture(name)).unwrap();
        let mut sums = [0.0; 3];
        for pixel in pixels.chunks_exact(3) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(value) / (pixels.len() / 3) as f64;
            }
        }
        sums.map(|sum| sum.round() as u8)
    };
    for (name, expected) in PURE_RUST_MEANS {
        let found = mean(name);
        let close = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 2);
        assert!(close, "{name}: {found:?}, not {expected:?}");
    }
}
