//! The gateway: `OpenAI`'s API in front of the models that nodes and instances serve.
//!
//! Who asks, what the limits are and who serves the model is known in one round trip at most before the model's server is asked, and in none
//! for most of it. A body is passed on as it is; an answer passes as it comes.
//!
//! **Invariants.** The server is chosen by the model's name alone. Nothing of a caller's headers reaches it, and no header of its own but
//! what the body is and how long reaches the caller. What was reserved is settled once, however the answer ends.

mod ask;
mod create_chat_completion;
mod create_completion;
mod create_embedding;
mod get_served_model;
mod list_served_models;
mod piece;
mod refusal;
mod relay;
mod request_body;
mod served;
mod watch;

use utoipa_axum::routes;
use web::Surface;

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("inference", refusal::openai)
        .operation(routes!(create_chat_completion::create_chat_completion))
        .operation(routes!(create_completion::create_completion))
        .operation(routes!(create_embedding::create_embedding))
        .operation(routes!(list_served_models::list_served_models))
        .operation(routes!(get_served_model::get_served_model))
}
