//! Who somebody is, which keys a person has published, what a cloud says about keys, and sealing.

use async_trait::async_trait;
use domain::{
    Secret,
    credential::{CloudKeys, Fault, Silence, Verdict},
    identity::AwsCaller,
    names::GithubName,
    policy::MOST_KEYS,
    ssh::PublicKey,
};
use futures::FutureExt;

use super::world::{Port, State, World};
use crate::{
    AwsCredentials, Identity, IdentityError, People, PeopleError, PortError, Presigned, Providers, SealContext, Vault,
    VaultError,
};

const ACCOUNT: &str = "000000000000";
const ROLE: &str = "SSOCloudDevGpuReservation";

/// Whoever well-formed credentials are taken for: like the local identity service, by what follows `local:` in the session token.
fn caller(credentials: &AwsCredentials) -> Result<AwsCaller, IdentityError> {
    let id = credentials.access_key_id.reveal();
    let known = ["ASIA", "AKIA"].iter().any(|prefix| id.starts_with(prefix));
    let well_formed =
        known && (16..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if !well_formed || credentials.secret_access_key.reveal().is_empty() {
        return Err(IdentityError::Refused);
    }
    let session = credentials.session_token.reveal().strip_prefix("local:").unwrap_or("local");
    let sayable = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@-_".contains(&b);
    if !(2..=64).contains(&session.len()) || !session.bytes().all(sayable) {
        return Err(IdentityError::Refused);
    }
    Ok(AwsCaller { account: ACCOUNT.into(), arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{session}") })
}

#[async_trait]
impl Identity for Port {
    async fn caller(&self, credentials: &AwsCredentials) -> Result<AwsCaller, IdentityError> {
        self.0.call("identity.caller", |_state, _when| caller(credentials)).await
    }

    async fn presigned_caller(&self, presigned: &Presigned) -> Result<AwsCaller, IdentityError> {
        let effect = |state: &mut State, _when| caller(&presigned.unverified(state.now)?);
        self.0.call("identity.presigned_caller", effect).await
    }
}

#[async_trait]
impl People for Port {
    async fn keys_of(&self, name: &GithubName) -> Result<Vec<PublicKey>, PeopleError> {
        let effect = |state: &mut State, _when| {
            let keys = state.people.get(name).ok_or(PeopleError::Unknown)?;
            Ok(keys.iter().take(MOST_KEYS).cloned().collect())
        };
        self.0.call("people.keys_of", effect).await
    }
}

/// What the simulated clouds say: they know nobody whose id has `EXAMPLE` or a placeholder's digits in it, nobody's secret has `wrong`
/// in it, and a private key has a PEM's beginning and more than dots inside.
fn verdict(keys: &CloudKeys) -> Verdict {
    let (id, secret, account) = match keys {
        CloudKeys::Aws(keys) => (keys.access_key_id.reveal(), &keys.secret_access_key, ACCOUNT.to_owned()),
        CloudKeys::Azure(keys) => ("", &keys.client_secret, keys.tenant_id.to_string()),
        CloudKeys::Gcp(keys) => (keys.client_email.as_str(), &keys.private_key, keys.project_id.clone()),
    };
    let gcp = matches!(keys, CloudKeys::Gcp(_));
    if gcp && (!secret.reveal().starts_with("-----BEGIN") || secret.reveal().contains("...")) {
        Verdict::Invalid(Fault::Malformed)
    } else if id.contains("EXAMPLE") || account.starts_with("87654321-") {
        Verdict::Invalid(Fault::UnknownKey)
    } else if secret.reveal().contains("wrong") {
        Verdict::Invalid(Fault::WrongSecret)
    } else {
        Verdict::Valid { account }
    }
}

#[async_trait]
impl Providers for Port {
    async fn check(&self, keys: &CloudKeys) -> Verdict {
        let said = self.0.call("providers.check", |_state, _when| Ok::<_, PortError>(verdict(keys))).await;
        // A provider that fails has said nothing: the port has no errors of its own.
        said.unwrap_or_else(|error| {
            Verdict::Unreachable(match error {
                PortError::Throttled => Silence::Busy,
                PortError::Unavailable(_) => Silence::NoConnection,
            })
        })
    }
}

#[async_trait]
impl Vault for Port {
    async fn seal(&self, context: &SealContext, text: &Secret) -> Result<String, VaultError> {
        // The real vault never waits: its key is at hand.
        let seal = |_state: &mut State, _when| {
            self.0.key_vault().seal(context, text).now_or_never().unwrap_or(Err(VaultError::Unavailable))
        };
        self.0.call("vault.seal", seal).await
    }

    async fn open(&self, context: &SealContext, sealed: &str) -> Result<Secret, VaultError> {
        let open = |_state: &mut State, _when| {
            self.0.key_vault().open(context, sealed).now_or_never().unwrap_or(Err(VaultError::Unavailable))
        };
        self.0.call("vault.open", open).await
    }
}

impl World {
    /// Somebody of this name exists and has published these keys; replaces what was published before.
    pub fn publish(&self, name: GithubName, keys: Vec<PublicKey>) {
        self.state().people.insert(name, keys);
    }
}
