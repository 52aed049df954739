//! What all surfaces have in common: health, the info page, the documents, and the outermost layers (002#2, 002#3, K4, K6, K7).

use http::Method;
use serde_json::json;

use super::check;
use crate::support::{drive::Bench, wire::Ask};

#[test]
fn t_002_02_health() {
    let bench = Bench::new();
    let health = |status: &str, database: &str, queue: &str| {
        json!({
            "status": status, "version": "0.0.0-test", "time": "<time>", "timestamp": "<time>", "database": database, "queue": queue
        })
    };
    check(&bench, Ask::get("/health"), 200, &health("healthy", "healthy", "healthy"));
    bench.world.set_outage("queue", true);
    check(&bench, Ask::get("/health"), 200, &health("unhealthy", "healthy", "unhealthy"));
}

#[test]
fn t_002_03_info() {
    let bench = Bench::new();
    check(
        &bench,
        Ask::get("/"),
        200,
        &json!({
            "service": "GPU Dev API", "version": "0.0.0-test", "docs": "/docs", "health": "/health",
            "auth": {"aws_login": "/v1/auth/aws-login", "description": "Use AWS credentials to obtain an API key"},
            "endpoints": {
                "jobs": "/v1/jobs", "disks": "/v1/disks", "gpu_availability": "/v1/gpu/availability",
                "cluster_status": "/v1/cluster/status", "keys": "/v1/keys"
            }
        }),
    );
}

#[test]
fn t_k07_the_document() {
    let bench = Bench::new();
    let document = bench.send(Ask::get("/openapi.json"));
    assert_eq!((document.status, document.header("content-type")), (200, "application/json"));
    assert_eq!(document.json()["info"]["title"], "Slipway");
}

/// Every address that a page would load from elsewhere, which would tell others who reads it and fail where there is no internet.
fn foreign(text: &str) -> Vec<&str> {
    let loading = ["src=", "href=", "url(", "@import", "fetch(\"http", "import(\"http"];
    let places = loading.iter().flat_map(|word| text.match_indices(word).map(|(at, word)| &text[at + word.len()..]));
    places
        .map(|rest| rest.split(['>', ')', ' ', ';']).next().unwrap_or_default().trim_matches(['"', '\'', '(']))
        .filter(is_foreign)
        .collect()
}

fn is_foreign(address: &&str) -> bool {
    let after_scheme = address.strip_prefix("https:").or(address.strip_prefix("http:")).unwrap_or(address);
    after_scheme.starts_with("//")
}

#[test]
fn t_k07_the_pages_load_nothing_from_elsewhere() {
    assert_eq!(foreign("<script src=\"https://cdn.example/x.js\">"), ["https://cdn.example/x.js"]);
    assert_eq!(foreign("@font-face{src:url(//fonts.example/a)} <a href=\"/docs\">"), ["//fonts.example/a"]);
    let bench = Bench::new();
    let moved = bench.send(Ask::get("/docs"));
    assert_eq!((moved.status, moved.header("location")), (307, "/docs/index.html"));
    for page in [
        "/docs/",
        "/docs/index.html",
        "/docs/swagger-initializer.js",
        "/docs/swagger-ui.css",
        "/docs/index.css",
        "/redoc",
    ] {
        let answer = bench.send(Ask::get(page));
        assert_eq!(answer.status, 200, "{page}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self'") && !policy.contains("http"), "{page}: {policy}");
        let text = answer.text();
        // Redoc's program holds links that people may click; what a page loads stands in its markup, before and after the program.
        let markup =
            text.split("<script>").map(|part| part.rsplit("</script>").next().unwrap_or(part)).collect::<String>();
        assert_eq!(foreign(&markup), Vec::<&str>::new(), "{page}");
    }
    let initializer = bench.send(Ask::get("/docs/swagger-initializer.js")).text();
    assert!(initializer.contains("/openapi.json") && !initializer.contains("petstore"), "{initializer}");
    check(&bench, Ask::get("/docs/nothing.js"), 404, &json!({"detail": "Not Found"}));
}

/// On AWS each function answers its own paths alone, and the pages are one function's.
#[test]
fn the_pages_are_a_function() {
    let bench = Bench::new();
    let asked = |function: &str, path: &str| {
        let surface = meta::surface().only(function).expect("a function of the surface");
        let routes = web::serve::mount("0", vec![surface]);
        let front = web::serve::Front { hosts: web::serve::Hosts::Loopback, cors_origins: Vec::new() };
        let router = web::serve::router(bench.plane.clone(), routes, front);
        futures::executor::block_on(crate::support::drive::answer(router, Ask::get(path)))
    };
    for (function, path, status) in [
        ("Docs", "/docs", 307),
        ("Docs", "/docs/index.html", 200),
        ("Docs", "/docs/favicon-32x32.png", 200),
        ("Docs", "/redoc", 200),
        ("Docs", "/health", 404),
        ("GetHealth", "/health", 200),
        ("GetHealth", "/docs/index.html", 404),
        ("GetHealth", "/redoc", 404),
    ] {
        assert_eq!(asked(function, path).status, status, "{function} {path}");
    }
    assert!(asked("Docs", "/docs/favicon-32x32.png").body.starts_with(b"\x89PNG"));
    // What is no text goes through the gateway as a stream, byte by byte.
    let streams = |function: &str| meta::surface().only(function).expect("a function").streams();
    assert_eq!(["Docs", "GetHealth", "GetOpenapi"].map(streams), [true, false, false]);
    assert!(meta::surface().only("Nothing").is_none() && auth::surface().only("Docs").is_none());
    assert_eq!(meta::surface().function_names(), ["GetApiInfo", "GetHealth", "GetOpenapi", "Docs"]);
}

#[test]
fn cors_for_the_listed_origins_alone() {
    let bench = Bench::new();
    let preflight = |origin: &str| {
        let ask = Ask::new(Method::OPTIONS, "/v1/jobs").with("origin", origin);
        bench.send(
            ask.with("access-control-request-method", "GET").with("access-control-request-headers", "authorization"),
        )
    };
    let ours = preflight("https://console.example");
    assert_eq!((ours.status, ours.header("access-control-allow-origin")), (200, "https://console.example"));
    for (header, needed) in [
        ("access-control-allow-methods", "DELETE"),
        ("access-control-allow-headers", "authorization"),
        ("access-control-allow-headers", "idempotency-key"),
    ] {
        assert!(ours.header(header).contains(needed), "{header}: {}", ours.header(header));
    }
    assert_eq!(preflight("https://evil.example").header("access-control-allow-origin"), "");
    let asked = bench.send(Ask::get("/health").with("origin", "https://console.example"));
    assert_eq!(asked.header("access-control-allow-origin"), "https://console.example");
    assert!(asked.header("access-control-expose-headers").contains("x-error-code"));
    assert_eq!(bench.send(Ask::get("/health").with("origin", "null")).header("access-control-allow-origin"), "");
}

#[test]
fn other_names_are_not_answered() {
    let bench = Bench::new();
    let words = json!({"detail": "This name is not answered here"});
    for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.7", ""] {
        check(&bench, Ask::get("/health").with("host", host), 403, &words);
    }
    check(&bench, Ask::get("/health").without("host"), 403, &words);
    for host in ["127.0.0.1:8000", "[::1]:8000", "localhost"] {
        assert_eq!(bench.send(Ask::get("/health").with("host", host)).status, 200, "{host}");
    }
}

#[test]
fn t_k04_what_the_router_itself_refuses() {
    let bench = Bench::new();
    for path in ["/nothing", "/v1", "/v1/jobs/", "/v2/jobs", "/v1/volumes", "//", "/v1/jobs/x/y/z", "/%00", "/..%2f"] {
        let answer = check(&bench, Ask::get(path), 404, &json!({"detail": "Not Found"}));
        assert_eq!(answer.header("x-error-code"), "not_found", "{path}");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/v1/jobs", "GET,HEAD"),
        (Method::GET, "/v1/jobs/submit/x/cancel", ""),
        (Method::TRACE, "/health", "GET,HEAD"),
        (Method::DELETE, "/v1/keys/rotate", "POST"),
        (Method::from_bytes(b"QUERY").unwrap(), "/v1/jobs", "GET,HEAD"),
    ] {
        let ask = Ask::new(method, path);
        if allowed.is_empty() {
            check(&bench, ask, 404, &json!({"detail": "Not Found"}));
        } else {
            let answer = check(&bench, ask, 405, &json!({"detail": "Method Not Allowed"}));
            assert_eq!(
                (answer.header("allow"), answer.header("x-error-code")),
                (allowed, "method_not_allowed"),
                "{path}"
            );
        }
    }
}

#[test]
fn every_answer_has_a_request_id_of_its_own() {
    let bench = Bench::new();
    let ids = [(); 20].map(|()| bench.send(Ask::get("/health")).header("x-request-id").to_owned());
    let different = ids.iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(different.len(), 20);
    let forged = bench.send(Ask::get("/health").with("x-request-id", "mine"));
    assert_ne!(forged.header("x-request-id"), "mine", "whoever asks does not choose what our log says");
}
