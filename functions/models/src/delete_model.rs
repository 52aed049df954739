//! `DELETE /admin/models/{model_name}`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Admin, Error, Id, Plane, TypedRefusals};

use crate::name::{ModelRef, read};

/// A model is not registered any more.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"name": "meta-llama/Llama-3.1-8B-Instruct", "status": "deleted"}))]
pub(crate) struct Deleted {
    name: String,
    /// Always `deleted`.
    status: &'static str,
}

/// Take a model out of the registry. What serves it runs on; nothing new is launched with it.
#[utoipa::path(delete, path = "/admin/models/{*model_name}", tag = "models", security(("admin_token" = [])),
    params(("model_name" = String, Path, description = "The model's name, with its slash as it is.")),
    responses((status = 200, description = "It is not registered any more.", body = Deleted), TypedRefusals))]
pub(crate) async fn delete_model(
    State(plane): State<Plane>,
    _: Admin,
    Id(name): Id<ModelRef>,
) -> Result<Json<Deleted>, Error> {
    let known = read(&plane, &name).await?;
    plane.store.delete_model(&known).await?;
    Ok(Json(Deleted { name: known.name.as_str().to_owned(), status: "deleted" }))
}
