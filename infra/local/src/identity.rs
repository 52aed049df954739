//! Who AWS credentials belong to, on a machine where nobody asks AWS: whoever can reach loopback may log in.

use std::sync::Arc;

use async_trait::async_trait;
use cloud::{AwsCredentials, Clock, Identity, IdentityError, Presigned};
use domain::identity::AwsCaller;

use crate::settings::{LOCAL_ACCOUNT, LOCAL_ROLE};

/// The longest session token that is read.
const LONGEST_TOKEN: usize = 8 * 1024;

/// Vouches for any well-formed key pair or presigned request, or for none.
#[derive(Clone)]
pub(crate) struct LocalIdentity {
    open: bool,
    clock: Arc<dyn Clock>,
}

impl LocalIdentity {
    /// `open` where only this machine's own programs can ask; else everybody is refused.
    #[must_use]
    pub(crate) const fn new(open: bool, clock: Arc<dyn Clock>) -> Self {
        Self { open, clock }
    }
}

#[async_trait]
impl Identity for LocalIdentity {
    async fn caller(&self, credentials: &AwsCredentials) -> Result<AwsCaller, IdentityError> {
        let caller = self.open.then(|| caller(credentials)).flatten();
        caller.ok_or(IdentityError::Refused)
    }

    async fn presigned_caller(&self, presigned: &Presigned) -> Result<AwsCaller, IdentityError> {
        if !self.open {
            return Err(IdentityError::Refused);
        }
        self.caller(&presigned.unverified(self.clock.now())?).await
    }
}

/// The caller that the session token names, if all three parts have the form of AWS's.
fn caller(credentials: &AwsCredentials) -> Option<AwsCaller> {
    let AwsCredentials { access_key_id, secret_access_key, session_token } = credentials;
    let id = access_key_id.reveal();
    let id_fits = (16..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if !id_fits || !printable(secret_access_key.reveal(), 256) || !printable(session_token.reveal(), LONGEST_TOKEN) {
        return None;
    }
    let session = session_token.reveal().strip_prefix("local:").map_or(Some("local"), session_name)?;
    let arn = format!("arn:aws:sts::{LOCAL_ACCOUNT}:assumed-role/{LOCAL_ROLE}/{session}");
    Some(AwsCaller { account: LOCAL_ACCOUNT.to_owned(), arn })
}

fn printable(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A role session's name, as `AssumeRole` takes it.
fn session_name(text: &str) -> Option<&str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    ((2..=64).contains(&text.len()) && text.bytes().all(allowed)).then_some(text)
}

#[cfg(test)]
mod tests {
    use cloud::{
        Rejected, SystemClock,
        presigned::{SERVER_ID, amz_date, signed_headers},
    };
    use domain::Secret;

    use super::*;
    use crate::settings::Settings;

    const ID: &str = "ASIAIOSFODNN7EXAMPLE";

    async fn ask(open: bool, parts: [&str; 3]) -> Result<String, IdentityError> {
        let [access_key_id, secret_access_key, session_token] = parts.map(Secret::new);
        let credentials = AwsCredentials { access_key_id, secret_access_key, session_token };
        LocalIdentity::new(open, Arc::new(SystemClock)).caller(&credentials).await.map(|caller| caller.arn)
    }

    #[tokio::test]
    async fn well_formed_credentials_are_somebodys() {
        for (token, session) in [
            ("token", "local"),
            ("local:ana", "ana"),
            ("local:ana.b+c=d,e@f-g_h", "ana.b+c=d,e@f-g_h"),
            ("xlocal:ana", "local"),
        ] {
            let arn = ask(true, [ID, "secret/+=", token]).await.unwrap();
            assert_eq!(arn, format!("arn:aws:sts::000000000000:assumed-role/SSOCloudDevGpuReservation/{session}"));
            let caller = AwsCaller { account: LOCAL_ACCOUNT.to_owned(), arn };
            let login = Settings::read(|_| None).unwrap().login;
            let (tenant, user) = login.admit(&caller).unwrap();
            assert_eq!((tenant.as_str(), user.as_str()), ("default", session));
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = "A".repeat(129);
        let huge = "t".repeat(LONGEST_TOKEN + 1);
        for parts in [
            ["", "s", "t"],
            ["ASIASHORT", "s", "t"],
            ["asiaiosfodnn7example", "s", "t"],
            ["ASIAIOSFODNN7EXAMP-E", "s", "t"],
            [&long, "s", "t"],
            [ID, "", "t"],
            [ID, "a b", "t"],
            [ID, "é", "t"],
            [ID, &"s".repeat(257), "t"],
            [ID, "s", ""],
            [ID, "s", "a\nb"],
            [ID, "s", &huge],
            [ID, "s", "local:"],
            [ID, "s", "local:a"],
            [ID, "s", "local:a/b"],
            [ID, "s", "local:a:b"],
            [ID, "s", &format!("local:{}", "a".repeat(65))],
        ] {
            assert_eq!(ask(true, parts).await, Err(IdentityError::Refused), "{parts:?}");
        }
        assert_eq!(ask(false, [ID, "secret", "token"]).await, Err(IdentityError::Refused));
    }

    #[tokio::test]
    async fn a_presigned_request_is_whose_its_token_says() {
        let session = |arn: &str| arn.rsplit('/').next().unwrap().to_owned();
        let late = IdentityError::Rejected(Rejected::Date);
        for (open, token, age, expected) in [
            (true, "local:ana", 0, Ok("ana")),
            (true, "token", 0, Ok("local")),
            (true, "local:a/b", 0, Err(IdentityError::Refused)),
            (true, "local:ana", 90, Err(late)),
            (false, "local:ana", 0, Err(IdentityError::Refused)),
        ] {
            let presigned = Presigned {
                access_key_id: Secret::new(ID),
                region: "eu-central-1".into(),
                date: amz_date(SystemClock.now().minus(std::time::Duration::from_secs(age))),
                security_token: Secret::new(token),
                expires: 60,
                signed_headers: signed_headers(SERVER_ID),
                signature: Secret::new("a".repeat(64)),
            };
            let identity = LocalIdentity::new(open, Arc::new(SystemClock));
            let caller = identity.presigned_caller(&presigned).await.map(|caller| session(&caller.arn));
            assert_eq!(caller, expected.map(str::to_owned), "{token} {age}");
        }
    }
}
