//! The installation's admins: the token that the installation was made with, or a session of an admin's.

use std::net::IpAddr;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use cloud::InstallationSecrets;
use domain::{SecretHash, TenantId, Timestamp, policy, tenant::PLATFORM};
use http::header;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use store::Plane;

use crate::{
    Error,
    caller::{Principal, bearer},
};

/// Who issues admins' sessions, and for what: both are checked, so that a token which was signed for something else opens nothing.
pub const ISSUER: &str = "slipway";
/// See [`ISSUER`].
pub const AUDIENCE: &str = "slipway-admin";

/// A shorter secret could be guessed from one session that it signed.
const SHORTEST_SECRET: usize = 32;

/// The longest life of a session, in seconds.
const LONGEST_SESSION: i64 = 15 * 60;

/// The address that a request came from, as far as it is known: whoever hands requests on to us says it, or the connection does.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// An admin of the installation.
#[derive(Clone, Debug)]
pub struct Admin {
    realm: TenantId,
}

/// What a session says.
#[derive(Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
}

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Plane: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        if let Some(admin) = parts.extensions.get::<Self>() {
            return Ok(admin.clone());
        }
        judge(&Plane::from_ref(state), parts).await?;
        let admin = Self { realm: TenantId::new(PLATFORM) };
        parts.extensions.insert(admin.clone());
        Ok(admin)
    }
}

impl Principal for Admin {
    fn realm(&self) -> &TenantId {
        &self.realm
    }

    fn name(&self) -> String {
        "admin".to_owned()
    }
}

/// Whoever brings an admin's token where somebody else is asked for, and no key: told so with `instead` if the token is right. It opens nothing
/// there in any case.
///
/// # Errors
/// In any case where there is such a token.
pub async fn keep_out(plane: &Plane, parts: &Parts, instead: &'static str) -> Result<(), Error> {
    if !parts.headers.contains_key("x-admin-token") || parts.headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    judge(plane, parts).await?;
    Err(Error::Forbidden(instead))
}

/// Whether whoever asks is an admin.
async fn judge(plane: &Plane, parts: &Parts) -> Result<(), Error> {
    let token = parts.headers.get("x-admin-token");
    let session = parts.headers.get(header::AUTHORIZATION);
    if token.is_none() && session.is_none() {
        return Err(Error::Unauthenticated("Missing admin token: send X-Admin-Token: TOKEN", false));
    }
    let is_right = |secrets: &InstallationSecrets, now| match (token, session) {
        (Some(token), _) => SecretHash::of(token.as_bytes()).matches(&secrets.admin_token),
        (None, Some(session)) => {
            session.to_str().ok().and_then(bearer).is_some_and(|text| is_session(text, secrets, now))
        }
        (None, None) => false,
    };
    guarded(plane, parts, &ADMINS, is_right).await
}

/// A door that one secret opens, and what is said there.
pub(crate) struct Door {
    /// Its name: wrong tries are counted at each door by itself.
    pub(crate) name: &'static str,
    /// The secret was wrong.
    pub(crate) wrong: &'static str,
    /// It was wrong too often.
    pub(crate) too_many: &'static str,
}

const ADMINS: Door =
    Door { name: "admin", wrong: "Invalid admin token", too_many: "Too many wrong admin tokens from this address" };

/// Whether what is offered opens the door. Wrong tries are counted by address, and after too many even the right secret is refused there for
/// a while: nobody guesses on.
pub(crate) async fn guarded(
    plane: &Plane,
    parts: &Parts,
    door: &Door,
    is_right: impl FnOnce(&InstallationSecrets, Timestamp) -> bool + Send,
) -> Result<(), Error> {
    let now = plane.ports.clock.now();
    let address =
        parts.extensions.get::<Peer>().map_or_else(|| "unknown".to_owned(), |Peer(address)| network(*address));
    let tried = plane.store.wrong_tries(door.name, &address, now).await?;
    if tried >= policy::WRONG_TRIES.0 {
        let window = policy::WRONG_TRIES.1.as_secs();
        let left = window - u64::try_from(now.seconds()).unwrap_or(0) % window;
        return Err(Error::TooMany(door.too_many, u32::try_from(left).unwrap_or(1)));
    }
    let secrets = plane.settings.secrets.current().await?;
    if is_right(&secrets, now) {
        return Ok(());
    }
    plane.store.count_wrong_try(door.name, &address, now).await?;
    Err(Error::Unauthenticated(door.wrong, true))
}

/// Whether this is a session of an admin's, signed by us with the one algorithm that we sign with, for this, and for now.
fn is_session(text: &str, secrets: &InstallationSecrets, now: Timestamp) -> bool {
    let Some(secret) = secrets.jwt.as_ref().filter(|secret| secret.reveal().len() >= SHORTEST_SECRET) else {
        return false;
    };
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[AUDIENCE]);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    // The crate would ask the system's clock; ours is asked below.
    rules.validate_exp = false;
    let key = DecodingKey::from_secret(secret.reveal().as_bytes());
    let Ok(session) = jsonwebtoken::decode::<Claims>(text, &key, &rules) else { return false };
    let Claims { iat, exp } = session.claims;
    let (now, slack) = (now.seconds(), i64::try_from(policy::CLOCKS_APART.as_secs()).unwrap_or(0));
    now < exp && iat <= now + slack && exp - iat <= LONGEST_SESSION
}

/// What counts as one address: of IPv6 the network of 64 bits, all of which one host may have.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            address.segments()[..4].iter().map(|part| format!("{part:x}")).collect::<Vec<_>>().join(":")
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Secret, identity::LoginTable};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_768_932_000;
    const KEY: &str = "a secret of thirty-two characters or more";

    fn signed(algorithm: Algorithm, key: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key.as_bytes())).unwrap()
    }

    #[test]
    fn sessions() {
        let secrets = |jwt: Option<&str>| InstallationSecrets {
            admin_token: SecretHash::of(b"x"),
            login: LoginTable::default(),
            origin: None,
            jwt: jwt.map(Secret::new),
            service_token: None,
        };
        let good = json!({"iss": ISSUER, "aud": AUDIENCE, "iat": NOW - 60, "exp": NOW + 600});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            signed(Algorithm::HS256, KEY, &claims)
        };
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            signed(Algorithm::HS256, KEY, &claims)
        };
        let own = signed(Algorithm::HS256, KEY, &good);
        let none = format!("eyJhbGciOiJub25lIn0.{}.", own.split('.').nth(1).unwrap());
        let now = Timestamp::from_millis(NOW * 1000);
        for (what, session, expected) in [
            ("good", own.clone(), true),
            ("its last second", with("exp", json!(NOW + 1)), true),
            ("at its end", with("exp", json!(NOW)), false),
            ("made in the future", with("iat", json!(NOW + 60)), false),
            ("too long", with("exp", json!(NOW + 3600)), false),
            ("for somebody else", with("aud", json!("slipway-user")), false),
            ("by somebody else", with("iss", json!("elsewhere")), false),
            ("no end", without("exp"), false),
            ("no beginning", without("iat"), false),
            ("for nobody", without("aud"), false),
            ("by nobody", without("iss"), false),
            ("another key", signed(Algorithm::HS256, "another secret of thirty-two characters", &good), false),
            ("another algorithm", signed(Algorithm::HS512, KEY, &good), false),
            ("unsigned", none, false),
            ("cut", own[..own.len() - 2].to_owned(), false),
            ("nothing", String::new(), false),
        ] {
            assert_eq!(is_session(&session, &secrets(Some(KEY)), now), expected, "{what}");
        }
        assert!(!is_session(&own, &secrets(None), now), "there are none where nothing signs them");
        let short = signed(Algorithm::HS256, &KEY[..31], &good);
        assert!(!is_session(&short, &secrets(Some(&KEY[..31])), now), "a short secret signs nothing");
    }

    #[test]
    fn one_host_is_one_address() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2"),
            ("::1", "0:0:0:0"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }
}
