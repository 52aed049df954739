//! `POST /admin/models`

use axum::{Json, extract::State};
use domain::model;
use http::StatusCode;
use store::StoreError;
use web::{Admin, Command, Error, Plane, TypedRefusals};

use crate::view::{Model, NewModel, refused};

/// Register a model. Nodes can be launched with it from now on.
#[utoipa::path(post, path = "/admin/models", tag = "models", security(("admin_token" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewModel,
    responses((status = 201, description = "The model.", body = Model), TypedRefusals))]
pub(crate) async fn create_model(
    State(plane): State<Plane>,
    _: Admin,
    command: Command<NewModel, Admin>,
) -> Result<(StatusCode, Json<Model>), Error> {
    let now = plane.ports.clock.now();
    let made = model::Model::register(command.input.clone().described()?, now).map_err(|bad| refused(&bad))?;
    let answer = Model::from(&made);
    let claim = command.claim_new(format!("model {}", made.name.as_str()), &answer, now)?;
    match plane.store.write_model(&made, claim.as_ref()).await {
        Ok(()) => Ok((StatusCode::CREATED, Json(answer))),
        Err(StoreError::NameTaken) => Err(Error::Conflict("A model of this name is registered already".to_owned())),
        Err(error) => Err(error.into()),
    }
}
