//! Answers as one page that needs nothing else: pictures and style are inside, and there is no script.

use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::pictures::{Pictures, Shown};
use super::{Answer, Options};
use crate::similarity::scan::Metric;

/// The longest side of a picture on the page: sharp also on screens of two pixels to a point.
const SIDE: usize = 320;

const STYLE: &str = include_str!("page.css");

/// Writes the page; the pictures of one answer are in memory at a time.
pub fn write(
    to: &mut dyn Write,
    answers: &[Answer],
    options: &Options,
    pictures: &Pictures<'_>,
) -> io::Result<()> {
    let metric = match options.metric {
        Metric::Euclidean => "Euclidean distance",
        Metric::Cosine => "cosine distance",
    };
    let model = options.directory.file_name().unwrap_or_default();
    let model = model.to_string_lossy();
    let title = match answers {
        [answer] => format!("Similar to {}", answer.query),
        several => format!("Similar to {} pictures", several.len()),
    };
    let title = Escaped(&title);
    write!(
        to,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1><bdi>{title}</bdi></h1><p>{metric} between features of {}</p></header>\n<main>\n",
        Escaped(&model)
    )?;
    if answers.len() > 1 {
        write_contents(to, answers)?;
    }
    for (number, answer) in answers.iter().enumerate() {
        write_answer(to, number, answer, pictures)?;
    }
    to.write_all(b"</main>\n</body>\n</html>\n")
}

fn write_contents(to: &mut dyn Write, answers: &[Answer]) -> io::Result<()> {
    to.write_all(b"<nav aria-label=\"Queries\"><ol>\n")?;
    for (number, answer) in answers.iter().enumerate() {
        let name = Escaped(&answer.query);
        writeln!(
            to,
            "<li><a href=\"#query{number}\"><bdi>{name}</bdi></a></li>"
        )?;
    }
    to.write_all(b"</ol></nav>\n")
}

fn write_answer(
    to: &mut dyn Write,
    number: usize,
    answer: &Answer,
    pictures: &Pictures<'_>,
) -> io::Result<()> {
    let name = Escaped(&answer.query);
    write!(
        to,
        "<section id=\"query{number}\" aria-labelledby=\"name{number}\">\n\
         <h2 id=\"name{number}\"><bdi>{name}</bdi></h2>\n<ol class=\"pictures\">\n"
    )?;
    for shown in pictures.of(answer, SIDE) {
        write_figure(to, &shown)?;
    }
    to.write_all(b"</ol>\n</section>\n")
}

fn write_figure(to: &mut dyn Write, shown: &Shown<'_>) -> io::Result<()> {
    let name = Escaped(shown.name);
    let (class, label) = match shown.distance {
        None => (" class=\"query\"", "query".to_owned()),
        Some(distance) => ("", Distance(distance).to_string()),
    };
    write!(to, "<li{class}><figure>\n<div class=\"frame\">")?;
    match &shown.thumbnail {
        Ok(thumbnail) => write!(
            to,
            "<img src=\"data:image/jpeg;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{name}, {}\">",
            BASE64.encode(thumbnail.jpeg()),
            thumbnail.size.width,
            thumbnail.size.height,
            match shown.distance {
                None => "the query".to_owned(),
                Some(_) => format!("at distance {label}"),
            },
        )?,
        Err(why) => write!(to, "<p class=\"missing\">no picture: {}</p>", Escaped(why))?,
    }
    write!(
        to,
        "</div>\n<figcaption><b>{label}</b> <bdi title=\"{name}\">{name}</bdi></figcaption>\n\
         </figure></li>\n"
    )
}

/// A distance for people: four digits behind the point, and more where all of these are zeros.
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

/// Text between tags and in quoted attributes, whatever it holds: an object id may hold anything but `/`, NUL and newline.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => to.write_str("&amp;")?,
                '<' => to.write_str("&lt;")?,
                '>' => to.write_str("&gt;")?,
                '"' => to.write_str("&quot;")?,
                '\'' => to.write_str("&#39;")?,
                control if control.is_control() => {
                    write!(to, "{}", char::REPLACEMENT_CHARACTER)?;
                }
                other => write!(to, "{other}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let hostile = "\"><script>alert('1 & 2')</script>\u{1b}.jpg";
        assert_eq!(
            Escaped(hostile).to_string(),
            "&quot;&gt;&lt;script&gt;alert(&#39;1 &amp; 2&#39;)&lt;/script&gt;\u{fffd}.jpg"
        );
    }

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
