//! A model on the wire.

use domain::{
    Timestamp, model,
    model::{BadModel, Described, ModelKind},
    names::{ModelName, ModelWord},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{Error, Input, LimitsBody};

/// A model that is to be registered.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "mistralai/Mistral-7B-Instruct-v0.3", "family": "mistral", "size": "7B", "type": "chat", "context_length": 32768,
    "vram_required_gb": 16, "price_input_per_million": 0.15, "price_output_per_million": 0.60,
    "huggingface_id": "mistralai/Mistral-7B-Instruct-v0.3"
}))]
pub(crate) struct NewModel {
    /// The name under which it is asked for.
    #[schema(value_type = String, max_length = 128)]
    name: ModelName,
    /// Its family, such as `llama`.
    #[schema(value_type = String, max_length = 63)]
    family: ModelWord,
    /// Its size, such as `8B`.
    #[schema(value_type = String, max_length = 63)]
    size: ModelWord,
    /// `chat`, `completion` or `embedding`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: ModelKind,
    /// The most tokens of a request and its answer together.
    #[schema(minimum = 1, maximum = 16777216)]
    context_length: u32,
    /// How much memory of GPUs it needs, in GB.
    #[schema(minimum = 1, maximum = 100000)]
    vram_required_gb: u32,
    /// Dollars for a million tokens that are read, with at most six decimals.
    #[schema(minimum = 0, maximum = 1000000)]
    price_input_per_million: f64,
    /// Dollars for a million tokens that are written, with at most six decimals.
    #[schema(minimum = 0, maximum = 1000000)]
    price_output_per_million: f64,
    /// Its id at Hugging Face; its name when left out.
    #[schema(value_type = Option<String>, max_length = 128)]
    huggingface_id: Option<ModelName>,
    /// What all together may ask of it.
    limits: Option<LimitsBody>,
}

impl Input for NewModel {
    const SECRET: &'static [&'static str] = &[];
}

impl NewModel {
    /// What the model is to be.
    pub(crate) fn described(self) -> Result<Described, Error> {
        let Self { name, family, size, kind, context_length, vram_required_gb, .. } = self;
        Ok(Described {
            huggingface_id: self.huggingface_id.unwrap_or_else(|| name.clone()),
            name,
            family,
            size,
            kind,
            context_length,
            vram_required_gb,
            price_input_per_million: self.price_input_per_million,
            price_output_per_million: self.price_output_per_million,
            limits: self.limits.as_ref().map(LimitsBody::read).transpose()?.unwrap_or_default(),
        })
    }
}

/// What is to be different about a registered model; what is left out stays.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"vram_required_gb": 18, "price_input_per_million": 0.12}))]
pub(crate) struct ModelUpdate {
    /// The same name, where it is said at all.
    #[schema(value_type = Option<String>, max_length = 128)]
    name: Option<ModelName>,
    #[schema(value_type = Option<String>, max_length = 63)]
    family: Option<ModelWord>,
    #[schema(value_type = Option<String>, max_length = 63)]
    size: Option<ModelWord>,
    /// `chat`, `completion` or `embedding`.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    kind: Option<ModelKind>,
    #[schema(minimum = 1, maximum = 16777216)]
    context_length: Option<u32>,
    #[schema(minimum = 1, maximum = 100000)]
    vram_required_gb: Option<u32>,
    #[schema(minimum = 0, maximum = 1000000)]
    price_input_per_million: Option<f64>,
    #[schema(minimum = 0, maximum = 1000000)]
    price_output_per_million: Option<f64>,
    #[schema(value_type = Option<String>, max_length = 128)]
    huggingface_id: Option<ModelName>,
    /// What all together may ask of it, in the place of all limits that it has: `{}` takes them away.
    limits: Option<LimitsBody>,
}

impl Input for ModelUpdate {
    const SECRET: &'static [&'static str] = &[];
}

impl ModelUpdate {
    /// What the model is to be.
    pub(crate) fn upon(self, known: &model::Model) -> Result<Described, Error> {
        let limits = self.limits.as_ref().map(LimitsBody::read).transpose()?;
        Ok(Described {
            name: self.name.unwrap_or_else(|| known.name.clone()),
            family: self.family.unwrap_or_else(|| known.family.clone()),
            size: self.size.unwrap_or_else(|| known.size.clone()),
            kind: self.kind.unwrap_or(known.kind),
            context_length: self.context_length.unwrap_or(known.context_length),
            vram_required_gb: self.vram_required_gb.unwrap_or(known.vram_required_gb),
            price_input_per_million: self.price_input_per_million.unwrap_or_else(|| known.price_input.dollars()),
            price_output_per_million: self.price_output_per_million.unwrap_or_else(|| known.price_output.dollars()),
            huggingface_id: self.huggingface_id.unwrap_or_else(|| known.huggingface_id.clone()),
            limits: limits.unwrap_or_else(|| known.limits.clone()),
        })
    }
}

/// A registered model.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "meta-llama/Llama-3.1-8B-Instruct", "family": "llama", "size": "8B", "type": "chat", "context_length": 8192,
    "vram_required_gb": 16, "price_input_per_million": 0.15, "price_output_per_million": 0.6,
    "huggingface_id": "meta-llama/Llama-3.1-8B-Instruct", "created_at": "2024-01-15T10:30:00Z", "updated_at": "2024-01-15T10:30:00Z"
}))]
pub(crate) struct Model {
    name: String,
    family: String,
    size: String,
    /// `chat`, `completion` or `embedding`.
    #[serde(rename = "type")]
    kind: &'static str,
    context_length: u32,
    vram_required_gb: u32,
    price_input_per_million: f64,
    price_output_per_million: f64,
    huggingface_id: String,
    /// What all together may ask of it, where that has limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = LimitsBody, required = false)]
    limits: Option<LimitsBody>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<&model::Model> for Model {
    fn from(model: &model::Model) -> Self {
        Self {
            name: model.name.as_str().to_owned(),
            family: model.family.as_str().to_owned(),
            size: model.size.as_str().to_owned(),
            kind: model.kind.name(),
            context_length: model.context_length,
            vram_required_gb: model.vram_required_gb,
            price_input_per_million: model.price_input.dollars(),
            price_output_per_million: model.price_output.dollars(),
            huggingface_id: model.huggingface_id.as_str().to_owned(),
            limits: LimitsBody::shown(&model.limits),
            created_at: model.created_at,
            updated_at: model.updated_at,
        }
    }
}

/// What is wrong about a description, in this surface's words.
pub(crate) fn refused(bad: &BadModel) -> Error {
    Error::field(bad.field, bad.rule, None)
}
