//! `GET /v1/models`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Asker, Error, Plane, TypedRefusals};

use crate::served::ServedModel;

/// The models, as `OpenAI`'s API lists them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"object": "list", "data": [{
    "id": "meta-llama/Llama-3.1-8B-Instruct", "object": "model", "created": 1705314600, "owned_by": "meta-llama", "ready": true
}]}))]
pub(crate) struct ServedModels {
    /// Always `list`.
    object: &'static str,
    /// By name.
    data: Vec<ServedModel>,
}

/// List the models that can be asked for, by OpenAI's API. Those that somebody serves at this moment are `ready`.
#[utoipa::path(get, path = "/v1/models", tag = "inference", security(("tenant_key" = [])),
    responses((status = 200, description = "The models.", body = ServedModels), TypedRefusals))]
pub(crate) async fn list_served_models(State(plane): State<Plane>, asker: Asker) -> Result<Json<ServedModels>, Error> {
    let ready = plane.store.served_models(&asker.tenant).await?;
    let models = plane.store.models().await?;
    let seen = models.iter().filter(|model| asker.sees(&model.name));
    let data = seen.map(|model| ServedModel::of(model, ready.contains(&model.name))).collect();
    Ok(Json(ServedModels { object: "list", data }))
}
