//! Who may call what: `matrix.txt` has a row for each operation and a column for each kind of caller, read and written by people.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    Secret, TenantId, Timestamp, UserName,
    api_key::{KeyKind, mint},
    identity::Member,
};
use futures::executor::block_on;
use store::identities::{AgentKey, Holder};

use crate::support::{
    ADMIN,
    drive::Bench,
    operations::{Operation, SAMPLE_JOB, Scene, operations},
    wire::Ask,
};

const MATRIX: &str = include_str!("matrix.txt");

/// Every kind of caller, in the order of the table's columns.
const CALLERS: [&str; 17] = [
    "none",
    "garbage",
    "checksum",
    "unknown",
    "1ms-left",
    "at-end",
    "1ms-past",
    "rotated",
    "elsewhere",
    "colleague",
    "owner",
    "admin",
    "no-admin",
    "session",
    "session-end",
    "token",
    "token-end",
];

fn a_key(bench: &Bench, kind: KeyKind) -> Secret {
    mint(kind, &bench.plane.ports.ids.random())
}

/// A key of the job's owner that ends at `expires_at`.
fn key_until(bench: &Bench, expires_at: Timestamp) -> Secret {
    let key = a_key(bench, KeyKind::User);
    let (tenant, user) = (TenantId::new("default"), UserName::new("jschmidt"));
    block_on(bench.plane.store.add_user_key(&key, &Member { tenant, user, user_id: 1, expires_at })).unwrap();
    key
}

/// A session of the job's agent that ends now.
fn ended_session(scene: &Scene) -> Secret {
    let bench = &scene.bench;
    let session = a_key(bench, KeyKind::Session);
    let row = block_on(bench.plane.store.key(&Secret::new(&*scene.agent.session).hash())).unwrap().unwrap();
    let Holder::Session(holder) = row.holder else { panic!("the agent holds a session") };
    let holder = AgentKey { spent_on: None, ..holder };
    block_on(bench.plane.store.add_session(&session.hash(), &holder, bench.world.now())).unwrap();
    session
}

/// The request of `caller`.
fn as_caller(scene: &Scene, caller: &str, ask: Ask) -> Ask {
    let bench = &scene.bench;
    let now = bench.world.now();
    let millisecond = Duration::from_millis(1);
    let own = |key: Secret| key.reveal().to_owned();
    let key = match caller {
        "none" => return ask,
        "admin" => return ask.with("x-admin-token", ADMIN),
        "no-admin" => return ask.with("x-admin-token", "an admin token that is long enough for nobody"),
        "garbage" => "garbage".to_owned(),
        "checksum" => {
            let last = if scene.key.ends_with('0') { '1' } else { '0' };
            format!("{}{last}", &scene.key[..scene.key.len() - 1])
        }
        "unknown" => own(a_key(bench, KeyKind::User)),
        "1ms-left" => own(key_until(bench, now.plus(millisecond))),
        "at-end" => own(key_until(bench, now)),
        "1ms-past" => own(key_until(bench, now.minus(millisecond))),
        "rotated" => {
            let old = bench.login("jschmidt");
            bench.ok(&old, Ask::post("/v1/keys/rotate"));
            old
        }
        "elsewhere" => bench.key_in("another", "jschmidt"),
        "colleague" => bench.login("colleague"),
        "owner" => scene.key.clone(),
        "session" => scene.agent.session.clone(),
        "session-end" => own(ended_session(scene)),
        "token" => scene.token.clone(),
        "token-end" => {
            // A one-time token is good for two hours, and so is the login: time passes for both.
            bench.pass(2 * 3600);
            scene.token.clone()
        }
        other => panic!("nobody is called {other}"),
    };
    ask.bearer(&key)
}

/// What the operation answers `caller`, in a scene of its own where the last one was changed.
fn answered(scene: &mut Scene, operation: &Operation, caller: &str) -> u16 {
    let ask = as_caller(scene, caller, scene.bare(operation, &scene.job));
    let status = scene.bench.send(ask).status;
    if (status < 400 && operation.method != http::Method::GET) || caller == "token-end" {
        *scene = Scene::new();
    }
    status
}

/// The table's rows: an operation, and a status for each caller.
fn rows(table: &str) -> Vec<(String, Vec<String>)> {
    let lines = table.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.collect())
    };
    lines.map(row).collect()
}

#[test]
fn the_matrix() {
    let mut table = rows(MATRIX);
    let (corner, columns) = table.remove(0);
    assert_eq!(
        (corner.as_str(), columns.as_slice()),
        ("operation", CALLERS.map(str::to_owned).as_slice()),
        "the head of tests/access/matrix.txt"
    );
    let mut wrong = Vec::new();
    let mut scene = Scene::new();
    for operation in operations() {
        let found = CALLERS.map(|caller| answered(&mut scene, &operation, caller).to_string());
        let Some(at) = table.iter().position(|(name, _)| *name == operation.id) else {
            let row = found.map(|status| format!("{status:>12}")).concat();
            wrong.push(format!("{} has no row. Add it to tests/access/matrix.txt, with what each caller should get; today they get:\n{:<18}{row}", operation.id, operation.id));
            continue;
        };
        let (_, expected) = table.remove(at);
        assert_eq!(expected.len(), CALLERS.len(), "the row of {}", operation.id);
        for ((caller, found), expected) in CALLERS.iter().zip(found).zip(expected) {
            if found != expected {
                wrong.push(format!("{} for {caller}: {found} instead of {expected}", operation.id));
            }
        }
    }
    wrong.extend(
        table
            .into_iter()
            .map(|(name, _)| format!("{name} is no operation any more: take its row out of tests/access/matrix.txt")),
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Nobody learns from a refusal whether an id is somebody else's, nobody's, or no id at all.
#[test]
fn ids_that_are_not_ones_own_are_refused_alike() {
    let scene = Scene::new();
    let others = [scene.bench.login("colleague"), scene.bench.key_in("another", "jschmidt")];
    for operation in operations().iter().filter(|operation| operation.is_on_a_job()) {
        let foreign = others.iter().map(|key| scene.bare(operation, &scene.job).bearer(key));
        let unknown =
            [SAMPLE_JOB, "x", "%00", &scene.job.to_uppercase()].map(|id| scene.bare(operation, id).bearer(&scene.key));
        let refusals = foreign.chain(unknown).map(|ask| {
            let answer = scene.bench.send(ask);
            let names = answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
            (answer.status, answer.text(), names)
        });
        let refusals = refusals.collect::<BTreeSet<_>>();
        assert_eq!(refusals.len(), 1, "{}: {refusals:?}", operation.id);
        assert_eq!(refusals.first().unwrap().0, 404, "{}", operation.id);
    }
}

/// Whatever does not open the door is refused in the same words, but for a key whose time is over and a key that is missing.
#[test]
fn keys_that_open_nothing_are_refused_alike() {
    let scene = Scene::new();
    for operation in operations().iter().filter(|operation| operation.id == "list_jobs" || operation.id == "agent_sync")
    {
        for (callers, words) in [
            (&["none"][..], "Missing API key: send Authorization: Bearer KEY"),
            (&["at-end", "1ms-past"], "API key has expired"),
            (&["garbage", "checksum", "unknown", "rotated"], "Invalid API key"),
        ] {
            for caller in callers {
                let answer = scene.bench.send(as_caller(&scene, caller, scene.bare(operation, &scene.job)));
                assert_eq!(answer.text(), format!("{{\"detail\":\"{words}\"}}"), "{} for {caller}", operation.id);
            }
        }
    }
}
