//! `POST /v1/completions`

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Plane, TypedRefusals};

use crate::ask::{Operation, answer};

/// A text that is to be gone on with, as `OpenAI`'s API has it. What is not named here is passed to the model's server as it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"model": "meta-llama/Llama-3.1-8B-Instruct", "prompt": "Once upon a time", "max_tokens": 50}))]
pub(crate) struct CompletionRequest {
    /// The model's name, as `GET /v1/models` has it.
    model: String,
    /// The text, or several, or their tokens.
    #[schema(value_type = Object)]
    prompt: serde_json::Value,
    /// The longest answer, in tokens.
    max_tokens: Option<u64>,
    /// Send the answer as events while it is being written.
    stream: Option<bool>,
}

/// Let a model go on with a text, by OpenAI's API. See the chat for how it is answered.
#[utoipa::path(post, path = "/v1/completions", tag = "inference", security(("tenant_key" = [])), request_body = CompletionRequest,
    responses((status = 200, description = "The answer, as the model's server gives it.", content(
        (Object = "application/json"), (String = "text/event-stream"))), TypedRefusals))]
pub(crate) async fn create_completion(State(plane): State<Plane>, request: Request) -> Response {
    answer(&plane, Operation::Completion, request).await
}
