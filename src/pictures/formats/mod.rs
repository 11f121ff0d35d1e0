//! Which format a picture file is in, and a decoder for each.

use std::fmt;

use super::PictureError;
use super::limits::Limits;
use super::resample::Target;
use super::rows::Rows;

#[cfg(feature = "avif")]
mod avif;
mod bmp;
mod gif;
#[cfg(feature = "heic")]
mod heic;
#[cfg(any(feature = "avif", feature = "heic"))]
mod heif;
mod ico;
mod image_crate;
mod jpeg2000;
mod jpeg_part;
mod jpeg_xl;
mod not_read;
mod picture;
mod png;
mod pnm;
mod qoi;
mod tiff;
mod webp;

#[cfg(feature = "turbojpeg")]
#[path = "jpeg_turbo.rs"]
mod jpeg;
#[cfg(all(feature = "pure-rust", not(feature = "turbojpeg")))]
#[path = "jpeg_rust.rs"]
mod jpeg;
#[cfg(not(any(feature = "turbojpeg", feature = "pure-rust")))]
compile_error!(
    "no JPEG decoder: build with the default features (libjpeg-turbo, needs cmake and nasm) \
     or with `--no-default-features --features pure-rust`"
);

#[cfg(feature = "avif")]
pub(super) use avif::orientation as avif_orientation;
pub use jpeg::JPEG_DECODER;
pub(super) use picture::Picture;
pub(super) use tiff::exif_orientation;

/// A picture format that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG; also the first picture of an MPO file.
    Jpeg,
    /// PNG; also the default picture of an APNG file.
    Png,
    /// GIF, the first frame.
    Gif,
    /// WebP, the first frame.
    WebP,
    /// BMP.
    Bmp,
    /// TIFF and BigTIFF, the first page.
    Tiff,
    /// PBM, PGM, PPM, PAM, and PFM of gray levels.
    Pnm,
    /// ICO, the largest picture.
    Ico,
    /// QOI.
    Qoi,
    /// AVIF, the primary picture. Read with the feature `avif`.
    Avif,
    /// HEIC, the primary picture. Read with the feature `heic`.
    Heic,
    /// JPEG 2000: JP2 and codestreams.
    Jpeg2000,
    /// JPEG XL, the first frame.
    JpegXl,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Pnm => "PNM",
            Self::Ico => "ICO",
            Self::Qoi => "QOI",
            Self::Avif => "AVIF",
            Self::Heic => "HEIC",
            Self::Jpeg2000 => "JPEG 2000",
            Self::JpegXl => "JPEG XL",
        })
    }
}

impl Format {
    /// How many bytes [`Format::of`] looks at, at most.
    pub const NEEDED_BYTES: u64 = 512;

    /// Its media type, as HTTP wants it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Pnm => "image/x-portable-anymap",
            Self::Ico => "image/x-icon",
            Self::Qoi => "image/qoi",
            Self::Avif => "image/avif",
            Self::Heic => "image/heic",
            Self::Jpeg2000 => "image/jp2",
            Self::JpegXl => "image/jxl",
        }
    }

    /// The format that `bytes` start like; a file's name says nothing here.
    ///
    /// # Errors
    ///
    /// [`PictureError::Empty`], [`PictureError::NotRead`] or [`PictureError::NotAPicture`].
    pub fn of(bytes: &[u8]) -> Result<Self, PictureError> {
        match bytes {
            [] => Err(PictureError::Empty),
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Ok(Self::WebP),
            [b'I', b'I', b'*' | b'+', 0, ..] | [b'M', b'M', 0, b'*' | b'+', ..] => Ok(Self::Tiff),
            // The number in the other byte order, which Pillow reads too.
            [b'I', b'I', 0, b'*', ..] | [b'M', b'M', b'*', 0, ..] => Ok(Self::Tiff),
            [0, 0, 1, 0, ..] => Ok(Self::Ico),
            [0xff, 0x4f, 0xff, 0x51, ..] => Ok(Self::Jpeg2000),
            _ if bytes.starts_with(b"\0\0\0\x0cjP  \r\n\x87\n") => Ok(Self::Jpeg2000),
            [0xff, 0x0a, ..] => Ok(Self::JpegXl),
            _ if bytes.starts_with(b"\0\0\0\x0cJXL \r\n\x87\n") => Ok(Self::JpegXl),
            [b'q', b'o', b'i', b'f', ..] => Ok(Self::Qoi),
            [b'P', b'1'..=b'7' | b'f', white, ..] if white.is_ascii_whitespace() => Ok(Self::Pnm),
            [b'B', b'M', ..] => Ok(Self::Bmp),
            _ if cfg!(feature = "avif") && not_read::is_avif(bytes) => Ok(Self::Avif),
            _ if cfg!(feature = "heic") && not_read::is_heic(bytes) => Ok(Self::Heic),
            _ => Err(not_read::name(bytes).map_or(PictureError::NotAPicture, not_read::error)),
        }
    }
}

/// The library that decodes HEIC in this build, with the version that the system has.
pub fn heic_decoder() -> Option<String> {
    #[cfg(feature = "heic")]
    return Some(heic::decoder());
    #[cfg(not(feature = "heic"))]
    None
}

/// Whether a picture's decoder gives its rows one after the other.
pub(super) fn gives_rows(bytes: &[u8]) -> bool {
    matches!(Format::of(bytes), Ok(Format::Jpeg))
}

/// Decodes a picture that [`gives_rows`]. It may be shrunk for what is `wanted`.
pub(super) fn decode_rows(
    bytes: &[u8],
    limits: Limits,
    wanted: Option<Target>,
    out: &mut impl Rows,
) -> Result<(), PictureError> {
    jpeg::decode(bytes, limits, wanted, out)
}

/// Decodes a picture into `picture`. A JPEG may be shrunk for what is `wanted`.
pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    wanted: Option<Target>,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let format = Format::of(bytes)?;
    match format {
        Format::Jpeg => jpeg::decode(bytes, limits, wanted, picture),
        Format::Png => png::decode(bytes, limits, picture),
        Format::Gif => gif::decode(bytes, limits, picture),
        Format::Tiff => tiff::decode(bytes, limits, picture).map_err(|error| match error {
            // Of a camera's raw file Pillow shows the small picture that comes first, where that can be read.
            PictureError::Unsupported { .. } => {
                not_read::raw_file(bytes).map_or(error, not_read::error)
            }
            _ => error,
        }),
        Format::Bmp => bmp::decode(bytes, limits, picture),
        Format::Ico => ico::decode(bytes, limits, picture),
        Format::WebP => webp::decode(bytes, limits, picture),
        Format::Pnm => pnm::decode(bytes, limits, picture),
        Format::Qoi => qoi::decode(bytes, limits, picture),
        Format::Jpeg2000 => jpeg2000::decode(bytes, limits, picture),
        Format::JpegXl => jpeg_xl::decode(bytes, limits, picture),
        #[cfg(feature = "avif")]
        Format::Avif => avif::decode(bytes, limits, picture),
        #[cfg(not(feature = "avif"))]
        Format::Avif => Err(not_read::error(not_read::AVIF)),
        #[cfg(feature = "heic")]
        Format::Heic => heic::decode(bytes, limits, picture),
        #[cfg(not(feature = "heic"))]
        Format::Heic => Err(not_read::error(not_read::HEIC)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_format() {
        let cases: [(&[u8], Format); 15] = [
            (b"\xff\xd8\xff\xe0", Format::Jpeg),
            (b"\x89PNG\r\n\x1a\n....", Format::Png),
            (b"GIF87a", Format::Gif),
            (b"GIF89a", Format::Gif),
            (b"RIFF\0\0\0\0WEBPVP8 ", Format::WebP),
            (b"BM\0\0", Format::Bmp),
            (b"II*\0", Format::Tiff),
            (b"MM\0+", Format::Tiff),
            (b"P6\n1 1\n255\n", Format::Pnm),
            (b"\0\0\x01\0", Format::Ico),
            (b"qoif", Format::Qoi),
            (b"\xff\x4f\xff\x51", Format::Jpeg2000),
            (b"\0\0\0\x0cjP  \r\n\x87\n", Format::Jpeg2000),
            (b"\xff\x0a", Format::JpegXl),
            (b"\0\0\0\x0cJXL \r\n\x87\n", Format::JpegXl),
        ];
        for (bytes, format) in cases {
            assert_eq!(Format::of(bytes).unwrap(), format);
        }
    }

    #[test]
    fn the_brands_in_the_first_box_tell_what_is_read_with_a_feature() {
        let cases: [(&[u8], _, _, _); 2] = [
            (
                b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif",
                Format::Avif,
                cfg!(feature = "avif"),
                "an AVIF picture, which this build cannot read (one with the feature avif can)",
            ),
            (
                b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
                Format::Heic,
                cfg!(feature = "heic"),
                "a HEIC picture, which this build cannot read (one with the feature heic can)",
            ),
        ];
        for (bytes, expected, is_read, message) in cases {
            match Format::of(bytes) {
                Ok(format) => assert!(is_read && format == expected),
                Err(error) => {
                    assert!(!is_read);
                    assert_eq!(error.to_string(), message);
                }
            }
        }
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        let error = Format::of(b"8BPS\0\x01").unwrap_err();
        let message = "a Photoshop document, which this build cannot read";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn other_bytes_are_no_picture() {
        assert!(matches!(Format::of(b""), Err(PictureError::Empty)));
        for bytes in [&b"\xff"[..], b"hello", b"P6", b"P9\n", b"RIFF\0\0\0\0CDXA"] {
            assert!(matches!(Format::of(bytes), Err(PictureError::NotAPicture)));
        }
    }
}
