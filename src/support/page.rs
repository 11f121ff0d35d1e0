//! What the pages of `search` and `duplicates` have in common: each needs nothing else. Pictures and style are inside,
//! and there is no script.

use std::fmt;

use maud::{Markup, PreEscaped, html};

/// Nothing is loaded from anywhere, and no script runs.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// How a page looks.
const STYLE: &str = include_str!("page.css");

/// The head of a page, whose own style comes after that of all pages.
pub fn head(title: &str, own_style: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            title { (title) }
            style { (PreEscaped(STYLE)) (PreEscaped(own_style)) }
        }
    }
}

/// A distance for people: four decimals, and more where all of these are zeros.
#[derive(Clone, Copy, Debug)]
pub struct Distance(pub f64);

impl fmt::Display for Distance {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0.0 => to.write_str("0"),
            small if small < 5e-5 => write!(to, "{small:.1e}"),
            distance => write!(to, "{distance:.4}"),
        }
    }
}

/// Text without control characters, which an object id may hold and a page may not. (The template escapes the rest.)
pub fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_that_is_not_zero_never_looks_like_zero() {
        for (distance, expected) in [
            (0.0, "0"),
            (3.21e-7, "3.2e-7"),
            (0.000_051, "0.0001"),
            (0.549_382_7, "0.5494"),
            (12.0, "12.0000"),
        ] {
            assert_eq!(Distance(distance).to_string(), expected);
        }
    }
}
