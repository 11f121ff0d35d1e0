//! What each address answers.

pub mod duplicates;
pub mod pictures;
pub mod similar;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Problem;
use super::metrics::{self, Gauges};
use super::parameters::{self, Parameters};
use super::work::MAX_UPLOAD_BYTES;
use super::{App, BasePath, guard, openapi, page, token};
use duplicates::{decide, duplicates};
use pictures::{object, thumbnail};
use similar::{feature, random, similar_to_object, similar_to_upload, similar_to_words};

type Answer = Result<Response, Problem>;

/// All addresses, and what holds for each of them.
pub fn router(app: Arc<App>) -> Router {
    let addresses = Router::new()
        .route("/page/{name}", get(page_file))
        .route("/similar", get(similar_to_words).post(similar_to_upload))
        .route("/similar/{*object_id}", get(similar_to_object))
        .route("/feature/{*object_id}", get(feature))
        .route("/random", get(random))
        .route("/duplicates", get(duplicates).post(decide))
        .route("/object/{*object_id}", get(object))
        .route("/thumbnail/{*object_id}", get(thumbnail))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi));
    let router = match app.base_path.as_str() {
        "" => addresses.route("/", get(whole_page)),
        path => Router::new()
            .nest(path, addresses)
            .route(path, get(with_slash))
            .route(&format!("{path}/"), get(whole_page)),
    };
    router
        .fallback(|| async { Problem::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            let message = "this address does not answer this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(DefaultBodyLimit::max(MAX_UPLOAD_BYTES))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            token::require,
        ))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), in_time))
        .layer(app.guard.cors())
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::guard,
        ))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

/// Ends an answer that takes too long, such as one to a client that does not send its picture.
async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "this took too long").into_response(),
    }
}

/// Counts what is asked, by address and status.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let endpoint = app.endpoint(request.uri().path());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.answered(endpoint, status, started.elapsed());
    response
}

impl App {
    /// The name under which an address is counted: one of a few, whatever clients ask.
    pub fn endpoint(&self, path: &str) -> &'static str {
        match path.strip_prefix(self.base_path.as_str()) {
            Some("") => "page",
            Some(path) => endpoint(path),
            None => "other",
        }
    }

    /// Whether it is the address of the page itself.
    pub fn is_page(&self, path: &str) -> bool {
        path.strip_prefix(self.base_path.as_str()) == Some("/")
    }

    /// Whether strangers are answered at an address: the files of the page are in every copy of the program, and the
    /// health check tells them less.
    pub fn is_public(&self, path: &str) -> bool {
        match path.strip_prefix(self.base_path.as_str()) {
            Some("") => true,
            Some(path) => path.starts_with("/page/") || path == "/healthz",
            None => false,
        }
    }

    /// Whether a client came by TLS, as far as a proxy says so.
    pub fn is_https(&self, headers: &HeaderMap) -> bool {
        let protocol = headers.get("x-forwarded-proto");
        self.trust_proxy && protocol.is_some_and(|protocol| protocol == "https")
    }
}

fn endpoint(path: &str) -> &'static str {
    const NAMES: [&str; 11] = [
        "",
        "page",
        "similar",
        "feature",
        "random",
        "duplicates",
        "object",
        "thumbnail",
        "healthz",
        "metrics",
        "openapi.json",
    ];
    let first = path.split('/').nth(1);
    match NAMES.iter().find(|name| Some(**name) == first) {
        Some(&"") => "page",
        Some(name) => name,
        None => "other",
    }
}

/// How the server is, and what it can do.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
    /// Objects that are searched. This and what follows is not told to those who do not know the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<usize>,
    /// Whether it takes pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    uploads: Option<bool>,
    /// Whether it takes words.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<bool>,
}

/// Whether the server is well, and what it can do.
#[utoipa::path(
    get,
    path = "/healthz",
    responses((status = 200, description = "It is", body = Health))
)]
pub async fn healthz(
    State(app): State<Arc<App>>,
    _: Parameters<parameters::Nothing>,
    headers: HeaderMap,
) -> Json<Health> {
    let told = token::is_admitted(&app, &headers).then_some(&app);
    Json(Health {
        status: "ok",
        objects: told.map(|app| app.live.features().collection.len()),
        uploads: told.map(|app| app.model.is_some()),
        words: told.map(|app| app.text.is_some()),
    })
}

/// Counts and times, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "In the text format", content_type = "text/plain", body = String))
)]
pub async fn metrics(State(app): State<Arc<App>>, _: Parameters<parameters::Nothing>) -> Response {
    let features = app.live.features();
    let text = app.metrics.text(&Gauges {
        objects: features.collection.len(),
        shards: features.collection.shards().count(),
        uploads: app.work.uploads(),
    });
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

/// The description of what a program may ask.
async fn openapi(
    State(app): State<Arc<App>>,
    _: Parameters<parameters::Nothing>,
    headers: HeaderMap,
) -> Answer {
    let path = outer_path(&app, &headers)?.unwrap_or_else(|| app.base_path.as_str().to_owned());
    let document = openapi::document(&path, app.token.is_some());
    Ok(Json(document).into_response())
}

/// The page. Its addresses are relative, so that it works below any path that ends in a slash; where a proxy says which
/// path it took off, the page says it to the browser, who may have left out the slash.
async fn whole_page(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer {
    Ok(page::whole(base(&app, &headers)?.as_deref()))
}

/// What the page's addresses are relative to, where a proxy says which path it took off.
pub fn base(app: &App, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    Ok(outer_path(app, headers)?.map(|path| format!("{path}/")))
}

/// The path below which a client sees the addresses, where a proxy says which path it took off.
pub fn outer_path(app: &App, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if !app.trust_proxy {
        return Ok(None);
    }
    let mut prefixes = headers.get_all("x-forwarded-prefix").iter();
    let prefix = match (prefixes.next(), prefixes.next()) {
        (None, _) => return Ok(None),
        (Some(prefix), None) => prefix.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    match prefix.and_then(|prefix| prefix.parse::<BasePath>().ok()) {
        Some(prefix) => Ok(Some(format!(
            "{}{}",
            prefix.as_str(),
            app.base_path.as_str()
        ))),
        None => Err(Problem::bad_request(
            "X-Forwarded-Prefix must be one path, such as /photos",
        )),
    }
}

/// The page's addresses are relative to a path that ends in a slash.
async fn with_slash(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let path = app.base_path.as_str();
    let last = &path[path.rfind('/').map_or(0, |slash| slash + 1)..];
    let query = uri
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    Redirect::permanent(&format!("{last}/{query}")).into_response()
}

async fn page_file(name: Result<Path<String>, PathRejection>) -> Answer {
    page::file(&name?)
}
