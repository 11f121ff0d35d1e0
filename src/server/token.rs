//! The secret that clients have to know, where there is one: a program says it in the header `Authorization: Bearer`,
//! and a browser gets a cookie for it once, from a link.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use axum::extract::{Query, Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::answer::Problem;
use super::{App, page, routes};
use crate::storage::files::regular;

/// Characters of the shortest token: 64 bits, where it is made of hexadecimal digits.
const SHORTEST: usize = 16;
const LONGEST: usize = 1024;
const COOKIE: &str = "simsearch";
/// Seconds that a browser keeps the cookie: a year.
const COOKIE_AGE: u32 = 365 * 24 * 60 * 60;

/// A secret. Its text is never printed.
#[derive(Clone)]
pub struct Token {
    text: String,
    /// The value of the cookie. Other servers of the same host get it too, whatever their port, and cannot tell the
    /// token from it.
    cookie: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Token")
    }
}

impl Token {
    /// Reads a file of one line; `warn` is told where others may read it too.
    ///
    /// # Errors
    /// When it cannot be read, or holds no token that could be sent and is hard to guess.
    pub fn read(path: &Path, warn: impl Fn(&str)) -> Result<Self> {
        let shown = path.display();
        let bytes = regular::read(path).with_context(|| format!("cannot read {shown}"))?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let token = Token::new(text.strip_suffix('\r').unwrap_or(text)).with_context(|| {
            format!("{shown} holds no token; `openssl rand -hex 32 > {shown}` makes one")
        })?;
        // Not an error: in a container everybody is one user.
        if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0) {
            warn(&format!(
                "everybody on this machine may read the token; `chmod 600 {shown}` keeps it to its owner"
            ));
        }
        Ok(token)
    }

    fn new(text: &str) -> Result<Self> {
        // What RFC 6750 lets stand after `Bearer`.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        ensure!(
            text.bytes().all(is_plain),
            "a token is one line of letters, digits and `-._~+/=`"
        );
        ensure!(
            (SHORTEST..=LONGEST).contains(&text.len()),
            "a token has {SHORTEST} to {LONGEST} characters, and this has {}",
            text.len()
        );
        let digest = Sha256::digest(format!("{COOKIE} cookie of {text}"));
        Ok(Token {
            text: text.to_owned(),
            cookie: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Whether a request shows that its sender knows the token.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get_all(header::AUTHORIZATION).iter().any(|value| {
            let value = value.to_str().unwrap_or_default();
            value.split_once(' ').is_some_and(|(scheme, token)| {
                scheme.eq_ignore_ascii_case("bearer") && same(token.trim_start(), &self.text)
            })
        });
        let cookie = headers.get_all(header::COOKIE).iter().any(|value| {
            let cookies = value.to_str().unwrap_or_default().split("; ");
            let mut ours =
                cookies.filter_map(|cookie| cookie.strip_prefix(COOKIE)?.strip_prefix('='));
            ours.any(|value| same(value, &self.cookie))
        });
        bearer || cookie
    }

    /// The cookie, for the addresses below a path; without one, for those below the address that is asked for.
    fn set_cookie(&self, path: Option<&str>, is_https: bool) -> String {
        let path = path.map_or(String::new(), |path| format!("; Path={path}/"));
        let secure = if is_https { "; Secure" } else { "" };
        let value = &self.cookie;
        format!("{COOKIE}={value}; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Strict{path}{secure}")
    }
}

/// Takes a time that does not tell where two texts of one length differ.
fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Whether the sender of a request may know about the collection.
pub fn is_admitted(app: &App, headers: &HeaderMap) -> bool {
    (app.token.as_ref()).is_none_or(|token| token.is_known(headers))
}

/// Refuses those who do not know the token; a link with the token is answered with the cookie, and leads on to the
/// page.
pub async fn require(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let Some(token) = app.token.as_ref().filter(|_| !app.is_public(uri.path())) else {
        return next.run(request).await;
    };
    let is_page = app.is_page(uri.path());
    if is_page && request.method() == Method::GET {
        let given: Vec<(String, String)> =
            Query::try_from_uri(uri).map_or(Vec::new(), |Query(given)| given);
        if let Some((_, given)) = given.iter().find(|(name, _)| name == "token") {
            // A query has spaces as `+`, and a token may have a `+` and no space.
            return match same(&given.replace(' ', "+"), &token.text) {
                true => lead_on(&app, token, &request),
                false => refused(&app, &request),
            };
        }
    }
    match token.is_known(request.headers()) {
        true => next.run(request).await,
        false => refused(&app, &request),
    }
}

/// To the page, with the cookie and without the token in the address.
fn lead_on(app: &App, token: &Token, request: &Request) -> Response {
    let headers = request.headers();
    let path = match routes::outer_path(app, headers) {
        Ok(path) => path,
        Err(problem) => return problem.into_response(),
    };
    let own = Some(app.base_path.as_str()).filter(|path| !path.is_empty());
    let cookie = token.set_cookie(path.as_deref().or(own), app.is_https(headers));
    let rest = request.uri().query().unwrap_or_default().split('&');
    let rest: Vec<&str> = rest.filter(|pair| !pair.starts_with("token=")).collect();
    let page = path.map_or("./".to_owned(), |path| format!("{path}/"));
    let to = format!("{page}?{}", rest.join("&"));
    let mut response = Redirect::to(to.trim_end_matches('?')).into_response();
    let cookie = HeaderValue::from_str(&cookie).expect("a cookie is of plain characters");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

fn refused(app: &App, request: &Request) -> Response {
    let mut response = match app.is_page(request.uri().path()) {
        true => match routes::base(app, request.headers()) {
            Ok(base) => (
                StatusCode::UNAUTHORIZED,
                page::without_token(base.as_deref()),
            )
                .into_response(),
            Err(problem) => problem.into_response(),
        },
        false => {
            let message = "this server wants its token, in the header `Authorization: Bearer`, or once in the page's address: `/?token=`";
            Problem::new(StatusCode::UNAUTHORIZED, message).into_response()
        }
    };
    let scheme = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef";

    #[test]
    fn a_token_that_is_short_or_cannot_be_sent_is_refused() {
        for (text, why) in [
            ("", "16 to 1024"),
            ("0123456789abcde", "16 to 1024"),
            (&"a".repeat(1025), "16 to 1024"),
            ("0123456789 abcdef", "one line"),
            ("0123456789abcdef\n", "one line"),
            ("0123456789abcdef;", "one line"),
            ("0123456789abcdeé", "one line"),
        ] {
            let error = Token::new(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(Token::new(TEXT).is_ok());
    }

    #[test]
    fn the_token_is_known_from_a_header_or_the_cookie_and_from_nothing_else() {
        let token = Token::new(TEXT).unwrap();
        let other = Token::new("0123456789abcdeg").unwrap();
        let cookie = |token: &Token| format!("simsearch={}", token.cookie);
        let knows = |name: header::HeaderName, value: &str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
            token.is_known(&headers)
        };
        for value in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert!(knows(header::AUTHORIZATION, value), "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
            "Bearer 0123456789abcdeg",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            &format!("Bearer {}", token.cookie),
        ] {
            assert!(!knows(header::AUTHORIZATION, value), "{value}");
        }
        let ours = cookie(&token);
        for value in [
            &ours,
            &format!("a=b; {ours}; c=d"),
            &format!("{}; {ours}", cookie(&other)),
        ] {
            assert!(knows(header::COOKIE, value), "{value}");
        }
        for value in [
            "simsearch=",
            "simsearch=0123456789abcdef",
            &cookie(&other),
            &format!("x{ours}"),
            &format!("a={ours}"),
        ] {
            assert!(!knows(header::COOKIE, value), "{value}");
        }
    }
}
