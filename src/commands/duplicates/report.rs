//! The groups as text and as CSV.

use std::fmt;
use std::io;

use super::{Duplicates, Member};
use crate::similarity::scan::Printed;

/// A paragraph for each group and a line for each member, the one to keep first: its path (or object id), its distance
/// from the first, and, where there is a media directory, its size in pixels and in bytes; `-` where the file is gone.
impl fmt::Display for Duplicates {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, group) in self.groups.iter().enumerate() {
            if number > 0 {
                writeln!(to)?;
            }
            for member in &group.members {
                writeln!(to, "{}", Line(member))?;
            }
        }
        Ok(())
    }
}

struct Line<'a>(&'a Member);

impl fmt::Display for Line<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(member) = self;
        write!(to, "{} {}", member.name(), Printed(member.distance))?;
        if member.path.is_some() {
            match (member.file.width, member.file.height) {
                (Some(width), Some(height)) => write!(to, " {width}x{height}")?,
                _ => to.write_str(" -")?,
            }
            match member.file.bytes {
                Some(bytes) => write!(to, " {bytes}")?,
                None => to.write_str(" -")?,
            }
        }
        Ok(())
    }
}

impl Duplicates {
    /// A row for each member, the one to keep first in each group; groups are numbered from 1.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_csv(&self, to: impl io::Write) -> csv::Result<()> {
        let mut csv = csv::Writer::from_writer(to);
        csv.write_record([
            "group",
            "keep",
            "object_id",
            "path",
            "distance",
            "width",
            "height",
            "bytes",
            "mtime_ns",
        ])?;
        for (group, number) in self.groups.iter().zip(1..) {
            for (place, member) in group.members.iter().enumerate() {
                let Member { file, .. } = member;
                csv.serialize((
                    number,
                    u8::from(place == 0),
                    &member.object_id,
                    &member.path,
                    member.distance,
                    (file.width, file.height, file.bytes, file.mtime_ns),
                ))?;
            }
        }
        Ok(csv.flush()?)
    }
}
