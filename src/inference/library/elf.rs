//! What the headers of a shared library say: how long the file must be, and which other libraries it needs.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef, elf};

/// The kind of processor that this program is for, as ELF files name it.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    elf::EM_AARCH64
} else {
    elf::EM_X86_64
};

/// Where the last segment, section and table of a 64-bit ELF file end, in bytes.
pub(super) fn end<'data>(file: impl ReadRef<'data>) -> Result<u64, String> {
    let header = elf::FileHeader64::<Endianness>::parse(file).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    if header.e_machine(endian) != MACHINE {
        return Err("it is for another kind of processor".into());
    }
    let table = header.e_shoff(endian)
        + u64::from(header.e_shentsize(endian)) * u64::from(header.e_shnum(endian));
    let segments = header
        .program_headers(endian, file)
        .map_err(|error| error.to_string())?;
    let sections = header
        .section_headers(endian, file)
        .map_err(|error| error.to_string())?;
    let ends = segments.iter().map(|segment| segment.file_range(endian));
    let ends = ends.chain(
        sections
            .iter()
            .filter_map(|section| section.file_range(endian)),
    );
    Ok(ends
        .map(|(offset, size)| offset.saturating_add(size))
        .fold(table, u64::max))
}

/// The names of the libraries that a library needs and that are in none of `folders`.
pub fn missing_libraries(library: &Path, folders: &[PathBuf]) -> Vec<String> {
    let Ok(file) = File::open(library) else {
        return Vec::new();
    };
    let cache = ReadCache::new(file);
    let needed = needed_libraries(&cache).unwrap_or_default();
    let beside = library.parent().map(Path::to_owned);
    let there = |name: &String| {
        folders
            .iter()
            .chain(&beside)
            .any(|folder| folder.join(name).exists())
    };
    needed.into_iter().filter(|name| !there(name)).collect()
}

fn needed_libraries<'data>(file: impl ReadRef<'data>) -> Option<Vec<String>> {
    let header = elf::FileHeader64::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    let (entries, strings) = sections.dynamic(endian, file).ok()??;
    let strings = sections.strings(endian, file, strings).ok()?;
    let needed = entries
        .iter()
        .filter(|entry| entry.tag(endian) == elf::DT_NEEDED);
    let names = needed.filter_map(|entry| entry.string(endian, strings).ok());
    Some(
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect(),
    )
}
