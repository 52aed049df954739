//! Stored cloud credentials, as tenants and admins use them: rows 000#6 to #10 and #23, trap T10.

use domain::{TenantId, credential::CredentialChange, tenant::Tier};
use futures::executor::block_on;
use http::Method;
use serde_json::{Value, json};

use super::check;
use crate::{
    laws::secrets::{SECRET, found_in, listening, take_log},
    support::{
        ADMIN,
        drive::Bench,
        operations::a_credential,
        wire::{Answer, Ask},
    },
};

const TENANT: &str = "550e8400-e29b-41d4-a716-446655440000";
const OTHER: &str = "550e8400-e29b-41d4-a716-446655440009";

/// Whoever asks: an admin for a tenant, or the tenant itself.
#[derive(Clone)]
enum Side {
    Admin(&'static str),
    Own(String),
}

impl Side {
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Ask {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let ask = match self {
            Self::Admin(tenant) if method == Method::POST && path.is_empty() => {
                let mut body = body.cloned().unwrap_or_default();
                body["tenant_id"] = json!(tenant);
                return Ask::post("/admin/credentials").json(&body).with("x-admin-token", ADMIN);
            }
            Self::Admin(tenant) => {
                let path = format!("/admin/credentials{path}?tenant_id={tenant}{query}");
                Ask::new(method, path).with("x-admin-token", ADMIN)
            }
            Self::Own(key) => Ask::new(method, format!("/v1/credentials{path}")).bearer(key),
        };
        body.map_or(ask.clone(), |body| ask.json(body))
    }

    /// The list, in either of its forms.
    fn list(&self, bench: &Bench) -> Vec<Value> {
        let answer = bench.send(self.ask(Method::GET, "", None));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        let list = if matches!(self, Self::Admin(_)) { &body } else { &body["data"] };
        list.as_array().expect("a list").clone()
    }

    #[track_caller]
    fn create(&self, bench: &Bench, body: &Value) -> Value {
        let answer = bench.send(self.ask(Method::POST, "", Some(body)));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    #[track_caller]
    fn does(&self, bench: &Bench, id: &str, act: &str) -> Value {
        let answer = bench.send(self.ask(Method::POST, &format!("/{id}/{act}"), None));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

/// A plane with two tenants that pay, and both sides of the first.
fn bench() -> (Bench, [Side; 2], Side) {
    let bench = Bench::new();
    let (key, _) = bench.a_tenant(TENANT, Tier::Pro);
    let (other, _) = bench.a_tenant(OTHER, Tier::Enterprise);
    (bench, [Side::Admin(TENANT), Side::Own(key)], Side::Own(other))
}

fn id_of(credential: &Value) -> String {
    credential["id"].as_str().expect("an id").to_owned()
}

/// The bodies of the reference's guide, steps 4.1 to 4.3.
fn reference(provider: &str) -> Value {
    let keys = match provider {
        "aws" => json!({
            "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "region": "us-west-2"
        }),
        "azure" => json!({
            "subscription_id": "12345678-1234-1234-1234-123456789012", "tenant_id": "87654321-4321-4321-4321-210987654321",
            "client_id": "11111111-2222-3333-4444-555555555555", "client_secret": "your_client_secret"
        }),
        _ => json!({
            "type": "service_account", "project_id": "my-gcp-project", "private_key_id": "key123",
            "private_key": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "client_email": "service-account@my-gcp-project.iam.gserviceaccount.com"
        }),
    };
    json!({"provider": provider, "name": format!("{provider} Production"), "is_default": true, "credentials": keys})
}

fn aws(secret: &str) -> Value {
    let keys = json!({"access_key_id": "AKIA0123456789ABCDEF", "secret_access_key": secret, "region": "us-west-2"});
    json!({"provider": "aws", "name": "aws", "credentials": keys})
}

#[test]
fn iaas_6_to_9_the_guides_steps() {
    for side in 0..2 {
        let (bench, sides, _) = bench();
        let side = &sides[side];
        for (provider, class) in [("aws", "unknown_key: "), ("azure", "unknown_key: "), ("gcp", "malformed: ")] {
            let shown = json!({
                "id": "<text>", "tenant_id": TENANT, "provider": provider, "name": format!("{provider} Production"),
                "is_default": true, "is_valid": null, "account": null, "last_validated_at": null,
                "validation_error": null, "in_use": 0, "created_at": "<time>", "updated_at": "<time>"
            });
            let made = check(&bench, side.ask(Method::POST, "", Some(&reference(provider))), 201, &shown).json();
            let id = id_of(&made);
            assert!(id.starts_with("cred-") && id.len() == 41, "{id}");
            assert_eq!(check(&bench, side.ask(Method::GET, &format!("/{id}"), None), 200, &shown).json(), made);
            assert_eq!(side.list(&bench).last(), Some(&made));
            // What is wrong with a placeholder is said, and kept.
            let told = side.does(&bench, &id, "validate");
            assert_eq!((&told["is_valid"], told["last_validated_at"].is_string()), (&json!(false), true));
            assert!(told["validation_error"].as_str().expect("words").starts_with(class), "{told}");
            assert_eq!(bench.send(side.ask(Method::GET, &format!("/{id}"), None)).json(), told);
        }
        assert_eq!(side.list(&bench).len(), 3);
        for credential in side.list(&bench) {
            let id = id_of(&credential);
            let gone = json!({"id": id, "deleted": true, "message": "Credential deleted"});
            check(&bench, side.ask(Method::DELETE, &format!("/{id}"), None), 200, &gone);
            assert_eq!(bench.send(side.ask(Method::GET, &format!("/{id}"), None)).status, 404);
        }
        assert_eq!(side.list(&bench), Vec::<Value>::new());
    }
}

#[test]
fn iaas_9_one_default_a_provider() {
    let (bench, [admin, own], _) = bench();
    let defaults = || own.list(&bench).iter().filter(|it| it["is_default"] == true).map(id_of).collect::<Vec<_>>();
    let first = id_of(&own.create(&bench, &reference("aws")));
    let azure = id_of(&admin.create(&bench, &reference("azure")));
    let second = id_of(&own.create(&bench, &aws("s")));
    assert_eq!(defaults(), [first.clone(), azure.clone()]);
    assert_eq!(admin.does(&bench, &second, "default")["is_default"], true);
    assert_eq!(defaults(), [azure.clone(), second.clone()]);
    let update = |id: &str, body: Value| bench.send(own.ask(Method::PUT, &format!("/{id}"), Some(&body))).json();
    assert_eq!(update(&first, json!({"is_default": true}))["is_default"], true);
    assert_eq!(defaults(), [first.clone(), azure.clone()]);
    assert_eq!(update(&first, json!({"is_default": false}))["is_default"], false);
    assert_eq!(defaults(), [azure]);
}

#[test]
fn t10_validate_asks_the_provider() {
    let (bench, [_, own], _) = bench();
    let id = id_of(&own.create(&bench, &aws("good")));
    let good = own.does(&bench, &id, "validate");
    assert_eq!((&good["is_valid"], &good["account"]), (&json!(true), &json!("000000000000")));
    assert_eq!(good["validation_error"], Value::Null);
    // Nobody could be asked: what was said before stands, and the answer says why.
    bench.world.set_outage("providers", true);
    bench.pass(60);
    let silent = own.does(&bench, &id, "validate");
    assert_eq!((&silent["is_valid"], &silent["last_validated_at"]), (&json!(true), &good["last_validated_at"]));
    assert!(silent["validation_error"].as_str().expect("words").starts_with("unreachable: "), "{silent}");
    bench.world.set_outage("providers", false);
    // Other keys are others: nothing is known of them.
    let body = json!({"name": "other", "credentials": aws("wrong")["credentials"]});
    let replaced = bench.send(own.ask(Method::PUT, &format!("/{id}"), Some(&body))).json();
    let known = ["is_valid", "account", "last_validated_at", "validation_error"].map(|name| &replaced[name]);
    assert_eq!((known, &replaced["name"]), ([&Value::Null; 4], &json!("other")));
    let wrong = own.does(&bench, &id, "validate");
    assert_eq!(wrong["is_valid"], false);
    assert!(wrong["validation_error"].as_str().expect("words").starts_with("wrong_secret: "), "{wrong}");
    // Its name alone takes nothing back.
    let renamed = bench.send(own.ask(Method::PUT, &format!("/{id}"), Some(&json!({"name": "again"})))).json();
    assert_eq!(renamed["is_valid"], false);
}

#[test]
fn iaas_8_anothers_is_unknown() {
    let (bench, [admin, own], other) = bench();
    let id = id_of(&own.create(&bench, &reference("aws")));
    let unknown = "cred-0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11";
    let acts = [
        (Method::GET, "", None),
        (Method::PUT, "", Some(json!({"name": "mine"}))),
        (Method::PUT, "", Some(json!({"credentials": {}}))),
        (Method::DELETE, "", None),
        (Method::POST, "/validate", None),
        (Method::POST, "/default", None),
    ];
    let refused = json!({
        "error": {"message": "credential not found", "type": "not_found_error", "code": "not_found"}
    });
    for (method, tail, body) in &acts {
        for (side, id) in [
            (&other, id.as_str()),
            (&other, unknown),
            (&other, "nonsense"),
            (&own, unknown),
            (&admin, unknown),
            (&Side::Admin(OTHER), &*id),
            (&Side::Admin("550e8400-e29b-41d4-a716-446655440011"), &*id),
            (&Side::Admin("nonsense"), &*id),
        ] {
            let answer = bench.send(side.ask(method.clone(), &format!("/{id}{tail}"), body.as_ref()));
            assert_eq!((answer.status, answer.json()), (404, refused.clone()), "{method} {tail} {id}");
        }
        let no_tenant = Ask::new(method.clone(), format!("/admin/credentials/{id}{tail}")).with("x-admin-token", ADMIN);
        assert_eq!(bench.send(no_tenant).status, 400, "{method} {tail}");
    }
    assert_eq!(other.list(&bench), Vec::<Value>::new());
    assert_eq!(own.list(&bench).len(), 1);
    let nobodys = Side::Admin("550e8400-e29b-41d4-a716-446655440011");
    assert_eq!(bench.send(nobodys.ask(Method::POST, "", Some(&aws("s")))).status, 404);
}

#[test]
fn iaas_22_it_needs_the_pro_tier() {
    let bench = Bench::new();
    for (number, tier, status) in
        [(1, Tier::Free, 403), (2, Tier::Starter, 403), (3, Tier::Pro, 201), (4, Tier::Enterprise, 201)]
    {
        let (key, _) = bench.a_tenant(&format!("550e8400-e29b-41d4-a716-44665544000{number}"), tier);
        let answer = bench.send(Side::Own(key.clone()).ask(Method::POST, "", Some(&reference("aws"))));
        assert_eq!(answer.status, status, "{tier:?}: {}", answer.text());
        if status == 403 {
            let error = &answer.json()["error"];
            assert_eq!(error["type"], "tier_restriction_error");
            assert!(error["message"].as_str().expect("words").contains("pro"), "{error}");
            assert_eq!(bench.send(Side::Own(key).ask(Method::GET, "", None)).status, 403);
        }
    }
}

#[test]
fn what_runs_keeps_its_credential() {
    let (bench, [admin, own], _) = bench();
    let id = a_credential(&bench, TENANT);
    let tenant = TenantId::new(TENANT);
    let uses = |uses: u64| {
        let before = block_on(bench.plane.store.credential(&tenant, id.parse().unwrap())).unwrap().unwrap();
        let mut credential = before.clone();
        (credential.uses, credential.version) = (uses, before.version + 1);
        let change = CredentialChange { before: Some(before), credential };
        block_on(bench.plane.store.write_credential(&change, None, None)).unwrap();
    };
    uses(2);
    for side in [&admin, &own] {
        let answer = bench.send(side.ask(Method::DELETE, &format!("/{id}"), None));
        assert_eq!(answer.status, 409);
        let words = "2 live workloads run with this credential: end them first";
        assert_eq!(answer.json()["error"]["message"], words);
    }
    uses(0);
    assert_eq!(bench.send(own.ask(Method::DELETE, &format!("/{id}"), None)).status, 200);
}

#[test]
fn keys_are_refused_by_field() {
    let (bench, sides, _) = bench();
    let with = |provider: &str, field: &str, value: Value| {
        let mut body = reference(provider);
        body["credentials"][field] = value;
        body
    };
    let mut lacking = reference("gcp");
    lacking["credentials"].as_object_mut().unwrap().remove("private_key");
    for (body, param) in [
        (with("aws", "region", json!("us-west-2.evil.example")), "credentials.region"),
        (with("aws", "endpoint", json!("http://169.254.169.254")), "credentials.endpoint"),
        (with("azure", "tenant_id", json!("../common")), "credentials.tenant_id"),
        (with("gcp", "type", json!("external_account")), "credentials.type"),
        (with("gcp", "credential_source", json!({"url": "http://169.254.169.254"})), "credentials.credential_source"),
        (lacking, "credentials.private_key"),
        (json!({"provider": "oracle", "name": "n", "credentials": {}}), "provider"),
        (json!({"provider": "aws", "name": "n"}), "credentials"),
        (json!({"provider": "aws", "name": "n", "credentials": []}), "credentials"),
        (json!({"provider": "aws", "name": "", "credentials": {}}), "name"),
        (json!({"provider": "aws", "name": "n", "is_valid": true, "credentials": {}}), "is_valid"),
    ] {
        for side in &sides {
            let answer = bench.send(side.ask(Method::POST, "", Some(&body)));
            assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)), "{}", answer.text());
            assert!(!answer.text().contains("169.254") && !answer.text().contains("evil"), "{}", answer.text());
        }
    }
    let answer = bench.send(sides[1].ask(Method::POST, "", Some(&json!({"provider": "oracle"}))));
    let known = |name: &str| answer.text().contains(name);
    assert!(known("aws") && known("azure") && known("gcp"), "{}", answer.text());
}

#[test]
fn a_repeated_request_does_nothing_more() {
    let (bench, sides, _) = bench();
    for side in &sides {
        let before = side.list(&bench).len();
        let again = || bench.send(side.ask(Method::POST, "", Some(&reference("aws"))).once("k"));
        let (first, second) = (again(), again());
        assert_eq!((first.status, second.status, first.text()), (201, 201, second.text()));
        assert_eq!(side.list(&bench).len(), before + 1);
        let other = bench.send(side.ask(Method::POST, "", Some(&aws("s"))).once("k"));
        assert_eq!(other.status, 409, "{}", other.text());
        let id = id_of(&first.json());
        let gone = || bench.send(side.ask(Method::DELETE, &format!("/{id}"), None).once("d"));
        assert_eq!((gone().status, gone().status), (200, 200));
    }
}

/// Every secret field of every provider, marked: nothing that is answered, logged or lies in the tables has the mark.
#[test]
fn iaas_10_keys_come_out_nowhere() {
    let (bench, sides, _) = bench();
    let marked = |provider: &str, good: bool| {
        let mut body = reference(provider);
        let fields: &[(&str, String)] = &match provider {
            "aws" => vec![
                ("access_key_id", "SECRET_AKIA0123456789".to_owned()),
                ("secret_access_key", format!("{SECRET}one")),
                ("session_token", format!("{SECRET}two")),
            ],
            "azure" => vec![("client_secret", format!("{SECRET}three"))],
            _ => vec![("private_key", format!("-----BEGIN PRIVATE KEY-----\n{SECRET}four\n-----END PRIVATE KEY-----"))],
        };
        for (field, text) in fields {
            body["credentials"][field] = json!(text);
        }
        if !good {
            // One field is wrong, and another is not ours: a refusal may show neither what is beside it.
            body["credentials"][format!("{SECRET}field").to_lowercase()] = json!(format!("{SECRET}five"));
        }
        body
    };
    let heard = listening(|| {
        drop(take_log());
        let mut answers = Vec::<Answer>::new();
        for side in &sides {
            for provider in ["aws", "azure", "gcp"] {
                let made = bench.send(side.ask(Method::POST, "", Some(&marked(provider, true))));
                let id = id_of(&made.json());
                answers.push(made);
                answers.push(bench.send(side.ask(Method::POST, "", Some(&marked(provider, false)))));
                for good in [true, false] {
                    let body = json!({"credentials": marked(provider, good)["credentials"]});
                    answers.push(bench.send(side.ask(Method::PUT, &format!("/{id}"), Some(&body))));
                }
                answers.push(bench.send(side.ask(Method::GET, &format!("/{id}"), None)));
                answers.push(bench.send(side.ask(Method::POST, &format!("/{id}/validate"), None)));
                bench.world.set_outage("vault", true);
                answers.push(bench.send(side.ask(Method::POST, &format!("/{id}/validate"), None)));
                answers.push(bench.send(side.ask(Method::POST, "", Some(&marked(provider, true)))));
                bench.world.set_outage("vault", false);
                let sealed = block_on(bench.plane.store.sealed_keys(&TenantId::new(TENANT), id.parse().unwrap()));
                let sealed = sealed.unwrap().expect("keys");
                assert_eq!(found_in(&sealed), None);
                // What was sealed for one credential opens for no other.
                assert!(!sealed.contains("AKIA") && sealed.len() > 64, "{sealed}");
            }
            answers.push(bench.send(side.ask(Method::GET, "", None)));
        }
        for answer in &answers {
            let text = format!("{} {:?}", answer.text(), answer.headers);
            assert!(found_in(&text).is_none() && !text.contains("SECRET_AKIA"), "{text}");
        }
        assert!(answers.iter().filter(|answer| answer.status < 300).count() > 20, "most of it was answered well");
        take_log()
    });
    assert!(found_in(&heard).is_none() && !heard.contains("SECRET_AKIA"), "{heard}");
}
