//! What is said of a frame before it is decoded: the box `hvcC`, and the parameter sets in it (ISO/IEC 14496-15 and
//! ITU-T H.265).
//!
//! The decoder makes room by these, so that they are read here first; and what no still picture has is kept from it.

use super::bits::Bits;
use super::{corrupt, unsupported};
use crate::pictures::PictureError;
use crate::pictures::formats::heif::{Bytes, Layout};
use crate::pictures::limits::Limits;
use crate::pictures::{Format, Size};

/// Bytes of the box: it has some hundreds, and is read for each cell of a grid.
const MAX_LEN: usize = 16 << 10;

/// Pixels that a block is wide, at most.
const MAX_BLOCK: usize = 64;

/// Slices of a picture: what the highest level of HEVC allows.
const MAX_SLICES: usize = 600;

/// Types of NAL units.
mod unit {
    /// Pictures that are made from no others.
    pub const INTRA: std::ops::RangeInclusive<u8> = 16..=21;
    pub const FIRST_THAT_IS_NO_SLICE: u8 = 32;
    pub const VIDEO_PARAMETERS: u8 = 32;
    pub const SEQUENCE_PARAMETERS: u8 = 33;
    pub const PICTURE_PARAMETERS: u8 = 34;
}

/// What the box `hvcC` of a frame says.
pub(super) struct Headers<'a> {
    /// One parameter set of each of the three kinds.
    pub(super) units: Vec<&'a [u8]>,
    /// The bytes of a length before each unit of the data.
    length_len: usize,
    /// The size as it is coded, in whole blocks.
    pub(super) coded: Size,
    /// The size without what the frame leaves out on the right and below.
    pub(super) shown: Size,
    pub(super) layout: Layout,
    /// Of a value: 8 to 16.
    pub(super) bits: u32,
    /// How many blocks there are of those in which slices begin.
    blocks: u32,
    slices: SliceHeaders,
}

/// How the headers of slices are to be read.
struct SliceHeaders {
    may_depend: bool,
    more_bits: usize,
}

impl<'a> Headers<'a> {
    pub(super) fn of(mut content: Bytes<'a>, limits: Limits) -> Result<Self, PictureError> {
        if content.rest.len() > MAX_LEN {
            return Err(unsupported("parameters of more than 16 KiB"));
        }
        content.take(21)?;
        let length_len = (content.number(1)? & 3) as usize + 1;
        let [mut video, mut sequence, mut picture] = [None; 3];
        for _ in 0..content.number(1)? {
            content.number(1)?;
            for _ in 0..content.number(2)? {
                let len = content.number(2)? as usize;
                let unit = content.take(len)?;
                let of_kind = match kind(unit)? {
                    Some(unit::VIDEO_PARAMETERS) => &mut video,
                    Some(unit::SEQUENCE_PARAMETERS) => &mut sequence,
                    Some(unit::PICTURE_PARAMETERS) => &mut picture,
                    _ => continue,
                };
                if of_kind.replace(unit).is_some() {
                    return Err(unsupported("more than one parameter set of a kind"));
                }
            }
        }
        let missing = || corrupt("a frame without parameters");
        let units = [video, sequence, picture].map(|unit| unit.ok_or_else(missing));
        let [video, sequence, picture] = units;
        let (video, sequence, picture) = (video?, sequence?, picture?);
        let headers = Self {
            units: vec![video, sequence, picture],
            length_len,
            slices: SliceHeaders::of(picture)?,
            coded: Size::default(),
            shown: Size::default(),
            layout: Layout::Gray,
            bits: 8,
            blocks: 0,
        };
        headers.with_sequence(&mut Bits::of(sequence), limits)
    }

    /// Reads the sequence parameter set.
    fn with_sequence(self, bits: &mut Bits, limits: Limits) -> Result<Self, PictureError> {
        bits.skip(4);
        let more_layers = bits.number(3)? as usize;
        bits.skip(1);
        skip_profile(bits, more_layers)?;
        bits.exp_golomb()?;
        let (layout, across, down) = match bits.exp_golomb()? {
            0 => (Layout::Gray, 1, 1),
            1 => (Layout::HalfBoth, 2, 2),
            2 => (Layout::HalfWidth, 2, 1),
            3 if bits.flag()? => return Err(unsupported("colours in planes of their own")),
            3 => (Layout::Full, 1, 1),
            _ => return Err(corrupt("colours of a kind that HEVC has not")),
        };
        let [width, height] = [bits.exp_golomb()?, bits.exp_golomb()?];
        let coded = limits.check(Format::Heic, width, height)?;
        let [mut right, mut below] = [0, 0];
        if bits.flag()? {
            let [left, from_right, above, from_below] = [
                bits.exp_golomb()?,
                bits.exp_golomb()?,
                bits.exp_golomb()?,
                bits.exp_golomb()?,
            ];
            if (left, above) != (0, 0) {
                return Err(unsupported("a frame that is cut off on the left or above"));
            }
            [right, below] = [from_right, from_below];
        }
        let without = |side: usize, unit: usize, cut: u32| side.checked_sub(unit * cut as usize);
        let shown = (
            without(coded.width, across, right),
            without(coded.height, down, below),
        );
        let (Some(width @ 1..), Some(height @ 1..)) = shown else {
            return Err(corrupt("a frame that is cut off as a whole"));
        };
        // Else there might be much work for few pixels.
        if coded.width - width >= MAX_BLOCK || coded.height - height >= MAX_BLOCK {
            return Err(unsupported("a frame that is cut off by more than a block"));
        }
        let [light, colour] = [bits.exp_golomb()?, bits.exp_golomb()?];
        if light > 8 || colour > 8 || (light != colour && layout != Layout::Gray) {
            return Err(unsupported("values of such a length"));
        }
        bits.exp_golomb()?;
        let first_layer = if bits.flag()? { 0 } else { more_layers };
        for _ in first_layer..=more_layers {
            for _ in 0..3 {
                bits.exp_golomb()?;
            }
        }
        let block = block_len(bits, coded)?;
        let blocks = coded.width.div_ceil(block) * coded.height.div_ceil(block);
        Ok(Self {
            coded,
            shown: Size { width, height },
            layout,
            bits: light + 8,
            blocks: u32::try_from(blocks).map_err(|_| corrupt("too many blocks"))?,
            ..self
        })
    }

    /// Whether two frames take the same memory and give the same planes.
    pub(super) fn is_coded_as(&self, other: &Self) -> bool {
        let kind = |headers: &Self| (headers.coded, headers.shown, headers.layout, headers.bits);
        kind(self) == kind(other)
    }

    /// The slices in the data of a picture, each with a length before it. What else is there is of no use for a
    /// picture.
    pub(super) fn slices<'data>(
        &self,
        data: Bytes<'data>,
    ) -> Result<Vec<&'data [u8]>, PictureError> {
        let (mut data, mut slices) = (data, Vec::new());
        while !data.rest.is_empty() {
            let len = data.number(self.length_len)? as usize;
            let unit = data.take(len)?;
            match kind(unit)? {
                Some(kind) if unit::INTRA.contains(&kind) => {
                    self.slices.check(unit, self.blocks, slices.is_empty())?;
                    slices.push(unit);
                }
                Some(..unit::FIRST_THAT_IS_NO_SLICE) => {
                    return Err(unsupported("a frame that is made from others"));
                }
                // Canon's cameras repeat them.
                Some(unit::VIDEO_PARAMETERS..=unit::PICTURE_PARAMETERS)
                    if !self.units.contains(&unit) =>
                {
                    return Err(unsupported("other parameters among the data"));
                }
                _ => {}
            }
            if slices.len() > MAX_SLICES {
                return Err(unsupported("more than 600 slices"));
            }
        }
        match slices[..] {
            [] => Err(corrupt("a picture without data")),
            _ => Ok(slices),
        }
    }
}

impl SliceHeaders {
    fn of(picture_parameters: &[u8]) -> Result<Self, PictureError> {
        let mut bits = Bits::of(picture_parameters);
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        let may_depend = bits.flag()?;
        bits.skip(1);
        let more_bits = bits.number(3)? as usize;
        Ok(Self {
            may_depend,
            more_bits,
        })
    }

    /// A slice is to be of the one picture, and made from no other.
    fn check(&self, slice: &[u8], blocks: u32, is_first: bool) -> Result<(), PictureError> {
        const INTRA: u32 = 2;
        let mut bits = Bits::of(slice);
        if bits.flag()? != is_first {
            return Err(unsupported("more than one frame"));
        }
        bits.skip(1);
        bits.exp_golomb()?;
        let mut depends = false;
        if !is_first {
            depends = self.may_depend && bits.flag()?;
            let address_bits = blocks.next_power_of_two().ilog2();
            bits.skip(address_bits as usize);
        }
        bits.skip(self.more_bits);
        if !depends && bits.exp_golomb()? != INTRA {
            return Err(unsupported("a frame that is made from others"));
        }
        Ok(())
    }
}

/// The type of a NAL unit; none where it belongs to a layer besides the picture.
fn kind(unit: &[u8]) -> Result<Option<u8>, PictureError> {
    let &[first, second, ..] = unit else {
        return Err(corrupt("a unit without a header"));
    };
    let layer = (first & 1) << 5 | second >> 3;
    Ok((layer == 0).then_some(first >> 1 & 63))
}

/// The pixels that the largest blocks are wide. What libde265 would complain of on standard error is refused here.
fn block_len(bits: &mut Bits, coded: Size) -> Result<usize, PictureError> {
    // All are powers of two: the smallest blocks, how much larger the largest are, the same of what they are
    // transformed in, and how often they are split for that.
    let mut next = |add: u32| Ok::<_, PictureError>(bits.exp_golomb()?.saturating_add(add));
    let (least, more) = (next(3)?, next(0)?);
    let (least_transform, more_transform) = (next(2)?, next(0)?);
    let splits = [next(0)?, next(0)?];
    let most = least.saturating_add(more);
    let most_transform = least_transform.saturating_add(more_transform);
    if most > MAX_BLOCK.ilog2()
        || least_transform > least
        || most_transform > most.min(5)
        || splits
            .into_iter()
            .any(|splits| splits > most - least_transform)
    {
        return Err(corrupt("blocks of sizes that HEVC has not"));
    }
    let is_whole = |side: usize| side.is_multiple_of(1 << least);
    if !is_whole(coded.width) || !is_whole(coded.height) {
        return Err(corrupt("a frame that is not made of whole blocks"));
    }
    Ok(1 << most)
}

/// `profile_tier_level`.
fn skip_profile(bits: &mut Bits, more_layers: usize) -> Result<(), PictureError> {
    const PROFILE: usize = 88;
    const LEVEL: usize = 8;
    bits.skip(PROFILE + LEVEL);
    let mut layers = Vec::new();
    for _ in 0..more_layers {
        layers.push([bits.flag()?, bits.flag()?]);
    }
    if more_layers > 0 {
        bits.skip(2 * (8 - more_layers));
    }
    for [has_profile, has_level] in layers {
        bits.skip(PROFILE * usize::from(has_profile) + LEVEL * usize::from(has_level));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::formats::heif::Items;

    const PICTURE: &[u8] = include_bytes!("../../../../tests/data/pictures/heic_420.heic");

    /// The slices that are found in data of a picture that were changed.
    fn slices(change: impl FnOnce(&Headers, &mut Vec<u8>)) -> Result<usize, String> {
        let items = Items::of(Format::Heic, PICTURE).unwrap();
        let limits = Limits {
            max_pixels: u64::MAX,
            memory: u64::MAX,
            target: None,
        };
        let configuration = items.properties(items.primary, *b"hvcC").next().unwrap();
        let headers = Headers::of(configuration, limits).unwrap();
        let mut data = items.data(items.primary).unwrap().into_owned();
        change(&headers, &mut data);
        let slices = headers.slices(Bytes::new(Format::Heic, &data));
        let count = slices.map(|slices| slices.len());
        count.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    /// Where the type of the one slice stands.
    fn slice_at(data: &[u8]) -> usize {
        let mut at = 0;
        while !unit::INTRA.contains(&(data[at + 4] >> 1 & 63)) {
            at += 4 + u32::from_be_bytes(*data[at..].first_chunk().unwrap()) as usize;
        }
        at + 4
    }

    #[test]
    fn only_the_slices_of_one_picture_that_is_made_from_no_other_come_to_the_decoder() {
        assert_eq!(slices(|_, _| {}), Ok(1));
        let refused = |change: fn(&Headers, &mut Vec<u8>)| slices(change).unwrap_err();
        let unsupported = "HEIC picture of an unsupported kind";
        assert_eq!(
            refused(|_, data| data.extend_from_within(..)),
            format!("{unsupported}: more than one frame")
        );
        let from_others = format!("{unsupported}: a frame that is made from others");
        assert_eq!(
            refused(|_, data| {
                let at = slice_at(data);
                data[at] = 1 << 1;
            }),
            from_others
        );
        // The first slice, the pictures before it, the first parameters (`1`), a slice of type 1 (`010`).
        assert_eq!(
            refused(|_, data| {
                let at = slice_at(data) + 2;
                data[at] = 0b1010_1000 | data[at] & 0b11;
            }),
            from_others
        );
        let with_parameters = |headers: &Headers, data: &mut Vec<u8>| {
            let parameters = headers.units[1];
            data.extend((parameters.len() as u32).to_be_bytes());
            data.extend(parameters);
        };
        assert_eq!(slices(with_parameters), Ok(1));
        let with_others = slices(|headers, data| {
            with_parameters(headers, data);
            *data.last_mut().unwrap() ^= 1;
        });
        assert_eq!(
            with_others.unwrap_err(),
            format!("{unsupported}: other parameters among the data")
        );
        let cut = refused(|_, data| data.truncate(data.len() - 1));
        assert!(cut.starts_with("HEIC picture is truncated"), "{cut}");
        assert_eq!(
            refused(|_, data| data.clear()),
            "HEIC picture is corrupt: a picture without data"
        );
    }

    #[test]
    fn a_frame_is_of_the_size_in_its_parameters() {
        // The encoder makes none that is smaller: a box crops it to 61 x 43.
        let checked = slices(|headers, _| {
            assert_eq!((headers.coded.width, headers.coded.height), (64, 64));
            assert_eq!((headers.layout, headers.bits), (Layout::HalfBoth, 8));
        });
        assert_eq!(checked, Ok(1));
    }
}
