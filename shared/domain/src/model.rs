//! The registry of models (checklist 000#11): what a model is, what it costs, and which GPUs it fits.

use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    gpu::Gpu,
    limits::Limits,
    names::{ModelName, ModelWord},
    price::Price,
};

/// What a model is for, and so which of the OpenAI operations it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// It talks: `/v1/chat/completions`.
    #[default]
    Chat,
    /// It goes on with a text: `/v1/completions`.
    Completion,
    /// It turns texts into vectors: `/v1/embeddings`.
    Embedding,
}

impl ModelKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Completion, Self::Embedding];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completion",
            Self::Embedding => "embedding",
        }
    }
}

/// What somebody says about a model, as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// The name under which it is asked for.
    pub name: ModelName,
    /// Its family, such as `llama`.
    pub family: ModelWord,
    /// Its size, such as `8B`.
    pub size: ModelWord,
    /// What it is for.
    pub kind: ModelKind,
    /// The most tokens of a request and its answer together.
    pub context_length: u32,
    /// How much memory of GPUs it needs, in GB of 10^9 bytes.
    pub vram_required_gb: u32,
    /// Dollars for a million tokens that are read.
    pub price_input_per_million: f64,
    /// Dollars for a million tokens that are written.
    pub price_output_per_million: f64,
    /// Its id at Hugging Face.
    pub huggingface_id: ModelName,
    /// What all together may ask of it.
    pub limits: Limits,
}

/// What is wrong about a model's description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct BadModel {
    /// The field.
    pub field: &'static str,
    /// What is allowed there.
    pub rule: &'static str,
}

/// A model in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name under which it is asked for; it never changes.
    pub name: ModelName,
    /// Its family, such as `llama`.
    pub family: ModelWord,
    /// Its size, such as `8B`.
    pub size: ModelWord,
    /// What it is for.
    pub kind: ModelKind,
    /// The most tokens of a request and its answer together.
    pub context_length: u32,
    /// How much memory of GPUs it needs, in GB of 10^9 bytes.
    pub vram_required_gb: u32,
    /// For a million tokens that are read.
    pub price_input: Price,
    /// For a million tokens that are written.
    pub price_output: Price,
    /// Its id at Hugging Face.
    pub huggingface_id: ModelName,
    /// What all together may ask of it.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows by one with each change.
    pub version: u64,
}

/// The longest context that is believed, in tokens.
const LONGEST_CONTEXT: u32 = 16_777_216;
/// The most memory that is believed, in GB.
const MOST_MEMORY: u32 = 100_000;

impl Model {
    /// Registers a model.
    ///
    /// # Errors
    /// When a number is out of its range; the error names the field.
    pub fn register(described: Described, now: Timestamp) -> Result<Self, BadModel> {
        let bad = |field, rule| Err(BadModel { field, rule });
        let Described { name, family, size, kind, context_length, vram_required_gb, huggingface_id, limits, .. } =
            described;
        if !(1..=LONGEST_CONTEXT).contains(&context_length) {
            return bad("context_length", "context_length is from 1 to 16777216 tokens");
        }
        if !(1..=MOST_MEMORY).contains(&vram_required_gb) {
            return bad("vram_required_gb", "vram_required_gb is from 1 to 100000");
        }
        let rule = "a price is from 0 to 1000000 dollars, with at most six decimals";
        let Some(price_input) = Price::from_dollars(described.price_input_per_million) else {
            return bad("price_input_per_million", rule);
        };
        let Some(price_output) = Price::from_dollars(described.price_output_per_million) else {
            return bad("price_output_per_million", rule);
        };
        let (created_at, updated_at, version) = (now, now, 1);
        Ok(Self {
            name,
            family,
            size,
            kind,
            context_length,
            vram_required_gb,
            price_input,
            price_output,
            huggingface_id,
            limits,
            created_at,
            updated_at,
            version,
        })
    }

    /// Describes it anew. Its name stays; nodes that serve it keep what they were launched with.
    ///
    /// # Errors
    /// As [`Model::register`], or when the name is another.
    pub fn describe(&self, described: Described, now: Timestamp) -> Result<Self, BadModel> {
        if described.name != self.name {
            let rule = "a model's name cannot be changed: register it anew under the other name";
            return Err(BadModel { field: "name", rule });
        }
        let next = Self::register(described, now)?;
        Ok(Self { created_at: self.created_at, version: self.version + 1, ..next })
    }

    /// Whether it fits so many GPUs of a type.
    ///
    /// # Errors
    /// When it does not; the error says by how much.
    pub fn fits(&self, gpu: Gpu, gpu_count: u32) -> Result<(), DoesNotFit> {
        let (needed_gb, there_gb) = (self.vram_required_gb, gpu.memory_gb().saturating_mul(gpu_count));
        if needed_gb <= there_gb {
            return Ok(());
        }
        Err(DoesNotFit {
            model: self.name.clone(),
            needed_gb,
            gpu,
            gpu_count,
            there_gb,
            short_by_gb: needed_gb - there_gb,
        })
    }
}

/// A model needs more memory than the GPUs have that it was to be launched on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} needs {needed_gb} GB and {gpu_count} x {} has {there_gb} GB: {short_by_gb} GB too little", .model.as_str(), .gpu.short())]
pub struct DoesNotFit {
    /// The model.
    pub model: ModelName,
    /// What it needs, in GB.
    pub needed_gb: u32,
    /// The GPUs' type.
    pub gpu: Gpu,
    /// How many there were to be.
    pub gpu_count: u32,
    /// What they have together, in GB.
    pub there_gb: u32,
    /// What is missing, in GB.
    pub short_by_gb: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn described() -> Described {
        let name = ModelName::parse("meta-llama/Llama-3.1-8B-Instruct").unwrap();
        Described {
            name: name.clone(),
            family: ModelWord::parse("llama").unwrap(),
            size: ModelWord::parse("8B").unwrap(),
            kind: ModelKind::Chat,
            context_length: 8192,
            vram_required_gb: 16,
            price_input_per_million: 0.15,
            price_output_per_million: 0.60,
            huggingface_id: name,
            limits: Limits::default(),
        }
    }

    #[test]
    fn what_is_described_is_checked() {
        let model = Model::register(described(), NOW).unwrap();
        assert_eq!((model.version, model.price_output.micros()), (1, 600_000));
        let check = |field: &str, edit: &dyn Fn(&mut Described)| {
            let mut wrong = described();
            edit(&mut wrong);
            assert_eq!(Model::register(wrong, NOW).unwrap_err().field, field);
        };
        check("context_length", &|one| one.context_length = 0);
        check("context_length", &|one| one.context_length = LONGEST_CONTEXT + 1);
        check("vram_required_gb", &|one| one.vram_required_gb = 0);
        check("price_input_per_million", &|one| one.price_input_per_million = -1.0);
        check("price_output_per_million", &|one| one.price_output_per_million = f64::NAN);
        let later = NOW.plus(std::time::Duration::from_secs(60));
        let next = model.describe(Described { vram_required_gb: 20, ..described() }, later).unwrap();
        assert_eq!((next.version, next.created_at, next.updated_at), (2, NOW, later));
        let other = Described { name: ModelName::parse("gpt2").unwrap(), ..described() };
        assert_eq!(model.describe(other, later).unwrap_err().field, "name");
        let row = serde_json::to_string(&model).unwrap();
        assert!(row.contains("\"price_input\":150000"), "{row}");
        assert_eq!(serde_json::from_str::<Model>(&row).unwrap(), model);
    }

    #[test]
    fn kinds_are_written_by_their_names() {
        for kind in ModelKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("{:?}", kind.name()));
        }
    }

    #[test]
    fn fits_says_by_how_much_it_does_not() {
        for (needed, gpu, count, short) in [
            (16, Gpu::A10g, 1, None),
            (24, Gpu::A10g, 1, None),
            (25, Gpu::A10g, 1, Some(1)),
            (40, Gpu::A10g, 2, None),
            (140, Gpu::A10g, 4, Some(44)),
            (80, Gpu::H100, 1, None),
            (1, Gpu::H100, 0, Some(1)),
        ] {
            let model = Model::register(Described { vram_required_gb: needed, ..described() }, NOW).unwrap();
            let found = model.fits(gpu, count);
            assert_eq!(found.as_ref().err().map(|error| error.short_by_gb), short, "{needed} {gpu} {count}");
        }
        let large = Model::register(Described { vram_required_gb: 40, ..described() }, NOW).unwrap();
        let words = "meta-llama/Llama-3.1-8B-Instruct needs 40 GB and 1 x A10G has 24 GB: 16 GB too little";
        assert_eq!(large.fits(Gpu::A10g, 1).unwrap_err().to_string(), words);
    }
}
