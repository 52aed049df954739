//! Presigned URLs: what is read out of them, and what is rebuilt. The URL is one that botocore 1.44.5 wrote.

use super::{
    question::{parse_amz_date, sts_host},
    *,
};

/// 2026-01-20T18:30:00Z, when the URL was signed.
const NOW: Timestamp = Timestamp::from_seconds(1_768_933_800);
const SERVER: &str = "gpus.example.com";
const SIGNATURE: &str = "837acf484323108619f4ebc86d722cdacc2d704245d06146db26095b787b1ef2";
const URL: &str = "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                   &X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20260120%2Feu-central-1%2Fsts%2Faws4_request&X-Amz-Date=20260120T183000Z\
                   &X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-slipway-server-id\
                   &X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2F%2Btoken%3D%3D\
                   &X-Amz-Signature=837acf484323108619f4ebc86d722cdacc2d704245d06146db26095b787b1ef2";
/// The query in the order in which we write it.
const QUERY: &str = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
                     ASIAIOSFODNN7EXAMPLE%2F20260120%2Feu-central-1%2Fsts%2Faws4_request&X-Amz-Date=20260120T183000Z&X-Amz-Expires=60\
                     &X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2F%2Btoken%3D%3D&X-Amz-SignedHeaders=host%3Bx-slipway-server-id\
                     &X-Amz-Signature=837acf484323108619f4ebc86d722cdacc2d704245d06146db26095b787b1ef2";

fn read(url: &str) -> Result<Presigned, NotPresigned> {
    Presigned::read(&Secret::new(url))
}

fn presigned() -> Presigned {
    read(URL).unwrap()
}

fn rules() -> LoginRules {
    let regions = ["eu-central-1", "cn-north-1"].map(str::to_owned).to_vec();
    LoginRules { server_id: SERVER.into(), regions, temporary_only: true }
}

#[test]
fn the_request_is_rebuilt_from_the_urls_parts() {
    let host = "sts.eu-central-1.amazonaws.com".to_owned();
    let expected = Rebuilt { host, query: Secret::new(QUERY), server_id: SERVER.into() };
    assert_eq!(presigned().rebuild(&rules(), NOW), Ok(expected));
    assert_eq!(presigned().nonce(), Secret::new(SIGNATURE).hash());
    assert_eq!(read(presigned().url().reveal()), Ok(presigned()), "what is written is read");
    let shown = format!("{:?} {:?}", presigned(), presigned().rebuild(&rules(), NOW));
    assert!(!shown.contains(SIGNATURE) && !shown.contains("token%3D") && !shown.contains("ASIA"), "{shown}");
}

#[test]
fn a_url_of_anything_else_is_none() {
    // Without the slash it is the same URL, and botocore writes it so when it is given one without.
    assert_eq!(read(&URL.replacen("com/?", "com?", 1)), Ok(presigned()));
    for (from, to) in [
        ("https://", "http://"),
        ("https://", ""),
        ("sts.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com.evil.example"),
        ("sts.eu-central-1.amazonaws.com", "evil.example/sts.eu-central-1.amazonaws.com"),
        ("sts.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com:444"),
        ("sts.eu-central-1.amazonaws.com", "user@sts.eu-central-1.amazonaws.com"),
        ("sts.eu-central-1.amazonaws.com", "sts.amazonaws.com"),
        ("sts.eu-central-1.amazonaws.com", "sts.us-east-1.amazonaws.com"),
        ("com/?", "com//?"),
        ("com/?", "com/#?"),
        ("com/?", "com/"),
        ("GetCallerIdentity", "AssumeRole"),
        ("2011-06-15", "2011-06-16"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("Action=GetCallerIdentity&", ""),
        ("Version=2011-06-15&", ""),
        ("&X-Amz-Date=20260120T183000Z", ""),
        ("&X-Amz-Expires=60", ""),
        ("&X-Amz-Expires=60", "&X-Amz-Expires=-1"),
        ("&X-Amz-Expires=60", "&X-Amz-Expires"),
        ("&X-Amz-Expires=60", "&X-Amz-Expires=60&X-Amz-Expires=60"),
        ("&X-Amz-Expires=60", "&X-Amz-Expires=60&RoleArn=x"),
        ("&X-Amz-Expires=60", "&X-Amz-Expires=60&"),
        ("%2Fsts%2F", "%2Fs3%2F"),
        ("%2Faws4_request", ""),
        ("%2Faws4_request", "%2Faws4_request%2Fx"),
        ("%2F20260120%2F", "%2F20260119%2F"),
        ("%2Feu-central-1%2F", "%2Fus-east-1%2F"),
        ("%2Btoken", "+token"),
        ("%2Btoken", "%2"),
        ("%2Btoken", "%zz"),
        ("%2Btoken", "%ff"),
        ("787b1ef2", "787b1ef2#x=y"),
    ] {
        let changed = URL.replacen(from, to, 1);
        assert_ne!(changed, URL, "{from} is not in it");
        let rebuilt = read(&changed).map(|presigned| presigned.rebuild(&rules(), NOW));
        assert!(matches!(rebuilt, Err(NotPresigned) | Ok(Err(Rejected::Signature))), "{changed}: {rebuilt:?}");
    }
    // A host that is an STS's by its region's name alone.
    let made_up = URL.replace("eu-central-1", "evil.example%2F").replace("sts.evil.example%2F", "sts.evil.example/");
    assert_eq!(read(&made_up), Err(NotPresigned));
    for other in ["", "https://", "?", "https://?", "é"] {
        assert_eq!(read(other), Err(NotPresigned), "{other}");
    }
}

#[test]
fn what_cannot_be_right_is_rejected() {
    type Change = fn(&mut Presigned);
    let cases: [(Rejected, Change); 19] = [
        (Rejected::Region, |it| it.region = "us-east-1".into()),
        (Rejected::Region, |it| it.region = "eu-central-1.evil.example/".into()),
        (Rejected::KeyId, |it| it.access_key_id = Secret::new("AKIAIOSFODNN7EXAMPLE")),
        (Rejected::KeyId, |it| it.access_key_id = Secret::new("ASIAIOSFODNN7EXAMPLE/20260120")),
        (Rejected::Token, |it| it.security_token = Secret::new("")),
        (Rejected::Token, |it| it.security_token = Secret::new("a b")),
        (Rejected::Token, |it| it.security_token = Secret::new("a".repeat(9_000))),
        (Rejected::Date, |it| it.date = "20260120T182859Z".into()),
        (Rejected::Date, |it| it.date = "20260120T183101Z".into()),
        (Rejected::Date, |it| it.date = "2026-01-20T18:30:00Z".into()),
        (Rejected::Date, |it| it.date = "20260120T183000Z&Action=AssumeRole".into()),
        (Rejected::Expires, |it| it.expires = 61),
        (Rejected::Expires, |it| it.expires = 0),
        (Rejected::Expired, |it| (it.date, it.expires) = ("20260120T182930Z".into(), 29)),
        (Rejected::SignedHeaders, |it| it.signed_headers = "host".into()),
        (Rejected::SignedHeaders, |it| it.signed_headers = "host;x-k8s-aws-id".into()),
        (Rejected::SignedHeaders, |it| it.signed_headers = "host;x-slipway-server-id;x-extra".into()),
        (Rejected::Signature, |it| it.signature = Secret::new(SIGNATURE.to_uppercase())),
        (Rejected::Signature, |it| it.signature = Secret::new("abc")),
    ];
    for (expected, change) in cases {
        let mut changed = presigned();
        change(&mut changed);
        assert_eq!(changed.rebuild(&rules(), NOW), Err(expected), "{changed:?}");
        assert_eq!(expected.to_string(), expected.words());
    }
}

#[test]
fn the_window_is_a_minute_either_way() {
    let second = Duration::from_secs(1);
    for (now, taken) in [
        (NOW, true),
        (NOW.plus(60 * second), true),
        (NOW.plus(61 * second), false),
        (NOW.minus(60 * second), true),
        (NOW.minus(61 * second), false),
    ] {
        assert_eq!(presigned().rebuild(&rules(), now).is_ok(), taken, "{now}");
        assert_eq!(presigned().unverified(now).is_ok(), taken, "{now}");
    }
}

#[test]
fn dates_have_one_spelling() {
    assert_eq!(amz_date(NOW), "20260120T183000Z");
    assert_eq!(amz_date(NOW.plus(Duration::from_millis(999))), "20260120T183000Z");
    assert_eq!(parse_amz_date("20260120T183000Z"), Some(NOW));
    for other in
        ["", "T", "20260120T183000", "20260120T183000z", "2026-01-20T18:30:00Z", "20260120T183000+0100", "é0260120T1"]
    {
        assert_eq!(parse_amz_date(other), None, "{other}");
    }
}

#[test]
fn each_partition_has_its_hosts() {
    for (region, host) in [
        ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
    ] {
        assert_eq!(sts_host(region), host);
    }
}
