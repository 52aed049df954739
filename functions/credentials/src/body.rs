//! What bodies bring.

use std::fmt;

use domain::{
    credential::{BadKeys, CloudKeys, Mistake, Provider},
    names::Label,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use web::{Error, Input, Problem};

/// The field of the keys.
const FIELD: &str = "credentials";

/// Keys as they were given, which nothing prints. They are taken out to be read.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Given(Map<String, Value>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(..)")
    }
}

impl Given {
    /// The keys, if they are `provider`'s.
    pub(crate) fn take(&mut self, provider: Provider) -> Result<CloudKeys, Error> {
        CloudKeys::read(provider, std::mem::take(&mut self.0)).map_err(|bad| refused(&bad))
    }
}

/// A refusal names the field, and never says what was in it.
fn refused(BadKeys { mistake, field, words }: &BadKeys) -> Error {
    let kind = match mistake {
        Mistake::Missing => "missing",
        Mistake::Unknown => "extra_forbidden",
        Mistake::Value => "value_error",
    };
    let loc = ["body", FIELD, field].map(Value::from).into();
    Error::Invalid(vec![Problem { kind, loc, msg: (*words).to_owned(), input: None }])
}

/// What is to be different; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "AWS Staging"}))]
pub(crate) struct CredentialChanges {
    /// Another name.
    #[schema(value_type = Option<String>)]
    pub(crate) name: Option<Label>,
    /// Whether launches at this provider that name no credential take this one.
    pub(crate) is_default: Option<bool>,
    /// Other keys, all of their fields, in the place of those that are there: what was known about those is forgotten.
    #[serde(default, rename = "credentials")]
    #[schema(value_type = Option<Object>)]
    pub(crate) keys: Option<Given>,
}

impl Input for CredentialChanges {
    const SECRET: &'static [&'static str] = &[FIELD];
}
