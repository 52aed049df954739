//! What a provider said about keys, as a class and in our own words: never in the provider's, which may say more than its owner should read
//! to others, and which nobody here has checked.

use serde::{Deserialize, Serialize};

use super::Provider;

/// What came of asking a provider about keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are somebody's.
    Valid {
        /// Whose: AWS's account number, Azure's directory, Google's project.
        account: String,
    },
    /// They open nothing.
    Invalid(Fault),
    /// The provider could not be asked, or did not say.
    Unreachable(Silence),
}

/// Why keys open nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// They are no keys at all: nobody had to be asked.
    Malformed,
    /// The provider does not know them.
    UnknownKey,
    /// It knows whose they should be, and the secret is not theirs.
    WrongSecret,
    /// Their time is over.
    Expired,
    /// It knows them, and does not let them in.
    Denied,
}

/// Why a provider said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// There is no way to it from here.
    NoConnection,
    /// It took longer than it is waited for.
    Timeout,
    /// It is busy, or something is wrong with it.
    Busy,
    /// It answered with what is no answer to this.
    StrangeAnswer,
    /// Its clock and ours are too far apart for what is signed with a time.
    Clock,
}

/// What is kept of a [`Verdict`] that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Complaint {
    /// About the keys.
    Invalid(Fault),
    /// About the asking.
    Unreachable(Silence),
}

impl Verdict {
    /// What is wrong, if anything is.
    #[must_use]
    pub const fn complaint(&self) -> Option<Complaint> {
        match self {
            Self::Valid { .. } => None,
            Self::Invalid(fault) => Some(Complaint::Invalid(*fault)),
            Self::Unreachable(silence) => Some(Complaint::Unreachable(*silence)),
        }
    }
}

impl Complaint {
    /// The class, in one word for programs.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Invalid(Fault::Malformed) => "malformed",
            Self::Invalid(Fault::UnknownKey) => "unknown_key",
            Self::Invalid(Fault::WrongSecret) => "wrong_secret",
            Self::Invalid(Fault::Expired) => "expired",
            Self::Invalid(Fault::Denied) => "denied",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// A sentence for the credential's owner.
    #[must_use]
    pub const fn words(self, provider: Provider) -> &'static str {
        match self {
            Self::Invalid(fault) => fault.words(provider),
            Self::Unreachable(silence) => silence.words(),
        }
    }

    /// Both, as the owner is told.
    #[must_use]
    pub fn told(self, provider: Provider) -> String {
        format!("{}: {}", self.class(), self.words(provider))
    }
}

impl Fault {
    const fn words(self, provider: Provider) -> &'static str {
        match (self, provider) {
            (Self::Malformed, Provider::Gcp) => {
                "private_key is no RSA key of 2048 to 4096 bits in PEM: give it as the service account's file has it"
            }
            (Self::Malformed, _) => "The keys are not of the form that the provider gives out",
            (Self::UnknownKey, Provider::Aws) => {
                "AWS knows no such access key: it is mistyped, inactive or deleted, or the account has not enabled the region"
            }
            (Self::UnknownKey, Provider::Azure) => "Azure knows no such application in this tenant, or no such tenant",
            (Self::UnknownKey, Provider::Gcp) => "Google knows no such service account: it is mistyped or deleted",
            (Self::WrongSecret, Provider::Aws) => "The secret access key is not the one of this access key",
            (Self::WrongSecret, Provider::Azure) => {
                "The client secret is not one of this application's: give the secret's value, not its id"
            }
            (Self::WrongSecret, Provider::Gcp) => {
                "The private key is not one of this service account's, or not any more"
            }
            (Self::Expired, Provider::Aws) => "The session token is expired or is not the one of this access key",
            (Self::Expired, Provider::Azure) => "The client secret is expired",
            (Self::Expired, Provider::Gcp) => "The key is expired",
            (Self::Denied, Provider::Aws) => "AWS knows the access key and does not let it be used in this region",
            (Self::Denied, Provider::Azure) => "Azure knows the application and does not let it in",
            (Self::Denied, Provider::Gcp) => {
                "Google knows the service account and does not let it in: it may be disabled"
            }
        }
    }
}

impl Silence {
    const fn words(self) -> &'static str {
        match self {
            Self::NoConnection => "The provider cannot be reached from here: nothing is known about the keys",
            Self::Timeout => "The provider did not answer in time: validate again later",
            Self::Busy => "The provider is busy or out of order: validate again later",
            Self::StrangeAnswer => "The provider's answer makes no sense here: validate again later",
            Self::Clock => "The provider's clock and ours disagree: validate again later",
        }
    }
}
