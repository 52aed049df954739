//! `POST /v1/keys/rotate`

use axum::{Json, extract::State};
use domain::{
    Secret, Timestamp,
    api_key::{KeyKind, mint, shown_prefix},
    identity,
    job::Hours,
};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Member, Nothing, Plane};

/// A new key, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "api_key": "swk_...", "key_prefix": "swk_0Ab1", "user_id": 42, "username": "jschmidt", "expires_at": "2026-01-20T22:00:00Z"
}))]
pub(crate) struct Rotated {
    #[schema(value_type = String)]
    api_key: Secret,
    /// Its first eight characters, by which a person recognises it.
    key_prefix: String,
    user_id: u64,
    username: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Generate a new API key with a fresh TTL. The old key stops at once.
#[utoipa::path(post, path = "/v1/keys/rotate", tag = "keys", security(("user_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "With the new key a repetition is refused with 409, since the answer held a secret. The old key opens nothing any more: if the answer was lost, log in again.")),
    responses((status = 200, description = "The new key.", body = Rotated), DetailRefusals))]
pub(crate) async fn rotate_key(
    State(plane): State<Plane>,
    member: Member,
    command: Command<Nothing>,
) -> Result<Json<Rotated>, Error> {
    let now = plane.ports.clock.now();
    let expires_at = now.plus(Hours::whole(plane.settings.policy.key_ttl_hours).duration());
    let api_key = mint(KeyKind::User, &plane.ports.ids.random());
    let renewed = identity::Member { expires_at, ..member.identity.clone() };
    let key_prefix = shown_prefix(KeyKind::User, &api_key);
    let claim = command.claim_secret(format!("the key {key_prefix}..."), now);
    plane.store.rotate_user_key(&member.key, &api_key, &renewed, claim.as_ref(), now).await?;
    Ok(Json(Rotated { api_key, key_prefix, user_id: renewed.user_id, username: renewed.user.to_string(), expires_at }))
}
