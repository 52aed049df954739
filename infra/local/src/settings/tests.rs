use std::cell::RefCell;

use agent::GpuSeen;
use domain::gpu::Gpu;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn read(set: &[(&str, &str)]) -> Result<Settings, BadSetting> {
    let find = |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Settings::read(find)
}

#[test]
fn every_variable_that_is_read_is_described() {
    let asked = RefCell::new(Vec::new());
    Settings::read(|name| {
        asked.borrow_mut().push(name);
        None
    })
    .unwrap();
    let mut asked = asked.into_inner();
    let mut described: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    asked.sort_unstable();
    described.sort_unstable();
    assert_eq!(asked, described);
    assert!(described.iter().all(|name| help().contains(name)));
}

#[test]
fn defaults_are_those_that_are_described() {
    let unset = read(&[]).unwrap();
    let described: Vec<(&str, &str)> = VARIABLES
        .iter()
        .filter(|one| {
            ["PORT", "SLIPWAY_NODES", "GITHUB_URL", "API_KEY_TTL_HOURS", "SLIPWAY_LISTEN"].contains(&one.name)
        })
        .map(|one| (one.name, one.default))
        .collect();
    let set = read(&described).unwrap();
    assert_eq!(
        (unset.port, unset.nodes.clone(), unset.github_url.clone(), unset.key_ttl_hours, unset.listen),
        (set.port, set.nodes, set.github_url, set.key_ttl_hours, set.listen)
    );
    assert!(!unset.is_wide() && unset.admin_token.is_none());
    assert_eq!(unset.public_host(), "127.0.0.1");
    let unset = unset.login.0.first().unwrap().clone();
    assert_eq!(
        (unset.account.as_str(), unset.role.as_str(), unset.tenant.as_str()),
        (LOCAL_ACCOUNT, LOCAL_ROLE, "default")
    );
}

/// The error names the variable, shows the value and says what is right.
#[track_caller]
fn refused(set: &[(&str, &str)], parts: &[&str]) {
    let error = read(set).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} should say {part:?}");
    }
}

#[test]
fn bad_values_say_what_is_right() {
    for (name, value, right) in [
        ("PORT", "http", "a port number"),
        ("PORT", "65536", "a port number"),
        ("SLIPWAY_NODES", "h100", "h100x8"),
        ("SLIPWAY_NODES", "h101x8", "a100-80gb"),
        ("SLIPWAY_NODES", "h100x0", "1 to 16"),
        ("SLIPWAY_NODES", "h100x8,,x", "GPUxCOUNT"),
        ("SLIPWAY_NODES", ",", "1 to 256 nodes"),
        ("GITHUB_URL", "github.com", "https://github.com"),
        ("GITHUB_URL", "ftp://github.com", "https://github.com"),
        ("GITHUB_URL", "https://a:b@github.com", "https://github.com"),
        ("LOG_LEVEL", "a=b=c", "debug"),
        ("LOG_FORMAT", "xml", "json"),
        ("CORS_ORIGINS", "*", "https://example.com"),
        ("CORS_ORIGINS", "https://example.com/", "https://example.com"),
        ("API_KEY_TTL_HOURS", "0", "1 to 168"),
        ("API_KEY_TTL_HOURS", "169", "1 to 168"),
        ("SLIPWAY_LISTEN", "localhost", "0.0.0.0"),
        ("SLIPWAY_LISTEN", "0.0.0.0:8000", "PORT"),
        ("SLIPWAY_HOSTS", "a/b", "gpu-box"),
        ("SLIPWAY_HOSTS", "https://a", "gpu-box"),
        ("SLIPWAY_HOSTS", "a b", "gpu-box"),
        ("SLIPWAY_SANDBOX", "docker", "process-group"),
        ("LOGIN_TABLE", "{}", "sessions_are_people"),
        ("LOGIN_TABLE", r#"[{"account":"1","role":"r","tenant":"t","sessions_are_people":true}]"#, "twelve digits"),
        ("LOGIN_TABLE", r#"[{"account":"000000000000","role":"r","tenant":"a#b","sessions_are_people":true}]"#, "#"),
        ("LOGIN_TABLE", "[]", "nobody could log in"),
        (
            "LOGIN_TABLE",
            r#"[{"account":"000000000000","role":"r","tenant":"t","sessions_are_people":true}]"#,
            "role SSOCloudDevGpuReservation",
        ),
        (
            "LOGIN_TABLE",
            r#"[{"account":"123456789012","role":"SSOCloudDevGpuReservation","tenant":"t","sessions_are_people":true}]"#,
            "account 000000000000",
        ),
    ] {
        refused(&[(name, value)], &[name, &format!("{value:?}"), right]);
    }
}

#[test]
fn a_login_table_may_have_more_rules_than_the_one_that_somebody_matches() {
    let table = format!(
        r#"[{{"account":"123456789012","role":"r","tenant":"a","sessions_are_people":true}},
            {{"account":"{LOCAL_ACCOUNT}","role":"{LOCAL_ROLE}","tenant":"b","sessions_are_people":false}}]"#
    );
    assert_eq!(read(&[("LOGIN_TABLE", &table)]).unwrap().login.0.len(), 2);
    let described = VARIABLES.iter().find(|variable| variable.name == "LOGIN_TABLE").unwrap().meaning;
    assert!(described.contains(LOCAL_ACCOUNT) && described.contains(LOCAL_ROLE), "{described}");
}

#[test]
fn an_admin_token_is_long_and_is_not_shown() {
    refused(&[("ADMIN_API_TOKEN", "short")], &["ADMIN_API_TOKEN", "32"]);
    refused(&[("ADMIN_API_TOKEN", &"a b ".repeat(20))], &["ADMIN_API_TOKEN"]);
    assert!(!read(&[("ADMIN_API_TOKEN", "hunter2")]).unwrap_err().to_string().contains("hunter2"));
    refused(&[("SKYPILOT_CREDENTIAL_ENCRYPTION_KEY", "short")], &["SKYPILOT_CREDENTIAL_ENCRYPTION_KEY", "32"]);
    refused(&[("JWT_SECRET", "hunter2")], &["JWT_SECRET", "32"]);
    let signs = "n".repeat(32);
    let set = [("ADMIN_API_TOKEN", TOKEN), ("JWT_SECRET", &signs), ("SKYPILOT_CREDENTIAL_ENCRYPTION_KEY", TOKEN)];
    let settings = read(&set).unwrap();
    assert_eq!(settings.admin_token.as_ref().unwrap().reveal(), TOKEN);
    assert_eq!(settings.vault_key.as_ref().unwrap().reveal(), TOKEN);
    let shown = format!("{settings:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains(&signs));
}

#[test]
fn listening_wider_needs_a_token_and_names() {
    refused(&[("SLIPWAY_LISTEN", "0.0.0.0")], &["SLIPWAY_HOSTS"]);
    refused(&[("SLIPWAY_LISTEN", "0.0.0.0"), ("SLIPWAY_HOSTS", "box")], &["ADMIN_API_TOKEN"]);
    refused(&[("SLIPWAY_LISTEN", "0.0.0.0"), ("ADMIN_API_TOKEN", TOKEN)], &["SLIPWAY_HOSTS"]);
    // A proxy in front of loopback is as wide.
    refused(&[("SLIPWAY_HOSTS", "box")], &["ADMIN_API_TOKEN"]);
    for (listen, host) in [
        ("0.0.0.0", "box.example.com"),
        ("10.0.0.7", "10.0.0.7"),
        ("127.0.0.1", "127.0.0.1"),
        ("::", "box.example.com"),
    ] {
        let set = [("SLIPWAY_LISTEN", listen), ("SLIPWAY_HOSTS", "Box.example.com:80, b"), ("ADMIN_API_TOKEN", TOKEN)];
        let settings = read(&set).unwrap();
        assert!(settings.is_wide());
        assert_eq!(settings.public_host(), host, "{listen}");
        assert_eq!(settings.hosts, ["box.example.com", "b"]);
    }
    assert!(!read(&[("SLIPWAY_LISTEN", "::1")]).unwrap().is_wide());
}

fn names(nodes: &[NodeSpec]) -> Vec<String> {
    nodes
        .iter()
        .map(|node| format!("{} {} {:?} {}", node.id.as_str(), node.pool.as_str(), node.indexes, node.simulated))
        .collect()
}

#[test]
fn nodes_are_numbered_within_their_type() {
    let nodes = read(&[("SLIPWAY_NODES", "h100x2, rtxpro6000x1,h100x1")]).unwrap().nodes;
    let named = nodes.named(|| unreachable!("nobody asked for this machine's own")).unwrap();
    let expected = [
        "local-h100-1 local/h100 [0, 1] true",
        "local-rtxpro6000-1 local/rtxpro6000 [0] true",
        "local-h100-2 local/h100 [0] true",
    ];
    assert_eq!(names(&named), expected);
}

#[test]
fn this_machines_own_gpus() {
    let seen = |index, name: &str| GpuSeen { index, name: name.to_owned(), memory_mib: 143_771 };
    let auto = read(&[("SLIPWAY_NODES", "auto")]).unwrap().nodes;
    let mixed = vec![seen(0, "NVIDIA H200"), seen(1, "Riva 128"), seen(2, "NVIDIA H200"), seen(3, "NVIDIA L4")];
    let named = auto.named(|| mixed).unwrap();
    assert_eq!(names(&named), ["local-h200-1 local/h200 [0, 2] false", "local-l4-1 local/l4 [3] false"]);
    assert_eq!(named.first().unwrap().gpu, Gpu::H200);
    let none = auto.named(Vec::new).unwrap_err().to_string();
    assert!(none.contains("SLIPWAY_NODES") && none.contains("nvidia-smi"), "{none}");
    let strange = auto.named(|| vec![seen(0, "Riva 128")]).unwrap_err().to_string();
    assert!(strange.contains("Riva 128"), "{strange}");
}
