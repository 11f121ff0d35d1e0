//! What each address answers.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::multipart::Multipart;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use rand::seq::index;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use super::answer::{ErrorBody, Problem};
use super::decisions::Decision;
use super::groups::{self, Member};
use super::metrics::{self, Gauges};
use super::parameters::{self, ObjectId, Parameters, Wanted};
use super::scans::{Method, Question};
use super::work::MAX_UPLOAD_BYTES;
use super::{App, BasePath, guard, openapi, page, token};
use crate::inference::embed::QueryError;
use crate::pictures::thumbnail::Thumbnail;
use crate::pictures::{Format, PictureReader, PixelOptions};
use crate::similarity::scan::Metric;
use crate::storage::files::FileStamp;
use crate::storage::folder::Folder;
use crate::storage::media::{MAX_FILE_BYTES, MediaFile};

/// A browser keeps pictures and asks whether they are still the same: an id may stand for another file a moment later.
const KEEP_PICTURES: &str = "private, no-cache";

type Answer = Result<Response, Problem>;

/// All addresses, and what holds for each of them.
pub fn router(app: Arc<App>) -> Router {
    let addresses = Router::new()
        .route("/page/{name}", get(page_file))
        .route("/similar", get(similar_to_words).post(similar_to_upload))
        .route("/similar/{*object_id}", get(similar_to_object))
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
    const NAMES: [&str; 10] = [
        "",
        "page",
        "similar",
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

/// What was found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Similar {
    /// Milliseconds that the answer took.
    time: f64,
    /// Null for an upload and for words.
    query_object_id: Option<String>,
    /// Nearest first; an object that is its own query comes before all others.
    similar_images: Vec<SimilarImage>,
}

/// A neighbour.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SimilarImage {
    object_id: String,
    distance: f64,
    /// Below the media directory; null where it is not recorded.
    path: Option<String>,
}

/// What the neighbours of an object are.
#[utoipa::path(
    get,
    path = "/similar/{object_id}",
    params(ObjectId, parameters::Neighbours),
    responses(
        (status = 200, description = "What was found", body = Similar),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn similar_to_object(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    Parameters(parameters, _): Parameters<parameters::Neighbours>,
) -> Answer {
    let started = Instant::now();
    let Path(id) = id?;
    let wanted = parameters.wanted(Metric::Euclidean)?;
    let feature = (app.live.features().find(&id)).map(|(_, feature)| feature.to_vec());
    let Some(feature) = feature else {
        return Err(Problem::not_found("there is no feature of this object"));
    };
    similar(app, started, Some(id), feature, wanted).await
}

/// Which pictures fit words best, for models that know some.
#[utoipa::path(
    get,
    path = "/similar",
    params(parameters::Words, parameters::Neighbours),
    responses(
        (status = 200, description = "What was found", body = Similar),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn similar_to_words(
    State(app): State<Arc<App>>,
    Parameters(parameters, words): Parameters<parameters::Neighbours, parameters::Words>,
) -> Answer {
    let started = Instant::now();
    // As `search --text`.
    let wanted = parameters.wanted(Metric::Cosine)?;
    let model = app.text.as_ref().map(Arc::clone).ok_or_else(|| {
        let message = "words cannot be looked up here: the model knows none";
        Problem::new(StatusCode::NOT_IMPLEMENTED, message)
    })?;
    let made = app.work.run(move || model.feature(&words.text)).await?;
    similar(app, started, None, made.map_err(of_query)?, wanted).await
}

/// Why a query has no feature.
fn of_query(error: QueryError) -> Problem {
    match error {
        QueryError::Picture(why) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("this picture cannot be read: {why}"),
        ),
        QueryError::Words(_) => Problem::bad_request(error.to_string()),
        QueryError::NotFinite(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
        }
        QueryError::Model(_) => Problem::internal(error.to_string()),
    }
}

/// What the neighbours of a picture are: the body is the picture, or a form with one file.
#[utoipa::path(
    post,
    path = "/similar",
    params(parameters::Neighbours),
    request_body(content(
        (Vec<u8> = "application/octet-stream"),
        (Upload = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "What was found", body = Similar),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn similar_to_upload(
    State(app): State<Arc<App>>,
    Parameters(parameters, _): Parameters<parameters::Neighbours>,
    request: Request,
) -> Answer {
    let started = Instant::now();
    let wanted = parameters.wanted(Metric::Euclidean)?;
    let model = match &app.model {
        Ok(model) => Arc::clone(model),
        Err(why) => {
            let message = format!("pictures cannot be uploaded here: {why}");
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, message));
        }
    };
    let made = {
        let _place = app.work.upload()?;
        let bytes = uploaded(request).await?;
        app.work.run(move || model.feature(&bytes)).await?
    };
    similar(app, started, None, made.map_err(of_query)?, wanted).await
}

/// A form with a picture.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is here to be described")]
struct Upload {
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// The picture in a request: its body, or the first file of a form.
async fn uploaded(request: Request) -> Result<Bytes, Problem> {
    // What is too large is refused before it is received.
    let too_large = || {
        let message = format!("a picture may have at most {} MiB", MAX_UPLOAD_BYTES >> 20);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if announced_length(&request) > MAX_UPLOAD_BYTES as u64 {
        return Err(too_large());
    }
    if !is_form(&request) {
        let received = Bytes::from_request(request, &()).await;
        return received.map_err(|rejection| match rejection.status() {
            // Its length was not announced.
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => rejection.into(),
        });
    }
    let mut form = Multipart::from_request(request, &()).await?;
    while let Some(field) = form.next_field().await? {
        if field.file_name().is_some() {
            return Ok(field.bytes().await?);
        }
    }
    Err(Problem::bad_request("the form holds no file"))
}

fn announced_length(request: &Request) -> u64 {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

fn is_form(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"))
}

/// The answer with the nearest objects to a feature.
async fn similar(
    app: Arc<App>,
    started: Instant,
    query_object_id: Option<String>,
    feature: Vec<f32>,
    wanted: Wanted,
) -> Answer {
    let (worker, metric) = (Arc::clone(&app), wanted.metric);
    let method = match (wanted.within, wanted.approximate) {
        (None, false) => Method::Exact(metric),
        (Some(named), _) => {
            let folder = app
                .work
                .run(move || Folder::listed(&named, &worker.live.media()));
            Method::Within(metric, folder.await?.ok_or_else(|| {
                let message = "`within` is a folder as it is in the list, such as 2024/holiday: no listed object is below this one";
                Problem::bad_request(message)
            })?)
        }
        (None, true) => {
            // Whether there is one is told here; it is taken once more with the features that are searched.
            let index = app
                .work
                .run(move || worker.live.index(&worker.live.features(), metric));
            index
                .await?
                .map_err(|why| Problem::new(StatusCode::NOT_IMPLEMENTED, why))?;
            Method::Approximate(metric)
        }
    };
    let question = Question {
        object_id: query_object_id.clone(),
        feature,
        limit: wanted.limit,
        method,
    };
    let found = app.scans.nearest(question).await;
    let mut found = found.ok_or_else(Problem::busy)?;
    found.retain(|neighbour| neighbour.distance <= wanted.max_distance);
    let answer = Similar {
        time: (started.elapsed().as_secs_f64() * 1e5).round() / 100.0,
        query_object_id,
        similar_images: found
            .into_iter()
            .map(|neighbour| SimilarImage {
                object_id: neighbour.object_id,
                distance: neighbour.distance,
                path: neighbour.path,
            })
            .collect(),
    };
    Ok(Json(answer).into_response())
}

/// Random objects.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RandomObjects {
    object_ids: Vec<String>,
}

/// Some objects, at random.
#[utoipa::path(
    get,
    path = "/random",
    params(parameters::Random),
    responses(
        (status = 200, description = "Object ids", body = RandomObjects),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn random(
    State(app): State<Arc<App>>,
    Parameters(parameters, _): Parameters<parameters::Random>,
) -> Answer {
    let limit = parameters.limit()?;
    let features = app.live.features();
    let collection = &features.collection;
    let rows = collection.rows();
    // Hidden rows have no id: so some more.
    let wanted = (limit + rows - collection.len()).min(rows);
    let chosen = index::sample(&mut rand::rng(), rows, wanted);
    let object_ids = chosen
        .iter()
        .filter_map(|row| collection.nth_id(row))
        .take(limit)
        .collect();
    Ok(Json(RandomObjects { object_ids }).into_response())
}

/// Groups of pictures that are copies of each other.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DuplicateGroups {
    /// The largest distance of duplicates.
    max_distance: f64,
    /// Groups about which nothing is decided, those beyond the limit included.
    undecided: usize,
    /// The members of each group, the one to keep first.
    groups: Vec<Vec<Member>>,
    /// Whether this server takes decisions.
    allow_changes: bool,
}

/// The groups of duplicates about which nothing is decided.
#[utoipa::path(
    get,
    path = "/duplicates",
    params(parameters::Duplicates),
    responses(
        (status = 200, description = "What was found", body = DuplicateGroups),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn duplicates(
    State(app): State<Arc<App>>,
    Parameters(parameters, _): Parameters<parameters::Duplicates>,
) -> Answer {
    let (limit, asked) = (parameters.limit()?, parameters.max_distance()?);
    // Held by the search itself, which goes on where the client is told that it takes too long: the next finds its
    // groups.
    let turn = Arc::clone(&app.groups.turn).lock_owned().await;
    let worker = Arc::clone(&app);
    let find = move || -> Result<_, Problem> {
        let _turn = turn;
        let found = worker.groups.found(&worker.live, asked);
        let found =
            found.map_err(|why| Problem::new(StatusCode::NOT_IMPLEMENTED, format!("{why:#}")))?;
        let decisions = worker.groups.decisions.read().map_err(of_decisions)?;
        let undecided = groups::undecided(&found, &decisions, &worker.live.features());
        Ok((found.max_distance, undecided))
    };
    let (max_distance, mut groups) = app.work.run(find).await??;
    let undecided = groups.len();
    groups.truncate(limit);
    let answer = DuplicateGroups {
        max_distance,
        undecided,
        groups,
        allow_changes: app.allow_changes,
    };
    Ok(Json(answer).into_response())
}

/// What somebody decides about some objects.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decided {
    /// Two objects or more.
    object_ids: Vec<String>,
    /// The one of them to keep; null where they are no duplicates of each other.
    keep: Option<String>,
}

/// Remembers a decision. No picture is touched.
#[utoipa::path(
    post,
    path = "/duplicates",
    request_body = Decided,
    responses(
        (status = 204, description = "It is remembered"),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn decide(
    State(app): State<Arc<App>>,
    _: Parameters<parameters::Nothing>,
    decided: Result<Json<Decided>, JsonRejection>,
) -> Answer {
    if !app.allow_changes {
        let message = "this server takes no decisions; start it with --allow-changes";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    let Json(Decided { object_ids, keep }) = decided?;
    let features = app.live.features();
    let distinct: HashSet<&String> = object_ids.iter().collect();
    if distinct.len() < 2 || distinct.len() < object_ids.len() {
        let message = "a decision is about two objects or more, each once";
        return Err(Problem::bad_request(message));
    }
    if keep.as_ref().is_some_and(|keep| !distinct.contains(keep)) {
        return Err(Problem::bad_request("`keep` is none of the objects"));
    }
    if object_ids.iter().any(|id| features.find(id).is_none()) {
        return Err(Problem::not_found(
            "there is no feature of one of the objects",
        ));
    }
    let decision = Decision { object_ids, keep };
    let worker = Arc::clone(&app);
    let written = app.work.run(move || worker.groups.decisions.add(&decision));
    written.await?.map_err(of_decisions)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Why decisions cannot be read or written. Where their file is, is not for the client to know.
fn of_decisions(why: anyhow::Error) -> Problem {
    let reason = why.root_cause();
    Problem::internal(format!("the file of decisions cannot be used: {reason}"))
}

/// The file of a listed object, or its member of a tar, by its id and by nothing else. One that is another file than
/// the object's feature was made from is not shown in its place.
fn open(app: &App, id: &str) -> Result<MediaFile, Problem> {
    let media = app.live.media();
    let entry = media
        .entry(id)
        .ok_or_else(|| Problem::not_found("no such object is listed"))?;
    let cannot_be_opened = || {
        // Whatever it is, it is not for the client to know where the files are.
        Problem::not_found("the file of this object cannot be opened")
    };
    let file = app.media.open_picture(entry);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::not_found("the file of this object is gone"),
        _ => cannot_be_opened(),
    })?;
    match app.live.features().source(id) {
        Some(source) if *source.path != *entry || source.file != file.stamp() => {
            Err(Problem::not_found(
                "the file of this object has changed since its feature was made; `simsearch extract` makes it again",
            ))
        }
        _ => Ok(file),
    }
}

/// Tells a file from others that have stood, or will, for the same object.
fn entity_tag(FileStamp { size, modified }: FileStamp) -> String {
    format!("\"{size:x}-{modified:x}\"")
}

/// Whether a browser that asks has the picture with this tag.
fn has_picture(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH);
    let known = known.and_then(|tags| tags.to_str().ok());
    known.is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag))
}

/// What a browser is told that has the picture.
fn not_modified(tag: String) -> Response {
    let headers = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, KEEP_PICTURES.to_owned()),
    ];
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// The picture of an object, as it is.
#[utoipa::path(
    get,
    path = "/object/{object_id}",
    params(ObjectId),
    responses(
        (status = 200, description = "The file", content_type = "image/*", body = Vec<u8>),
        (status = 304, description = "The picture with this `If-None-Match` is still the same"),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn object(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    _: Parameters<parameters::Nothing>,
    asked: HeaderMap,
) -> Answer {
    let Path(id) = id?;
    let (worker, reading) = (Arc::clone(&app), "the file of this object cannot be read");
    let opened = move || -> Result<_, Problem> {
        let mut file = open(&worker, &id)?;
        let (length, tag) = (file.size(), entity_tag(file.stamp()));
        let mut first = Vec::new();
        let read = file
            .by_ref()
            .take(Format::NEEDED_BYTES)
            .read_to_end(&mut first);
        let rest = read.and_then(|_| file.into_file());
        let rest = rest.map_err(|_| Problem::internal(reading))?;
        Ok((first, rest, length, tag))
    };
    // Without waiting for pictures that are decoded: it takes no time.
    let opened = tokio::task::spawn_blocking(opened).await;
    let (first, rest, length, tag) = opened.map_err(|_| Problem::internal(reading))??;
    if has_picture(&asked, &tag) {
        return Ok(not_modified(tag));
    }
    let Ok(format) = Format::of(&first) else {
        let message = "the file of this object is not a picture";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    };
    // What follows is read as the client takes it, and no further than the length that was announced.
    let rest = tokio::fs::File::from_std(rest);
    let whole = AsyncReadExt::chain(io::Cursor::new(first), rest);
    let whole = AsyncReadExt::take(whole, length);
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, KEEP_PICTURES.to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(whole))).into_response())
}

/// A small JPEG of an object's picture.
#[utoipa::path(
    get,
    path = "/thumbnail/{object_id}",
    params(ObjectId, parameters::Side),
    responses(
        (status = 200, description = "The picture", content_type = "image/jpeg", body = Vec<u8>),
        (status = 304, description = "The picture with this `If-None-Match` is still the same"),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn thumbnail(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    Parameters(parameters, _): Parameters<parameters::Side>,
    asked: HeaderMap,
) -> Answer {
    let Path(id) = id?;
    let side = parameters.pixels()?;
    let worker = Arc::clone(&app);
    let made = move || -> Result<Response, Problem> {
        let file = open(&worker, &id)?;
        let tag = entity_tag(file.stamp());
        if has_picture(&asked, &tag) {
            return Ok(not_modified(tag));
        }
        let mut bytes = Vec::new();
        (file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
            .map_err(|_| Problem::internal("the file of this object cannot be read"))?;
        let options = PixelOptions {
            scaled_decode: true,
            ..PixelOptions::default()
        };
        let thumbnail = Thumbnail::of(&bytes, side, &mut PictureReader::new(options));
        let thumbnail = thumbnail.map_err(|why| {
            let message = format!("the picture cannot be read: {why}");
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        })?;
        let headers = [
            (header::CONTENT_TYPE, "image/jpeg".to_owned()),
            (header::ETAG, tag),
            (header::CACHE_CONTROL, KEEP_PICTURES.to_owned()),
        ];
        Ok((headers, thumbnail.jpeg()).into_response())
    };
    app.work.run(made).await?
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
        uploads: told.map(|app| app.model.is_ok()),
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
