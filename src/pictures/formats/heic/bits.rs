//! Numbers of some bits, as HEVC has them in its headers (ITU-T H.265).

use super::{corrupt, truncated};
use crate::pictures::PictureError;

/// The bytes that are looked at, at most: what is read of a header lies in them.
const MAX_LEN: usize = 512;

/// Reads from the front of a NAL unit, behind its own two bytes.
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// In bits.
    at: usize,
}

impl Bits {
    pub(super) fn of(unit: &[u8]) -> Self {
        let content = unit.get(2..).unwrap_or_default();
        let (mut bytes, mut zeros) = (Vec::new(), 0);
        for &byte in &content[..content.len().min(MAX_LEN)] {
            // After two zeros a byte of 3 was put in, so that nothing looks like the beginning of a unit.
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bytes.push(byte);
        }
        Self { bytes, at: 0 }
    }

    pub(super) fn flag(&mut self) -> Result<bool, PictureError> {
        Ok(self.number(1)? == 1)
    }

    /// Of up to 32 bits.
    pub(super) fn number(&mut self, bits: usize) -> Result<u32, PictureError> {
        let mut number = 0;
        for _ in 0..bits {
            let byte = self
                .bytes
                .get(self.at / 8)
                .ok_or_else(|| truncated("a header ends early"))?;
            number = number << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(number)
    }

    pub(super) fn skip(&mut self, bits: usize) {
        self.at += bits;
    }

    /// `ue(v)`: as many zeros as there are bits behind the first one.
    pub(super) fn exp_golomb(&mut self) -> Result<u32, PictureError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        match zeros {
            0..=31 => Ok((1 << zeros) - 1 + self.number(zeros)?),
            _ => Err(corrupt("a number that is too large")),
        }
    }
}
