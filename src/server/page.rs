//! The files of the page, inside the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::answer::Problem;

const FILES: [(&str, &str, &[u8]); 7] = [
    (
        "",
        "text/html; charset=utf-8",
        include_bytes!("page/index.html"),
    ),
    (
        "style.css",
        "text/css; charset=utf-8",
        include_bytes!("page/style.css"),
    ),
    ("icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    (
        "app.js",
        "text/javascript; charset=utf-8",
        include_bytes!("page/app.js"),
    ),
    (
        "server.js",
        "text/javascript; charset=utf-8",
        include_bytes!("page/server.js"),
    ),
    (
        "results.js",
        "text/javascript; charset=utf-8",
        include_bytes!("page/results.js"),
    ),
    (
        "map.js",
        "text/javascript; charset=utf-8",
        include_bytes!("page/map.js"),
    ),
];

/// A file of the page by its name; the page itself has none.
pub fn file(name: &str) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, kind, bytes) = found.ok_or_else(|| Problem::not_found("there is no such file"))?;
    // Asked for each time, so that a new version of the program shows its own page.
    let headers = [
        (header::CONTENT_TYPE, *kind),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, *bytes).into_response())
}
