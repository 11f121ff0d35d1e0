//! What the tags of a TIFF say about its pixels: how they are stored, and what they mean.

use super::directory::Directory;
use super::{corrupt, unsupported};
use crate::pictures::convert::YCbCr;
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;
use crate::pictures::{Format, PictureError, Size};

pub(super) mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTE_COUNTS: u16 = 279;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const T4_OPTIONS: u16 = 292;
    pub const PREDICTOR: u16 = 317;
    pub const COLOR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTE_COUNTS: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const OLD_JPEG_AT: u16 = 513;
    pub const OLD_JPEG_LEN: u16 = 514;
    pub const OLD_JPEG_Q_TABLES: u16 = 519;
    pub const OLD_JPEG_DC_TABLES: u16 = 520;
    pub const OLD_JPEG_AC_TABLES: u16 = 521;
    pub const YCBCR_COEFFICIENTS: u16 = 529;
    pub const YCBCR_SUBSAMPLING: u16 = 530;
    pub const REFERENCE_BLACK_WHITE: u16 = 532;
    pub const XMP: u16 = 700;
}

pub(super) mod compression {
    pub const NONE: u64 = 1;
    pub const CCITT_RLE: u64 = 2;
    pub const GROUP_3: u64 = 3;
    pub const GROUP_4: u64 = 4;
    pub const LZW: u64 = 5;
    pub const OLD_JPEG: u64 = 6;
    pub const JPEG: u64 = 7;
    pub const ADOBE_DEFLATE: u64 = 8;
    pub const CCITT_RLE_WORDS: u64 = 32771;
    pub const PACK_BITS: u64 = 32773;
    pub const DEFLATE: u64 = 32946;
    pub const LZMA: u64 = 34925;
    pub const ZSTANDARD: u64 = 50000;
}

/// What the samples of a pixel mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// Gray levels of 1, 2, 4 or 8 bits.
    Gray {
        white_is_zero: bool,
    },
    /// The same with an alpha channel that the levels were multiplied by.
    GrayAssociated,
    /// 12 bits each.
    Gray12,
    Gray16 {
        white_is_zero: bool,
    },
    Signed16,
    /// Taken as signed, as Pillow does.
    Integer32,
    Float32,
    /// Indices of 1, 2, 4 or 8 bits.
    Palette(Vec<[u8; CHANNELS]>),
    /// 8 or 16 bits.
    Rgb,
    /// The same with an alpha channel that the colours were multiplied by.
    RgbAssociated,
    /// 8 or 16 bits.
    Cmyk,
    YCbCr(Box<YCbCr>),
    /// CIE L*a*b*, 8 bits, with signed a* and b*.
    Lab,
}

/// How the pixels of the first page are stored.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub size: Size,
    pub meaning: Meaning,
    pub compression: u64,
    /// 1: none, 2: differences to the pixel before, 3: those of the bytes of real numbers.
    pub predictor: u64,
    /// Whether the lowest bit of a byte comes first.
    pub bits_reversed: bool,
    pub bits: usize,
    /// How many samples a pixel has where it is stored.
    pub samples: usize,
    /// Whether each sample of all pixels is stored apart.
    pub planar: bool,
    pub tiled: bool,
    /// The size of a strip or tile.
    pub chunk: Size,
    /// Pixels across and down that share their colour.
    pub subsampling: (usize, usize),
    /// Whether the decoder of JPEG makes RGB of YCbCr.
    pub jpeg_is_ycbcr: bool,
    pub little: bool,
}

impl Layout {
    pub(super) fn of(directory: &Directory, limits: Limits) -> Result<Self, PictureError> {
        let number = |tag, default| Ok(directory.number(tag)?.unwrap_or(default));
        let side = |tag| {
            let side = directory.number(tag)?;
            side.ok_or_else(|| corrupt("no width or no height"))
        };
        let size = limits.check(Format::Tiff, side(tag::WIDTH)?, side(tag::HEIGHT)?)?;
        let compression = number(tag::COMPRESSION, compression::NONE)?;
        let old_jpeg = compression == compression::OLD_JPEG;
        let photometric = match old_jpeg {
            true => photometric::YCBCR,
            false => number(tag::PHOTOMETRIC, photometric::WHITE_IS_ZERO)?,
        };
        let samples = number(tag::SAMPLES_PER_PIXEL, if old_jpeg { 3 } else { 1 })?;
        // Pillow reads no more than six.
        let samples = usize::try_from(samples).unwrap_or(0);
        if !(1..=MOST_SAMPLES).contains(&samples) {
            return Err(unsupported(format!("{samples} samples per pixel")));
        }
        let bits = same(directory, tag::BITS_PER_SAMPLE, samples)?;
        let format = same(directory, tag::SAMPLE_FORMAT, samples)?;
        let extra = directory.number(tag::EXTRA_SAMPLES)?;
        let is_jpeg = compression == compression::JPEG;
        let planar = samples > 1 && number(tag::PLANAR_CONFIGURATION, 1)? == 2;
        let jpeg_is_ycbcr =
            is_jpeg && !planar && photometric == photometric::YCBCR && samples == CHANNELS;
        let subsampling = subsampling(directory, photometric, compression)?;
        let meaning = match photometric {
            photometric::YCBCR if bits != 8 => None,
            photometric::YCBCR if jpeg_is_ycbcr => Some(Meaning::Rgb),
            photometric::YCBCR if samples < CHANNELS => Some(Meaning::Gray {
                white_is_zero: false,
            }),
            photometric::YCBCR => Some(Meaning::YCbCr(Box::new(ycbcr(directory, compression)?))),
            photometric::PALETTE if matches!(bits, 1 | 2 | 4 | 8) => {
                Some(Meaning::Palette(palette(directory)?))
            }
            _ => meaning(photometric, format, bits, samples, extra),
        };
        let kind = || {
            let kind = format!(
                "{samples} samples of {bits} bits, sample format {format}, photometric interpretation {photometric}"
            );
            unsupported(kind)
        };
        let meaning = meaning.ok_or_else(kind)?;
        if samples < meaning.samples() {
            return Err(kind());
        }
        // Neither does libtiff read others: pixels that share their colour are three samples each.
        if subsampling != (1, 1) && samples != CHANNELS {
            return Err(kind());
        }
        // Pillow ignores the tags of tiles where uncompressed pixels have those of strips too.
        let strips = directory.values(tag::STRIP_OFFSETS)?.is_some();
        let tiled = directory.values(tag::TILE_WIDTH)?.is_some()
            && !(strips && compression == compression::NONE);
        let chunk = match tiled {
            true => (
                number(tag::TILE_WIDTH, 0)?,
                directory.number(tag::TILE_HEIGHT)?.unwrap_or(0),
            ),
            false => {
                let rows = number(tag::ROWS_PER_STRIP, u64::MAX)?;
                (size.width as u64, rows.min(size.height as u64))
            }
        };
        let chunk = match (usize::try_from(chunk.0), usize::try_from(chunk.1)) {
            (Ok(width @ 1..), Ok(height @ 1..)) => Size { width, height },
            _ => return Err(corrupt("strips or tiles of no pixels")),
        };
        if planar && (bits % 8 != 0 || subsampling != (1, 1)) {
            return Err(kind());
        }
        Ok(Layout {
            size,
            meaning,
            compression,
            predictor: number(tag::PREDICTOR, 1)?,
            bits_reversed: number(tag::FILL_ORDER, 1)? == 2 && !is_jpeg && !old_jpeg,
            bits: bits as usize,
            samples,
            planar,
            tiled,
            chunk,
            subsampling,
            jpeg_is_ycbcr,
            little: directory.little,
        })
    }

    /// How many samples of a pixel are in one strip or tile.
    pub(super) fn chunk_samples(&self) -> usize {
        if self.planar { 1 } else { self.samples }
    }

    /// Bytes of a row of `width` pixels in a strip or tile; of a group of rows where colours are subsampled.
    pub(super) fn row_len(&self, width: usize) -> usize {
        let (across, down) = self.subsampling;
        match across * down {
            1 => (width.saturating_mul(self.chunk_samples() * self.bits)).div_ceil(8),
            _ => width.div_ceil(across).saturating_mul(across * down + 2),
        }
    }

    /// The samples of a pixel that the picture is made from.
    pub(super) fn used_samples(&self) -> usize {
        if self.planar {
            self.meaning.samples()
        } else {
            self.samples
        }
    }
}

impl Meaning {
    fn samples(&self) -> usize {
        match self {
            Meaning::GrayAssociated => 2,
            Meaning::Rgb | Meaning::YCbCr(_) | Meaning::Lab => CHANNELS,
            Meaning::RgbAssociated | Meaning::Cmyk => 4,
            _ => 1,
        }
    }
}

mod photometric {
    pub const WHITE_IS_ZERO: u64 = 0;
    pub const BLACK_IS_ZERO: u64 = 1;
    pub const RGB: u64 = 2;
    pub const PALETTE: u64 = 3;
    pub const SEPARATED: u64 = 5;
    pub const YCBCR: u64 = 6;
    pub const CIELAB: u64 = 8;
}

const MOST_SAMPLES: usize = 6;

/// What pixels mean that have neither a palette nor YCbCr. A second sample of gray and a fourth of colour are dropped,
/// whatever they stand for, but that colours are divided by an associated alpha channel.
fn meaning(
    photometric: u64,
    format: u64,
    bits: u64,
    samples: usize,
    extra: Option<u64>,
) -> Option<Meaning> {
    const UNSIGNED: u64 = 1;
    const SIGNED: u64 = 2;
    const REAL: u64 = 3;
    const ASSOCIATED_ALPHA: u64 = 1;
    let associated = extra == Some(ASSOCIATED_ALPHA);
    let white_is_zero = photometric == photometric::WHITE_IS_ZERO;
    let meaning = match (photometric, format, bits) {
        (photometric::BLACK_IS_ZERO, UNSIGNED, 8) if associated && samples > 1 => {
            Meaning::GrayAssociated
        }
        (photometric::BLACK_IS_ZERO, UNSIGNED | SIGNED, 8) => Meaning::Gray { white_is_zero },
        (photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO, UNSIGNED, 1 | 2 | 4 | 8)
            if samples == 1 =>
        {
            Meaning::Gray { white_is_zero }
        }
        (photometric::BLACK_IS_ZERO, UNSIGNED, 12) if samples == 1 => Meaning::Gray12,
        (photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO, UNSIGNED, 16) if samples == 1 => {
            Meaning::Gray16 { white_is_zero }
        }
        (photometric::BLACK_IS_ZERO, SIGNED, 16) if samples == 1 => Meaning::Signed16,
        (photometric::BLACK_IS_ZERO, UNSIGNED | SIGNED, 32) if samples == 1 => Meaning::Integer32,
        (photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO, REAL, 32) if samples == 1 => {
            Meaning::Float32
        }
        (photometric::RGB, UNSIGNED, 8 | 16) if associated && samples > CHANNELS => {
            Meaning::RgbAssociated
        }
        (photometric::RGB, UNSIGNED, 8 | 16) => Meaning::Rgb,
        (photometric::SEPARATED, UNSIGNED, 8 | 16) => Meaning::Cmyk,
        (photometric::CIELAB, UNSIGNED, 8) => Meaning::Lab,
        _ => return None,
    };
    Some(meaning)
}

/// The value of a tag that has one for each sample, all the same, or one for all; 1 where it is missing.
fn same(directory: &Directory, tag: u16, samples: usize) -> Result<u64, PictureError> {
    let Some(values) = directory.values(tag)? else {
        return Ok(1);
    };
    let mut values = values.integers().take(samples);
    let first = values.next().unwrap_or(1);
    match values.all(|value| value == first) {
        true => Ok(first),
        false => Err(unsupported("samples that differ in their bits or format")),
    }
}

/// All reds, then all greens, then all blues; Pillow takes the upper 8 bits.
fn palette(directory: &Directory) -> Result<Vec<[u8; CHANNELS]>, PictureError> {
    let map = directory.values(tag::COLOR_MAP)?;
    let map = map.ok_or_else(|| corrupt("no palette"))?;
    if map.len() > CHANNELS << 16 {
        return Err(corrupt("a palette of too many colours"));
    }
    let values: Vec<u8> = map.integers().map(|value| (value >> 8) as u8).collect();
    let len = values.len() / CHANNELS;
    let entry = |entry| [0, 1, 2].map(|channel| values[channel * len + entry]);
    Ok((0..len).map(entry).collect())
}

/// How many pixels across and down share the colour of YCbCr pixels.
fn subsampling(
    directory: &Directory,
    photometric: u64,
    compression: u64,
) -> Result<(usize, usize), PictureError> {
    use compression::{JPEG, NONE, OLD_JPEG};
    if photometric != photometric::YCBCR || matches!(compression, JPEG | OLD_JPEG) {
        return Ok((1, 1));
    }
    let values = directory.values(tag::YCBCR_SUBSAMPLING)?;
    let values = values.and_then(|values| Some((values.get(0)?, values.get(1)?)));
    match values {
        // The default of the format. But Pillow reads uncompressed pixels without a look at this tag.
        None if compression != NONE => Ok((2, 2)),
        None => Ok((1, 1)),
        Some((across @ (1 | 2 | 4), down @ (1 | 2 | 4))) if down <= across || across == 1 => {
            Ok((across as usize, down as usize))
        }
        Some((across, down)) => Err(unsupported(format!("YCbCr subsampled {across} x {down}"))),
    }
}

/// From YCbCr to RGB: Pillow's own way for uncompressed pixels, and that of libtiff, which reads the others for it.
fn ycbcr(directory: &Directory, compression: u64) -> Result<YCbCr, PictureError> {
    if compression == compression::NONE {
        return Ok(YCbCr::of_pillow());
    }
    let mut luma = [0.299, 0.587, 0.114];
    let mut range = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];
    let read = |tag, values: &mut [f32]| -> Result<(), PictureError> {
        if let Some(found) = directory.values(tag)? {
            for (index, value) in values.iter_mut().enumerate() {
                *value = found.real(index).unwrap_or((*value).into()) as f32;
            }
        }
        Ok(())
    };
    read(tag::YCBCR_COEFFICIENTS, &mut luma)?;
    read(tag::REFERENCE_BLACK_WHITE, &mut range)?;
    Ok(YCbCr::of_libtiff(luma, range))
}
