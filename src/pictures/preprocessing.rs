//! How pictures become the model's input, in a line: what a recipe records.

use super::JPEG_DECODER;

/// Whose way of resampling it is: after the size in the line.
const PILLOW: &str = " as Pillow 13";

/// What the line says of pictures that the JPEG decoder has shrunk.
const SCALED: &str = ", JPEG scaled while decoding to 4 times that or more";

/// How this program makes the input of a model that takes `width` x `height` pixels.
pub fn describe(width: usize, height: usize, scaled_decode: bool) -> String {
    format!(
        "RGB, bicubic {width}x{height}{}",
        after_the_size(scaled_decode)
    )
}

/// The same for the size of a recorded line.
pub fn describe_as_recorded(recorded: &str, scaled_decode: bool) -> String {
    let size = recorded
        .find(PILLOW)
        .map_or(recorded, |end| &recorded[..end]);
    format!("{size}{}", after_the_size(scaled_decode))
}

/// Whether the JPEG decoder has shrunk large pictures.
pub fn is_scaled(recorded: &str) -> bool {
    recorded.contains(SCALED)
}

fn after_the_size(scaled_decode: bool) -> String {
    let scaled = if scaled_decode { SCALED } else { "" };
    format!("{PILLOW}, JPEG by {JPEG_DECODER}{scaled}, / 255")
}
