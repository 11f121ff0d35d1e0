//! The files of the page, inside the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::answer::Problem;

const FILES: [(&str, &str, &[u8]); 8] = [
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
        "filters.js",
        "text/javascript; charset=utf-8",
        include_bytes!("page/filters.js"),
    ),
    (
        "groups.js",
        "text/javascript; charset=utf-8",
        include_bytes!("page/groups.js"),
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

/// The page itself, with the address that those in it are relative to, where it is known. It is made of characters that
/// mean nothing in HTML.
pub fn whole(base: Option<&str>) -> Response {
    with_base(include_str!("page/index.html"), base)
}

/// What those see who do not know the token.
pub fn without_token(base: Option<&str>) -> Response {
    with_base(include_str!("page/without_token.html"), base)
}

fn with_base(html: &str, base: Option<&str>) -> Response {
    let html = match base {
        Some(base) => html.replacen("<head>", &format!("<head>\n  <base href=\"{base}\">"), 1),
        None => html.to_owned(),
    };
    with_type("text/html; charset=utf-8", html)
}

/// A file of the page by its name.
pub fn file(name: &str) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, kind, bytes) = found.ok_or_else(|| Problem::not_found("there is no such file"))?;
    Ok(with_type(kind, *bytes))
}

fn with_type(kind: &'static str, content: impl IntoResponse) -> Response {
    // Asked for each time, so that a new version of the program shows its own page.
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
