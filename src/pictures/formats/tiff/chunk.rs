//! The strips and tiles of a TIFF, one at a time: from the bytes in the file to samples.

use std::borrow::Cow;
use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use lzma_rust2::XzReader;
use weezl::{BitOrder, LzwStatus};

use super::fax::{self, Coding};
use super::layout::{Layout, compression as kind};
use super::{corrupt, truncated, unsupported};
use crate::pictures::PictureError;

/// The most that the dictionary of LZMA may take: `xz -9` makes it that large, and needs a little more.
const LZMA_BYTES: usize = 66 << 20;

/// The memory that decoding a strip or tile takes, besides what it is decoded into.
pub(super) fn memory(layout: &Layout, largest: usize) -> usize {
    let decoder = match layout.compression {
        kind::LZMA => LZMA_BYTES,
        // Its whole output at once; see `zstandard`.
        kind::ZSTANDARD => layout
            .row_len(layout.chunk.width)
            .saturating_mul(layout.chunk.height),
        // The runs of two rows, at most two for each pixel and as many again where a list of them grows.
        kind::CCITT_RLE | kind::CCITT_RLE_WORDS | kind::GROUP_3 | kind::GROUP_4 => {
            let runs = 2 * 2 * 2;
            layout.chunk.width.saturating_mul(runs * size_of::<usize>())
        }
        _ => 0,
    };
    let reversed = if layout.bits_reversed { largest } else { 0 };
    decoder.saturating_add(reversed)
}

/// Decodes a strip or tile of `width` pixels a row into `out`, samples of more than 8 bits in the machine's byte order.
pub(super) fn decode(
    layout: &Layout,
    t4_options: u64,
    data: &[u8],
    width: usize,
    out: &mut [u8],
) -> Result<(), PictureError> {
    let data = match layout.bits_reversed {
        true => data.iter().map(|byte| byte.reverse_bits()).collect(),
        false => Cow::Borrowed(data),
    };
    let row_len = layout.row_len(width);
    let fax = |coding, out| fax::decode(coding, &data, width, row_len, out);
    let two_dimensional = t4_options & 1 == 1;
    match layout.compression {
        kind::NONE => {
            let data = data.get(..out.len());
            out.copy_from_slice(data.ok_or_else(early)?);
        }
        kind::PACK_BITS => pack_bits(&data, out)?,
        kind::LZW => lzw(&data, out)?,
        kind::ADOBE_DEFLATE | kind::DEFLATE => deflate(&data, out)?,
        kind::LZMA => lzma(&data, out)?,
        kind::ZSTANDARD => zstandard(&data, layout, width, out)?,
        _ if layout.bits != 1 || layout.chunk_samples() != 1 => {
            return Err(unsupported(format!(
                "compression {} of {} bits",
                layout.compression, layout.bits
            )));
        }
        kind::CCITT_RLE => fax(Coding::Rle { align: 8 }, out)?,
        kind::CCITT_RLE_WORDS => fax(Coding::Rle { align: 16 }, out)?,
        kind::GROUP_3 => fax(Coding::Group3 { two_dimensional }, out)?,
        kind::GROUP_4 => fax(Coding::Group4, out)?,
        other => return Err(unsupported(format!("compression {other}"))),
    }
    if !layout.little {
        swap_bytes(out, layout.bits);
    }
    let has_predictor = matches!(
        layout.compression,
        kind::LZW | kind::ADOBE_DEFLATE | kind::DEFLATE | kind::LZMA | kind::ZSTANDARD
    );
    if has_predictor && layout.predictor != 1 {
        undo_predictor(layout, row_len, out)?;
    }
    Ok(())
}

/// Whether this compression is read, and with what it needs.
pub(super) fn check(layout: &Layout) -> Result<(), PictureError> {
    let known = [
        kind::NONE,
        kind::CCITT_RLE,
        kind::GROUP_3,
        kind::GROUP_4,
        kind::LZW,
        kind::OLD_JPEG,
        kind::JPEG,
        kind::ADOBE_DEFLATE,
        kind::CCITT_RLE_WORDS,
        kind::PACK_BITS,
        kind::DEFLATE,
        kind::LZMA,
        kind::ZSTANDARD,
    ];
    if known.contains(&layout.compression) {
        return Ok(());
    }
    Err(unsupported(match layout.compression {
        34887 => "compression LERC".to_owned(),
        34712 | 33003 | 33005 => "compression JPEG 2000".to_owned(),
        50001 => "compression WebP".to_owned(),
        50002 | 52546 => "compression JPEG XL".to_owned(),
        34676 | 34677 => "compression SGILog".to_owned(),
        other => format!("compression {other}"),
    }))
}

fn early() -> PictureError {
    truncated("a strip or tile ends early")
}

/// Runs of bytes: `n` from 0 to 127 before `n + 1` bytes, and `-n` before one that is there `n + 1` times.
fn pack_bits(mut data: &[u8], mut out: &mut [u8]) -> Result<(), PictureError> {
    while !out.is_empty() {
        let (&head, rest) = data.split_first().ok_or_else(early)?;
        data = rest;
        match head as i8 {
            -128 => {}
            head @ 0.. => {
                let len = (head as usize + 1).min(out.len());
                let (run, rest) = data.split_at_checked(len).ok_or_else(early)?;
                let (filled, left) = out.split_at_mut(len);
                filled.copy_from_slice(run);
                (data, out) = (rest, left);
            }
            head => {
                let len = (usize::from(head.unsigned_abs()) + 1).min(out.len());
                let (&value, rest) = data.split_first().ok_or_else(early)?;
                let (filled, left) = out.split_at_mut(len);
                filled.fill(value);
                (data, out) = (rest, left);
            }
        }
    }
    Ok(())
}

/// LZW until `out` is full: some programs write no end, and others more than there are pixels.
fn lzw(mut data: &[u8], mut out: &mut [u8]) -> Result<(), PictureError> {
    // Before 1990 the bits were in the other order: then a strip begins with the lower bits of a clear code, 0x100.
    let mut decoder = match data {
        [0, second, ..] if second & 1 == 1 => weezl::decode::Decoder::new(BitOrder::Lsb, 8),
        _ => weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
    };
    while !out.is_empty() {
        let done = decoder.decode_bytes(data, out);
        data = &data[done.consumed_in..];
        out = &mut out[done.consumed_out..];
        match done.status {
            _ if out.is_empty() => {}
            Ok(LzwStatus::Ok) if done.consumed_in + done.consumed_out > 0 => {}
            Ok(_) => return Err(early()),
            Err(source) => return Err(corrupt(source)),
        }
    }
    Ok(())
}

fn deflate(mut data: &[u8], mut out: &mut [u8]) -> Result<(), PictureError> {
    let mut decoder = Decompress::new(true);
    while !out.is_empty() {
        let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
        let status = decoder
            .decompress(data, out, FlushDecompress::None)
            .map_err(corrupt)?;
        let consumed = (decoder.total_in() - before_in) as usize;
        let written = (decoder.total_out() - before_out) as usize;
        data = &data[consumed..];
        out = &mut out[written..];
        let stuck = status == Status::StreamEnd || consumed + written == 0;
        if stuck && !out.is_empty() {
            return Err(early());
        }
    }
    Ok(())
}

fn lzma(data: &[u8], out: &mut [u8]) -> Result<(), PictureError> {
    let mut reader = XzReader::new_mem_limit(data, false, (LZMA_BYTES >> 10) as u32);
    reader.read_exact(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => truncated(error),
        std::io::ErrorKind::OutOfMemory => unsupported(error),
        _ => corrupt(error),
    })
}

/// All of it at once, for which the decoder needs no memory besides. The last strip may be coded as long as the others.
fn zstandard(
    data: &[u8],
    layout: &Layout,
    width: usize,
    out: &mut [u8],
) -> Result<(), PictureError> {
    let mut all = vec![0; layout.row_len(width).saturating_mul(layout.chunk.height)];
    let mut decoder = zstd::bulk::Decompressor::new().map_err(corrupt)?;
    let len = decoder
        .decompress_to_buffer(data, &mut all[..])
        .map_err(corrupt)?;
    if len < out.len() {
        return Err(early());
    }
    out.copy_from_slice(&all[..out.len()]);
    Ok(())
}

/// Big-endian samples -> the machine's byte order, which is little-endian on all that this builds for.
fn swap_bytes(out: &mut [u8], bits: usize) {
    match bits {
        16 => out
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .for_each(|sample| sample.reverse()),
        32 => out
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .for_each(|sample| sample.reverse()),
        _ => {}
    }
}

fn undo_predictor(layout: &Layout, row_len: usize, out: &mut [u8]) -> Result<(), PictureError> {
    let samples = layout.chunk_samples();
    let rows = out.chunks_exact_mut(row_len);
    match (layout.predictor, layout.bits) {
        _ if layout.subsampling != (1, 1) => {
            return Err(unsupported("a predictor of subsampled pixels"));
        }
        (2, 8) => rows.for_each(|row| {
            for at in samples..row.len() {
                row[at] = row[at].wrapping_add(row[at - samples]);
            }
        }),
        (2, 16) => rows.for_each(|row| {
            let row = row.as_chunks_mut::<2>().0;
            for at in samples..row.len() {
                let [before, this] = [row[at - samples], row[at]].map(u16::from_ne_bytes);
                row[at] = this.wrapping_add(before).to_ne_bytes();
            }
        }),
        (2, 32) => rows.for_each(|row| {
            let row = row.as_chunks_mut::<4>().0;
            for at in samples..row.len() {
                let [before, this] = [row[at - samples], row[at]].map(u32::from_ne_bytes);
                row[at] = this.wrapping_add(before).to_ne_bytes();
            }
        }),
        (3, 32) => rows.for_each(|row| undo_float_predictor(row, samples, layout.little)),
        (predictor, bits) => {
            return Err(unsupported(format!("predictor {predictor} of {bits} bits")));
        }
    }
    Ok(())
}

/// All highest bytes of a row, then all second ones, ..., each as its difference to the byte before.
fn undo_float_predictor(row: &mut [u8], samples: usize, little: bool) {
    if !little {
        // They are bytes, which the swap above has taken for numbers.
        swap_bytes(row, 32);
    }
    for at in samples..row.len() {
        row[at] = row[at].wrapping_add(row[at - samples]);
    }
    let bytes = row.to_vec();
    let count = bytes.len() / 4;
    for (at, number) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let big_endian = [0, 1, 2, 3].map(|byte| bytes[byte * count + at]);
        *number = u32::from_be_bytes(big_endian).to_ne_bytes();
    }
}
