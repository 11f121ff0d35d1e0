//! `--html` and `--sheet`, and the thumbnails on them.

use std::fs;
use std::path::Path;

use simsearch::pictures::thumbnail::Thumbnail;
use simsearch::pictures::{PictureReader, PixelOptions, Size};

use super::{on_a_line, search, write_shard};
use crate::{TestEnv, need_python, ppm, stored_picture, succeed};

const HOSTILE: &str = "<script>alert('x')</script>\"onload=&.jpg";

/// Three objects with pictures, one of which has a hostile name, one whose picture is gone, and one that is not listed.
fn directory() -> TestEnv {
    let env = TestEnv::new();
    let hostile = HOSTILE.replace('/', "_");
    let ids = ["zero.jpg", &hostile, "gone.jpg", "../unlisted", "three.jpg"];
    write_shard(&env, 0, &on_a_line(&ids));
    for (seed, id) in [(0, ids[0]), (1, ids[1]), (4, ids[4])] {
        env.write(Path::new("media").join(id), ppm(400, 200, seed));
    }
    env.objects(&[ids[0], ids[1], ids[2], ids[4]]);
    // What an id would lead to if it were a path.
    env.write("unlisted", ppm(30, 30, 7));
    env
}

#[test]
fn a_page_is_one_file_with_the_pictures_and_nothing_hostile() {
    let env = directory();
    let options = ["--media-dir", "media", "--html", "page.html"];
    let outcome = search(&env, &[&["zero.jpg", "three.jpg"], &options[..]].concat());
    outcome.exits(0);
    let page = fs::read_to_string(env.path("page.html")).unwrap();
    let count = |text: &str| page.matches(text).count();
    // In each of two answers the query, itself, two others, and one without a picture. What is not listed is left out.
    assert_eq!(count("<img src=\"data:image/jpeg;base64,"), 8);
    assert_eq!(count("<figure>"), 10);
    assert_eq!(count("no picture: the file is gone"), 2);
    assert_eq!(count("unlisted"), 0);
    outcome.says(&["left out: 1 of 5 objects, which are not listed"]);
    assert_eq!(count("<section"), 2);
    assert!(page.contains("alt=\"zero.jpg, the query\""));
    assert!(page.contains("alt=\"three.jpg, at distance 4.0000\""));
    assert_eq!(count("<script"), 0);
    assert_eq!(count("\"onload"), 0);
    assert!(count("&lt;script&gt;alert('x')&lt;_script&gt;&quot;onload=&amp;.jpg") > 4);
    // Nothing is fetched.
    for text in ["http://", "https://", "src=\"/", "url(", "@import", "<link"] {
        assert_eq!(count(text), 0, "{text}");
    }
}

#[test]
fn a_sheet_is_one_picture_of_all_answers() {
    let env = directory();
    let options = ["--media-dir", "media", "--sheet", "sheet.jpg", "-k", "3"];
    search(&env, &[&["zero.jpg", "three.jpg"], &options[..]].concat()).exits(0);
    let bytes = fs::read(env.path("sheet.jpg")).unwrap();
    assert!(bytes.starts_with(b"\xff\xd8\xff"));
    let mut reader = PictureReader::new(PixelOptions::default());
    let (size, pixels) = reader.decode(&bytes).unwrap();
    // Two rows of four cells, and a line between them.
    let expected = Size {
        width: 4 * 168 + 8,
        height: 2 * 192 + 8 + 9,
    };
    assert_eq!(size, expected);
    let pixel = |x: usize, y: usize| &pixels[(y * size.width + x) * 3..][..3];
    // 160 x 80 pixels in the middle of the first cell are the query, which gets redder to the right and greener
    // downwards. JPEG changes it a little.
    let mut off = 0;
    for (x, y) in (0..76).flat_map(|y| (4..156).map(move |x| (x, y))) {
        let found = pixel(8 + x, 8 + 40 + y);
        let expected = [(x * 255 / 160) as u8, (y * 255 / 80) as u8];
        off += usize::from(
            found[0]
                .abs_diff(expected[0])
                .max(found[1].abs_diff(expected[1])),
        );
    }
    assert!(off < 12 * 76 * 152, "{} a pixel", off / (76 * 152));
    // Below each picture are two lines of text.
    for cell in 0..4 {
        for line in [164, 176] {
            let letters =
                (0..160 * 8).map(|at| pixel(8 + cell * 168 + at % 160, 8 + line + at / 160));
            let dark = letters.filter(|letter| letter.iter().any(|level| *level < 150));
            assert!(dark.count() > 20, "{cell} {line}");
        }
    }
    // The second cell of the first row is the query again: the same pixels, but for the frame and what JPEG makes of
    // it.
    for (x, y) in [(60, 70), (100, 90), (140, 110)] {
        for (one, other) in pixel(8 + x, 8 + y).iter().zip(pixel(176 + x, 8 + y)) {
            assert!(one.abs_diff(*other) < 12, "{x} {y}: {one} {other}");
        }
    }
}

#[test]
fn what_is_written_replaces_only_what_is_like_it() {
    let env = directory();
    let photograph = stored_picture("jpeg_224x50.jpg");
    for command in [
        "search --feature-dir features --media-dir media zero.jpg --html OUT",
        "search --feature-dir features --media-dir media zero.jpg --sheet OUT",
        "duplicates --feature-dir features --media-dir media --max-distance 0.5 --html OUT",
        "duplicates --feature-dir features --histogram --html OUT",
        "export --feature-dir features --output OUT",
        "list --media-dir media . --output OUT",
    ] {
        let run = |out| env.run(command.split(' ').map(|word| word.replace("OUT", out)));
        let shard = "features/model/0000.features.npy";
        env.write("photograph.jpg", &photograph);
        for out in ["photograph.jpg", shard] {
            if command.contains("--sheet") && out == shard {
                continue;
            }
            let before = fs::read(env.path(out)).unwrap();
            run(out).exits(1).says(&[out, "is not replaced"]);
            assert_eq!(fs::read(env.path(out)).unwrap(), before, "{command}");
        }
        // What `mktemp` makes, and what the run before has written.
        env.write("out.jpg", "");
        for _ in 0..2 {
            run("out.jpg").exits(0);
            assert!(
                fs::metadata(env.path("out.jpg")).unwrap().len() > 0,
                "{command}"
            );
        }
        fs::remove_file(env.path("out.jpg")).unwrap();
    }
}

#[test]
fn pages_need_the_pictures_and_a_sheet_its_room() {
    let env = directory();
    let media = ["zero.jpg", "--media-dir", "media"];
    search(
        &env,
        &[&media[..], &["--html", "page", "--sheet", "page"]].concat(),
    )
    .exits(2)
    .says(&["--html and --sheet name the same file"]);
    for option in ["--html", "--sheet"] {
        search(&env, &[&media[..], &[option, "-"]].concat())
            .exits(2)
            .says(&["name a file"]);
    }
    search(&env, &[&media[..], &["--sheet", "page.png"]].concat())
        .exits(2)
        .says(&["is a JPEG file"]);
    let made = ["page", "-", "page.png"].map(|name| env.path(name).exists());
    assert_eq!(made, [false; 3]);
    search(&env, &["zero.jpg", "--html", "page.html"])
        .exits(2)
        .says(&["--media-dir"]);
    assert!(!env.path("page.html").exists());
    let queries = ["zero.jpg"; 400];
    let options = ["--media-dir", "media", "--sheet", "sheet.jpg"];
    search(&env, &[&queries[..], &options].concat())
        .exits(1)
        .says(&["--html", "65535"]);
    assert!(!env.path("sheet.jpg").exists());
}

#[test]
fn a_thumbnail_keeps_the_aspect_ratio_and_is_never_larger() {
    let mut reader = PictureReader::new(PixelOptions::default());
    for (from, side, expected) in [
        ((400, 200), 100, (100, 50)),
        ((200, 400), 100, (50, 100)),
        ((40, 20), 100, (40, 20)),
        ((100, 100), 100, (100, 100)),
        ((900, 1), 100, (100, 1)),
        ((333, 100), 50, (50, 15)),
    ] {
        let thumbnail = Thumbnail::of(&ppm(from.0, from.1, 1), side, &mut reader).unwrap();
        let Size { width, height } = thumbnail.size;
        assert_eq!((width, height), expected, "{from:?}");
        assert_eq!(thumbnail.pixels.len(), width * height * 3);
        let bytes = thumbnail.jpeg();
        assert_eq!(reader.decode(&bytes).unwrap().0, thumbnail.size);
    }
    assert!(Thumbnail::of(b"text", 100, &mut reader).is_err());
}

/// Writes a picture in each orientation and format, and the upright pixels as Pillow turns them.
const ORIENTATIONS: &str = r#"
import pathlib, sys
from PIL import Image, ImageOps
folder = pathlib.Path(sys.argv[1])
image = Image.new("RGB", (7, 5))
image.putdata([(x * 36, y * 60, (x * 5 + y * 11) * 3) for y in range(5) for x in range(7)])
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending, options in [("png", {}), ("webp", {"lossless": True}), ("jpg", {"quality": 100, "subsampling": 0})]:
        path = folder / f"{orientation}.{ending}"
        image.save(path, exif=exif, **options)
        upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        (folder / f"{path.name}.upright").write_bytes(bytes(upright.size) + upright.tobytes())
"#;

#[test]
fn thumbnails_are_upright_as_pillow_turns_them() {
    let mut python = need_python!("PIL");
    let env = TestEnv::new();
    succeed(python.args(["-c", ORIENTATIONS]).arg(env.path("media")));
    let mut reader = PictureReader::new(PixelOptions::default());
    for orientation in 1..=8 {
        for ending in ["png", "webp", "jpg"] {
            let path = env.path(format!("media/{orientation}.{ending}"));
            let expected = fs::read(format!("{}.upright", path.display())).unwrap();
            let thumbnail = Thumbnail::of(&fs::read(&path).unwrap(), 100, &mut reader).unwrap();
            let size = [thumbnail.size.width as u8, thumbnail.size.height as u8];
            assert_eq!(
                [&size, &thumbnail.pixels[..]].concat(),
                expected,
                "{path:?}"
            );
        }
    }
}
