//! The pictures of objects, as they are and small.

use std::io::{self, Read};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::Answer;
use crate::pictures::thumbnail::Thumbnail;
use crate::pictures::{Format, PictureReader, PixelOptions};
use crate::server::App;
use crate::server::answer::{ErrorBody, Problem};
use crate::server::parameters::{self, ObjectId, Parameters};
use crate::storage::files::FileStamp;
use crate::storage::media::MediaFile;

/// What is read of a picture at a time: less takes more trips to the thread that reads, and more is held for each client
/// that is slow.
const PIECE: usize = 64 << 10;

/// A browser keeps pictures and asks whether they are still the same: an id may stand for another file a moment later.
const KEEP_PICTURES: &str = "private, no-cache";

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
    // A proxy that compresses makes a tag weak, which is as good here.
    let is_same = |known: &str| known.strip_prefix("W/").unwrap_or(known) == tag;
    known.is_some_and(|tags| tags == "*" || tags.split(',').any(|known| is_same(known.trim())))
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
    let pieces = ReaderStream::with_capacity(whole, PIECE);
    Ok((headers, Body::from_stream(pieces)).into_response())
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
        (file.read_whole(&mut bytes))
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
