//! Compiles what stands between libraries in C and Rust.

fn main() {
    #[cfg(feature = "turbojpeg")]
    compile(
        "src/pictures/formats/jpeg_turbo.c",
        &of_crate("DEP_TURBOJPEG_INCLUDE"),
    );
    #[cfg(feature = "avif")]
    compile(
        "src/pictures/formats/avif/dav1d.c",
        &of_crate("DEP_DAV1D_INCLUDE"),
    );
    #[cfg(feature = "heic")]
    compile(
        "src/pictures/formats/heic/de265.c",
        &of_system("libde265", "1.0.11"),
    );
}

/// Where the headers are of a library that a crate builds, unless they are where the compiler looks anyway; the crate
/// says so in this variable.
#[cfg(any(feature = "turbojpeg", feature = "avif"))]
fn of_crate(variable: &str) -> Vec<std::path::PathBuf> {
    let folders = std::env::var(variable).unwrap_or_default();
    folders
        .split(',')
        .filter(|folder| !folder.is_empty())
        .map(Into::into)
        .collect()
}

/// Where the headers are of a library that the system has; links it too.
#[cfg(feature = "heic")]
fn of_system(library: &str, least_version: &str) -> Vec<std::path::PathBuf> {
    let found = pkg_config::Config::new()
        .atleast_version(least_version)
        .probe(library);
    match found {
        Ok(found) => found.include_paths,
        Err(error) => {
            eprintln!(
                "the feature `heic` needs {library} and its headers (Debian: apt-get install {library}-dev pkg-config)"
            );
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

#[cfg(any(feature = "turbojpeg", feature = "avif", feature = "heic"))]
fn compile(source: &str, includes: &[std::path::PathBuf]) {
    println!("cargo:rerun-if-changed={source}");
    println!("cargo:rerun-if-changed=src/pictures/formats/heif/frame.h");
    let mut build = cc::Build::new();
    build.includes(includes);
    let name = std::path::Path::new(source).file_stem();
    let name = name.and_then(|name| name.to_str()).expect("a file in C");
    build.file(source).compile(&format!("simsearch_{name}"));
}
