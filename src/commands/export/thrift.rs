//! Thrift's compact encoding, as much of it as the headers and the footer of a Parquet file need.

/// The type of a field, or of the elements of a list.
#[derive(Clone, Copy)]
pub enum Kind {
    I32 = 5,
    I64 = 6,
    Binary = 8,
    List = 9,
    Struct = 12,
}

/// A structure that is being written, field by field in the order of their numbers.
#[derive(Default)]
pub struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

impl Struct {
    pub fn new() -> Self {
        Struct::default()
    }

    pub fn i32(mut self, number: u8, value: i32) -> Self {
        self.field(number, Kind::I32);
        integer(value.into(), &mut self.bytes);
        self
    }

    pub fn i64(mut self, number: u8, value: i64) -> Self {
        self.field(number, Kind::I64);
        integer(value, &mut self.bytes);
        self
    }

    pub fn text(mut self, number: u8, value: &str) -> Self {
        self.field(number, Kind::Binary);
        self.bytes.extend(text(value));
        self
    }

    pub fn structure(mut self, number: u8, value: Struct) -> Self {
        self.field(number, Kind::Struct);
        self.bytes.extend(value.finish());
        self
    }

    /// A list of encoded elements.
    pub fn list(mut self, number: u8, kind: Kind, elements: Vec<Vec<u8>>) -> Self {
        self.field(number, Kind::List);
        match elements.len() {
            few @ 0..15 => self.bytes.push((few as u8) << 4 | kind as u8),
            many => {
                self.bytes.push(0xf0 | kind as u8);
                varint(many as u64, &mut self.bytes);
            }
        }
        self.bytes.extend(elements.concat());
        self
    }

    /// The encoded structure.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }

    fn field(&mut self, number: u8, kind: Kind) {
        assert!(number > self.last && number - self.last < 16);
        self.bytes.push((number - self.last) << 4 | kind as u8);
        self.last = number;
    }
}

/// A text as an element of a list.
pub fn text(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(value.len() as u64, &mut bytes);
    bytes.extend(value.as_bytes());
    bytes
}

/// A number as an element of a list: small ones of both signs take few bytes.
pub fn integer(value: i64, to: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)) as u64, to);
}

/// Seven bits a byte, the lowest first.
pub fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
