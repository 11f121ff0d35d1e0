//! HEIC as pillow-heif reads it, which writes it too: `tests/data/make_heics.py`.

use std::fs;
use std::path::Path;

use simsearch::pictures::{PictureReader, PixelOptions};

use crate::{ROOT, TestEnv};

fn stored(name: &str) -> Vec<u8> {
    fs::read(Path::new(ROOT).join("tests/data/pictures").join(name)).unwrap()
}

#[test]
fn heics_come_out_as_pillow_heif_read_them() {
    let list = fs::read_to_string(Path::new(ROOT).join("tests/data/heic.sha256")).unwrap();
    let mut reader = PictureReader::new(PixelOptions::default());
    let mut found = String::new();
    for line in list.lines() {
        let name = line.rsplit("  ").next().unwrap();
        let (size, pixels) = reader.decode(&stored(name)).unwrap();
        let hash = crate::pixels::hash(pixels);
        found += &format!("{hash}  {}x{}  {name}\n", size.width, size.height);
    }
    assert_eq!(found, list);
}

/// Also with the orientation in EXIF data, which pillow-heif writes beside the boxes and takes back when it reads.
#[test]
fn heics_of_all_kinds_come_out_as_pillow_heif_reads_them() {
    let mut python = crate::need_python!("PIL", "numpy", "pillow_heif");
    let env = TestEnv::new();
    let script = Path::new(ROOT).join("tests/data/make_heics.py");
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    crate::succeed(python.arg(script).arg(env.path("media")));
    let files = crate::files_ending(&env.tree("media"), ".heic");
    assert!(files.len() > 300, "{}", files.len());
    let mut wrong = Vec::new();
    for apply_orientation in [false, true] {
        let mut reader = PictureReader::new(PixelOptions {
            apply_orientation,
            ..PixelOptions::default()
        });
        for (name, bytes) in &files {
            let expected = fs::read(env.path(format!("media/{name}.pixels"))).unwrap();
            let (sides, expected) = expected.split_at(4);
            match reader.decode(bytes) {
                Ok((size, pixels)) => {
                    let found = [size.width as u16, size.height as u16].map(u16::to_le_bytes);
                    let differences = pixels.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
                    let most = differences.max().unwrap();
                    if found.concat() != sides || most > 0 {
                        wrong.push(format!("{name}: {size:?}, values differ by {most}"));
                    }
                }
                Err(error) => wrong.push(format!("{name}: {:#}", anyhow::Error::from(error))),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
