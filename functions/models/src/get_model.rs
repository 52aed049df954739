//! `GET /admin/models/{model_name}`

use axum::{Json, extract::State};
use web::{Admin, Error, Id, Plane, TypedRefusals};

use crate::{
    name::{ModelRef, read},
    view::Model,
};

/// Get a registered model.
#[utoipa::path(get, path = "/admin/models/{*model_name}", tag = "models", security(("admin_token" = [])),
    params(("model_name" = String, Path, description = "The model's name, with its slash as it is.")),
    responses((status = 200, description = "The model.", body = Model), TypedRefusals))]
pub(crate) async fn get_model(
    State(plane): State<Plane>,
    _: Admin,
    Id(name): Id<ModelRef>,
) -> Result<Json<Model>, Error> {
    Ok(Json(Model::from(&read(&plane, &name).await?)))
}
