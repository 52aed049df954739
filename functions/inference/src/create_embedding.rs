//! `POST /v1/embeddings`

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Plane, TypedRefusals};

use crate::ask::{Operation, answer};

/// Texts that are to be turned into vectors, as `OpenAI`'s API has it. What is not named here is passed to the model's server as it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"model": "BAAI/bge-m3", "input": "The food was delicious"}))]
pub(crate) struct EmbeddingRequest {
    /// The model's name, as `GET /v1/models` has it.
    model: String,
    /// The text, or several, or their tokens.
    #[schema(value_type = Object)]
    input: serde_json::Value,
}

/// Turn texts into vectors, by OpenAI's API. The model is to be one that is registered as `embedding`.
#[utoipa::path(post, path = "/v1/embeddings", tag = "inference", security(("tenant_key" = [])), request_body = EmbeddingRequest,
    responses((status = 200, description = "The vectors, as the model's server gives them.", body = Object), TypedRefusals))]
pub(crate) async fn create_embedding(State(plane): State<Plane>, request: Request) -> Response {
    answer(&plane, Operation::Embedding, request).await
}
