//! `GET /admin/models`

use axum::{Json, extract::State};
use web::{Admin, Error, Plane, TypedRefusals};

use crate::view::Model;

/// List the registered models, by name.
#[utoipa::path(get, path = "/admin/models", tag = "models", security(("admin_token" = [])),
    responses((status = 200, description = "The models.", body = Vec<Model>), TypedRefusals))]
pub(crate) async fn list_models(State(plane): State<Plane>, _: Admin) -> Result<Json<Vec<Model>>, Error> {
    Ok(Json(plane.store.models().await?.iter().map(Model::from).collect()))
}
