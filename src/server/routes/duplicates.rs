//! The groups of duplicates, and what somebody decides about them.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use crate::server::App;
use crate::server::answer::{ErrorBody, Problem};
use crate::server::groups::{self, Member, NoGroups};
use crate::server::parameters::{self, Parameters};
use crate::similarity::scan::pairs::TooManyPairs;
use crate::storage::decisions::Decision;

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
    if app.live.features().collection.is_empty() {
        return Err(Problem::not_found("no listed object has a feature yet"));
    }
    // Held by the search itself, which goes on where the client is told that it takes too long: the next finds its
    // groups.
    let mut turn = Arc::clone(&app.groups.turn).lock_owned().await;
    let worker = Arc::clone(&app);
    let find = move || -> Result<_, Problem> {
        let found = (worker.groups).found(&mut turn, &worker.live, &worker.media, asked);
        let found = found.map_err(|why| of_groups(&worker, why))?;
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

/// Why there are no groups. Where the features and the list are, is not for the client to know.
fn of_groups(app: &App, why: NoGroups) -> Problem {
    match why {
        NoGroups::UnknownLimit => Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "how near duplicates are is not known for the model of these features; `maxDistance` says it",
        ),
        NoGroups::TooManyPairs(TooManyPairs { most, limit }) => Problem::bad_request(format!(
            "more than {most} pairs are within {limit} of each other; ask for a smaller `maxDistance`"
        )),
        NoGroups::Failed(why) => {
            let what = "the groups of duplicates cannot be found";
            app.progress.warn(&format!("{what}: {why:#}"));
            Problem::internal(format!("{what}; the server has said why where it runs"))
        }
    }
}

/// What somebody decides about some objects.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decided {
    /// Two objects or more.
    object_ids: Vec<String>,
    /// The one of them to keep; null where they are no duplicates of each other.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
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
