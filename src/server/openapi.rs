//! The description of the interface for programs, made from the code that answers.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Server};

use super::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "simsearch",
        description = "Similar pictures of a collection, over HTTP.",
    ),
    paths(
        routes::similar::similar_to_object,
        routes::similar::similar_to_words,
        routes::similar::similar_to_upload,
        routes::similar::feature,
        routes::pictures::object,
        routes::pictures::thumbnail,
        routes::similar::random,
        routes::duplicates::duplicates,
        routes::duplicates::decide,
        routes::healthz,
        routes::metrics,
    )
)]
struct Interface;

/// The document, where the addresses are below a path, which is empty for the root, and where a token is wanted.
pub fn document(base_path: &str, wants_token: bool) -> Document {
    let mut document = Interface::openapi();
    if wants_token {
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", bearer);
        document.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
    }
    if !base_path.is_empty() {
        document.servers = Some(vec![Server::new(base_path)]);
    }
    document
}
