//! Refusals, in one neutral form: each surface's dialect turns them into the body that it promises.

use axum::response::{IntoResponse, Response};
use domain::{
    Refusal,
    credential::CredentialRefusal,
    disk::DiskRefusal,
    tenant::{TenantRefusal, Tier},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use store::{StoreError, WorkError};

/// Why a request was not served.
///
/// What the caller is told and what the log is told are different fields, and the second has no way to the caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// Something about the input is wrong: which part, and what would be right.
    Invalid(Vec<Problem>),
    /// The request can not be read as one.
    BadRequest(String),
    /// The caller is nobody that is known. The flag says whether a credential was offered.
    Unauthenticated(&'static str, bool),
    /// The caller is known and may not do this.
    Forbidden(&'static str),
    /// The caller's tenant pays for less than this needs.
    Tier {
        /// The least that it needs.
        needed: Tier,
        /// What the tenant pays for.
        has: Tier,
    },
    /// There is no such thing, or it is somebody else's: the two look the same (trap T1).
    NotFound(&'static str),
    /// The state does not allow it.
    Conflict(String),
    /// It was there, and is marked as deleted.
    Gone(String),
    /// The body is larger than is taken.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// Asked too often, or more at once than one caller may have: again in so many seconds.
    TooMany(&'static str, u32),
    /// Not now, but so many seconds later.
    Unavailable(&'static str, u32),
    /// A fault of ours; the text is for the log alone.
    Internal(String),
    /// No error: the same request was answered before, and this is that answer.
    Replayed {
        /// Its body.
        body: String,
        /// It made something new.
        made: bool,
    },
}

/// One thing that is wrong about an input, as FastAPI's users know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What kind of mistake.
    pub kind: &'static str,
    /// Where: `body` or `query`, then names and indexes.
    pub loc: Vec<Value>,
    /// What would be right.
    pub msg: String,
    /// What was given, unless it may be a secret.
    pub input: Option<Value>,
}

impl Problem {
    /// A value that is not allowed, in the body's field `field`; `input` is the value, unless it may be a secret.
    #[must_use]
    pub fn value(field: &str, msg: impl Into<String>, input: Option<Value>) -> Self {
        Self { kind: "value_error", loc: vec!["body".into(), field.into()], msg: msg.into(), input }
    }
}

impl Error {
    /// The refusal of one field of the body; `input` is what was given there, unless it may be a secret.
    #[must_use]
    pub fn field(field: &str, msg: impl Into<String>, input: Option<Value>) -> Self {
        Self::Invalid(vec![Problem::value(field, msg, input)])
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(..) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::Tier { .. } => StatusCode::FORBIDDEN,
            Self::TooMany(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Gone(_) => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Replayed { made: false, .. } => StatusCode::OK,
            Self::Replayed { made: true, .. } => StatusCode::CREATED,
        }
    }

    /// The machine's word for it, in `X-Error-Code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::BadRequest(_) => "bad_request",
            Self::Unauthenticated(..) => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::Tier { .. } => "tier_restriction",
            Self::TooMany(..) => "rate_limited",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Gone(_) => "gone",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Unavailable(..) => "unavailable",
            Self::Internal(_) => "internal",
            Self::Replayed { .. } => "replayed",
        }
    }

    /// What the caller is told, where it is one sentence.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Invalid(problems) => {
                problems.iter().map(|problem| problem.msg.as_str()).collect::<Vec<_>>().join("; ")
            }
            Self::BadRequest(text) | Self::Conflict(text) | Self::Gone(text) => text.clone(),
            Self::Unauthenticated(text, _)
            | Self::Forbidden(text)
            | Self::NotFound(text)
            | Self::TooMany(text, _)
            | Self::Unavailable(text, _) => (*text).to_owned(),
            Self::Tier { needed, has } => {
                format!("This needs the {} tier or a higher one; the tenant has {}", needed.name(), has.name())
            }
            Self::TooLarge => "The body is larger than 1 MiB".to_owned(),
            Self::UnsupportedMediaType => "Send JSON, with Content-Type: application/json".to_owned(),
            Self::Internal(_) => "Internal server error".to_owned(),
            Self::Replayed { .. } => String::new(),
        }
    }
}

impl IntoResponse for Error {
    /// A response without a body: the surface's dialect writes it.
    fn into_response(self) -> Response {
        if let Self::Replayed { body, made } = self {
            let status = if made { StatusCode::CREATED } else { StatusCode::OK };
            let json = HeaderValue::from_static("application/json");
            let again = (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
            return (status, [(header::CONTENT_TYPE, json), again], body).into_response();
        }
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        headers.insert("x-error-code", HeaderValue::from_static(self.code()));
        match &self {
            Self::Unauthenticated(_, offered) => {
                let challenge = if *offered { "Bearer error=\"invalid_token\"" } else { "Bearer" };
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::Unavailable(_, seconds) | Self::TooMany(_, seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Self::Internal(why) => tracing::error!(error = %why, "request.failed"),
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A rule that says no is a conflict with the state, unless the surface has better words for it.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Disk(refusal) => refusal.into(),
            refusal => Self::Conflict(refusal.to_string()),
        }
    }
}

impl From<DiskRefusal> for Error {
    fn from(refusal: DiskRefusal) -> Self {
        let words = refusal.to_string();
        match refusal {
            DiskRefusal::Deleted { .. } => Self::Gone(words),
            DiskRefusal::TooSmall { .. } => Self::field("size_gb", words, None),
            DiskRefusal::InUse(_)
            | DiskRefusal::Busy { .. }
            | DiskRefusal::Empty(_)
            | DiskRefusal::NoSuchStep { .. } => Self::Conflict(words),
        }
    }
}

impl From<CredentialRefusal> for Error {
    fn from(refusal: CredentialRefusal) -> Self {
        Self::Conflict(refusal.to_string())
    }
}

impl From<TenantRefusal> for Error {
    fn from(refusal: TenantRefusal) -> Self {
        Self::Conflict(refusal.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Moved | StoreError::NoRoom => {
                Self::Conflict("It was changed by somebody else at the same time: try again".into())
            }
            StoreError::NameTaken => Self::Conflict("A disk of this name is there already".to_owned()),
            StoreError::TooManyDisks => Self::Conflict("There are as many disks as one user may have".to_owned()),
            StoreError::TooManyCredentials => {
                Self::Conflict("There are as many credentials as one tenant may have: delete one first".to_owned())
            }
            StoreError::TooManyJobs => {
                Self::Conflict("Too many jobs wait and run at once: cancel one, or wait for one to end".into())
            }
            StoreError::ClaimedOtherwise => Self::Conflict("This Idempotency-Key was used for another request".into()),
            StoreError::Contended => Self::Unavailable("Too busy: try again", 1),
            StoreError::Broken(why) => Self::Internal(why),
            // Whoever lost a race for an idempotency key is answered as whoever comes later.
            StoreError::Claimed(claimed) => match claimed.answer {
                Some(body) => Self::Replayed { body, made: claimed.made },
                None => Self::Conflict(format!("This Idempotency-Key was used for {}", claimed.resource)),
            },
        }
    }
}

impl From<WorkError> for Error {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Store(error) => error.into(),
            WorkError::Port(error) => error.into(),
            WorkError::Vault(error) => error.into(),
        }
    }
}

impl From<cloud::PortError> for Error {
    fn from(error: cloud::PortError) -> Self {
        // What a port says is for the log.
        tracing::warn!(%error, "port.failed");
        Self::Unavailable("Too busy: try again", 1)
    }
}

impl From<cloud::VaultError> for Error {
    fn from(error: cloud::VaultError) -> Self {
        match error {
            cloud::VaultError::Unavailable => Self::Unavailable("The key service is away: try again", 1),
            cloud::VaultError::Forged => Self::Internal("something sealed does not open".into()),
        }
    }
}
