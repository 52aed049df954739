//! `DELETE /admin/models/{model_name}`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Admin, Command, Error, Id, Nothing, Plane, TypedRefusals};

use crate::name::{ModelRef, read};

/// A model is not registered any more.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"name": "meta-llama/Llama-3.1-8B-Instruct", "status": "deleted"}))]
pub(crate) struct DeletedModel {
    name: String,
    /// Always `deleted`.
    status: &'static str,
}

/// Take a model out of the registry. What serves it runs on; nothing new is launched with it.
#[utoipa::path(delete, path = "/admin/models/{*model_name}", tag = "models", security(("admin_token" = [])),
    params(("model_name" = String, Path, description = "The model's name, with its slash as it is.")),
    responses((status = 200, description = "It is not registered any more.", body = DeletedModel), TypedRefusals))]
pub(crate) async fn delete_model(
    State(plane): State<Plane>,
    _: Admin,
    Id(name): Id<ModelRef>,
    _: Command<Nothing, Admin>,
) -> Result<Json<DeletedModel>, Error> {
    let known = read(&plane, &name).await?;
    plane.store.delete_model(&known).await?;
    Ok(Json(DeletedModel { name: known.name.as_str().to_owned(), status: "deleted" }))
}
