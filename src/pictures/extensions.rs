//! How the names of picture files end.

/// The endings of the formats that this build reads, in lower case and without the dot. (What a file is, its content
/// decides.)
pub const EXTENSIONS: &[&str] = match cfg!(feature = "heic") {
    true => &WITH_HEIC,
    false => WITH_HEIC.split_at(WITH_HEIC.len() - 3).0,
};

const WITH_HEIC: [&str; 31] = [
    "jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff",
    "ico", "pbm", "pgm", "ppm", "pnm", "pam", "pfm", "qoi", "jp2", "j2k", "j2c", "jpx", "jpf",
    "avif", "jxl", "heic", "heif", "hif",
];

/// Those of pictures that no build reads: of cameras, of programs to draw with, and films; and of HEIC, which some do not.
const UNREAD: [&str; 32] = [
    "cr2", "cr3", "nef", "arw", "dng", "orf", "rw2", "raf", "pef", "srw", "x3f", "psd", "xcf",
    "svg", "eps", "tga", "dds", "exr", "hdr", "mp4", "mov", "m4v", "avi", "mkv", "webm", "mts",
    "3gp", "mpg", "wmv", "heic", "heif", "hif",
];

/// Whether a file name ends like that of a picture, in upper or lower case.
pub fn is_picture_name(name: &[u8]) -> bool {
    ends_in(name, EXTENSIONS)
}

/// Whether a file name ends like that of a picture or film that this build does not read, in upper or lower case.
pub fn is_name_of_unread(name: &[u8]) -> bool {
    ends_in(name, &UNREAD) && !is_picture_name(name)
}

fn ends_in(name: &[u8], extensions: &[&str]) -> bool {
    let mut parts = name.rsplitn(2, |byte| *byte == b'.');
    let (Some(end), Some(_)) = (parts.next(), parts.next()) else {
        return false;
    };
    extensions
        .iter()
        .any(|extension| end.eq_ignore_ascii_case(extension.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endings_of_heic_are_those_of_builds_that_read_it() {
        for name in [&b"a.heic"[..], b"B.HEIF", b"c.hif"] {
            assert_eq!(is_picture_name(name), cfg!(feature = "heic"));
            assert_eq!(is_name_of_unread(name), !cfg!(feature = "heic"));
        }
        assert!(is_picture_name(b"a.jxl") && is_picture_name(b"a.JPG"));
        assert!(is_name_of_unread(b"a.NEF") && !is_name_of_unread(b"a.jpg"));
    }
}
