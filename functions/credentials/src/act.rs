//! What admins and tenants alike do with a tenant's credentials.

use axum::Json;
use domain::{
    CredentialId, TenantId, Timestamp,
    credential::{Asked, CloudKeys, Credential, CredentialChange, Provider, Update},
    names::Label,
};
use http::StatusCode;
use store::credentials::{CredentialWrite, sealed_with};
use web::{Command, Error, Identified, Plane};

use crate::{
    body::CredentialChanges,
    name::CredentialRef,
    view::{self, Deleted},
};

const UNKNOWN: Error = Error::NotFound(CredentialRef::UNKNOWN);

/// A credential that is asked for, but for its keys.
pub(crate) struct New {
    pub(crate) provider: Provider,
    pub(crate) name: Label,
    pub(crate) is_default: bool,
}

/// Keys as they are stored.
async fn sealed(plane: &Plane, tenant: &TenantId, id: CredentialId, keys: &CloudKeys) -> Result<String, Error> {
    let text = keys.to_text().ok_or_else(|| Error::Internal("keys that are no text".into()))?;
    Ok(plane.ports.vault.seal(&sealed_with(tenant, id), &text).await?)
}

/// What a repetition that cannot be answered is told.
fn resource(id: CredentialId) -> String {
    format!("the credential {id}")
}

/// Stores a credential of the tenant's.
pub(crate) async fn create<T, P>(
    plane: &Plane,
    tenant: &TenantId,
    (New { provider, name, is_default }, keys): (New, &CloudKeys),
    command: &Command<T, P>,
) -> Result<(StatusCode, Json<view::Credential>), Error> {
    let now = plane.ports.clock.now();
    let id = plane.ports.ids.credential(now);
    let sealed = sealed(plane, tenant, id, keys).await?;
    let change = Asked { id, tenant: tenant.clone(), provider, name, is_default }.create(now);
    let answer = view::Credential::from(&change.credential);
    let claim = command.claim_new(resource(id), &answer, now)?;
    plane.store.write_credential(&change, Some(&sealed), claim.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// The tenant's credentials.
pub(crate) async fn list(plane: &Plane, tenant: &TenantId) -> Result<Vec<view::Credential>, Error> {
    Ok(plane.store.credentials(tenant).await?.iter().map(view::Credential::from).collect())
}

/// One of the tenant's credentials. An unknown one and somebody else's look the same (trap T1).
async fn read(plane: &Plane, tenant: &TenantId, id: CredentialId) -> Result<Credential, Error> {
    plane.store.credential(tenant, id).await?.ok_or(UNKNOWN)
}

/// See [`read`].
pub(crate) async fn get(
    plane: &Plane,
    tenant: &TenantId,
    CredentialRef(id): CredentialRef,
) -> Result<Json<view::Credential>, Error> {
    Ok(Json((&read(plane, tenant, id).await?).into()))
}

/// Decides upon one of the tenant's credentials and writes what was decided.
async fn change<T, P>(
    plane: &Plane,
    (tenant, id): (&TenantId, CredentialId),
    sealed: Option<&str>,
    command: &Command<T, P>,
    decide: impl Fn(&Credential, Timestamp) -> Result<CredentialChange, Error>,
) -> Result<Json<view::Credential>, Error> {
    let decided = plane.decide_credential((tenant, id), sealed, |known, now| {
        let change = decide(&known.ok_or(UNKNOWN)?, now)?;
        let answer = view::Credential::from(&change.credential);
        let claim = command.claim(resource(id), &answer, now)?;
        Ok::<_, Error>((CredentialWrite::Change(Box::new(change)), claim, answer))
    });
    Ok(Json(decided.await?))
}

/// Changes what the body names.
pub(crate) async fn update<P>(
    plane: &Plane,
    tenant: &TenantId,
    CredentialRef(id): CredentialRef,
    mut command: Command<CredentialChanges, P>,
) -> Result<Json<view::Credential>, Error> {
    let sealed = match &mut command.input.keys {
        Some(given) => {
            let keys = given.take(read(plane, tenant, id).await?.provider)?;
            Some(sealed(plane, tenant, id, &keys).await?)
        }
        None => None,
    };
    let CredentialChanges { name, is_default, .. } = &command.input;
    let update = Update { name: name.clone(), is_default: *is_default, new_keys: sealed.is_some() };
    change(plane, (tenant, id), sealed.as_deref(), &command, |known, now| Ok(known.update(update.clone(), now))).await
}

/// Makes it what launches take that name none.
pub(crate) async fn make_default<T, P>(
    plane: &Plane,
    tenant: &TenantId,
    CredentialRef(id): CredentialRef,
    command: &Command<T, P>,
) -> Result<Json<view::Credential>, Error> {
    change(plane, (tenant, id), None, command, |known, now| Ok(known.make_default(now))).await
}

/// Asks its provider about its keys, and keeps what that says.
pub(crate) async fn validate<T, P>(
    plane: &Plane,
    tenant: &TenantId,
    CredentialRef(id): CredentialRef,
    command: &Command<T, P>,
) -> Result<Json<view::Credential>, Error> {
    // The row is read before the keys: of keys that are replaced in between the verdict is refused, not taken for the new ones'.
    let asked = read(plane, tenant, id).await?;
    let sealed = plane.store.sealed_keys(tenant, id).await?.ok_or(UNKNOWN)?;
    let text = plane.ports.vault.open(&sealed_with(tenant, id), &sealed).await?;
    let keys = CloudKeys::from_text(&text).ok_or_else(|| Error::Internal("sealed keys that cannot be read".into()))?;
    let verdict = plane.ports.providers.check(&keys).await;
    change(plane, (tenant, id), None, command, |known, now| Ok(known.validated(asked.keys_version, &verdict, now)?))
        .await
}

/// Removes it, unless something runs with it.
pub(crate) async fn delete<T, P>(
    plane: &Plane,
    tenant: &TenantId,
    CredentialRef(id): CredentialRef,
    command: &Command<T, P>,
) -> Result<Json<Deleted>, Error> {
    let decided = plane.decide_credential((tenant, id), None, |known, now| {
        let known = known.ok_or(UNKNOWN)?;
        known.deletable()?;
        let answer = Deleted::of(&known);
        let claim = command.claim(resource(id), &answer, now)?;
        Ok::<_, Error>((CredentialWrite::Delete(Box::new(known)), claim, answer))
    });
    Ok(Json(decided.await?))
}
