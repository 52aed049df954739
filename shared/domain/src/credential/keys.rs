//! The keys themselves: what each provider's have to have, and nothing else (invariants, threat 3.4).
//!
//! They are read field by field, so that a refusal names the field and never says what was in it. What becomes part of a host name (a
//! region, a directory) is checked as such, and what says where to ask or what to run (`token_uri`, `credential_source`) is never kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Provider;
use crate::Secret;

/// The longest session token, in bytes: longer than any that STS gives out.
const LONGEST_TOKEN: usize = 8 * 1024;
/// The longest private key in PEM, in bytes: an RSA key of 8192 bits needs less.
const LONGEST_PEM: usize = 16 * 1024;
/// The longest of all other secrets, in bytes.
const LONGEST_SECRET: usize = 1024;

/// An access key of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsKeys {
    /// The access key's id.
    pub access_key_id: Secret,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Where its owner works; it is part of the host names that are asked.
    pub region: String,
    /// What temporary keys have besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
}

/// An application's client secret in a directory of Azure's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AzureKeys {
    /// What it is to pay with.
    pub subscription_id: Uuid,
    /// The directory; it is part of the URL that is asked.
    pub tenant_id: Uuid,
    /// The application.
    pub client_id: Uuid,
    /// Its secret.
    pub client_secret: Secret,
}

/// A key of a service account of Google's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcpKeys {
    /// The project.
    pub project_id: String,
    /// Which of the service account's keys it is.
    pub private_key_id: String,
    /// The key in PEM, as it was given: what cannot be read is found out when it is used.
    pub private_key: Secret,
    /// The service account.
    pub client_email: String,
}

/// The keys of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub enum CloudKeys {
    /// Amazon's.
    Aws(AwsKeys),
    /// Microsoft's.
    Azure(AzureKeys),
    /// Google's.
    Gcp(GcpKeys),
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It is not there.
    Missing,
    /// The provider's keys have no such field.
    Unknown,
    /// What is in it is not what it has to be.
    Value,
}

/// Keys that are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {words}")]
pub struct BadKeys {
    /// What kind of mistake.
    pub mistake: Mistake,
    /// The field.
    pub field: String,
    /// What would be right; never what was given.
    pub words: &'static str,
}

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Needed,
    Optional,
    /// A service account's file has it, and we do not need it or know better: it is accepted and not kept.
    Dropped,
}

const AWS: [(&str, Use); 4] = [
    ("access_key_id", Use::Needed),
    ("secret_access_key", Use::Needed),
    ("region", Use::Needed),
    ("session_token", Use::Optional),
];
const AZURE: [(&str, Use); 4] = [
    ("subscription_id", Use::Needed),
    ("tenant_id", Use::Needed),
    ("client_id", Use::Needed),
    ("client_secret", Use::Needed),
];
/// The fields of a service account's file (Google Cloud documentation, "Create and delete service account keys"). Of `token_uri` above all
/// the file's word is not taken: whoever wrote it would choose what this plane connects to.
const GCP: [(&str, Use); 11] = [
    ("type", Use::Needed),
    ("project_id", Use::Needed),
    ("private_key_id", Use::Needed),
    ("private_key", Use::Needed),
    ("client_email", Use::Needed),
    ("client_id", Use::Dropped),
    ("auth_uri", Use::Dropped),
    ("token_uri", Use::Dropped),
    ("auth_provider_x509_cert_url", Use::Dropped),
    ("client_x509_cert_url", Use::Dropped),
    ("universe_domain", Use::Dropped),
];

const fn shape(provider: Provider) -> &'static [(&'static str, Use)] {
    match provider {
        Provider::Aws => &AWS,
        Provider::Azure => &AZURE,
        Provider::Gcp => &GCP,
    }
}

/// The names of the fields that a provider's keys have to have.
#[must_use]
pub fn fields(provider: Provider) -> Vec<&'static str> {
    shape(provider).iter().filter(|(_, used)| *used == Use::Needed).map(|(name, _)| *name).collect()
}

/// The fields of keys, as far as they were not taken yet.
struct Fields(Map<String, Value>);

impl Fields {
    /// The text of a field, which moves out of it: the secret is nowhere else then.
    fn text(&mut self, field: &'static str) -> Result<Option<Secret>, BadKeys> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Secret::new(text))),
            Some(_) => Err(bad(field, "give a text")),
        }
    }

    fn secret(&mut self, field: &'static str, form: Form) -> Result<Secret, BadKeys> {
        let missing = BadKeys { mistake: Mistake::Missing, field: field.to_owned(), words: "Field required" };
        let text = self.text(field)?.ok_or(missing)?;
        if (form.is)(text.reveal()) { Ok(text) } else { Err(bad(field, form.words)) }
    }

    fn open(&mut self, field: &'static str, form: Form) -> Result<String, BadKeys> {
        self.secret(field, form).map(|text| text.reveal().to_owned())
    }

    fn uuid(&mut self, field: &'static str) -> Result<Uuid, BadKeys> {
        let text = self.secret(field, UUID)?;
        Uuid::try_parse(text.reveal()).map_err(|_malformed| bad(field, UUID.words))
    }
}

fn bad(field: &str, words: &'static str) -> BadKeys {
    BadKeys { mistake: Mistake::Value, field: field.to_owned(), words }
}

/// What a field's text has to be.
#[derive(Clone, Copy)]
struct Form {
    is: fn(&str) -> bool,
    words: &'static str,
}

/// IAM API reference, `AccessKey`: 16 to 128 word characters.
const KEY_ID: Form = Form {
    is: |text| (16..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
    words: "an access key's id has 16 to 128 letters, digits and underscores",
};
const SECRET: Form = Form {
    is: |text| (1..=LONGEST_SECRET).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
    words: "a secret has 1 to 1024 printable characters without spaces",
};
const TOKEN: Form = Form {
    is: |text| (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
    words: "a session token has 1 to 8192 printable characters without spaces",
};
const REGION: Form = Form { is: is_aws_region, words: "give the code of an AWS region, such as us-west-2" };
const UUID: Form = Form {
    is: |text| text.len() == 36 && Uuid::try_parse(text).is_ok(),
    words: "give a UUID, such as 12345678-1234-1234-1234-123456789012",
};
const SERVICE_ACCOUNT: Form =
    Form { is: |text| text == "service_account", words: "only keys of type service_account are taken" };
/// Google's project ids, those of old included that begin with a domain.
const PROJECT: Form = Form {
    is: |text| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b':');
        (1..=128).contains(&text.len()) && text.bytes().all(allowed)
    },
    words: "a project's id has 1 to 128 lower-case letters, digits, hyphens, dots and colons",
};
const GCP_KEY_ID: Form = Form {
    is: |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=128).contains(&text.len()) && text.bytes().all(allowed)
    },
    words: "a key's id has 1 to 128 letters, digits, hyphens and underscores",
};
const PEM: Form = Form {
    is: |text| {
        let allowed = |b: u8| b.is_ascii_graphic() || matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        (1..=LONGEST_PEM).contains(&text.len()) && text.bytes().all(allowed)
    },
    words: "a private key is PEM of at most 16384 characters",
};
const EMAIL: Form = Form {
    is: |text| {
        let whole = (3..=254).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        whole && text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
    },
    words: "give the service account's e-mail address",
};

/// Whether `text` is formed like a region's code, such as `us-west-2` or `us-gov-east-1` (AWS account management reference, "Regions"). It
/// becomes a label of a host name: there is no dot in it, nor anything else that would end a label.
fn is_aws_region(text: &str) -> bool {
    let parts = text.split('-').collect::<Vec<_>>();
    let [area, directions @ .., number] = &parts[..] else { return false };
    let lower = |part: &&str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase())
    };
    let numbered = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    lower(area, 2..=4)
        && (1..=2).contains(&directions.len())
        && directions.iter().all(|part| lower(part, 2..=12))
        && numbered
}

impl CloudKeys {
    /// Reads keys for `provider` from the fields that a caller gave.
    ///
    /// # Errors
    /// When they are not such keys: the first field that is wrong, and what would be right.
    pub fn read(provider: Provider, given: Map<String, Value>) -> Result<Self, BadKeys> {
        if let Some(unknown) = given.keys().find(|name| !shape(provider).iter().any(|(known, _)| known == name)) {
            let words = match unknown.as_str() {
                "credential_source" => "keys that are fetched from elsewhere are not taken: give a service account's",
                _ => "Extra inputs are not permitted",
            };
            return Err(BadKeys { mistake: Mistake::Unknown, field: unknown.clone(), words });
        }
        let mut given = Fields(given);
        Ok(match provider {
            Provider::Aws => Self::Aws(given.aws()?),
            Provider::Azure => Self::Azure(given.azure()?),
            Provider::Gcp => Self::Gcp(given.gcp()?),
        })
    }

    /// Whose they are.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        match self {
            Self::Aws(_) => Provider::Aws,
            Self::Azure(_) => Provider::Azure,
            Self::Gcp(_) => Provider::Gcp,
        }
    }

    /// As one text, to be sealed; `None` never happens, since every field is a text.
    #[must_use]
    pub fn to_text(&self) -> Option<Secret> {
        serde_json::to_string(self).ok().map(Secret::new)
    }

    /// What [`CloudKeys::to_text`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &Secret) -> Option<Self> {
        serde_json::from_str(text.reveal()).ok()
    }
}

impl Fields {
    fn aws(&mut self) -> Result<AwsKeys, BadKeys> {
        let session_token = match self.text("session_token")? {
            Some(token) if !(TOKEN.is)(token.reveal()) => return Err(bad("session_token", TOKEN.words)),
            token => token,
        };
        Ok(AwsKeys {
            access_key_id: self.secret("access_key_id", KEY_ID)?,
            secret_access_key: self.secret("secret_access_key", SECRET)?,
            region: self.open("region", REGION)?,
            session_token,
        })
    }

    fn azure(&mut self) -> Result<AzureKeys, BadKeys> {
        Ok(AzureKeys {
            subscription_id: self.uuid("subscription_id")?,
            tenant_id: self.uuid("tenant_id")?,
            client_id: self.uuid("client_id")?,
            client_secret: self.secret("client_secret", SECRET)?,
        })
    }

    fn gcp(&mut self) -> Result<GcpKeys, BadKeys> {
        // What kind of keys they are comes first: of others the rest says nothing.
        self.open("type", SERVICE_ACCOUNT)?;
        Ok(GcpKeys {
            project_id: self.open("project_id", PROJECT)?,
            private_key_id: self.open("private_key_id", GCP_KEY_ID)?,
            private_key: self.secret("private_key", PEM)?,
            client_email: self.open("client_email", EMAIL)?,
        })
    }
}
