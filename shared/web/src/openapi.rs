//! The API document: written from the code, completed here, committed as `infra/openapi.json`.

use std::{collections::BTreeMap, sync::Arc};

use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{
        OpenApi as Api, RefOr, Response,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// The whole API document, ready to be served.
#[derive(Clone, Debug)]
pub struct Document(pub Arc<str>);

impl Document {
    /// The document as it is served and committed.
    pub(crate) fn of(api: &Api) -> Self {
        let mut text = api.to_pretty_json().unwrap_or_default();
        text.push('\n');
        Self(text.into())
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Slipway",
        description = "A GPU cloud in your own AWS account: GPU jobs over one ledger of GPUs.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Detail, Words, Wrong, Typed, TypedError))
)]
struct Base;

/// The document before any surface is added.
#[must_use]
pub fn base(version: &str) -> Api {
    let mut api = Base::openapi();
    api.info.version = version.to_owned();
    api.info.contact = None;
    let components = api.components.get_or_insert_default();
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A user key, from a login.")).build();
    let agent =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A node's token or session.")).build();
    components.add_security_scheme("user_key", SecurityScheme::Http(bearer));
    components.add_security_scheme("agent", SecurityScheme::Http(agent));
    let tenant = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let tenant = tenant.description(Some("A tenant's key, `clsk_live_...`, or the key of one of its people.")).build();
    components.add_security_scheme("tenant_key", SecurityScheme::Http(tenant));
    let admin = ApiKey::Header(ApiKeyValue::with_description("X-Admin-Token", "The installation's admin token."));
    components.add_security_scheme("admin_token", SecurityScheme::ApiKey(admin));
    let service = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The service token."));
    components.add_security_scheme("service_token", SecurityScheme::Http(service.build()));
    api
}

/// What a refusal's body is in the GPU-jobs dialect.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"detail": "Job not found"}))]
#[expect(dead_code, reason = "it describes a body that the dialect writes")]
pub struct Detail {
    /// One sentence, or for inputs a list of what is wrong.
    detail: Words,
}

/// See [`Detail`].
#[derive(Debug, ToSchema, serde::Serialize)]
#[serde(untagged)]
pub enum Words {
    /// One sentence.
    Sentence(String),
    /// What is wrong about an input.
    Problems(Vec<Wrong>),
}

/// One thing that is wrong about an input.
#[derive(Debug, ToSchema, serde::Serialize)]
pub struct Wrong {
    /// What kind of mistake.
    #[serde(rename = "type")]
    kind: String,
    /// Where: `body` or `query`, then names and indexes.
    #[schema(value_type = Vec<Object>)]
    loc: Vec<serde_json::Value>,
    /// What would be right.
    msg: String,
    /// What was given, unless it may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<serde_json::Value>,
}

/// What a refusal's body is in the dialect of tenants, nodes and inference.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"error": {"message": "credential not found", "type": "not_found_error", "code": "not_found"}}))]
#[expect(dead_code, reason = "it describes a body that the dialect writes")]
pub struct Typed {
    /// Why not.
    error: TypedError,
}

/// See [`Typed`].
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes a body that the dialect writes")]
pub struct TypedError {
    /// One sentence.
    message: String,
    /// The kind of refusal, such as `invalid_request_error`.
    r#type: String,
    /// The machine's word for it.
    code: String,
    /// Of an input, what is wrong.
    param: Option<String>,
}

/// The refusals that every operation of the GPU-jobs dialect can give, for `responses(...)`.
#[derive(Clone, Copy, Debug)]
pub struct DetailRefusals;

impl IntoResponses for DetailRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals("Detail")
    }
}

/// The refusals that every operation of the dialect of tenants, nodes and inference can give, for `responses(...)`.
#[derive(Clone, Copy, Debug)]
pub struct TypedRefusals;

impl IntoResponses for TypedRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals("Typed")
    }
}

fn refusals(schema: &str) -> BTreeMap<String, RefOr<Response>> {
    let refusals = [
        ("400", "Something about the input is wrong: what, and where."),
        ("401", "No key, or one that is wrong, expired or taken back."),
        ("403", "A known caller that may not do this."),
        ("404", "There is no such thing, or it is somebody else's."),
        ("409", "The state does not allow it, or the Idempotency-Key was used for another request."),
        ("413", "The body is larger than 1 MiB."),
        ("415", "The body is not JSON."),
        ("429", "Asked too often; come again after `Retry-After` seconds."),
        ("500", "A fault of ours."),
        ("503", "Too busy; come again after `Retry-After` seconds."),
    ];
    let reference = utoipa::openapi::Ref::from_schema_name(schema);
    let content = utoipa::openapi::ContentBuilder::new().schema(Some(reference)).build();
    let response = |words: &str| {
        let response = utoipa::openapi::ResponseBuilder::new().description(words);
        RefOr::T(response.content("application/json", content.clone()).build())
    };
    refusals.into_iter().map(|(status, words)| (status.to_owned(), response(words))).collect()
}
