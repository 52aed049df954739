//! `GET /api/v1/clusters`

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use web::{Checked, Error, Plane, Problem, Service, TypedRefusals};

use crate::{name::ClusterName, view::Cluster};

/// The most clusters of one answer.
const MOST: u16 = 500;

/// Which part of the list is wanted.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u16,
    /// Those after this name.
    #[param(value_type = Option<String>)]
    after: Option<ClusterName>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 100, after: None }
    }
}

/// List the clusters that have not ended, by name.
#[utoipa::path(get, path = "/api/v1/clusters", tag = "clusters", security(("service_token" = [])), params(Page),
    responses((status = 200, description = "The clusters.", body = Vec<Cluster>), TypedRefusals))]
pub(crate) async fn list_clusters(
    State(plane): State<Plane>,
    _: Service,
    Checked(Page { limit, after }): Checked<Page>,
) -> Result<Json<Vec<Cluster>>, Error> {
    if !(1..=MOST).contains(&limit) {
        let (loc, msg) = (vec!["query".into(), "limit".into()], format!("limit is from 1 to {MOST}"));
        return Err(Error::Invalid(vec![Problem { kind: "value_error", loc, msg, input: Some(json!(limit)) }]));
    }
    let found = plane.store.clusters(after.as_ref().map(|ClusterName(name)| name.as_str()), limit).await?;
    Ok(Json(found.iter().filter_map(Cluster::of).collect()))
}
