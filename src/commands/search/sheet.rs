//! Answers as one picture: a contact sheet.

use anyhow::{Result, ensure};
use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

use super::Answer;
use super::pictures::{Pictures, Shown};
use crate::pictures::Size;
use crate::pictures::thumbnail::jpeg;
use crate::storage::output::SHEET_COMMENT;
use crate::support::page::Distance;

/// The longest side of a picture on the sheet.
const SIDE: usize = 160;
/// Space around a picture.
const GAP: usize = 8;
/// Pictures in a row, at most.
const COLUMNS: usize = 6;
/// Width and height of a character.
const CHARACTER: usize = 8;
/// The two lines below a picture, and the space above each.
const CAPTION: usize = 2 * (CHARACTER + 4);
const CELL: Size = Size {
    width: SIDE + GAP,
    height: SIDE + CAPTION + GAP,
};
/// Between two answers.
const RULE: usize = 9;
/// The longest side that JPEG has.
const MOST: usize = 65_535;

const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [0; 3];
const GRAY: [u8; 3] = [110; 3];
const BLUE: [u8; 3] = [11, 99, 206];
const PALE: [u8; 3] = [232; 3];

/// Draws the sheet; returns the bytes of its JPEG file.
///
/// # Errors
/// When there are more rows than a JPEG file can hold.
pub fn draw(answers: &[Answer], pictures: &Pictures<'_>) -> Result<Vec<u8>> {
    let cells = |answer: &Answer| answer.neighbours.len() + 1;
    let most = answers.iter().map(cells).max().unwrap_or(1);
    let columns = most.min(COLUMNS);
    let rows = answers.iter().map(|answer| cells(answer).div_ceil(columns));
    let size = Size {
        width: columns * CELL.width + GAP,
        height: rows.sum::<usize>() * CELL.height + GAP + (answers.len() - 1) * RULE,
    };
    ensure!(
        size.height <= MOST,
        "a sheet of {} queries would be {} pixels high, and JPEG has at most {MOST}; take fewer, a smaller -k, or --html",
        answers.len(),
        size.height
    );
    let mut sheet = Sheet {
        size,
        pixels: WHITE.repeat(size.width * size.height),
    };
    let mut top = GAP;
    for (number, answer) in answers.iter().enumerate() {
        if number > 0 {
            sheet.fill(GAP, top, size.width - 2 * GAP, 1, GRAY);
            top += RULE;
        }
        for (index, shown) in pictures.of(answer, SIDE).iter().enumerate() {
            let left = GAP + index % columns * CELL.width;
            sheet.cell(left, top + index / columns * CELL.height, shown);
        }
        top += cells(answer).div_ceil(columns) * CELL.height;
    }
    Ok(marked(jpeg(&sheet.pixels, size)))
}

/// A JPEG file with a comment after its first segment, which says what version of the format it is.
fn marked(mut file: Vec<u8>) -> Vec<u8> {
    let at = match file[2..6] {
        [0xff, 0xe0, high, low] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => 2,
    };
    let mut comment = vec![0xff, 0xfe, 0, SHEET_COMMENT.len() as u8 + 2];
    comment.extend_from_slice(SHEET_COMMENT);
    file.splice(at..at, comment);
    file
}

struct Sheet {
    size: Size,
    /// RGB, `[height, width, 3]`.
    pixels: Vec<u8>,
}

impl Sheet {
    fn cell(&mut self, left: usize, top: usize, shown: &Shown<'_>) {
        self.fill(left, top, SIDE, SIDE, PALE);
        match &shown.thumbnail {
            Ok(thumbnail) => {
                let Size { width, height } = thumbnail.size;
                let (left, top) = (left + (SIDE - width) / 2, top + (SIDE - height) / 2);
                for (y, row) in thumbnail.pixels.chunks_exact(width * 3).enumerate() {
                    let at = ((top + y) * self.size.width + left) * 3;
                    self.pixels[at..at + row.len()].copy_from_slice(row);
                }
            }
            Err(why) => {
                let middle = top + SIDE / 2 - CHARACTER;
                self.text(left + 8, middle - 12, SIDE - 16, "no picture:", GRAY);
                self.text(left + 8, middle, SIDE - 16, why, GRAY);
            }
        }
        let (label, colour) = match shown.distance {
            None => ("query".to_owned(), BLUE),
            Some(distance) => (Distance(distance).to_string(), BLACK),
        };
        if shown.distance.is_none() {
            self.frame(left, top, SIDE, SIDE, 3, BLUE);
        }
        self.text(left, top + SIDE + 4, SIDE, &label, colour);
        let below = top + SIDE + 4 + CHARACTER + 4;
        self.text(left, below, SIDE, shown.name, GRAY);
    }

    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, colour: [u8; 3]) {
        for y in top..top + height {
            let at = (y * self.size.width + left) * 3;
            let row = &mut self.pixels[at..at + width * 3];
            row.chunks_exact_mut(3)
                .for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    fn frame(
        &mut self,
        left: usize,
        top: usize,
        width: usize,
        height: usize,
        thickness: usize,
        colour: [u8; 3],
    ) {
        self.fill(left, top, width, thickness, colour);
        self.fill(left, top + height - thickness, width, thickness, colour);
        self.fill(left, top, thickness, height, colour);
        self.fill(left + width - thickness, top, thickness, height, colour);
    }

    /// Writes one line; of what is wider than `width` the middle is left out, so that the ending of a name is seen.
    fn text(&mut self, left: usize, top: usize, width: usize, text: &str, colour: [u8; 3]) {
        let characters = shorten(text, width / CHARACTER);
        for (index, character) in characters.into_iter().enumerate() {
            for (y, row) in glyph(character).into_iter().enumerate() {
                for x in (0..CHARACTER).filter(|x| row >> x & 1 == 1) {
                    self.fill(left + index * CHARACTER + x, top + y, 1, 1, colour);
                }
            }
        }
    }
}

/// At most `most` characters of a text: its beginning, two dots, its end.
fn shorten(text: &str, most: usize) -> Vec<char> {
    let all: Vec<char> = text.chars().collect();
    if all.len() <= most {
        return all;
    }
    let kept = most - 2;
    let end = &all[all.len() - kept / 2..];
    let beginning = &all[..kept - kept / 2];
    [beginning, &['.', '.'], end].concat()
}

/// The rows of a character, lowest bit left; a box for one that the font lacks.
fn glyph(character: char) -> [u8; 8] {
    let found = BASIC_FONTS
        .get(character)
        .filter(|_| !character.is_control());
    found
        .or_else(|| LATIN_FONTS.get(character))
        .or_else(|| GREEK_FONTS.get(character))
        .unwrap_or([0x00, 0x7e, 0x42, 0x42, 0x42, 0x42, 0x7e, 0x00])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        let text = |text, most| shorten(text, most).into_iter().collect::<String>();
        assert_eq!(text("short.jpg", 20), "short.jpg");
        assert_eq!(text("0123456789abcdef.jpg", 11), "01234...jpg");
        assert_eq!(text("äöüßäöüß", 6), "äö..üß");
    }
}
