//! CCITT T.4 and T.6, the codes of fax machines: pictures of one bit, as runs of white and black.
//!
//! Damaged rows come out as libtiff makes them: what was decoded, and white.

use std::sync::LazyLock;

use fax::Bits as Code;
use fax::maps::{black, white};

use super::{corrupt, truncated};
use crate::pictures::PictureError;

/// How the rows of a strip are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Runs alone; a row begins at a whole number of so many bits.
    Rle { align: usize },
    /// T.4: runs, or with `two_dimensional` also changes to the row before, after marks of their end.
    Group3 { two_dimensional: bool },
    /// T.6: changes to the row before.
    Group4,
}

/// Decodes rows of `width` pixels into `out`, `row_len` bytes each: a bit of 1 is black.
pub(super) fn decode(
    coding: Coding,
    data: &[u8],
    width: usize,
    row_len: usize,
    out: &mut [u8],
) -> Result<(), PictureError> {
    match decode_rows(coding, true, data, width, row_len, out)? {
        Marks::Present => Ok(()),
        Marks::Missing => decode_rows(coding, false, data, width, row_len, out).map(drop),
    }
}

/// Whether rows of Group 3 have the marks of their end, which some programs leave out.
enum Marks {
    Present,
    Missing,
}

fn decode_rows(
    coding: Coding,
    marks: bool,
    data: &[u8],
    width: usize,
    row_len: usize,
    out: &mut [u8],
) -> Result<Marks, PictureError> {
    let early = || truncated("the rows of a strip end early");
    // Rows that are missing at the end of Group 4 are white, whatever was read into this memory before.
    out.fill(0);
    let mut bits = Bits {
        data,
        at: 0,
        end: 8 * data.len(),
    };
    let mut row = Row::new(width);
    // What the first row refers to is white.
    let mut reference = vec![width, 0];
    let mut at_mark = false;
    for (index, out) in out.chunks_exact_mut(row_len).enumerate() {
        row.clear();
        let mut one_dimensional = coding != Coding::Group4;
        if let Coding::Group3 { two_dimensional } = coding {
            if marks {
                match bits.skip_mark(at_mark) {
                    Mark::Skipped => {}
                    Mark::Missing => return Ok(Marks::Missing),
                    Mark::End => return Err(early()),
                }
            }
            if two_dimensional {
                one_dimensional = bits.peek(1).ok_or_else(early)? == 1;
                bits.at += 1;
            }
        }
        let end = match one_dimensional {
            true => row.expand_1d(&mut bits)?,
            false => row.expand_2d(&mut bits, &reference)?,
        };
        row.clean_up()?;
        row.fill(out);
        at_mark = matches!(end, RowEnd::Mark);
        match (end, coding) {
            // A strip may say that it ends: what is left of it stays white.
            (RowEnd::Mark | RowEnd::Data, Coding::Group4) if index > 0 => {
                return Ok(Marks::Present);
            }
            (RowEnd::Mark, Coding::Group4) | (RowEnd::Data, _) => return Err(early()),
            _ => {}
        }
        if let Coding::Rle { align } = coding {
            bits.at = bits.at.next_multiple_of(align);
        }
        row.runs.push(0);
        std::mem::swap(&mut row.runs, &mut reference);
    }
    Ok(Marks::Present)
}

/// What ended a row.
enum RowEnd {
    /// It is complete, or a code is not one.
    Row,
    /// A mark that a row ends, of which the zeros are read.
    Mark,
    /// There is no more.
    Data,
}

/// A row as the lengths of its runs, white and black in turn.
struct Row {
    runs: Vec<usize>,
    width: usize,
    /// Where the run begins that is not in `runs` yet, and how long that run is so far.
    at: usize,
    run: usize,
}

impl Row {
    fn new(width: usize) -> Self {
        Row {
            runs: Vec::new(),
            width,
            at: 0,
            run: 0,
        }
    }

    fn clear(&mut self) {
        self.runs.clear();
        (self.at, self.run) = (0, 0);
    }

    /// Ends a run after `more` pixels.
    fn end_run(&mut self, more: usize) -> Result<(), PictureError> {
        // No row has more runs than pixels, but for empty ones.
        if self.runs.len() > 2 * self.width + 64 {
            return Err(corrupt("a row of too many runs"));
        }
        self.runs.push(self.run + more);
        self.at += more;
        self.run = 0;
        Ok(())
    }

    /// A run of one colour; `false` where there is none, with the reason.
    fn read_run(
        &mut self,
        bits: &mut Bits,
        colour: Colour,
    ) -> Result<Option<RowEnd>, PictureError> {
        loop {
            match bits.read(colour) {
                Symbol::Run(len) if len < 64 => {
                    self.end_run(len)?;
                    return Ok(None);
                }
                Symbol::Run(len) => {
                    self.at += len;
                    self.run += len;
                    if self.at > self.width + 2 * 2560 {
                        return Ok(Some(RowEnd::Row));
                    }
                }
                Symbol::Mark => return Ok(Some(RowEnd::Mark)),
                Symbol::Unknown => return Ok(Some(RowEnd::Row)),
                Symbol::End => return Ok(Some(RowEnd::Data)),
            }
        }
    }

    fn expand_1d(&mut self, bits: &mut Bits) -> Result<RowEnd, PictureError> {
        loop {
            for colour in [Colour::White, Colour::Black] {
                if let Some(end) = self.read_run(bits, colour)? {
                    return Ok(end);
                }
                if self.at >= self.width {
                    return Ok(RowEnd::Row);
                }
            }
            if self.runs.ends_with(&[0, 0]) {
                self.runs.truncate(self.runs.len() - 2);
            }
        }
    }

    fn expand_2d(&mut self, bits: &mut Bits, reference: &[usize]) -> Result<RowEnd, PictureError> {
        let mut above = Above {
            runs: reference,
            next: 1,
            change: reference[0],
        };
        while self.at < self.width {
            let Some(mode) = bits.read_mode() else {
                return Ok(RowEnd::Data);
            };
            if !self.runs.is_empty() && !matches!(mode, Mode::Horizontal) {
                above.go_past(self.at, self.width)?;
            }
            match mode {
                Mode::Pass => {
                    above.step();
                    self.run += above.change - self.at.min(above.change);
                    self.at = above.change;
                    above.step();
                }
                Mode::Horizontal => {
                    let colours = match self.runs.len() % 2 {
                        0 => [Colour::White, Colour::Black],
                        _ => [Colour::Black, Colour::White],
                    };
                    for colour in colours {
                        match self.read_run(bits, colour)? {
                            None => {}
                            Some(RowEnd::Data) => return Ok(RowEnd::Data),
                            Some(_) => return Ok(RowEnd::Row),
                        }
                    }
                    above.go_past(self.at, self.width)?;
                }
                Mode::Right(by) => {
                    let Some(more) = (above.change + by).checked_sub(self.at) else {
                        return Ok(RowEnd::Row);
                    };
                    self.end_run(more)?;
                    above.step();
                }
                Mode::Left(by) => {
                    let Some(more) = above.change.checked_sub(self.at + by) else {
                        return Ok(RowEnd::Row);
                    };
                    self.end_run(more)?;
                    above.step_back();
                }
                Mode::Extension => {
                    self.runs.push(self.width - self.at);
                    return Ok(RowEnd::Row);
                }
                Mode::Mark => {
                    self.runs.push(self.width - self.at);
                    if bits.peek(4).is_none() {
                        return Ok(RowEnd::Data);
                    }
                    bits.at += 4;
                    return Ok(RowEnd::Mark);
                }
            }
        }
        if self.run > 0 {
            if self.run + self.at < self.width {
                match bits.peek(1) {
                    None => return Ok(RowEnd::Data),
                    Some(0) => return Ok(RowEnd::Row),
                    Some(_) => bits.at += 1,
                }
            }
            self.end_run(0)?;
        }
        Ok(RowEnd::Row)
    }

    /// Makes the runs as long as the row: too many are dropped, and what is missing is white.
    fn clean_up(&mut self) -> Result<(), PictureError> {
        if self.run > 0 {
            self.end_run(0)?;
        }
        let mut at: usize = self.runs.iter().sum();
        while at > self.width {
            at -= self.runs.pop().unwrap_or(at);
        }
        if at < self.width {
            if self.runs.len() % 2 == 1 {
                self.runs.push(0);
            }
            self.runs.push(self.width - at);
        }
        Ok(())
    }

    /// Writes the row's bits: white is 0.
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
        let mut at = 0;
        for (index, run) in self.runs.iter().enumerate() {
            let end = (at + run).min(self.width);
            if index % 2 == 1 {
                set_bits(out, at, end);
            }
            at = end;
        }
    }
}

fn set_bits(out: &mut [u8], mut from: usize, to: usize) {
    while from < to && !from.is_multiple_of(8) {
        out[from / 8] |= 0x80 >> (from % 8);
        from += 1;
    }
    let whole = (to - from.min(to)) / 8;
    out[from / 8..][..whole].fill(0xff);
    for at in from + 8 * whole..to {
        out[at / 8] |= 0x80 >> (at % 8);
    }
}

/// The changes of colour in the row before.
struct Above<'a> {
    runs: &'a [usize],
    /// The run after `change`.
    next: usize,
    /// Where the colour changes.
    change: usize,
}

impl Above<'_> {
    fn run(&self, index: usize) -> usize {
        self.runs.get(index).copied().unwrap_or(0)
    }

    fn step(&mut self) {
        self.change += self.run(self.next);
        self.next += 1;
    }

    fn step_back(&mut self) {
        self.next = self.next.saturating_sub(1);
        self.change = self.change.saturating_sub(self.run(self.next));
    }

    /// To the first change of the same colour that lies after `at`.
    fn go_past(&mut self, at: usize, width: usize) -> Result<(), PictureError> {
        while self.change <= at && self.change < width {
            if self.next >= self.runs.len() {
                return Err(corrupt("a row refers to what the one before does not have"));
            }
            self.step();
            self.step();
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Colour {
    White,
    Black,
}

enum Symbol {
    Run(usize),
    Mark,
    Unknown,
    End,
}

#[derive(Clone, Copy)]
enum Mode {
    Pass,
    Horizontal,
    Right(usize),
    Left(usize),
    Extension,
    Mark,
}

enum Mark {
    Skipped,
    Missing,
    End,
}

/// The bits of a strip, from the highest of the first byte.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// Where they end: after zeros that were looked at beyond the last byte, as for libtiff.
    end: usize,
}

impl Bits<'_> {
    /// The next bits, as many as `count`; with zeros where only some are left.
    fn peek(&mut self, count: usize) -> Option<u32> {
        if self.at >= self.end {
            return None;
        }
        self.end = self.end.max(self.at + count);
        let first = self.at / 8;
        let word = (0..4).fold(0, |word, byte| {
            word << 8 | u32::from(self.data.get(first + byte).copied().unwrap_or(0))
        });
        Some(word << (self.at % 8) >> (32 - count))
    }

    fn read(&mut self, colour: Colour) -> Symbol {
        let (table, longest) = match colour {
            Colour::White => (&WHITE, 12),
            Colour::Black => (&BLACK, 13),
        };
        let Some(next) = self.peek(longest) else {
            return Symbol::End;
        };
        if next >> (longest - MARK_ZEROS) == 0 {
            self.at += MARK_ZEROS;
            return Symbol::Mark;
        }
        let (run, len) = table[(next as usize) << (LONGEST_CODE - longest)];
        self.at += usize::from(len);
        match len {
            0 => Symbol::Unknown,
            _ => Symbol::Run(run.into()),
        }
    }

    fn read_mode(&mut self) -> Option<Mode> {
        let next = self.peek(7)?;
        let (mode, len) = match next.leading_zeros() - 25 {
            0 => (Mode::Right(0), 1),
            1 if next & 0x10 != 0 => (Mode::Right(1), 3),
            1 => (Mode::Left(1), 3),
            2 => (Mode::Horizontal, 3),
            3 => (Mode::Pass, 4),
            4 if next & 0x02 != 0 => (Mode::Right(2), 6),
            4 => (Mode::Left(2), 6),
            5 if next & 0x01 != 0 => (Mode::Right(3), 7),
            5 => (Mode::Left(3), 7),
            6 => (Mode::Extension, 7),
            _ => (Mode::Mark, 7),
        };
        self.at += len;
        Some(mode)
    }

    /// Goes to what follows the next mark that a row ends; its zeros may be read already.
    fn skip_mark(&mut self, zeros_read: bool) -> Mark {
        if !zeros_read {
            loop {
                match self.peek(MARK_ZEROS) {
                    None => return Mark::End,
                    Some(0) => break,
                    Some(_) => self.at += 1,
                }
            }
        }
        loop {
            match self.peek(8) {
                None => return Mark::Missing,
                Some(0) => self.at += 8,
                Some(next) => {
                    self.at += next.leading_zeros() as usize - 24 + 1;
                    return Mark::Skipped;
                }
            }
        }
    }
}

/// Bits of the longest code of black, which is longer than those of white, and the zeros that no code begins with, but
/// the mark that a row ends.
const LONGEST_CODE: usize = 13;
const MARK_ZEROS: usize = 11;

/// For each 13 bits the run whose code they begin with, and the bits of that code; 0 where there is none.
type Table = Vec<(u16, u8)>;

static WHITE: LazyLock<Table> = LazyLock::new(|| table(&white::ENTRIES));
static BLACK: LazyLock<Table> = LazyLock::new(|| table(&black::ENTRIES));

fn table(codes: &[(u16, Code)]) -> Table {
    let mut table = vec![(0, 0); 1 << LONGEST_CODE];
    for (run, code) in codes {
        let rest = LONGEST_CODE - usize::from(code.len);
        table[usize::from(code.data) << rest..][..1 << rest].fill((*run, code.len));
    }
    table
}
