//! A model on the wire, as `OpenAI`'s API has it.

use domain::model::Model;
use serde::Serialize;
use utoipa::ToSchema;

/// A model that can be asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "meta-llama/Llama-3.1-8B-Instruct", "object": "model", "created": 1705314600, "owned_by": "meta-llama", "ready": true
}))]
pub(crate) struct ServedModel {
    /// Its name, which a request names.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When it was registered, in seconds since 1970.
    created: i64,
    /// The organisation in its name.
    owned_by: String,
    /// Somebody serves it at this moment.
    ready: bool,
}

impl ServedModel {
    pub(crate) fn of(model: &Model, ready: bool) -> Self {
        let id = model.name.as_str().to_owned();
        let owned_by = id.split_once('/').map_or("slipway", |(organisation, _)| organisation).to_owned();
        Self { id, object: "model", created: model.created_at.seconds(), owned_by, ready }
    }
}
