//! Tenants that come and go, and admins that are none.

use domain::tenant::Tier;
use http::Method;

use crate::support::{
    ADMIN,
    drive::{A10G, Bench, small},
    operations::{Caller, Scene, a_credential, operations},
    wire::Ask,
};

const LEAVING: &str = "550e8400-e29b-41d4-a716-446655440009";

pub(super) fn all() {
    wrong_tokens();
    leaving();
}

/// Each operation's example by the wrong kind of caller, who is told so.
fn wrong_tokens() {
    for operation in operations() {
        let scene = Scene::new();
        if operation.caller == Caller::Agent {
            continue;
        }
        scene.bench.send(scene.bare(&operation).with("x-admin-token", "wrong"));
        scene.bench.send(scene.bare(&operation).bearer(&scene.tenant_key));
    }
}

/// A tenant with a job that runs and one that waits is deleted.
fn leaving() {
    let bench = Bench::new().within(LEAVING);
    bench.a_tenant(LEAVING, Tier::Pro);
    a_credential(&bench, LEAVING);
    let key = bench.key_in(LEAVING, "ann");
    let job = bench.submit(&key, &small());
    bench.dispatch(A10G);
    bench.launch(&job);
    bench.submit(&key, &small());
    let delete = |how: &str| {
        let ask = Ask::new(Method::DELETE, format!("/admin/tenants/{LEAVING}{how}"));
        bench.send(ask.with("x-admin-token", ADMIN))
    };
    assert_eq!(delete("").status, 409, "something of it is live");
    assert_eq!(delete("?force=true").status, 200);
    bench.pass(120);
    bench.let_tenants_go();
    bench.end(&job);
    bench.pass(60);
    assert_eq!(bench.let_tenants_go(), 1);
}
