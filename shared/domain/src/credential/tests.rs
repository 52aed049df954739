use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn read(provider: Provider, keys: Value) -> Result<CloudKeys, BadKeys> {
    let Value::Object(fields) = keys else { panic!("an object") };
    CloudKeys::read(provider, fields)
}

/// The keys that the reference's own guide stores, placeholders and all.
fn placeholder(provider: Provider) -> Value {
    match provider {
        Provider::Aws => json!({
            "access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "region": "us-west-2"
        }),
        Provider::Azure => json!({
            "subscription_id": "12345678-1234-1234-1234-123456789012",
            "tenant_id": "87654321-4321-4321-4321-210987654321",
            "client_id": "11111111-2222-3333-4444-555555555555",
            "client_secret": "your_client_secret"
        }),
        Provider::Gcp => json!({
            "type": "service_account",
            "project_id": "my-gcp-project",
            "private_key_id": "key123",
            "private_key": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "client_email": "service-account@my-gcp-project.iam.gserviceaccount.com"
        }),
    }
}

#[test]
fn the_references_placeholders_are_kept() {
    for provider in Provider::ALL {
        let keys = read(provider, placeholder(provider)).unwrap();
        assert_eq!(keys.provider(), provider);
        let text = keys.to_text().unwrap();
        assert_eq!(CloudKeys::from_text(&text), Some(keys.clone()));
        let printed = format!("{keys:?}");
        for secret in ["AKIAIOSFODNN7EXAMPLE", "wJalr", "your_client_secret", "BEGIN"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        for field in fields(provider) {
            let mut lacking = placeholder(provider);
            lacking.as_object_mut().unwrap().remove(field);
            let error = read(provider, lacking).unwrap_err();
            assert_eq!((error.mistake, &*error.field), (Mistake::Missing, field));
        }
    }
}

/// Each provider's placeholder keys with `field` as given: taken, or refused for that field in words that do not hold it.
fn check(provider: Provider, field: &str, good: &[&str], bad: &[&str]) {
    let with = |text: &str| {
        let mut keys = placeholder(provider);
        keys[field] = json!(text);
        read(provider, keys)
    };
    for text in good {
        assert!(with(text).is_ok(), "{field} {text:.40} should be taken");
    }
    for text in bad {
        let error = with(text).expect_err(text);
        assert_eq!((error.mistake, &*error.field), (Mistake::Value, field), "{text:.40}");
        assert!(text.len() < 4 || !error.words.contains(text), "{text:.40}");
    }
    let mut typed = placeholder(provider);
    typed[field] = json!(["hunter2"]);
    assert_eq!(read(provider, typed).unwrap_err().words, "give a text");
}

#[test]
fn each_field_has_its_form() {
    let long = "A".repeat(20_000);
    check(
        Provider::Aws,
        "access_key_id",
        &["ASIAIOSFODNN7EXAMPLE", &long[..128]],
        &["", "AKIA", "AKIA/SFODNN7EXAMPLE", &long[..129]],
    );
    check(Provider::Aws, "secret_access_key", &["s", "a+/="], &["", "a b", "a\nb", "é", &long[..1025]]);
    check(Provider::Aws, "session_token", &["t", &long[..8192]], &["", "a b", &long[..8193]]);
    check(
        Provider::Aws,
        "region",
        &[
            "us-west-2",
            "eu-central-1",
            "us-gov-east-1",
            "cn-north-1",
            "ap-southeast-7",
            "us-iso-west-1",
            "eusc-de-east-1",
            "mx-central-1",
        ],
        &[
            "",
            "us-east",
            "us-west-2.evil.com",
            "us-west-2/",
            "us-west-2#",
            "US-WEST-2",
            "us-west-2@x",
            "-east-2",
            "us--2",
            "us-west-222",
            "u-west-2",
            "us-a-b-c-2",
            "localhost",
            "us-west-2 ",
            "us-west-2\n",
            "us-westwestwestwest-2",
        ],
    );
    for field in ["subscription_id", "tenant_id", "client_id"] {
        check(
            Provider::Azure,
            field,
            &["87654321-4321-4321-4321-210987654321", "ABCDEF01-4321-4321-4321-210987654321"],
            &[
                "",
                "common",
                "evil.com",
                "87654321432143214321210987654321",
                "{87654321-4321-4321-4321-210987654321}",
                "8765432g-4321-4321-4321-210987654321",
            ],
        );
    }
    check(Provider::Azure, "client_secret", &["a~b.c_D"], &["", "a b"]);
    check(
        Provider::Gcp,
        "type",
        &["service_account"],
        &["", "external_account", "authorized_user", "impersonated_service_account"],
    );
    check(Provider::Gcp, "project_id", &["p", "example.com:old"], &["", "My Project", "p/q"]);
    check(Provider::Gcp, "private_key_id", &["0f"], &["", "a b", "a\"b"]);
    check(Provider::Gcp, "private_key", &["...", "a\r\nb"], &["", "\0", "é", &long[..16_385]]);
    check(Provider::Gcp, "client_email", &["a@b.c"], &["", "a", "a@b", "@b.c", "a b@c.d"]);
}

#[test]
fn what_says_where_to_ask_is_not_kept() {
    let mut keys = placeholder(Provider::Gcp);
    for field in
        ["client_id", "auth_uri", "token_uri", "auth_provider_x509_cert_url", "client_x509_cert_url", "universe_domain"]
    {
        keys[field] = json!("https://evil.example/token");
    }
    let kept = read(Provider::Gcp, keys).unwrap();
    assert_eq!(kept, read(Provider::Gcp, placeholder(Provider::Gcp)).unwrap());
    assert!(!kept.to_text().unwrap().reveal().contains("evil"));
    for (provider, field) in [
        (Provider::Gcp, "credential_source"),
        (Provider::Gcp, "subject_token_type"),
        (Provider::Aws, "role_arn"),
        (Provider::Aws, "endpoint_url"),
        (Provider::Azure, "authority"),
        (Provider::Azure, "region"),
    ] {
        let mut keys = placeholder(provider);
        keys[field] = json!({"url": "http://169.254.169.254/"});
        let error = read(provider, keys).unwrap_err();
        assert_eq!((error.mistake, &*error.field), (Mistake::Unknown, field));
    }
}

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_seconds(0).plus(Duration::from_secs(60 * minutes))
}

fn credential() -> Credential {
    let asked = Asked {
        id: CredentialId::new(at(1), &[7; 32]),
        tenant: TenantId::new("t"),
        provider: Provider::Aws,
        name: Label::parse("AWS Production").unwrap(),
        is_default: false,
    };
    asked.create(at(1)).credential
}

#[test]
fn a_verdict_is_about_the_keys_that_were_asked_about() {
    let stored = credential();
    assert_eq!((stored.is_valid, stored.uses, stored.version), (None, 0, 1));
    let valid = stored.validated(1, &Verdict::Valid { account: "123456789012".into() }, at(2)).unwrap().credential;
    assert_eq!((valid.is_valid, valid.last_validated_at, valid.version), (Some(true), Some(at(2)), 2));
    assert_eq!((valid.account.as_deref(), valid.validation_error()), (Some("123456789012"), None));

    // A provider that could not be asked has taken nothing back.
    let silent = valid.validated(1, &Verdict::Unreachable(Silence::Timeout), at(3)).unwrap().credential;
    assert_eq!((silent.is_valid, silent.last_validated_at), (Some(true), Some(at(2))));
    assert!(silent.validation_error().unwrap().starts_with("unreachable: "));

    let wrong = silent.validated(1, &Verdict::Invalid(Fault::WrongSecret), at(4)).unwrap().credential;
    assert_eq!((wrong.is_valid, wrong.last_validated_at), (Some(false), Some(at(4))));
    assert_eq!(
        wrong.validation_error().unwrap(),
        "wrong_secret: The secret access key is not the one of this access key"
    );

    let change = wrong.update(Update { new_keys: true, ..Update::default() }, at(5));
    let replaced = &change.credential;
    assert!(change.has_new_keys());
    assert_eq!((replaced.is_valid, replaced.last_validated_at, replaced.validation_error()), (None, None, None));
    assert_eq!((replaced.account.as_deref(), replaced.keys_version), (None, 2));
    let late = replaced.validated(1, &Verdict::Valid { account: "1".into() }, at(6));
    assert_eq!(late, Err(CredentialRefusal::Replaced));
}

#[test]
fn owners_change_what_they_name() {
    let stored = credential();
    let name = Label::parse("Other").unwrap();
    let renamed = stored.update(Update { name: Some(name.clone()), ..Update::default() }, at(2));
    assert!(!renamed.has_new_keys());
    assert_eq!(renamed.credential, Credential { name, version: 2, updated_at: at(2), ..stored.clone() });
    let default = stored.make_default(at(2)).credential;
    assert!(default.is_default && stored.update(Update::default(), at(2)).credential.version == 2);
    let plain = default.update(Update { is_default: Some(false), ..Update::default() }, at(3)).credential;
    assert!(!plain.is_default);
    assert_eq!(stored.deletable(), Ok(()));
    let used = Credential { uses: 2, ..stored };
    assert_eq!(used.deletable().unwrap_err().to_string(), "2 live workloads run with this credential: end them first");
}

#[test]
fn ids_have_one_form() {
    let id = credential().id;
    assert!(id.to_string().starts_with("cred-") && id.to_string().len() == 41);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(serde_json::from_value::<CredentialId>(serde_json::to_value(id).unwrap()).unwrap(), id);
    let uuid = id.to_string()[5..].to_owned();
    for other in ["", "cred-", &uuid, &format!("cred-{}", uuid.to_uppercase()), &format!("node-{uuid}")] {
        assert_eq!(other.parse::<CredentialId>(), Err(NotAnId), "{other}");
    }
    assert_eq!(Provider::ALL.map(|provider| Provider::named(provider.name())), Provider::ALL.map(Some));
    assert_eq!(Provider::named("oracle"), None);
}
