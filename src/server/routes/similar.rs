//! The neighbours of objects, words and pictures, and random objects to begin with.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::multipart::Multipart;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use rand::seq::index;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::inference::embed::QueryError;
use crate::server::App;
use crate::server::answer::{ErrorBody, Problem};
use crate::server::parameters::{self, ObjectId, Parameters, Wanted};
use crate::server::scans::{Method, Question};
use crate::server::work::MAX_UPLOAD_BYTES;
use crate::similarity::scan::Metric;
use crate::storage::folder::Folder;
use crate::storage::npy;

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
    let feature = feature_of(&app, &id)?;
    similar(app, started, Some(id), feature, wanted).await
}

fn feature_of(app: &App, id: &str) -> Result<Vec<f32>, Problem> {
    let feature = (app.live.features().find(id)).map(|(_, feature)| feature.to_vec());
    let feature =
        feature.ok_or_else(|| Problem::not_found("there is no feature of this object"))?;
    if !feature.iter().all(|number| number.is_finite()) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the feature of this object holds a number that is not finite; `simsearch verify` says more",
        ));
    }
    Ok(feature)
}

/// The feature of an object.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FeatureOfObject {
    object_id: String,
    /// Its numbers; as `float32` they are the same to the last bit.
    feature: Vec<f32>,
}

/// What the feature of an object is.
#[utoipa::path(
    get,
    path = "/feature/{object_id}",
    params(ObjectId),
    responses(
        (status = 200, description = "The feature", body = FeatureOfObject),
        (status = "default", description = "What is wrong", body = ErrorBody),
    )
)]
pub async fn feature(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    _: Parameters<parameters::Nothing>,
) -> Answer {
    let Path(object_id) = id?;
    let feature = feature_of(&app, &object_id)?;
    Ok(Json(FeatureOfObject { object_id, feature }).into_response())
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

/// What the neighbours of a picture are: the body is the picture, or a form with one file. In its place there may be a
/// feature, as a `.npy` file.
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
    let feature = {
        let _place = app.work.upload()?;
        let bytes = uploaded(request).await?;
        match npy::is_array(&bytes) {
            true => {
                let dimension = app.live.features().collection.dimension();
                npy::any_feature(&bytes, dimension).map_err(|why| {
                    let message = format!("this .npy file is no feature: {why}");
                    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message)
                })?
            }
            false => {
                let model = app.model.as_ref().map(Arc::clone).ok_or_else(|| {
                    let message =
                        "pictures cannot be uploaded here; the server said why when it began";
                    Problem::new(StatusCode::NOT_IMPLEMENTED, message)
                })?;
                let made = app.work.run(move || model.feature(&bytes)).await?;
                made.map_err(of_query)?
            }
        }
    };
    similar(app, started, None, feature, wanted).await
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
    let mut found = app.scans.nearest(question).await?;
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
