//! Answers as one page that needs nothing else: pictures and style are inside, and there is no script.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, html};

use super::pictures::{Pictures, Shown};
use super::{Answer, Options};
use crate::similarity::scan::Metric;
use crate::support::page::{self, Distance, printable};

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
    let title = match answers {
        [answer] => format!("Similar to {}", printable(&answer.query)),
        several => format!("Similar to {} pictures", several.len()),
    };
    write!(
        to,
        "{}\n<html lang=\"en\">\n{}\n<body>\n{}\n<main>\n",
        DOCTYPE.into_string(),
        page::head(&title, STYLE).into_string(),
        header(&title, options).into_string()
    )?;
    if answers.len() > 1 {
        writeln!(to, "{}", contents(answers).into_string())?;
    }
    for (number, answer) in answers.iter().enumerate() {
        let section = section(number, answer, &pictures.of(answer, SIDE));
        writeln!(to, "{}", section.into_string())?;
    }
    to.write_all(b"</main>\n</body>\n</html>\n")
}

fn header(title: &str, options: &Options) -> Markup {
    let metric = match options.metric {
        Metric::Euclidean => "Euclidean distance",
        Metric::Cosine => "cosine distance",
    };
    let model = options.directory.file_name().unwrap_or_default();
    html! {
        header {
            h1 { bdi { (title) } }
            p { (metric) " between features of " (printable(&model.to_string_lossy())) }
        }
    }
}

fn contents(answers: &[Answer]) -> Markup {
    html! {
        nav aria-label="Queries" {
            ol {
                @for (number, answer) in answers.iter().enumerate() {
                    li { a href={ "#query" (number) } { bdi { (printable(&answer.query)) } } }
                }
            }
        }
    }
}

fn section(number: usize, answer: &Answer, shown: &[Shown<'_>]) -> Markup {
    html! {
        section id={ "query" (number) } aria-labelledby={ "name" (number) } {
            h2 id={ "name" (number) } { bdi { (printable(&answer.query)) } }
            ol class="pictures" {
                @for shown in shown { (figure(shown)) }
            }
        }
    }
}

fn figure(shown: &Shown<'_>) -> Markup {
    let name = printable(shown.name);
    let (label, described) = match shown.distance {
        None => ("query".to_owned(), "the query".to_owned()),
        Some(distance) => {
            let label = Distance(distance).to_string();
            let described = format!("at distance {label}");
            (label, described)
        }
    };
    html! {
        li class=[shown.distance.is_none().then_some("query")] {
            figure {
                div class="frame" {
                    @match &shown.thumbnail {
                        Ok(thumbnail) => {
                            img src={ "data:image/jpeg;base64," (BASE64.encode(thumbnail.jpeg())) }
                                width=(thumbnail.size.width) height=(thumbnail.size.height)
                                alt={ (name) ", " (described) };
                        }
                        Err(why) => { p class="missing" { "no picture: " (printable(why)) } }
                    }
                }
                figcaption { b { (label) } " " bdi title=(name) { (name) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let name = "\"><script>alert('1 & 2')</script>\u{1b}.jpg";
        let shown = Shown {
            name,
            distance: None,
            thumbnail: Err(name.to_owned()),
        };
        let page = figure(&shown).into_string();
        let text = "&quot;&gt;&lt;script&gt;alert('1 &amp; 2')&lt;/script&gt;\u{fffd}.jpg";
        assert_eq!(page.matches(text).count(), 3, "{page}");
        assert!(
            !page.contains("script>") && !page.contains('\u{1b}'),
            "{page}"
        );
    }
}
