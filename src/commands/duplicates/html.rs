//! The groups as one page.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, html};
use rayon::prelude::*;

use super::{Duplicates, Group, Member};
use crate::pictures::thumbnail::Thumbnail;
use crate::pictures::{PictureReader, PixelOptions};
use crate::similarity::scan::Metric;
use crate::storage::media::{Media, MediaFile, read_file};
use crate::support::page::{self, Distance, printable};

/// The longest side of a picture on the page: sharp also on screens of two pixels to a point.
const SIDE: usize = 320;

const STYLE: &str = include_str!("page.css");

/// Writes the page; the pictures of one group are in memory at a time.
pub fn write(to: &mut dyn Write, found: &Duplicates, media: &Media) -> io::Result<()> {
    let title = match found.groups.len() {
        1 => "1 group of duplicates".to_owned(),
        groups => format!("{groups} groups of duplicates"),
    };
    write!(
        to,
        "{}\n<html lang=\"en\">\n{}\n<body>\n{}\n<main>\n",
        DOCTYPE.into_string(),
        page::head(&title, STYLE).into_string(),
        header(&title, found).into_string()
    )?;
    for (group, number) in found.groups.iter().zip(1..) {
        let section = section(number, group, media);
        writeln!(to, "{}", section.into_string())?;
    }
    to.write_all(b"</main>\n</body>\n</html>\n")
}

fn header(title: &str, found: &Duplicates) -> Markup {
    let metric = match found.metric {
        Metric::Euclidean => "Euclidean distance",
        Metric::Cosine => "cosine distance",
    };
    html! {
        header {
            h1 { (title) }
            p {
                "Among " (found.objects) " pictures, within a " (metric) " of " (found.max_distance)
                ". The first of each group is the one to keep."
            }
        }
    }
}

fn section(number: usize, group: &Group, media: &Media) -> Markup {
    let best = &group.members[0];
    let new_reader = || PictureReader::new(PixelOptions::default());
    let figures = group
        .members
        .par_iter()
        .map_init(new_reader, |reader, member| {
            let thumbnail = thumbnail(member, media, reader);
            figure(member, best, thumbnail, differences(best, member, media))
        });
    let figures: Vec<Markup> = figures.collect();
    html! {
        section aria-labelledby={ "group" (number) } {
            h2 id={ "group" (number) } { "Group " (number) }
            ol class="pictures" {
                @for figure in figures { (figure) }
            }
        }
    }
}

fn thumbnail(
    member: &Member,
    media: &Media,
    reader: &mut PictureReader,
) -> Result<Thumbnail, String> {
    let path = media
        .path(&member.object_id)
        .ok_or("not in the list of objects")?;
    let mut bytes = Vec::new();
    let file = read_file(&path, &mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "the file is gone".to_owned(),
        _ => error.to_string(),
    })?;
    // People decide by this page what to remove.
    if member.made_from.is_some_and(|made_from| made_from != file) {
        return Err("the file has changed since its feature was made".to_owned());
    }
    Thumbnail::of(&bytes, SIDE, reader).map_err(|error| error.to_string())
}

fn figure(
    member: &Member,
    best: &Member,
    thumbnail: Result<Thumbnail, String>,
    differences: Vec<&'static str>,
) -> Markup {
    let name = printable(member.name());
    let is_best = std::ptr::eq(member, best);
    let label = match is_best {
        true => "keep".to_owned(),
        false => Distance(member.distance).to_string(),
    };
    html! {
        li class=[is_best.then_some("keep")] {
            figure {
                div class="frame" {
                    @match thumbnail {
                        Ok(thumbnail) => {
                            img src={ "data:image/jpeg;base64," (BASE64.encode(thumbnail.jpeg())) }
                                width=(thumbnail.size.width) height=(thumbnail.size.height)
                                alt={ (name) };
                        }
                        Err(why) => { p class="missing" { "no picture: " (printable(&why)) } }
                    }
                }
                figcaption {
                    b { (label) }
                    bdi title=(name) { (name) }
                    @if let (Some(width), Some(height)) = (member.file.width, member.file.height) {
                        span { (width) " x " (height) " pixels" }
                    }
                    @if let Some(bytes) = member.file.bytes { span { (bytes) " bytes" } }
                    @if !differences.is_empty() { em { (differences.join(", ")) } }
                }
            }
        }
    }
}

/// What differs between the best member and another one.
fn differences(best: &Member, other: &Member, media: &Media) -> Vec<&'static str> {
    let (ours, theirs) = (best.file, other.file);
    if std::ptr::eq(best, other) || ours.bytes.is_none() || theirs.bytes.is_none() {
        return Vec::new();
    }
    if ours.bytes == theirs.bytes && have_same_bytes(best, other, media) {
        return vec!["the same bytes"];
    }
    let mut differences = Vec::new();
    if let [Some(our_width), Some(our_height), Some(width), Some(height)] =
        [ours.width, ours.height, theirs.width, theirs.height]
    {
        differences.push(of_size([our_width, our_height], [width, height]));
    }
    let ending = |member: &Member| {
        let ending = Path::new(member.name()).extension();
        ending.map(|ending| ending.to_string_lossy().to_lowercase())
    };
    if ending(best) != ending(other) {
        differences.push("another format");
    }
    differences.push(match theirs.bytes < ours.bytes {
        true => "fewer bytes",
        false if theirs.bytes > ours.bytes => "more bytes",
        false => "other bytes",
    });
    differences
}

/// How the width and height of a picture differ from ours.
fn of_size(ours: [usize; 2], theirs: [usize; 2]) -> &'static str {
    let ([our_width, our_height], [width, height]) = (ours, theirs);
    // Whole pixels: the sides of a smaller copy may be off by half of one each.
    let off = (our_width * height).abs_diff(our_height * width);
    if ours == theirs {
        "the same pixels in number"
    } else if off > our_width.max(our_height) {
        "another shape"
    } else if width * height < our_width * our_height {
        "smaller"
    } else {
        "larger"
    }
}

fn have_same_bytes(one: &Member, other: &Member, media: &Media) -> bool {
    let open = |member: &Member| MediaFile::open(&media.path(&member.object_id)?).ok();
    match (open(one), open(other)) {
        (Some(one), Some(other)) if one.size() == other.size() => {
            are_equal(one, other).unwrap_or(false)
        }
        _ => false,
    }
}

/// Compares two files piece by piece: the pictures of a group may take more than the memory.
fn are_equal(one: impl Read, other: impl Read) -> io::Result<bool> {
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (ours, theirs) = (one.fill_buf()?, other.fill_buf()?);
        let length = ours.len().min(theirs.len());
        if ours[..length] != theirs[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(ours.len() == theirs.len());
        }
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_smaller_larger_or_of_another_shape() {
        for (theirs, expected) in [
            ([800, 600], "the same pixels in number"),
            ([400, 300], "smaller"),
            ([800, 599], "smaller"),
            ([799, 600], "smaller"),
            ([1067, 800], "larger"),
            ([800, 601], "larger"),
            ([600, 800], "another shape"),
            ([800, 500], "another shape"),
        ] {
            assert_eq!(of_size([800, 600], theirs), expected, "{theirs:?}");
        }
    }

    #[test]
    fn hostile_text_stays_text() {
        let name = "\"><script>alert('1 & 2')</script>\u{1b}.jpg";
        let member = Member {
            object_id: name.to_owned(),
            path: None,
            distance: 0.0,
            file: Default::default(),
            made_from: None,
        };
        let page = figure(&member, &member, Err(name.to_owned()), Vec::new()).into_string();
        let text = "&quot;&gt;&lt;script&gt;alert('1 &amp; 2')&lt;/script&gt;\u{fffd}.jpg";
        assert_eq!(page.matches(text).count(), 3, "{page}");
        assert!(
            !page.contains("script>") && !page.contains('\u{1b}'),
            "{page}"
        );
    }
}
