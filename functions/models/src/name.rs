//! Models' names in paths, where they may hold a slash. What is malformed is unknown.

use std::str::FromStr;

use domain::{
    model::Model,
    names::{BadName, ModelName},
};
use web::{Error, Identified, Plane};

/// What is said of a model that is not registered.
pub(crate) const UNKNOWN: &str = "model not found";

/// A model's name.
#[derive(Clone, Debug)]
pub(crate) struct ModelRef(pub(crate) ModelName);

impl FromStr for ModelRef {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        ModelName::parse(text).map(Self)
    }
}

impl Identified for ModelRef {
    const PARAMETER: &'static str = "model_name";
    const UNKNOWN: &'static str = UNKNOWN;
}

/// The model of this name.
pub(crate) async fn read(plane: &Plane, ModelRef(name): &ModelRef) -> Result<Model, Error> {
    plane.store.model(name).await?.ok_or(Error::NotFound(UNKNOWN))
}
