//! Settings by the names of environment variables.

use runtime::StartError;

/// A fleet cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A setting that the others need is missing.
    #[error("{0} is not set: the template sets it whenever {1} is set")]
    Missing(&'static str, &'static str),
    /// It is not what it should be.
    #[error("{0} is wrong: {1}")]
    Unusable(&'static str, String),
}

impl From<SettingsError> for StartError {
    fn from(error: SettingsError) -> Self {
        Self::Outside(error.to_string())
    }
}

type Read<'a> = Box<dyn Fn(&str) -> Option<String> + Send + Sync + 'a>;

/// Reads settings; one that is empty counts as missing, since a template cannot leave one out.
pub(crate) struct Variables<'a>(Read<'a>);

impl<'a> Variables<'a> {
    pub(crate) fn new(read: impl Fn(&str) -> Option<String> + Send + Sync + 'a) -> Self {
        Self(Box::new(read))
    }

    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// A setting that goes with `with`, by which the fleet is turned on.
    pub(crate) fn needed(&self, name: &'static str, with: &'static str) -> Result<String, SettingsError> {
        self.optional(name).ok_or(SettingsError::Missing(name, with))
    }
}
