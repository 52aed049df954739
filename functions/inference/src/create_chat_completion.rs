//! `POST /v1/chat/completions`

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Plane, TypedRefusals};

use crate::ask::{Operation, answer};

/// A chat, as `OpenAI`'s API has it. What is not named here is passed to the model's server as it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 100
}))]
pub(crate) struct ChatRequest {
    /// The model's name, as `GET /v1/models` has it.
    model: String,
    /// What was said so far.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<serde_json::Value>,
    /// The longest answer, in tokens.
    max_tokens: Option<u64>,
    /// Send the answer as events while it is being written.
    stream: Option<bool>,
}

/// Chat with a model, by OpenAI's API.
///
/// It is answered by an instance of the tenant's own where there is one, and else by a shared one. The answer passes as it comes, event by
/// event where a stream is asked for. What limits are nearest is said in X-RateLimit-Limit, -Remaining and -Reset (seconds), and in the same
/// with -Tokens.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "inference", security(("tenant_key" = [])), request_body = ChatRequest,
    responses((status = 200, description = "The answer, as the model's server gives it.", content(
        (Object = "application/json"), (String = "text/event-stream"))), TypedRefusals))]
pub(crate) async fn create_chat_completion(State(plane): State<Plane>, request: Request) -> Response {
    answer(&plane, Operation::Chat, request).await
}
