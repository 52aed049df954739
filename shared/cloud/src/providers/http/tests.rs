//! The three providers as a server of our own, which answers by a table and keeps what it was asked.

use std::{
    convert::Infallible,
    future::pending,
    sync::{LazyLock, Mutex},
};

use axum::{Router, extract::State, response::IntoResponse};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    Timestamp,
    credential::{AwsKeys, Provider},
};
use http_body_util::BodyExt;
use rsa::{
    RsaPrivateKey, RsaPublicKey,
    pkcs1v15::{Signature, VerifyingKey},
    pkcs8::{EncodePrivateKey, LineEnding},
    rand_core::{TryCryptoRng, TryRng},
    sha2::Sha256,
    signature::Verifier,
};
use serde_json::{Value, json};
use sha2::Digest;

use super::*;
use crate::presigned::ASKED;

/// What was asked: method and path, headers, body.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: axum::http::HeaderMap,
    body: String,
}

/// How the server answers.
#[derive(Clone, Debug)]
enum Manner {
    Says(u16, String),
    Moves,
    Nothing,
}

#[derive(Clone)]
struct Cloud {
    manner: Arc<Mutex<Manner>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

async fn answer(State(cloud): State<Cloud>, request: axum::extract::Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let line = format!("{} {}", parts.method, parts.uri);
    let body = String::from_utf8(body.to_vec()).unwrap();
    cloud.asked.lock().unwrap().push(Asked { line, headers: parts.headers, body });
    let manner = cloud.manner.lock().unwrap().clone();
    match manner {
        Manner::Says(status, body) => (axum::http::StatusCode::from_u16(status).unwrap(), body).into_response(),
        Manner::Moves => axum::response::Redirect::temporary("/elsewhere").into_response(),
        Manner::Nothing => pending().await,
    }
}

/// A clock that stands still.
struct Stopped;

#[async_trait]
impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::parse("2026-01-20T18:00:00Z").unwrap()
    }

    async fn sleep(&self, _: Duration) {
        pending().await
    }
}

/// A cloud, and providers that ask it in the place of all three.
async fn cloud() -> (Cloud, HttpProviders) {
    let cloud = Cloud { manner: Arc::new(Mutex::new(Manner::Nothing)), asked: Arc::default() };
    let router = Router::new().fallback(answer).with_state(cloud.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let urls = ProviderUrls { aws: Some(base.clone()), azure: base.clone(), gcp: base };
    (cloud, HttpProviders::new(urls, Arc::new(Stopped)).unwrap())
}

impl Cloud {
    fn says(&self, status: u16, body: impl ToString) {
        *self.manner.lock().unwrap() = Manner::Says(status, body.to_string());
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().drain(..).collect()
    }
}

/// Numbers that are the same in every run: the key is made for the tests and opens nothing.
struct Counted(u64);

impl TryRng for Counted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            self.0 += 1;
            chunk.copy_from_slice(&sha2::Sha256::digest(self.0.to_be_bytes())[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counted {}

static KEY: LazyLock<RsaPrivateKey> = LazyLock::new(|| RsaPrivateKey::new(&mut Counted(0), 2048).unwrap());

fn keys(provider: Provider, changes: Value) -> CloudKeys {
    let mut fields = match provider {
        Provider::Aws => json!({
            "access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "region": "us-west-2"
        }),
        Provider::Azure => json!({
            "subscription_id": "12345678-1234-1234-1234-123456789012",
            "tenant_id": "87654321-4321-4321-4321-210987654321",
            "client_id": "11111111-2222-3333-4444-555555555555",
            "client_secret": "a~secret&scope=all"
        }),
        Provider::Gcp => json!({
            "type": "service_account",
            "project_id": "my-gcp-project",
            "private_key_id": "key123",
            "private_key": KEY.to_pkcs8_pem(LineEnding::LF).unwrap().as_str(),
            "client_email": "service-account@my-gcp-project.iam.gserviceaccount.com",
            "token_uri": "https://evil.example/token"
        }),
    };
    let Value::Object(changes) = changes else { panic!("an object") };
    let fields_of = fields.as_object_mut().unwrap();
    fields_of.extend(changes);
    CloudKeys::read(provider, fields_of.clone()).unwrap()
}

#[test]
fn requests_are_signed_as_aws_publishes() {
    // The case post-x-www-form-urlencoded of AWS's Signature Version 4 test suite.
    let keys = AwsKeys {
        access_key_id: Secret::new("AKIDEXAMPLE"),
        secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        region: "us-east-1".into(),
        session_token: None,
    };
    let at = Timestamp::parse("2015-08-30T12:36:00Z").unwrap();
    let (host, body) = ("example.amazonaws.com", "Param1=value1");
    let signable = aws::Signable { keys: &keys, service: "service", host, body, at };
    assert_eq!(
        signable.authorization(),
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, \
         Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
    );
}

#[tokio::test]
async fn sts_is_asked_for_its_region_and_with_the_token() {
    let (cloud, providers) = cloud().await;
    let whose = json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": {"Account": "123456789012"}}});
    cloud.says(200, whose);
    let valid = Verdict::Valid { account: "123456789012".into() };
    assert_eq!(providers.check(&keys(Provider::Aws, json!({}))).await, valid);
    assert_eq!(
        providers.check(&keys(Provider::Aws, json!({"session_token": "a+token/=", "region": "cn-north-1"}))).await,
        valid
    );
    let asked = cloud.asked();
    let header = |at: usize, name: &str| asked[at].headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    for (at, host, region, names) in [
        (0, "sts.us-west-2.amazonaws.com", "us-west-2", "content-type;host;x-amz-date,"),
        (1, "sts.cn-north-1.amazonaws.com.cn", "cn-north-1", "content-type;host;x-amz-date;x-amz-security-token,"),
    ] {
        assert_eq!((asked[at].line.as_str(), asked[at].body.as_str()), ("POST /", ASKED));
        assert_eq!(header(at, "host").as_deref(), Some(host));
        assert_eq!(header(at, "x-amz-date").as_deref(), Some("20260120T180000Z"));
        assert_eq!(header(at, "accept").as_deref(), Some("application/json"));
        let parts = header(at, "authorization").unwrap();
        let scope = format!("Credential=AKIAIOSFODNN7EXAMPLE/20260120/{region}/sts/aws4_request,");
        assert!(parts.starts_with(&format!("AWS4-HMAC-SHA256 {scope} SignedHeaders={names} Signature=")), "{parts}");
        assert!(parts.rsplit('=').next().unwrap().len() == 64, "{parts}");
        let all = format!("{:?}", asked[at]);
        assert!(!all.contains("wJalr"), "the secret stays here");
    }
    assert_eq!(
        (header(0, "x-amz-security-token"), header(1, "x-amz-security-token").as_deref()),
        (None, Some("a+token/="))
    );
}

#[tokio::test]
async fn azure_is_asked_in_its_directory() {
    let (cloud, providers) = cloud().await;
    cloud.says(200, json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "eyJ0"}));
    let account = "87654321-4321-4321-4321-210987654321".to_owned();
    assert_eq!(providers.check(&keys(Provider::Azure, json!({}))).await, Verdict::Valid { account });
    let asked = cloud.asked();
    assert_eq!(asked[0].line, "POST /87654321-4321-4321-4321-210987654321/oauth2/v2.0/token");
    assert_eq!(
        asked[0].body,
        "grant_type=client_credentials&client_id=11111111-2222-3333-4444-555555555555\
         &client_secret=a%7Esecret%26scope%3Dall&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
    );
}

#[tokio::test]
async fn google_is_sent_a_signed_jwt() {
    let (cloud, providers) = cloud().await;
    cloud.says(200, json!({"access_token": "ya29.c", "expires_in": 3599}));
    let pem = KEY.to_pkcs8_pem(LineEnding::LF).unwrap();
    // As the file has it, and with its line breaks spelt out.
    for pem in [pem.to_string(), pem.replace('\n', "\\n")] {
        let verdict = providers.check(&keys(Provider::Gcp, json!({"private_key": pem}))).await;
        assert_eq!(verdict, Verdict::Valid { account: "my-gcp-project".into() });
        let asked = cloud.asked();
        assert_eq!(asked[0].line, "POST /token", "the file's own token_uri is not asked");
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
        let jwt = asked[0].body.strip_prefix(grant).unwrap();
        let [header, claims, signature] = jwt.split('.').collect::<Vec<_>>()[..] else { panic!("{jwt}") };
        let read = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let json = |part: &str| serde_json::from_slice::<Value>(&read(part)).unwrap();
        assert_eq!(json(header), json!({"alg": "RS256", "typ": "JWT", "kid": "key123"}));
        let now = Stopped.now().seconds();
        let expected = json!({
            "iss": "service-account@my-gcp-project.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": "https://oauth2.googleapis.com/token",
            "iat": now,
            "exp": now + 300,
        });
        assert_eq!(json(claims), expected);
        let verifier = VerifyingKey::<Sha256>::new(RsaPublicKey::from(&*KEY));
        let signature = Signature::try_from(&*read(signature)).unwrap();
        verifier.verify(format!("{header}.{claims}").as_bytes(), &signature).unwrap();
    }
}

#[tokio::test]
async fn a_malformed_private_key_needs_nobody_asked() {
    let (cloud, providers) = cloud().await;
    let pem = KEY.to_pkcs8_pem(LineEnding::LF).unwrap();
    let small = RsaPrivateKey::new(&mut Counted(0), 1024).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
    for malformed in [
        "...",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY----------BEGIN PRIVATE KEY-----",
        &pem.as_str()[..200],
        small.as_str(),
    ] {
        let verdict = providers.check(&keys(Provider::Gcp, json!({"private_key": malformed}))).await;
        assert_eq!(verdict, Verdict::Invalid(Fault::Malformed), "{malformed:.60}");
    }
    assert!(cloud.asked().is_empty());
}

/// What an answer means.
async fn check(provider: Provider, cases: &[(u16, Value, Verdict)]) {
    let (cloud, providers) = cloud().await;
    let keys = keys(provider, json!({}));
    for (status, body, expected) in cases {
        cloud.says(*status, body);
        assert_eq!(providers.check(&keys).await, *expected, "{provider}: {status} {body}");
    }
    // What no provider says is no answer, whichever it is.
    let strange = Verdict::Unreachable(Silence::StrangeAnswer);
    let busy = Verdict::Unreachable(Silence::Busy);
    for (status, body, expected) in [
        (200, "", &strange),
        (200, "<html>welcome to the hotel's network</html>", &strange),
        (200, "{}", &strange),
        (403, "<html>blocked by policy</html>", &strange),
        (400, "{\"error\": {\"deep\": []}}", &strange),
        (429, "", &busy),
        (500, "", &busy),
        (503, "{}", &busy),
        (200, &*" ".repeat(LONGEST_ANSWER + 1), &strange),
    ] {
        cloud.says(status, body);
        assert_eq!(providers.check(&keys).await, *expected, "{provider}: {status} {body:.60}");
    }
    cloud.asked();
    *cloud.manner.lock().unwrap() = Manner::Moves;
    assert_eq!(providers.check(&keys).await, strange);
    assert_eq!(cloud.asked().len(), 1, "nobody is followed elsewhere");
}

const fn invalid(fault: Fault) -> Verdict {
    Verdict::Invalid(fault)
}

#[tokio::test]
async fn what_each_answer_means() {
    let sts =
        |code: &str| json!({"Error": {"Type": "Sender", "Code": code, "Message": "their words"}, "RequestId": "1"});
    let account =
        |account: &str| json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": {"Account": account}}});
    let aws = [
        (403, sts("InvalidClientTokenId"), invalid(Fault::UnknownKey)),
        (403, sts("SignatureDoesNotMatch"), invalid(Fault::WrongSecret)),
        (403, sts("ExpiredToken"), invalid(Fault::Expired)),
        (403, sts("RegionDisabledException"), invalid(Fault::Denied)),
        (403, sts("RequestExpired"), Verdict::Unreachable(Silence::Clock)),
        (400, sts("Throttling"), Verdict::Unreachable(Silence::Busy)),
        (400, sts("NewAndUnknown"), Verdict::Unreachable(Silence::StrangeAnswer)),
        (200, account("<script>"), Verdict::Unreachable(Silence::StrangeAnswer)),
    ];
    check(Provider::Aws, &aws).await;
    let entra =
        |error: &str, code: u64| json!({"error": error, "error_description": "their words", "error_codes": [code]});
    let azure = [
        (401, entra("invalid_client", 7_000_215), invalid(Fault::WrongSecret)),
        (401, entra("invalid_client", 7_000_222), invalid(Fault::Expired)),
        (400, entra("unauthorized_client", 700_016), invalid(Fault::UnknownKey)),
        (400, entra("invalid_request", 90_002), invalid(Fault::UnknownKey)),
        (401, entra("unauthorized_client", 7_000_112), invalid(Fault::Denied)),
        (401, entra("invalid_client", 1), invalid(Fault::WrongSecret)),
        (401, json!({"error": "unauthorized_client"}), invalid(Fault::Denied)),
        (400, entra("new_and_unknown", 1), Verdict::Unreachable(Silence::StrangeAnswer)),
    ];
    check(Provider::Azure, &azure).await;
    let google = |error: &str, words: &str| json!({"error": error, "error_description": words});
    let gcp = [
        (400, google("invalid_grant", "Invalid JWT Signature."), invalid(Fault::WrongSecret)),
        (400, google("invalid_grant", "Invalid grant: account not found"), invalid(Fault::UnknownKey)),
        (400, google("invalid_grant", "The account is disabled."), invalid(Fault::Denied)),
        (
            400,
            google("invalid_grant", "Token must be in a reasonable timeframe."),
            Verdict::Unreachable(Silence::Clock),
        ),
        (401, google("disabled_client", ""), invalid(Fault::Denied)),
        (400, json!({"error": "new_and_unknown"}), Verdict::Unreachable(Silence::StrangeAnswer)),
    ];
    check(Provider::Gcp, &gcp).await;
}

#[tokio::test]
async fn silence_is_told_apart() {
    let (_cloud, mut providers) = cloud().await;
    // As short as can be: the server never answers, however long it is waited for.
    providers.within = Duration::from_millis(20);
    for provider in Provider::ALL {
        let verdict = providers.check(&keys(provider, json!({}))).await;
        assert_eq!(verdict, Verdict::Unreachable(Silence::Timeout), "{provider}");
    }
    let nowhere = "http://127.0.0.1:1".to_owned();
    let urls = ProviderUrls { aws: Some(nowhere.clone()), azure: nowhere.clone(), gcp: nowhere };
    let providers = HttpProviders::new(urls, Arc::new(Stopped)).unwrap();
    for provider in Provider::ALL {
        let verdict = providers.check(&keys(provider, json!({}))).await;
        assert_eq!(verdict, Verdict::Unreachable(Silence::NoConnection), "{provider}");
    }
    // One address that is no test's, and keys go nowhere in the clear.
    let mixed = ProviderUrls { gcp: "http://127.0.0.1:1".into(), ..ProviderUrls::default() };
    assert!(ProviderUrls::default().are_https() && !mixed.are_https());
}
