//! `GET /api/v1/clusters/{cluster_name}`

use axum::{Json, extract::State};
use web::{Error, Id, Plane, Service, TypedRefusals};

use crate::{
    name::{ClusterName, UNKNOWN},
    view::Cluster,
};

/// Get a cluster by its name, until it has ended.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster_name}", tag = "clusters", security(("service_token" = [])),
    params(("cluster_name" = String, Path, description = "The cluster.")),
    responses((status = 200, description = "The cluster as it is now.", body = Cluster), TypedRefusals))]
pub(crate) async fn get_cluster(
    State(plane): State<Plane>,
    _: Service,
    Id(ClusterName(name)): Id<ClusterName>,
) -> Result<Json<Cluster>, Error> {
    let found = plane.store.cluster(&name).await?;
    found.as_ref().and_then(Cluster::of).map(Json).ok_or(Error::NotFound(UNKNOWN))
}
