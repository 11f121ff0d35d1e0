//! SHA-256, in hexadecimal as `sha256sum` prints it.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::storage::files::regular;

/// The checksum of bytes that come one after the other.
#[derive(Debug, Default)]
pub struct Checksum(Sha256);

impl Checksum {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all that was added.
    pub fn finish(self) -> String {
        let sum = self.0.finalize();
        let digits = sum.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }
}

/// The checksum of a file, which is read piece by piece.
pub fn of_file(path: &Path) -> io::Result<String> {
    let mut file = regular::open(path)?;
    let mut checksum = Checksum::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(checksum.finish()),
            Ok(read) => checksum.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The checksum of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut checksum = Checksum::default();
    checksum.update(bytes);
    checksum.finish()
}

/// The first eight bytes of the checksum of bytes, as a big-endian number.
pub fn first_eight_bytes(bytes: &[u8]) -> u64 {
    let sum = Sha256::digest(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&sum[..8]);
    u64::from_be_bytes(first)
}
