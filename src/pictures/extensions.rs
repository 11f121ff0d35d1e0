//! How the names of picture files end.

/// The endings of the formats that are read, in lower case and without the dot. (What a file is, its content decides.)
pub const EXTENSIONS: [&str; 28] = [
    "jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff",
    "ico", "pbm", "pgm", "ppm", "pnm", "pam", "pfm", "qoi", "jp2", "j2k", "j2c", "jpx", "jpf",
    "avif", "jxl",
];

/// Whether a file name ends like that of a picture, in upper or lower case.
pub fn is_picture_name(name: &[u8]) -> bool {
    let mut parts = name.rsplitn(2, |byte| *byte == b'.');
    let (Some(end), Some(_)) = (parts.next(), parts.next()) else {
        return false;
    };
    EXTENSIONS
        .iter()
        .any(|extension| end.eq_ignore_ascii_case(extension.as_bytes()))
}
