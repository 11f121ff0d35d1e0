//! The description of the interface for programs, made from the code that answers.

use utoipa::OpenApi;
use utoipa::openapi::{OpenApi as Document, Server};

use super::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "simsearch",
        description = "Similar pictures of a collection, over HTTP.",
    ),
    paths(
        routes::similar_to_object,
        routes::similar_to_words,
        routes::similar_to_upload,
        routes::object,
        routes::thumbnail,
        routes::random,
        routes::healthz,
        routes::metrics,
    )
)]
struct Interface;

/// The document, where the addresses are below a path; empty for the root.
pub fn document(base_path: &str) -> Document {
    let mut document = Interface::openapi();
    if !base_path.is_empty() {
        document.servers = Some(vec![Server::new(base_path)]);
    }
    document
}
