//! What takes a picture row by row.

use super::Size;

/// Takes the rows of an RGB picture as they are decoded, from the top: [`begin`](Self::begin), and for all rows, some
/// at a time, [`room`](Self::room) and then [`filled`](Self::filled). May begin anew at any time.
pub trait Rows {
    /// The bytes of memory that the rows of a picture of this size take, at most at once.
    fn memory(&self, size: Size) -> usize;

    /// Begins with a picture of this size.
    fn begin(&mut self, size: Size);

    /// Room for the next `count` rows, of which the first is row `first`: `[count, width, 3]`.
    fn room(&mut self, first: usize, count: usize) -> &mut [u8];

    /// Takes the rows that were written to the room.
    fn filled(&mut self);
}
