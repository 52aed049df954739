//! `PUT /admin/models/{model_name}`

use axum::{Json, extract::State};
use web::{Admin, Error, Id, Plane, TypedRefusals, body::Plain};

use crate::{
    name::{ModelRef, read},
    view::{Model, ModelUpdate, refused},
};

/// Change a registered model. What serves it already keeps what it was launched with.
#[utoipa::path(put, path = "/admin/models/{*model_name}", tag = "models", security(("admin_token" = [])),
    params(("model_name" = String, Path, description = "The model's name, with its slash as it is.")),
    request_body = ModelUpdate,
    responses((status = 200, description = "The model as it is now.", body = Model), TypedRefusals))]
pub(crate) async fn update_model(
    State(plane): State<Plane>,
    _: Admin,
    Id(name): Id<ModelRef>,
    Plain(update): Plain<ModelUpdate>,
) -> Result<Json<Model>, Error> {
    let known = read(&plane, &name).await?;
    let next = known.describe(update.upon(&known)?, plane.ports.clock.now()).map_err(|bad| refused(&bad))?;
    plane.store.write_model(&next, None).await?;
    Ok(Json(Model::from(&next)))
}
