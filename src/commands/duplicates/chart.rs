//! A histogram as one page: a table with a bar for each distance.

use std::io::{self, Write};

use maud::{DOCTYPE, html};

use super::Histogram;
use crate::similarity::scan::Metric;
use crate::support::page;

const STYLE: &str = include_str!("chart.css");

/// Writes the page.
pub fn write(to: &mut dyn Write, histogram: &Histogram) -> io::Result<()> {
    let title = "Pairs within each distance";
    let metric = match histogram.metric {
        Metric::Euclidean => "Euclidean distance",
        Metric::Cosine => "cosine distance",
    };
    let steps = &histogram.steps;
    let most = steps.last().map_or(0, |step| step.pairs);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (page::head(title, STYLE))
            body {
                header {
                    h1 { (title) }
                    p {
                        "Among " (histogram.objects) " pictures. Duplicates are before the pairs begin to be many. The scale of the \
                         bars is logarithmic."
                    }
                }
                main {
                    table {
                        thead { tr { th scope="col" { (metric) } th scope="col" { "pairs" } td {} } }
                        tbody {
                            @for step in steps {
                                tr {
                                    th scope="row" { (step.max_distance) }
                                    td { (step.pairs) }
                                    td { div style=(format_args!("width:{:.1}%", 100.0 * share(step.pairs, most))) {} }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    writeln!(to, "{}", page.into_string())
}

/// How long a bar is, from 0 for no pair to 1 for the most; of one pair there is something to see.
fn share(pairs: usize, most: usize) -> f64 {
    let log = |pairs: usize| (pairs as f64 + 1.0).ln();
    match most {
        0 => 0.0,
        _ => log(pairs) / log(most),
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_bar_is_empty_for_no_pair_full_for_the_most_and_seen_for_one() {
        assert_eq!([share(0, 9), share(9, 9), share(0, 0)], [0.0, 1.0, 0.0]);
        assert!((share(9, 99) - 0.5).abs() < 1e-12);
        assert!(share(1, 100_000_000) > 0.03);
    }
}
