//! What is read of a request's body: which model, whether it streams, how much it may take. All else passes through as it is.

use std::{borrow::Cow, fmt, ops::Range};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use web::body::{DEEPEST, too_deep};

use crate::refusal::Refusal;

/// A picture, or another thing that is given as data, counts as so many bytes of text: about two thousand tokens.
const MEDIA_BYTES: u64 = 6_144;
/// A text that is longer than this and begins like data is data.
const SHORT_TEXT: usize = 1_024;
/// A token has three bytes of text at least, as a rule: what takes more than it was thought to take is owed to the next window.
const BYTES_A_TOKEN: u64 = 3;
/// What a model's template adds to a prompt.
const TEMPLATE_TOKENS: u64 = 32;
/// An answer's length where none is asked for and one has to be known, because tokens are limited.
const USUAL_ANSWER: u64 = 4_096;

/// A request's body, and what was read of it.
#[derive(Clone, Debug)]
pub(crate) struct RequestBody {
    body: Bytes,
    /// The model's name, as it was given.
    pub(crate) model: String,
    /// Whether the answer is to come as events.
    pub(crate) streams: bool,
    /// Whether and where the caller said what is to be in the stream.
    options: Said,
    /// Tokens of the prompt, about.
    pub(crate) prompt: u64,
    /// The longest answer that was asked for, in tokens.
    longest: Option<u64>,
    /// Whether and where it was asked for in the words that we say it with.
    max_tokens: Said,
    /// How many answers.
    answers: u64,
}

/// How much a request takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most {
    /// Tokens that are read.
    pub(crate) input: u64,
    /// Tokens that are written.
    pub(crate) output: u64,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    stream: Option<bool>,
    #[serde(borrow, default)]
    stream_options: Given<'a>,
    #[serde(borrow, default)]
    max_tokens: Given<'a>,
    max_completion_tokens: Option<u64>,
    /// What llama.cpp believes before `max_tokens`; less than nothing is without end.
    n_predict: Option<i64>,
    n: Option<u64>,
    best_of: Option<u64>,
    #[serde(default)]
    messages: Weight,
    #[serde(default)]
    prompt: Weight,
    #[serde(default)]
    input: Weight,
    #[serde(default)]
    tools: Weight,
    #[serde(default)]
    functions: Weight,
}

/// A field as it stands in the body, if it does.
#[derive(Default)]
struct Given<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Given<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(from).map(|value| Self(Some(value)))
    }
}

impl Given<'_> {
    fn said(&self, body: &[u8]) -> Said {
        match self.0.map(RawValue::get) {
            None => Said::Nothing,
            Some("null") => {
                let at = self.0.map_or(0, |value| value.get().as_ptr().addr() - body.as_ptr().addr());
                Said::Null(at..at + "null".len())
            }
            Some(_) => Said::Something,
        }
    }
}

/// What a body says in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// `null`, which is as good as nothing, but not to be said again: of a name that is there twice most servers believe the second.
    Null(Range<usize>),
    Something,
}

impl RequestBody {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn read(body: Bytes) -> Result<Self, Refusal> {
        if too_deep(&body) {
            return Err(Refusal::bad(None, format!("The body is nested deeper than {DEEPEST} levels")));
        }
        let fields: Fields<'_> = serde_json::from_slice(&body).map_err(|_why| unreadable(&body))?;
        let model = fields.model.as_deref().unwrap_or_default().to_owned();
        if model.is_empty() {
            return Err(Refusal::bad(Some("model"), "you must provide a model parameter".to_owned()));
        }
        let weights = [fields.messages, fields.prompt, fields.input, fields.tools, fields.functions];
        let bytes = weights.into_iter().fold(0, |sum: u64, Weight(bytes)| sum.saturating_add(bytes));
        let answers = fields.n.unwrap_or(1).max(fields.best_of.unwrap_or(1)).max(1);
        let max_tokens = fields.max_tokens.0.map(|value| serde_json::from_str::<Option<u64>>(value.get()));
        let max_tokens = max_tokens.transpose().map_err(|why| Refusal::bad(Some("max_tokens"), words(&why)))?.flatten();
        let predicted = fields.n_predict.map(|most| u64::try_from(most).unwrap_or(u64::MAX));
        Ok(Self {
            model,
            streams: fields.stream.unwrap_or(false),
            options: fields.stream_options.said(&body),
            prompt: bytes.div_ceil(BYTES_A_TOKEN).saturating_add(TEMPLATE_TOKENS),
            longest: fields.max_completion_tokens.or(max_tokens).max(predicted),
            max_tokens: fields.max_tokens.said(&body),
            answers,
            body,
        })
    }

    /// What it takes at most of a model with such a context, where it `answers` with text at all.
    pub(crate) fn most(&self, context: u64, answers: bool) -> Most {
        if !answers {
            return Most { input: self.prompt, output: 0 };
        }
        let longest = self.longest.unwrap_or_else(|| self.usual(context)).min(context);
        Most { input: self.prompt, output: longest.saturating_mul(self.answers) }
    }

    /// The longest answer where none was asked for: what there is room for, and not more than is usual.
    fn usual(&self, context: u64) -> u64 {
        USUAL_ANSWER.min(context.saturating_sub(self.prompt).max(16))
    }

    /// Whether what was used is asked for in the place of the caller, who is not to see it then.
    pub(crate) fn asks_for_usage(&self) -> bool {
        self.streams && self.options != Said::Something
    }

    /// The body as it is sent: the caller's own bytes, with what we have to add. Where tokens are limited an answer has to have an end:
    /// `bounds` says the model's context then.
    pub(crate) fn parts(&self, bounds: Option<u64>) -> Vec<Bytes> {
        let options = self.asks_for_usage().then(|| ("stream_options", "{\"include_usage\":true}".to_owned()));
        let end =
            bounds.filter(|_| self.longest.is_none()).map(|context| ("max_tokens", self.usual(context).to_string()));
        let mut added = String::new();
        let mut nulls = Vec::new();
        for (said, wanted) in [&self.options, &self.max_tokens].into_iter().zip([options, end]) {
            let Some((name, value)) = wanted else { continue };
            match said {
                Said::Null(place) => nulls.push((place.clone(), value)),
                Said::Nothing | Said::Something => added.push_str(&format!("\"{name}\":{value},")),
            }
        }
        let begin = self.body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
        nulls.push((begin..begin, added));
        nulls.sort_by_key(|(place, _)| place.start);
        let (mut parts, mut from) = (Vec::new(), 0);
        for (place, value) in nulls.into_iter().filter(|(_, value)| !value.is_empty()) {
            parts.extend([self.body.slice(from..place.start), value.into()]);
            from = place.end;
        }
        parts.push(self.body.slice(from..));
        parts
    }
}

/// An error of a reader's without the place, which a caller cannot see.
fn words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words).to_owned()
}

/// What is wrong with a body, in words. It is read a second time for that.
fn unreadable(body: &[u8]) -> Refusal {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, Fields<'_>>(&mut reader) else {
        return Refusal::bad(None, "We could not parse the JSON body of your request.".to_owned());
    };
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return Refusal::bad(None, "We could not parse the JSON body of your request.".to_owned());
    }
    let words = words(inner);
    let known = [
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n_predict",
        "n",
        "best_of",
        "messages",
        "prompt",
        "input",
    ];
    let path = error.path().to_string();
    let param = known.into_iter().find(|name| path == *name || words.contains(&format!("`{name}`")));
    Refusal::bad(param, words)
}

/// How many bytes of text a value has, whatever it is: what a model reads of it. A number is a token, as where a prompt is given as tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight(u64);

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Weigh)
    }
}

struct Weigh;

impl<'de> Visitor<'de> for Weigh {
    type Value = Weight;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Weight, E> {
        let is_media = text.len() > SHORT_TEXT && text.starts_with("data:");
        Ok(Weight(if is_media { MEDIA_BYTES } else { u64::try_from(text.len()).unwrap_or(u64::MAX) }))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Weight, E> {
        Ok(Weight(BYTES_A_TOKEN))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Weight, E> {
        Ok(Weight(BYTES_A_TOKEN))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Weight, E> {
        Ok(Weight(BYTES_A_TOKEN))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Weight, E> {
        Ok(Weight(BYTES_A_TOKEN))
    }

    fn visit_unit<E>(self) -> Result<Weight, E> {
        Ok(Weight(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Weight, A::Error> {
        let mut sum = 0_u64;
        while let Some(Weight(bytes)) = items.next_element()? {
            sum = sum.saturating_add(bytes);
        }
        Ok(Weight(sum))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Weight, A::Error> {
        let mut sum = 0_u64;
        // A field's name is about what a template puts in its place.
        while let Some((Weight(name), Weight(bytes))) = fields.next_entry()? {
            sum = sum.saturating_add(name).saturating_add(bytes);
        }
        Ok(Weight(sum))
    }
}

#[cfg(test)]
mod tests;
