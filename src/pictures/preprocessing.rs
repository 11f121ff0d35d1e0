//! How pictures become the model's input, in a line: what a recipe records.

use super::{JPEG_DECODER, PixelOptions, Resampling, Resize};

/// What comes before whose way of resampling it is, behind the size.
const AS: &str = " as ";

/// What the line says of pictures that the JPEG decoder has shrunk.
const SCALED: &str = ", JPEG scaled while decoding to 4 times that or more";

/// What decodes JPEG where a GPU does, before the decoder of the others: what else the line says is the same.
const ON_GPU: &str = "nvJPEG or ";

/// What the line says of pictures that are turned.
const UPRIGHT: &str = ", EXIF orientation applied";

/// What the numbers of an input are, by themselves: a `preprocess` in the recipe changes them further.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Numbers {
    /// The levels of the channels over 255, as floats.
    #[default]
    Over255,
    /// The levels as they are, 0 to 255.
    Bytes,
}

/// How the line ends where the levels stay what they are.
const BYTES: &str = ", as bytes";

/// How this program makes the input of a model that takes `width` x `height` pixels.
pub fn describe(width: usize, height: usize, numbers: Numbers, options: &PixelOptions) -> String {
    let channels = if options.bgr { "BGR" } else { "RGB" };
    let size = match options.fit.resize {
        Resize::Squash => format!("{width}x{height}"),
        Resize::Exact(wide, high) => format!("{wide}x{high}, middle {width}x{height}"),
        Resize::Shortest(side) => format!("shorter side {side}, middle {width}x{height}"),
    };
    let filter = options.filter.name();
    format!(
        "{channels}, {filter} {size}{}",
        after_the_size(numbers, options)
    )
}

/// The same for the size and the numbers of a recorded line.
pub fn describe_as_recorded(recorded: &str, options: &PixelOptions) -> String {
    let size = recorded.find(AS).map_or(recorded, |end| &recorded[..end]);
    let numbers = match recorded.ends_with(BYTES) {
        true => Numbers::Bytes,
        false => Numbers::Over255,
    };
    format!("{size}{}", after_the_size(numbers, options))
}

/// The options that a recorded line stands for; by default where it does not say.
pub fn recorded_options(recorded: &str) -> PixelOptions {
    let default = PixelOptions::default();
    let says = |resampling: &Resampling| recorded.contains(&format!("{AS}{},", resampling.name()));
    PixelOptions {
        scaled_decode: recorded.contains(SCALED),
        apply_orientation: recorded.contains(UPRIGHT),
        decode_on_gpu: recorded.contains(ON_GPU),
        resampling: Resampling::ALL
            .into_iter()
            .find(says)
            .unwrap_or(default.resampling),
        ..default
    }
}

fn after_the_size(numbers: Numbers, options: &PixelOptions) -> String {
    let resampling = options.resampling.name();
    let scaled = if options.scaled_decode { SCALED } else { "" };
    let upright = if options.apply_orientation {
        UPRIGHT
    } else {
        ""
    };
    let on_gpu = if options.decode_on_gpu { ON_GPU } else { "" };
    let numbers = match numbers {
        Numbers::Over255 => ", / 255",
        Numbers::Bytes => BYTES,
    };
    format!("{AS}{resampling}, JPEG by {on_gpu}{JPEG_DECODER}{scaled}{upright}{numbers}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_says_makes_the_same_line_again() {
        for resampling in Resampling::ALL {
            for choices in 0..8 {
                let [scaled_decode, apply_orientation, decode_on_gpu] =
                    [1, 2, 4].map(|bit| choices & bit != 0);
                let options = PixelOptions {
                    resampling,
                    scaled_decode,
                    apply_orientation,
                    decode_on_gpu,
                    ..PixelOptions::default()
                };
                for numbers in [Numbers::Over255, Numbers::Bytes] {
                    let line = describe(12, 10, numbers, &options);
                    assert_eq!(recorded_options(&line), options, "{line}");
                    assert_eq!(describe_as_recorded(&line, &options), line);
                }
            }
        }
    }

    /// Recipes of version 0.1.0 have this line, and those of all that is not asked for otherwise.
    #[test]
    fn the_line_of_recipes_before_there_was_a_choice_stays_as_it_was() {
        let expected = format!("RGB, bicubic 224x224 as Pillow 13, JPEG by {JPEG_DECODER}, / 255");
        let options = PixelOptions::default();
        assert_eq!(describe(224, 224, Numbers::Over255, &options), expected);
        assert_eq!(recorded_options(&expected), options);
        let other = PixelOptions {
            resampling: Resampling::Pillow12,
            ..options
        };
        assert_eq!(
            describe_as_recorded(&expected, &other),
            expected.replace("13", "12")
        );
    }
}
