//! Compiles what stands between libraries in C and Rust.

fn main() {
    #[cfg(feature = "turbojpeg")]
    compile("src/pictures/formats/jpeg_turbo.c", "DEP_TURBOJPEG_INCLUDE");
    #[cfg(feature = "avif")]
    compile("src/pictures/formats/avif/dav1d.c", "DEP_DAV1D_INCLUDE");
}

/// `include` is the variable in which the crate of the library says where its headers are, unless these are where the
/// compiler looks anyway.
#[cfg(any(feature = "turbojpeg", feature = "avif"))]
fn compile(source: &str, include: &str) {
    println!("cargo:rerun-if-changed={source}");
    let mut build = cc::Build::new();
    if let Ok(folders) = std::env::var(include) {
        build.includes(folders.split(','));
    }
    let name = std::path::Path::new(source).file_stem();
    let name = name.and_then(|name| name.to_str()).expect("a file in C");
    build.file(source).compile(&format!("simsearch_{name}"));
}
