//! How a picture of any size becomes one of the model's size.

use serde::{Deserialize, Serialize};

use super::Size;

/// The size that a picture is resampled to, and where the middle is cut out of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fit {
    /// Default: to the model's size.
    pub resize: Resize,
    /// Default: down.
    pub rounding: Rounding,
}

/// The size that a picture is resampled to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The model's, whatever the aspect ratio.
    #[default]
    Squash,
    /// This width and height, whatever the aspect ratio.
    Exact(usize, usize),
    /// The shorter side to this many pixels; the aspect ratio is kept, the longer side rounded down.
    Shortest(usize),
}

/// Where the middle begins when an odd number of pixels is cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// One pixel more is cut off at the end: `transformers`.
    #[default]
    Down,
    /// The half is rounded to the even number: torchvision and timm.
    Even,
}

impl Fit {
    /// What a picture of size `from` is resampled to, and where the picture of size `to` begins in it, `[x, y]`.
    pub(super) fn of(self, from: Size, to: Size) -> (Size, [usize; 2]) {
        let whole = match self.resize {
            Resize::Squash => to,
            Resize::Exact(width, height) => Size { width, height },
            Resize::Shortest(side) => {
                let longer =
                    |long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
                let Size { width, height } = from;
                match width <= height {
                    true => Size {
                        width: side,
                        height: longer(height, width),
                    },
                    false => Size {
                        width: longer(width, height),
                        height: side,
                    },
                }
            }
        };
        let margin = |whole: usize, part: usize| {
            let both = whole.saturating_sub(part);
            match self.rounding {
                Rounding::Down => both / 2,
                Rounding::Even => (both as f64 / 2.0).round_ties_even() as usize,
            }
        };
        let corner = [
            margin(whole.width, to.width),
            margin(whole.height, to.height),
        ];
        (whole, corner)
    }

    /// Whether each picture is large enough for one of size `to`.
    pub fn reaches(self, to: Size) -> bool {
        match self.resize {
            Resize::Squash => true,
            Resize::Exact(width, height) => width >= to.width && height >= to.height,
            Resize::Shortest(side) => side >= to.width.max(to.height),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    #[test]
    fn the_shorter_side_is_met_and_the_middle_cut_out() {
        let fit = |resize, rounding| Fit { resize, rounding };
        let to = size(224, 224);
        let shortest = Resize::Shortest(256);
        let cases = [
            (shortest, Rounding::Down, (500, 375), (341, 256), [58, 16]),
            (shortest, Rounding::Even, (500, 375), (341, 256), [58, 16]),
            (shortest, Rounding::Even, (375, 501), (256, 342), [16, 59]),
            (shortest, Rounding::Even, (375, 502), (256, 342), [16, 59]),
            (shortest, Rounding::Down, (375, 506), (256, 345), [16, 60]),
            (shortest, Rounding::Even, (375, 506), (256, 345), [16, 60]),
            (shortest, Rounding::Even, (375, 509), (256, 347), [16, 62]),
            (shortest, Rounding::Down, (375, 509), (256, 347), [16, 61]),
            (Resize::Squash, Rounding::Down, (9, 99), (224, 224), [0, 0]),
            (
                Resize::Exact(256, 232),
                Rounding::Down,
                (9, 9),
                (256, 232),
                [16, 4],
            ),
        ];
        for (resize, rounding, from, whole, corner) in cases {
            let found = fit(resize, rounding).of(size(from.0, from.1), to);
            assert_eq!(
                found,
                (size(whole.0, whole.1), corner),
                "{resize:?} {from:?}"
            );
        }
    }

    #[test]
    fn a_fit_that_is_smaller_than_the_model_reaches_not() {
        let fit = |resize| Fit {
            resize,
            ..Fit::default()
        };
        let to = size(224, 192);
        assert!(fit(Resize::Squash).reaches(to));
        assert!(fit(Resize::Shortest(224)).reaches(to));
        assert!(!fit(Resize::Shortest(223)).reaches(to));
        assert!(!fit(Resize::Exact(300, 191)).reaches(to));
    }
}
