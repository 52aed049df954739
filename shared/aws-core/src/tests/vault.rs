//! Envelopes: what KMS is asked, when it is not asked, and what does not open.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use cloud::{OsIds, SealContext, Vault, VaultError};
use domain::{Secret, TenantId};
use serde_json::json;

use super::{TestClock, sdk_at};
use crate::{
    KmsVault,
    replay::{Answer, Replay},
};

const KEY: &str = "arn:aws:kms:eu-central-1:000000000000:key/0198c7a2";

struct Bench {
    replay: Replay,
    clock: Arc<TestClock>,
    vault: KmsVault,
}

impl Bench {
    fn new() -> Self {
        let (replay, clock) = (Replay::default(), TestClock::new());
        let vault = KmsVault::new(sdk_at(&replay, clock.clone()).kms(), KEY, clock.clone(), Arc::new(OsIds));
        Self { replay, clock, vault }
    }

    /// The actions that KMS was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        let target = |asked: &crate::replay::Asked| asked.header("x-amz-target").replace("TrentService.", "");
        self.replay.asked().iter().map(target).collect()
    }
}

/// What KMS answers about key number `number`, both when it makes it and when it unwraps it.
fn key(number: u8) -> Answer {
    let (plain, wrapped) = (STANDARD.encode([number; 32]), STANDARD.encode([&b"wrapped"[..], &[number]].concat()));
    Answer::ok(json!({"KeyId": KEY, "Plaintext": plain, "CiphertextBlob": wrapped}).to_string())
}

fn context(tenant: &str, row: &str, purpose: &'static str) -> SealContext {
    SealContext { tenant: TenantId::new(tenant), row: row.into(), purpose }
}

fn home() -> SealContext {
    context("research", "row", "env")
}

#[tokio::test]
async fn a_text_is_sealed_with_a_wrapped_key_and_opened_elsewhere() {
    let here = Bench::new();
    here.replay.then([key(1)]);
    let sealed = here.vault.seal(&home(), &Secret::new("hunter2")).await.unwrap();
    assert!(sealed.starts_with("k1.") && !sealed.contains("hunter2"), "{sealed}");
    let asked = here.replay.asked();
    assert_eq!(asked[0].header("x-amz-target"), "TrentService.GenerateDataKey");
    let tenant = json!({"slipway:tenant": "research"});
    assert_eq!(asked[0].json(), json!({"KeyId": KEY, "EncryptionContext": tenant, "KeySpec": "AES_256"}));

    let there = Bench::new();
    there.replay.then([key(1)]);
    for _ in 0..2 {
        assert_eq!(there.vault.open(&home(), &sealed).await.unwrap().reveal(), "hunter2");
    }
    let asked = there.replay.asked();
    assert_eq!(asked.len(), 1, "an unwrapped key is kept");
    assert_eq!(asked[0].header("x-amz-target"), "TrentService.Decrypt");
    let wrapped = STANDARD.encode(b"wrapped\x01");
    assert_eq!(asked[0].json(), json!({"CiphertextBlob": wrapped, "EncryptionContext": tenant, "KeyId": KEY}));
}

#[tokio::test]
async fn keys_serve_for_five_minutes_and_a_thousand_seals() {
    let bench = Bench::new();
    let seal = |tenant| {
        let vault = &bench.vault;
        async move { vault.seal(&context(tenant, "row", "env"), &Secret::new("x")).await.unwrap() }
    };
    bench.replay.then([key(1), key(2), key(3), key(4), key(2)]);
    for _ in 0..1_000 {
        seal("a").await;
    }
    assert_eq!(bench.asked(), ["GenerateDataKey"]);
    let second = seal("a").await;
    seal("b").await;
    assert_eq!(bench.asked(), ["GenerateDataKey", "GenerateDataKey"], "the thousand is full; each tenant has its own");
    bench.clock.pass(Duration::from_secs(299));
    seal("a").await;
    bench.vault.open(&context("a", "row", "env"), &second).await.unwrap();
    assert_eq!(bench.asked(), Vec::<String>::new(), "what was sealed here opens here");
    bench.clock.pass(Duration::from_secs(1));
    seal("a").await;
    bench.vault.open(&context("a", "row", "env"), &second).await.unwrap();
    assert_eq!(bench.asked(), ["GenerateDataKey", "Decrypt"]);
}

#[tokio::test]
async fn the_key_that_was_used_longest_ago_is_forgotten_first() {
    let bench = Bench::new();
    let mut sealed = Vec::new();
    for number in 0..101 {
        bench.replay.then([key(number)]);
        let context = context(&format!("t{number}"), "row", "env");
        sealed.push((bench.vault.seal(&context, &Secret::new("x")).await.unwrap(), context, number));
        // The first is used again and again, so that it stays.
        bench.vault.open(&sealed[0].1, &sealed[0].0).await.unwrap();
    }
    drop(bench.asked());
    for (at, expected) in [(0, 0), (100, 0), (1, 1)] {
        let (text, context, number) = &sealed[at];
        bench.replay.then((0..expected).map(|_| key(*number)));
        bench.vault.open(context, text).await.unwrap();
        assert_eq!(bench.asked().len(), expected, "{at}");
    }
}

#[tokio::test]
async fn sealed_texts_open_only_where_they_belong() {
    let bench = Bench::new();
    bench.replay.then([key(1)]);
    let sealed = bench.vault.seal(&home(), &Secret::new("hunter2")).await.unwrap();
    drop(bench.asked());
    // KMS would refuse another tenant; even if it did not, the text would not open.
    for (other, asked) in [
        (context("build", "row", "env"), 1),
        (context("research", "row2", "env"), 0),
        (context("research", "row", "token"), 0),
    ] {
        bench.replay.then((0..asked).map(|_| key(1)));
        assert_eq!(bench.vault.open(&other, &sealed).await, Err(VaultError::Forged), "{other:?}");
        assert_eq!(bench.asked().len(), asked, "a key at hand is its tenant's alone");
    }
    let (head, tail) = sealed.rsplit_once('.').unwrap();
    let long = format!("k1.{}.{tail}", "A".repeat(10_000));
    for broken in
        ["", "k1.", "k1..", "k2.AA.AA", tail, head, &format!("k1.!.{tail}"), &long, &sealed[..sealed.len() - 4]]
    {
        assert_eq!(bench.vault.open(&home(), broken).await, Err(VaultError::Forged), "{broken}");
    }
    assert_eq!(bench.asked().len(), 0, "what cannot be a key is not asked about");
}

async fn check(answers: &[Answer], sealing: VaultError, opening: VaultError) {
    let sealed = format!("k1.{}.AAAA", STANDARD.encode(b"w").trim_end_matches('='));
    let bench = Bench::new();
    bench.replay.then(answers.iter().cloned());
    assert_eq!(bench.vault.seal(&home(), &Secret::new("x")).await, Err(sealing), "{answers:?}");
    bench.replay.then(answers.iter().cloned());
    assert_eq!(bench.vault.open(&home(), &sealed).await, Err(opening), "{answers:?}");
    assert_eq!(bench.replay.left(), 0, "{answers:?}");
}

#[tokio::test]
async fn failures_are_told_apart() {
    use VaultError::{Forged, Unavailable};
    for code in ["InvalidCiphertextException", "IncorrectKeyException"] {
        check(&[Answer::json_error(400, code)], Unavailable, Forged).await;
    }
    for code in ["DisabledException", "KMSInvalidStateException", "AccessDeniedException", "NotFoundException"] {
        check(&[Answer::json_error(400, code)], Unavailable, Unavailable).await;
    }
    check(&[const { Answer::Timeout }; 3], Unavailable, Unavailable).await;
    check(&vec![Answer::json_error(400, "ThrottlingException"); 3], Unavailable, Unavailable).await;
    check(
        &[Answer::ok(json!({"KeyId": KEY, "Plaintext": "AAAA", "CiphertextBlob": "AAAA"}).to_string())],
        Unavailable,
        Unavailable,
    )
    .await;
}
