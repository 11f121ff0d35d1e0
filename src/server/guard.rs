//! Who may ask, and the headers of every answer.
//!
//! A page of any site may make the reader's browser send requests to this machine. So that none reads the answers: a name
//! that leads here and is not this server's own (DNS rebinding) is refused by the `Host` header, and a page of another
//! site by the `Origin` header.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tower_http::cors::CorsLayer;

use super::App;
use super::answer::Problem;

/// The page loads its own files and pictures, and nothing else; nothing that is in an answer runs.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whose requests are answered.
pub struct Guard {
    /// Without ports: what is forwarded from another port is the same server.
    hosts: Vec<String>,
    origin: Option<HeaderValue>,
}

impl Guard {
    /// Allows `localhost`, the loopback addresses, the address that is listened on, and these hosts.
    pub fn new(listens: IpAddr, hosts: &[String], origin: Option<&str>) -> Result<Self> {
        let mut allowed = vec!["localhost".to_owned(), "127.0.0.1".into(), "[::1]".into()];
        allowed.push(match listens {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        for host in hosts {
            let name = host_name(host).unwrap_or_default();
            ensure!(
                !name.is_empty() && name.eq_ignore_ascii_case(host),
                "--allow-host {host} is not a host name; give it without scheme and port, such as pictures.example.org"
            );
            allowed.push(name.to_owned());
        }
        let origin = origin
            .map(|origin| {
                let host = origin_host(origin);
                ensure!(
                    host.is_some_and(|host| !host.is_empty()) && !origin.ends_with('/'),
                    "--allow-origin {origin} is not an origin; give scheme, host and port, such as http://localhost:3000"
                );
                Ok(HeaderValue::from_str(origin)?)
            })
            .transpose()?;
        Ok(Guard {
            hosts: allowed,
            origin,
        })
    }

    /// Lets pages of the allowed origin read the answers; without one, does nothing.
    pub fn cors(&self) -> CorsLayer {
        match &self.origin {
            Some(origin) => CorsLayer::new()
                .allow_origin(origin.clone())
                .allow_methods([axum::http::Method::GET, axum::http::Method::POST])
                .allow_headers([header::CONTENT_TYPE]),
            None => CorsLayer::new(),
        }
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (host, second) = (hosts.next(), hosts.next());
        let host = host.and_then(|host| host.to_str().ok());
        let (Some(host), None) = (host, second) else {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "a request needs one Host header",
            ));
        };
        // A request line with a whole address is allowed to differ from the header, and counts.
        let named = uri.authority().map_or(host, |authority| authority.as_str());
        if !self.knows(host) || !self.knows(named) {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this server is not known by that name; --allow-host allows it",
            ));
        }
        for origin in headers.get_all(header::ORIGIN) {
            let is_ours = || Some(self.knows(origin_host(origin.to_str().ok()?)?));
            if self.origin.as_ref() != Some(origin) && is_ours() != Some(true) {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "pages of other sites may not ask; --allow-origin allows one",
                ));
            }
        }
        Ok(())
    }

    fn knows(&self, host: &str) -> bool {
        host_name(host).is_some_and(|name| {
            (self.hosts.iter()).any(|allowed| allowed.eq_ignore_ascii_case(name))
        })
    }
}

/// A host without its port.
fn host_name(host: &str) -> Option<&str> {
    let end = match host.starts_with('[') {
        true => host.find(']')? + 1,
        false => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

/// The host and port of an origin.
fn origin_host(origin: &str) -> Option<&str> {
    origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
}

/// Refuses what is not for this server; puts the headers on every answer.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match app.guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let resource_policy = match app.guard.origin {
        Some(_) => "cross-origin",
        None => "same-origin",
    };
    let every: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            resource_policy,
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in every {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_with_and_without_their_port_and_no_others() {
        let guard = Guard::new(
            "192.0.2.7".parse().unwrap(),
            &["Pictures.example.org".into()],
            None,
        );
        let guard = guard.unwrap();
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "[::1]:8080",
            "192.0.2.7",
            "pictures.example.org:443",
        ] {
            assert!(guard.knows(host), "{host}");
        }
        for host in [
            "",
            ":8080",
            "evil.example",
            "localhost.evil.example",
            "evil.example:localhost",
            "localhost:80@evil.example",
            "::1",
            "[::1",
            "[::1]evil",
            "127.0.0.1.evil.example",
            "example.org",
        ] {
            assert!(!guard.knows(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_or_origin_is_refused_at_the_start() {
        let address = "127.0.0.1".parse().unwrap();
        for host in ["", "http://a", "a:80"] {
            let guard = Guard::new(address, &[host.into()], None);
            assert!(guard.is_err(), "{host}");
        }
        for origin in ["", "*", "a", "http://", "http://a/"] {
            assert!(Guard::new(address, &[], Some(origin)).is_err(), "{origin}");
        }
        assert!(Guard::new(address, &[], Some("http://localhost:3000")).is_ok());
    }
}
