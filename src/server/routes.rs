//! What each address answers.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::multipart::Multipart;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use rand::seq::index;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::answer::Problem;
use super::metrics::{self, Gauges};
use super::scans::Question;
use super::work::MAX_UPLOAD_BYTES;
use super::{App, BasePath, guard, page};
use crate::inference::embed::QueryError;
use crate::pictures::thumbnail::Thumbnail;
use crate::pictures::{Format, PictureReader, PixelOptions};
use crate::similarity::scan::Metric;
use crate::storage::files::FileStamp;
use crate::storage::media::MAX_FILE_BYTES;

/// Neighbours, or random objects, where no limit is given.
const DEFAULT_LIMIT: usize = 100;
/// The most of them.
const MAX_LIMIT: usize = 1000;
/// Longest side of a thumbnail where none is given, and the least and the most, in pixels.
const DEFAULT_SIDE: usize = 256;
const SIDES: std::ops::RangeInclusive<usize> = 16..=1024;
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
        .route("/object/{*object_id}", get(object))
        .route("/thumbnail/{*object_id}", get(thumbnail))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics));
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
    let path = request.uri().path();
    let endpoint = match path.strip_prefix(app.base_path.as_str()) {
        Some("") => "page",
        Some(path) => endpoint(path),
        None => "other",
    };
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.answered(endpoint, status, started.elapsed());
    response
}

/// The name under which an address is counted: one of a few, whatever clients ask.
fn endpoint(path: &str) -> &'static str {
    const NAMES: [&str; 8] = [
        "",
        "page",
        "similar",
        "random",
        "object",
        "thumbnail",
        "healthz",
        "metrics",
    ];
    let first = path.split('/').nth(1);
    match NAMES.iter().find(|name| Some(**name) == first) {
        Some(&"") => "page",
        Some(name) => name,
        None => "other",
    }
}

/// The parameters of an address: those of `T` and no others, since one that is overlooked gives another answer than was
/// asked for.
struct Parameters<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(parameters) = Query::from_request_parts(parts, state).await?;
        Ok(Parameters(parameters))
    }
}

/// Where an address takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimilarParameters {
    limit: Option<usize>,
    metric: Option<Metric>,
    #[serde(rename = "maxDistance")]
    max_distance: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WordsParameters {
    text: String,
    limit: Option<usize>,
    metric: Option<Metric>,
    #[serde(rename = "maxDistance")]
    max_distance: Option<f64>,
}

impl SimilarParameters {
    /// The largest distance of a neighbour.
    fn max_distance(&self) -> Result<f64, Problem> {
        match self.max_distance.unwrap_or(f64::INFINITY) {
            limit if limit >= 0.0 => Ok(limit),
            _ => Err(Problem::bad_request("maxDistance must be 0 or more")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RandomParameters {
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThumbnailParameters {
    size: Option<usize>,
}

/// How many are wanted.
fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Problem::bad_request(format!(
            "limit must be 1 to {MAX_LIMIT}"
        ))),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Similar {
    /// Milliseconds that the answer took.
    time: f64,
    /// None for an upload and for words.
    query_object_id: Option<String>,
    similar_images: Vec<SimilarImage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SimilarImage {
    object_id: String,
    distance: f64,
    /// Below the media directory, where it is recorded.
    path: Option<String>,
}

async fn similar_to_object(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    Parameters(parameters): Parameters<SimilarParameters>,
) -> Answer {
    let started = Instant::now();
    let Path(id) = id?;
    let limit = limit(parameters.limit)?;
    let max_distance = parameters.max_distance()?;
    let feature = (app.live.features().find(&id)).map(|(_, feature)| feature.to_vec());
    let Some(feature) = feature else {
        return Err(Problem::not_found("there is no feature of this object"));
    };
    let question = Question {
        object_id: Some(id),
        feature,
        limit,
        metric: parameters.metric.unwrap_or_default(),
    };
    similar(&app, started, question, max_distance).await
}

async fn similar_to_words(
    State(app): State<Arc<App>>,
    Parameters(parameters): Parameters<WordsParameters>,
) -> Answer {
    let started = Instant::now();
    let WordsParameters {
        text,
        limit,
        metric,
        max_distance,
    } = parameters;
    let parameters = SimilarParameters {
        limit,
        metric,
        max_distance,
    };
    let (limit, max_distance) = (self::limit(limit)?, parameters.max_distance()?);
    let model = app.text.as_ref().map(Arc::clone).ok_or_else(|| {
        let message = "words cannot be looked up here: the model knows none";
        Problem::new(StatusCode::NOT_IMPLEMENTED, message)
    })?;
    let made = app.work.run(move || model.feature(&text)).await?;
    let question = Question {
        object_id: None,
        feature: made.map_err(of_query)?,
        limit,
        // As `search --text`.
        metric: metric.unwrap_or(Metric::Cosine),
    };
    similar(&app, started, question, max_distance).await
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

async fn similar_to_upload(
    State(app): State<Arc<App>>,
    Parameters(parameters): Parameters<SimilarParameters>,
    request: Request,
) -> Answer {
    let started = Instant::now();
    let limit = limit(parameters.limit)?;
    let max_distance = parameters.max_distance()?;
    let model = match &app.model {
        Ok(model) => Arc::clone(model),
        Err(why) => {
            let message = format!("pictures cannot be uploaded here: {why}");
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, message));
        }
    };
    let place = app.work.upload()?;
    let bytes = uploaded(request).await?;
    let made = app.work.run(move || model.feature(&bytes)).await?;
    drop(place);
    let question = Question {
        object_id: None,
        feature: made.map_err(of_query)?,
        limit,
        metric: parameters.metric.unwrap_or_default(),
    };
    similar(&app, started, question, max_distance).await
}

/// The picture in a request: its body, or the first file of a form.
async fn uploaded(request: Request) -> Result<Bytes, Problem> {
    // What is too large is refused before it is received.
    if announced_length(&request) > MAX_UPLOAD_BYTES as u64 {
        let message = format!("a picture may have at most {} MiB", MAX_UPLOAD_BYTES >> 20);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    if !is_form(&request) {
        return Ok(Bytes::from_request(request, &()).await?);
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

/// The answer with the nearest objects to a feature, up to a distance.
async fn similar(app: &App, started: Instant, question: Question, max_distance: f64) -> Answer {
    let query_object_id = question.object_id.clone();
    let found = app.scans.nearest(question).await;
    let found = found.ok_or_else(Problem::busy)?;
    let similar_images = found
        .into_iter()
        .filter(|neighbour| neighbour.distance <= max_distance)
        .map(|neighbour| SimilarImage {
            object_id: neighbour.object_id,
            distance: neighbour.distance,
            path: neighbour.path,
        })
        .collect();
    let answer = Similar {
        time: (started.elapsed().as_secs_f64() * 1e5).round() / 100.0,
        query_object_id,
        similar_images,
    };
    Ok(Json(answer).into_response())
}

/// Random objects, `{"objectIds": […]}`.
async fn random(
    State(app): State<Arc<App>>,
    Parameters(parameters): Parameters<RandomParameters>,
) -> Answer {
    let limit = limit(parameters.limit)?;
    let features = app.live.features();
    let collection = &features.collection;
    let rows = collection.rows();
    // Hidden rows have no id: so some more.
    let wanted = (limit + rows - collection.len()).min(rows);
    let chosen = index::sample(&mut rand::rng(), rows, wanted);
    let ids: Vec<String> = chosen
        .iter()
        .filter_map(|row| collection.nth_id(row))
        .take(limit)
        .collect();
    Ok(Json(serde_json::json!({ "objectIds": ids })).into_response())
}

/// The file of a listed object, by its id and by nothing else. One that is another file than the object's feature was made from is
/// not shown in its place.
fn open(app: &App, id: &str) -> Result<(std::fs::File, FileStamp), Problem> {
    let media = app.live.media();
    let entry = media
        .entry(id)
        .ok_or_else(|| Problem::not_found("no such object is listed"))?;
    let cannot_be_opened = || {
        // Whatever it is, it is not for the client to know where the files are.
        Problem::not_found("the file of this object cannot be opened")
    };
    let file = app.media.open_file(entry);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::not_found("the file of this object is gone"),
        _ => cannot_be_opened(),
    })?;
    let metadata = file.metadata().map_err(|_| cannot_be_opened())?;
    let stamp = FileStamp::of(&metadata);
    match app.live.features().source(id) {
        Some(source) if *source.path != *entry || source.file != stamp => Err(Problem::not_found(
            "the file of this object has changed since its feature was made; `simsearch extract` makes it again",
        )),
        _ => Ok((file, stamp)),
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

async fn object(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    _: Parameters<NoParameters>,
    asked: HeaderMap,
) -> Answer {
    let Path(id) = id?;
    let (worker, reading) = (Arc::clone(&app), "the file of this object cannot be read");
    let opened = move || -> Result<_, Problem> {
        let (mut file, stamp) = open(&worker, &id)?;
        let mut first = Vec::new();
        let read = file
            .by_ref()
            .take(Format::NEEDED_BYTES)
            .read_to_end(&mut first);
        read.map_err(|_| Problem::internal(reading))?;
        Ok((file, stamp, first))
    };
    // Without waiting for pictures that are decoded: it takes no time.
    let opened = tokio::task::spawn_blocking(opened).await;
    let (file, stamp, first) = opened.map_err(|_| Problem::internal(reading))??;
    let (length, tag) = (stamp.size, entity_tag(stamp));
    if has_picture(&asked, &tag) {
        return Ok(not_modified(tag));
    }
    let Ok(format) = Format::of(&first) else {
        let message = "the file of this object is not a picture";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    };
    // What follows is read as the client takes it, and no further than the length that was announced.
    let rest = tokio::fs::File::from_std(file);
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

async fn thumbnail(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    Parameters(parameters): Parameters<ThumbnailParameters>,
    asked: HeaderMap,
) -> Answer {
    let Path(id) = id?;
    let side = parameters.size.unwrap_or(DEFAULT_SIDE);
    if !SIDES.contains(&side) {
        let (least, most) = (SIDES.start(), SIDES.end());
        let message = format!("size must be {least} to {most}");
        return Err(Problem::bad_request(message));
    }
    let worker = Arc::clone(&app);
    let made = move || -> Result<Response, Problem> {
        let (file, stamp) = open(&worker, &id)?;
        let tag = entity_tag(stamp);
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

/// Whether the server is well, and what it can do.
async fn healthz(
    State(app): State<Arc<App>>,
    _: Parameters<NoParameters>,
) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "status": "ok",
        "objects": app.live.features().collection.len(),
        "uploads": app.model.is_ok(),
        "words": app.text.is_some(),
    }))
}

async fn metrics(State(app): State<Arc<App>>, _: Parameters<NoParameters>) -> Response {
    let features = app.live.features();
    let text = app.metrics.text(&Gauges {
        objects: features.collection.len(),
        shards: features.collection.shards().count(),
        uploads: app.work.uploads(),
    });
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

/// The page. Its addresses are relative, so that it works below any path that ends in a slash; where a proxy says which path it
/// took off, the page says it to the browser, who may have left out the slash.
async fn whole_page(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer {
    let prefix = match app.trust_proxy {
        true => forwarded_prefix(&headers)?,
        false => None,
    };
    let base = prefix.map(|prefix| format!("{}{}/", prefix.as_str(), app.base_path.as_str()));
    Ok(page::whole(base.as_deref()))
}

/// The path that a proxy took off the address, where it says so.
fn forwarded_prefix(headers: &HeaderMap) -> Result<Option<BasePath>, Problem> {
    let mut prefixes = headers.get_all("x-forwarded-prefix").iter();
    let prefix = match (prefixes.next(), prefixes.next()) {
        (None, _) => return Ok(None),
        (Some(prefix), None) => prefix.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    match prefix.and_then(|prefix| prefix.parse().ok()) {
        Some(prefix) => Ok(Some(prefix)),
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
