//! What `--version` prints: the version, and what this program has and finds on this machine.

use std::path::Path;

use simsearch::inference::library;
use simsearch::pictures::{JPEG_DECODER, heic_decoder};
use simsearch::similarity;

use super::shared::places;

/// The commit that this is built from; `make build` tells it, and nothing where the sources are not a git checkout.
const REVISION: Option<&str> = option_env!("SIMSEARCH_REVISION");

/// The lines after the program's name. Looks for ONNX Runtime and reads it, which takes longer than all of `--help`; so
/// this is for `--version` alone, and `-V` prints the first line.
pub fn long() -> String {
    let simd = similarity::simd().join(", ");
    let simd = if simd.is_empty() { "none" } else { &simd };
    // Empty as unset, as in the arguments of the commands.
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    let places = places(named.as_deref().map(Path::new));
    let found = library::find(
        places.named.as_deref(),
        places.program.as_deref(),
        places.library_path.as_deref(),
    );
    let runtime = match found {
        Ok(path) => {
            let version = library::version(&path);
            let version = version.unwrap_or_else(|| "of unknown version".into());
            format!("{version}, {}", path.display())
        }
        Err(library::LibraryError::NotFound { .. }) => {
            "not found; `simsearch doctor` says what to do".into()
        }
        Err(error) => format!("{:#}", anyhow::Error::from(error)),
    };
    let heic = heic_decoder().map_or(String::new(), |name| format!("HEIC: {name}\n"));
    format!(
        "{}\n\
         revision: {}\n\
         JPEG: {JPEG_DECODER}\n\
         {heic}\
         SIMD: {simd}\n\
         ONNX Runtime: {runtime}",
        env!("CARGO_PKG_VERSION"),
        REVISION
            .filter(|commit| !commit.is_empty())
            .unwrap_or("unknown"),
    )
}
