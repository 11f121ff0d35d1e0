//! Who may ask, and the headers of every answer.
//!
//! A page of any site may make the reader's browser send requests to this machine. So that none reads the answers, or
//! makes work here: a name that leads here and is not this server's own (DNS rebinding) is refused by the `Host` header,
//! and a page of another site by the `Origin` header. Browsers leave that out where a page only shows something, as an
//! image or in a frame, and then say in `Sec-Fetch-Site` that the page is of another site: to servers on their own
//! machine, and by TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::CorsLayer;

use super::App;
use super::answer::Problem;

/// The page loads its own files and pictures, and nothing else; nothing that is in an answer runs.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// Whose requests are answered.
pub struct Guard {
    /// Without ports: what is forwarded from another port is the same server.
    hosts: Vec<AllowedHost>,
    origin: Option<HeaderValue>,
}

impl Guard {
    /// Allows `localhost`, the loopback addresses, the address that is listened on, where it is one, and these hosts.
    ///
    /// # Errors
    /// When one of them cannot be a host of a request, or the origin no origin.
    pub fn new(listens: Option<IpAddr>, hosts: &[String], origin: Option<&str>) -> Result<Self> {
        let own = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let mut allowed = own.map(AllowedHost::Name).to_vec();
        if let Some(address) = listens.filter(|address| !address.is_unspecified()) {
            let named = AllowedHost::Name(match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            });
            if !allowed.contains(&named) {
                allowed.push(named);
            }
        }
        for host in hosts {
            let host =
                AllowedHost::parse(host).map_err(|why| anyhow!("--allow-host {host}: {why}"))?;
            allowed.push(host);
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
                .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE]),
            None => CorsLayer::new(),
        }
    }

    /// What the server answers to, as `--allow-host` takes it.
    pub fn names(&self) -> Vec<String> {
        self.hosts.iter().map(AllowedHost::to_string).collect()
    }

    /// Refuses what is not for this server. `is_picture` tells whether a page may show what is asked for.
    fn check(&self, uri: &Uri, headers: &HeaderMap, is_picture: bool) -> Result<(), Problem> {
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
        let is_known = |origin: &HeaderValue| {
            let is_ours = || Some(self.knows(origin_host(origin.to_str().ok()?)?));
            self.origin.as_ref() == Some(origin) || is_ours() == Some(true)
        };
        let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
        // Pages of the allowed site show pictures without saying which site it is.
        let may_ask = match origins.peek() {
            Some(_) => origins.all(is_known),
            None => !is_embedded(headers) || (is_picture && self.origin.is_some()),
        };
        match may_ask {
            true => Ok(()),
            false => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "pages of other sites may not ask; --allow-origin allows one",
            )),
        }
    }

    fn knows(&self, host: &str) -> bool {
        host_name(host).is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            self.hosts.iter().any(|allowed| allowed.is(&name))
        })
    }
}

/// A host that requests may be sent to, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AllowedHost {
    /// A name or an address.
    Name(String),
    /// All names below this one, which begins with a dot.
    Below(String),
}

impl AllowedHost {
    /// A name, an address as browsers write it, or `*.` and a name. What would never be the host of a request is
    /// refused with what to give in its place.
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(address) = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            let address: Ipv6Addr = address.parse().map_err(|_| "is no address")?;
            return not_unspecified(address.into()).map(|()| Self::Name(format!("[{address}]")));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err("an IPv6 address stands in brackets, such as [2001:db8::1]");
        }
        if text == "*" {
            return Err("name each host; `*.example.org` allows all names below one");
        }
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains([':', '/']) {
            return Err("give the host without scheme and port, such as pictures.example.org");
        }
        if !name.split('.').all(is_label) {
            return Err(
                "is no host name, such as pictures.example.org; one in other letters is given as browsers send it, xn--…",
            );
        }
        // Browsers take a name that ends in a number as an address, and send it with four numbers.
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit()) {
            let address: Option<Ipv4Addr> = name.parse().ok();
            let address = address.filter(|_| !is_below).ok_or("is no address")?;
            not_unspecified(address.into())?;
        }
        let name = name.to_ascii_lowercase();
        Ok(match is_below {
            true => Self::Below(format!(".{name}")),
            false => Self::Name(name),
        })
    }

    /// Whether a name in lower case is this host, or one of these.
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Name(allowed) => name == allowed,
            Self::Below(end) => name
                .strip_suffix(end.as_str())
                .is_some_and(|first| first.split('.').all(is_label)),
        }
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(to, "{name}"),
            Self::Below(end) => write!(to, "*{end}"),
        }
    }
}

/// All addresses of a machine have one name to listen on, to which nobody sends requests.
fn not_unspecified(address: IpAddr) -> Result<(), &'static str> {
    match address.is_unspecified() {
        true => Err(
            "stands for all addresses of this machine; give the one, or the name, that is asked for",
        ),
        false => Ok(()),
    }
}

/// A part of a host name between dots. Some have underscores, whatever the standards say.
fn is_label(label: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.bytes().all(is_plain)
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

/// Whether a page of another site asks for something to show in itself, to run, or to have for later. (A link that leads
/// here from there shows it in its place.) Programs and old browsers do not say.
fn is_embedded(headers: &HeaderMap) -> bool {
    let says = |name, value| headers.get(name).map(|header| header == value);
    let is_of_another = !matches!(
        headers.get("sec-fetch-site").map(HeaderValue::as_bytes),
        None | Some(b"same-origin" | b"none")
    );
    let is_link = says("sec-fetch-mode", "navigate") == Some(true)
        && says("sec-fetch-dest", "document") != Some(false)
        && !headers.contains_key("sec-purpose");
    is_of_another && !is_link
}

/// The host and port of an origin.
fn origin_host(origin: &str) -> Option<&str> {
    origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
}

/// Refuses what is not for this server; puts the headers on every answer.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_picture = matches!(app.endpoint(request.uri().path()), "object" | "thumbnail");
    let mut response = match (app.guard).check(request.uri(), request.headers(), is_picture) {
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
            Some("192.0.2.7".parse().unwrap()),
            &[
                "Pictures.example.org",
                "*.Example.net",
                "[2001:db8:0::1]",
                "my_host",
            ]
            .map(String::from),
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
            "a.example.net",
            "A.b.EXAMPLE.net:80",
            "[2001:db8::1]:80",
            "my_host",
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
            "example.net",
            ".example.net",
            "a..example.net",
            "evil.example/.example.net",
            "evilexample.net",
            "a.example.net.evil.example",
            "0.0.0.0",
        ] {
            assert!(!guard.knows(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_or_origin_is_refused_at_the_start() {
        let address = Some("127.0.0.1".parse().unwrap());
        for (host, why) in [
            ("", "no host name"),
            ("http://a", "without scheme and port"),
            ("a:80", "without scheme and port"),
            ("[::1]:80", "without scheme and port"),
            ("a/b", "without scheme and port"),
            ("*", "*.example.org"),
            ("*.", "no host name"),
            ("*a.org", "no host name"),
            ("a.*.org", "no host name"),
            ("*.*.org", "no host name"),
            ("a..org", "no host name"),
            ("a.org.", "no host name"),
            ("a b", "no host name"),
            ("fotos-für.example", "xn--"),
            ("0.0.0.0", "all addresses"),
            ("[::]", "all addresses"),
            ("::1", "in brackets"),
            ("[::1", "without scheme and port"),
            ("[evil]", "no address"),
            ("127.1", "no address"),
            ("0x7f.0x1", "no address"),
            ("*.0.0.1", "no address"),
            ("256.0.0.1", "no address"),
        ] {
            let guard = Guard::new(address, &[host.into()], None);
            let error = guard.err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(error.contains(why), "{host}: {error}");
        }
        for origin in ["", "*", "a", "http://", "http://a/"] {
            assert!(Guard::new(address, &[], Some(origin)).is_err(), "{origin}");
        }
        assert!(Guard::new(address, &[], Some("http://localhost:3000")).is_ok());
    }
}
