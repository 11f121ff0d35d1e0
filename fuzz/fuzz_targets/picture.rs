//! Any bytes -> pixels: an error or a picture, and never more memory than the reader says it needs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simsearch::pictures::{self, PictureError, PictureReader, PixelOptions};

/// Small pictures are as good as large ones for finding bugs, and faster.
const MAX_PIXELS: u64 = 1 << 20;

/// Panics of decoders are caught and do no harm; those of anything else end the process.
fn let_decoders_panic() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !pictures::becomes_an_error(panic) {
            others(panic);
        }
    }));
}

fuzz_target!(init: let_decoders_panic(), |bytes: &[u8]| {
    let options = PixelOptions {
        max_pixels: MAX_PIXELS,
        ..PixelOptions::default()
    };
    let mut reader = PictureReader::new(options);
    let mut out = [0; 20 * 30 * 3];
    let result = reader.read(bytes, 20, 30, &mut out);
    assert!(
        !matches!(result, Err(PictureError::NeedsMemory { .. } | PictureError::OutOfMemory { .. })),
        "{result:?}"
    );
});
