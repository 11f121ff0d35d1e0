//! The parameters of an address, after its question mark.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::path::PathBuf;
use utoipa::{IntoParams, ToSchema};

use super::answer::Problem;
use crate::similarity::scan::Metric;

/// Neighbours, or random objects, where no limit is given.
const DEFAULT_LIMIT: usize = 100;
/// The most of them.
const MAX_LIMIT: usize = 10_000;
/// Longest side of a thumbnail where none is given, and the least and the most, in pixels.
const DEFAULT_SIDE: usize = 256;
const SIDES: std::ops::RangeInclusive<usize> = 16..=1024;

/// The parameters of an address: those of `T` and `More`, each at most once, and no others, since one that is
/// overlooked gives another answer than was asked for.
pub struct Parameters<T, More = Nothing>(pub T, pub More);

impl<T, More, S> FromRequestParts<S> for Parameters<T, More>
where
    T: DeserializeOwned + IntoParams,
    More: DeserializeOwned + IntoParams,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let given: Query<Vec<(String, String)>> = Query::try_from_uri(&parts.uri)?;
        let known = T::into_params(|| None).into_iter();
        let known = known.chain(More::into_params(|| None));
        let known: Vec<String> = known.map(|parameter| parameter.name).collect();
        for (index, (name, _)) in given.iter().enumerate() {
            if !known.contains(name) {
                return Err(Problem::bad_request(unknown(name, &known)));
            }
            if given[..index].iter().any(|(before, _)| before == name) {
                let message = format!("the parameter `{name}` is given twice");
                return Err(Problem::bad_request(message));
            }
        }
        Ok(Parameters(
            read(&parts.uri, &given)?,
            read(&parts.uri, &given)?,
        ))
    }
}

fn unknown(name: &str, known: &[String]) -> String {
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match &known[..] {
        [] => format!("there is no parameter `{name}`: this address takes none"),
        known => format!(
            "there is no parameter `{name}`: this address takes {}",
            known.join(", ")
        ),
    }
}

/// Reads those of one type and leaves out the others.
fn read<T: DeserializeOwned>(uri: &Uri, given: &[(String, String)]) -> Result<T, Problem> {
    let refused = match Query::try_from_uri(uri) {
        Ok(Query(parameters)) => return Ok(parameters),
        Err(refused) => refused,
    };
    // `NAME: WHY`, or `missing field NAME`.
    let why = match &refused {
        QueryRejection::FailedToDeserializeQueryString(error) => {
            error.source().map_or(error.to_string(), <_>::to_string)
        }
        other => other.to_string(),
    };
    let of_one = given.iter().find_map(|(name, value)| {
        let why = why.strip_prefix(name.as_str())?.strip_prefix(": ")?;
        Some(format!("the parameter `{name}` cannot be `{value}`: {why}"))
    });
    let message = of_one.unwrap_or_else(|| match why.strip_prefix("missing field ") {
        Some(name) => format!("the parameter {name} is missing"),
        None => why,
    });
    Err(Problem::bad_request(message))
}

/// Where an address takes none, or no more.
#[derive(Deserialize, IntoParams)]
pub struct Nothing {}

/// Which neighbours are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct Neighbours {
    /// The most of them.
    #[param(minimum = 1, maximum = 10_000, default = 100)]
    limit: Option<usize>,
    /// How the distance between two features is measured; for words `cosine` where it is not given, else `euclidean`.
    #[param(inline)]
    metric: Option<MetricName>,
    /// Leave out what is farther than this.
    #[param(minimum = 0)]
    max_distance: Option<f64>,
    /// Look only at pictures below this folder of the media directory.
    #[param(value_type = Option<String>)]
    within: Option<PathBuf>,
    /// Use the index made by `simsearch index`: fast, but may miss some.
    #[param(default = false)]
    approximate: Option<bool>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MetricName {
    Euclidean,
    Cosine,
}

/// The same, checked.
pub struct Wanted {
    /// 1 to [`MAX_LIMIT`].
    pub limit: usize,
    pub metric: Metric,
    /// 0 or more.
    pub max_distance: f64,
    pub within: Option<PathBuf>,
    pub approximate: bool,
}

impl Neighbours {
    /// Checks them; `metric` is that of where none is given.
    pub fn wanted(self, metric: Metric) -> Result<Wanted, Problem> {
        let max_distance = self.max_distance.map(distance).transpose()?;
        // The page's field for a folder may be empty.
        let within = self.within.filter(|folder| !folder.as_os_str().is_empty());
        let approximate = self.approximate.unwrap_or(false);
        if approximate && within.is_some() {
            return Err(Problem::bad_request(
                "an index finds some neighbours among all objects: leave out `approximate` to look in a folder",
            ));
        }
        Ok(Wanted {
            limit: limit(self.limit)?,
            metric: self.metric.map_or(metric, |metric| match metric {
                MetricName::Euclidean => Metric::Euclidean,
                MetricName::Cosine => Metric::Cosine,
            }),
            max_distance: max_distance.unwrap_or(f64::INFINITY),
            within,
            approximate,
        })
    }
}

/// Which groups of duplicates are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct Duplicates {
    /// The most of them.
    #[param(minimum = 1, maximum = 10_000, default = 100)]
    limit: Option<usize>,
    /// How far duplicates may be from each other; where it is not given, what is known for the model.
    #[param(minimum = 0)]
    max_distance: Option<f64>,
}

impl Duplicates {
    /// Checks the limit.
    pub fn limit(&self) -> Result<usize, Problem> {
        limit(self.limit)
    }

    /// Checks the distance.
    pub fn max_distance(&self) -> Result<Option<f64>, Problem> {
        self.max_distance.map(distance).transpose()
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Words {
    /// What pictures should show, such as `a red car`.
    pub text: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Random {
    /// How many objects; all, where there are fewer.
    #[param(minimum = 1, maximum = 10_000, default = 100)]
    limit: Option<usize>,
}

impl Random {
    /// Checks it.
    pub fn limit(&self) -> Result<usize, Problem> {
        limit(self.limit)
    }
}

fn distance(asked: f64) -> Result<f64, Problem> {
    match asked >= 0.0 && asked.is_finite() {
        true => Ok(asked),
        false => Err(Problem::bad_request(
            "maxDistance must be 0 or more, and finite",
        )),
    }
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Problem::bad_request(format!(
            "limit must be 1 to {MAX_LIMIT}"
        ))),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Side {
    /// Pixels of the longer side.
    #[param(minimum = 16, maximum = 1024, default = 256)]
    size: Option<usize>,
}

impl Side {
    /// Checks it.
    pub fn pixels(&self) -> Result<usize, Problem> {
        let side = self.size.unwrap_or(DEFAULT_SIDE);
        match SIDES.contains(&side) {
            true => Ok(side),
            false => {
                let (least, most) = (SIDES.start(), SIDES.end());
                let message = format!("size must be {least} to {most}");
                Err(Problem::bad_request(message))
            }
        }
    }
}

/// Which object. Slashes in it may be kept; other characters are percent-encoded.
#[derive(IntoParams)]
#[into_params(names("object_id"), parameter_in = Path)]
pub struct ObjectId(#[allow(dead_code, reason = "it is here to be described")] String);
