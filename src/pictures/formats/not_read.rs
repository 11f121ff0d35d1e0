//! Formats that are not read here, but known by name, so that people learn what their file is.

use memchr::memmem;

use crate::pictures::PictureError;

/// The error for `what`, which [`name`] or [`raw_file`] gave.
pub(super) fn error(what: &'static str) -> PictureError {
    match what {
        AVIF => needs("avif", what),
        HEIC => needs("heic", what),
        _ => PictureError::NotRead {
            what,
            feature: None,
        },
    }
}

fn needs(feature: &'static str, what: &'static str) -> PictureError {
    PictureError::NotRead {
        what,
        feature: Some(feature),
    }
}

/// What `bytes` are, with its article, where they start like something that is known; pictures that are read are not.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    let magic = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic));
    magic
        .map(|(_, name)| *name)
        .or_else(|| of_box(bytes))
        .or_else(|| of_riff(bytes))
        .or_else(|| of_text(bytes))
}

/// The camera's format that a TIFF is, where it is one.
pub(super) fn raw_file(bytes: &[u8]) -> Option<&'static str> {
    // The beginning tells: its tags stand there, and the names of makers.
    let head = &bytes[..bytes.len().min(4096)];
    let has = |text: &[u8]| memmem::find(head, text).is_some();
    // `DNGVersion` as an entry of a directory: four bytes.
    let dng = [b"\x12\xc6\x01\0\x04\0\0\0", b"\xc6\x12\0\x01\0\0\0\x04"];
    match bytes.get(8..10) {
        Some(b"CR") => Some("a raw file of a Canon camera (CR2)"),
        _ if dng.into_iter().any(|entry| has(entry)) => Some("a raw file (DNG)"),
        _ if has(b"NIKON") => Some("a raw file of a Nikon camera (NEF)"),
        _ if has(b"SONY") => Some("a raw file of a Sony camera (ARW)"),
        _ if has(b"PENTAX") => Some("a raw file of a Pentax camera (PEF)"),
        _ => None,
    }
}

/// Whether `bytes` are a file whose first box tells of AVIF.
pub(super) fn is_avif(bytes: &[u8]) -> bool {
    of_box(bytes) == Some(AVIF)
}

/// Whether `bytes` are a file whose first box tells of HEIC.
pub(super) fn is_heic(bytes: &[u8]) -> bool {
    of_box(bytes) == Some(HEIC)
}

pub(super) const AVIF: &str = "an AVIF picture";
pub(super) const HEIC: &str = "a HEIC picture";
const QUICKTIME: &str = "a QuickTime video";

const MAGIC: [(&[u8], &str); 24] = [
    (b"II\xbc\x01", "a JPEG XR picture"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"AT&TFORM", "a DjVu document"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance picture"),
    (b"DDS ", "a DDS picture"),
    (b"icns", "an icon of macOS"),
    (b"PF\n", "a PFM picture in colour"),
    (b"IIU\0", "a raw file of a Panasonic camera (RW2)"),
    (b"IIRO", "a raw file of an Olympus camera (ORF)"),
    (b"IIRS", "a raw file of an Olympus camera (ORF)"),
    (b"MMOR", "a raw file of an Olympus camera (ORF)"),
    (b"FUJIFILMCCD-RAW", "a raw file of a Fujifilm camera (RAF)"),
    (b"FOVb", "a raw file of a Sigma camera (X3F)"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\0\0\x01\xba", "an MPEG video"),
    (b"\0\0\x01\xb3", "an MPEG video"),
    (b"FLV\x01", "a Flash video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (b"OggS", "an Ogg file"),
];

/// Files of the ISO base media format: boxes with a length and a name, first one that tells the brands.
fn of_box(bytes: &[u8]) -> Option<&'static str> {
    let name = bytes.get(4..8)?;
    if matches!(name, b"moov" | b"mdat" | b"wide" | b"pnot") {
        return Some(QUICKTIME);
    }
    if name != b"ftyp" {
        return None;
    }
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let brands = bytes.get(8..len.min(bytes.len()).min(512))?;
    let major = brands.get(..4)?;
    let has = |wanted: &[&[u8]]| brands.chunks_exact(4).any(|brand| wanted.contains(&brand));
    match major {
        b"crx " => Some("a raw file of a Canon camera (CR3)"),
        b"qt  " => Some(QUICKTIME),
        b"M4A " | b"M4B " => Some("a sound file"),
        _ if has(&[b"avif", b"avis"]) => Some(AVIF),
        _ if has(&[
            b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1",
        ]) =>
        {
            Some(HEIC)
        }
        _ => Some("an MP4 video"),
    }
}

fn of_riff(bytes: &[u8]) -> Option<&'static str> {
    match (bytes.get(..4)?, bytes.get(8..12)?) {
        (b"RIFF", b"AVI ") => Some("an AVI video"),
        (b"RIFF", b"WAVE") => Some("a sound file"),
        _ => None,
    }
}

/// Pages and drawings, which may begin with a byte order mark, white space, comments and declarations.
fn of_text(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(bytes)
        .trim_ascii_start();
    if text.first() != Some(&b'<') {
        return None;
    }
    let text = text[..text.len().min(4096)].to_ascii_lowercase();
    let at = |tag: &[u8]| memmem::find(&text, tag);
    match (at(b"<svg"), at(b"<html").or_else(|| at(b"<!doctype html"))) {
        (Some(svg), Some(html)) if html < svg => Some("an HTML page"),
        (Some(_), _) => Some("an SVG drawing"),
        (None, Some(_)) => Some("an HTML page"),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_have_is_named() {
        let cases: [(&[u8], &str); 12] = [
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "an AVIF picture"),
            (b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2", "an MP4 video"),
            (b"\0\0\0\x14ftypqt  \0\0\x02\0qt  ", QUICKTIME),
            (b"\0\0\0\x08wide\0\0\0\0mdat", QUICKTIME),
            (
                b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
                "a raw file of a Canon camera (CR3)",
            ),
            (b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
            (b"\x1aE\xdf\xa3\x01", "a Matroska or WebM video"),
            (b"8BPS\0\x01", "a Photoshop document"),
            (b"%PDF-1.7", "a PDF document"),
            (b"\xef\xbb\xbf \n<!DOCTYPE HTML>\n<svg>", "an HTML page"),
            (
                b"<?xml version='1.0'?><!-- x --><svg xmlns=''>",
                "an SVG drawing",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(name(bytes), Some(expected));
        }
        for bytes in [
            &b"hello"[..],
            b"<hello>",
            b"ftyp",
            b"\0\0\0\x04ftypheic",
            b"\0\0\0\xffftyp",
        ] {
            assert_eq!(name(bytes), None);
        }
    }

    #[test]
    fn a_camera_says_who_made_it() {
        assert_eq!(
            raw_file(b"II*\0\x10\0\0\0CR\x02\0"),
            Some("a raw file of a Canon camera (CR2)")
        );
        let dng = b"II*\0\x08\0\0\0\x01\0\x12\xc6\x01\0\x04\0\0\0\x01\x04\0\0SONY";
        assert_eq!(raw_file(dng), Some("a raw file (DNG)"));
        let nef = b"MM\0*\0\0\0\x08NIKON CORPORATION\0";
        assert_eq!(raw_file(nef), Some("a raw file of a Nikon camera (NEF)"));
        assert_eq!(raw_file(b"II*\0\x08\0\0\0a scanner"), None);
    }
}
