//! `GET /v1/models/{model}`

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use domain::names::ModelName;
use web::{Asker, Plane, TypedRefusals};

use crate::{refusal::Refusal, served::ServedModel};

/// Get a model that can be asked for, by OpenAI's API. Its id may hold a slash, as it is or as `%2F`.
#[utoipa::path(get, path = "/v1/models/{*model}", tag = "inference", security(("tenant_key" = [])),
    params(("model" = String, Path, description = "The model's name, with its slash as it is.")),
    responses((status = 200, description = "The model.", body = ServedModel), TypedRefusals))]
pub(crate) async fn get_served_model(
    State(plane): State<Plane>,
    asker: Asker,
    model: Result<Path<String>, PathRejection>,
) -> Response {
    // What is no text names no model.
    let model = model.map(|Path(model)| model).unwrap_or_default();
    match find(&plane, &asker, &model).await {
        Ok(found) => Json(found).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn find(plane: &Plane, asker: &Asker, model: &str) -> Result<ServedModel, Refusal> {
    let unknown = || Refusal::NoSuchModel(model.to_owned());
    let name = ModelName::parse(model).map_err(|_no_name| unknown())?;
    if !asker.sees(&name) {
        return Err(unknown());
    }
    let model = plane.store.model(&name).await?.ok_or_else(unknown)?;
    let ready = plane.store.served_models(&asker.tenant).await?;
    Ok(ServedModel::of(&model, ready.contains(&name)))
}
