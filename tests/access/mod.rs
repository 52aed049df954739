//! Who may call what: `matrix.txt` says what each class of operations answers each kind of caller, and which class each operation is of.
//! People read and write it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    Secret, TenantId, Timestamp, UserName,
    api_key::{KeyKind, mint},
    identity::Member,
    limits::Limits,
    names::ModelName,
    tenant::{TenantUpdate, Tier},
};
use futures::executor::block_on;
use store::identities::{AgentKey, Holder, ModelKey};

use crate::support::{
    ADMIN, SERVICE,
    drive::Bench,
    operations::{Caller, Operation, SAMPLE_TENANT, Scene, Things, operations, samples},
    wire::Ask,
};

const MATRIX: &str = include_str!("matrix.txt");

/// Every kind of caller, in the order of the table's columns.
const CALLERS: [&str; 24] = [
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
    "service",
    "tenant",
    "its-user",
    "free",
    "suspended",
    "revoked",
    "model-key",
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
        "service" => SERVICE.to_owned(),
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
        "tenant" => scene.tenant_key.clone(),
        "its-user" => bench.key_in(SAMPLE_TENANT, "ann"),
        "free" => bench.a_tenant("550e8400-e29b-41d4-a716-446655440001", Tier::Free).0,
        "suspended" => {
            let (key, _) = bench.a_tenant("550e8400-e29b-41d4-a716-446655440002", Tier::Enterprise);
            let tenant = TenantId::new("550e8400-e29b-41d4-a716-446655440002");
            let known = block_on(bench.plane.store.tenant(&tenant)).unwrap().unwrap();
            let update = TenantUpdate { suspended: Some(true), ..TenantUpdate::default() };
            block_on(bench.plane.store.write_tenant(&known.update(update, now).unwrap(), None)).unwrap();
            key
        }
        "revoked" => {
            let (key, id) = bench.a_tenant_key(SAMPLE_TENANT);
            let tenant = TenantId::new(SAMPLE_TENANT);
            block_on(bench.plane.store.revoke_tenant_key(&tenant, id.parse().unwrap(), now)).unwrap();
            key
        }
        "model-key" => {
            let key = a_key(bench, KeyKind::Model);
            let body = serde_json::from_slice::<serde_json::Value>(&ask.body).unwrap_or_default();
            let model = body["model"].as_str().map_or_else(|| samples()["model"].clone(), str::to_owned);
            let model = ModelName::parse(&model).unwrap();
            let holder = ModelKey { tenant: TenantId::new(SAMPLE_TENANT), model, id: bench.plane.ports.ids.key(now) };
            let until = now.plus(Duration::from_secs(3600));
            block_on(bench.plane.store.add_model_key(&key.hash(), holder, Limits::default(), until)).unwrap();
            own(key)
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
    let ask = as_caller(scene, caller, scene.bare(operation));
    let status = scene.bench.send(ask).status;
    // Wrong tries of an admin's token, and of the service token, are counted.
    let made = ["free", "suspended"].contains(&caller) || [Caller::Admin, Caller::Service].contains(&operation.caller);
    if (status < 400 && operation.method != http::Method::GET) || caller == "token-end" || made {
        *scene = Scene::new();
    }
    status
}

/// What `matrix.txt` says.
#[derive(Debug, Default)]
struct Matrix {
    /// What each class answers each caller.
    classes: BTreeMap<String, Vec<String>>,
    /// The class of each operation.
    operations: BTreeMap<String, String>,
}

impl Matrix {
    fn parse(text: &str) -> Result<Self, String> {
        let mut matrix = Self::default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
        let mut rows = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let head = rows.next().unwrap_or_default();
        if head.split_first().is_none_or(|(corner, callers)| corner != "class" || callers != CALLERS) {
            return Err(format!("its first line is to be: class {}", CALLERS.join(" ")));
        }
        for row in rows.by_ref().take_while(|row| *row != ["operation", "class"]) {
            let (class, statuses) = row.split_first().ok_or("an empty row")?;
            if statuses.len() != CALLERS.len() {
                return Err(format!("the class {class} has {} statuses for {} callers", statuses.len(), CALLERS.len()));
            }
            matrix.classes.insert(class.clone(), statuses.to_vec());
        }
        for row in rows {
            let [operation, class] = <[String; 2]>::try_from(row).map_err(|row| format!("{row:?} is no line"))?;
            if !matrix.classes.contains_key(&class) {
                return Err(format!("{operation} is of the class {class}, which is none"));
            }
            if matrix.operations.insert(operation.clone(), class).is_some() {
                return Err(format!("{operation} stands there twice"));
            }
        }
        Ok(matrix)
    }

    /// Where an operation's answers are not those of its class.
    fn differences(&self, operation: &str, found: &[String]) -> Vec<String> {
        let Some(class) = self.operations.get(operation) else {
            let alike = self.classes.iter().find(|(_, expected)| *expected == found).map(|(class, _)| class);
            let today = CALLERS.iter().zip(found).map(|(caller, status)| format!("{caller} {status}"));
            let today = today.collect::<Vec<_>>().join(", ");
            return vec![format!(
                "{operation} has no class. Give it one in tests/access/matrix.txt; today it is as {alike:?}: {today}"
            )];
        };
        let cells = CALLERS.iter().zip(found).zip(&self.classes[class]);
        let wrong = cells.filter(|((_, found), expected)| found != expected);
        wrong
            .map(|((caller, found), expected)| format!("{operation} for {caller}: {found} instead of {expected}"))
            .collect()
    }
}

#[test]
fn the_matrix() {
    let matrix = Matrix::parse(MATRIX).unwrap_or_else(|why| panic!("tests/access/matrix.txt: {why}"));
    let mut wrong = Vec::new();
    let mut scene = Scene::new();
    let operations = operations();
    for operation in &operations {
        let found = CALLERS.map(|caller| answered(&mut scene, operation, caller).to_string());
        wrong.extend(matrix.differences(&operation.id, &found));
    }
    let gone = matrix.operations.keys().filter(|name| operations.iter().all(|operation| operation.id != **name));
    wrong.extend(gone.map(|name| format!("{name} is no operation any more: take it out of tests/access/matrix.txt")));
    let used = matrix.operations.values().collect::<BTreeSet<_>>();
    wrong
        .extend(matrix.classes.keys().filter(|class| !used.contains(class)).map(|class| format!("nothing is {class}")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_wrong_matrix_is_seen() {
    let head = format!("class {}\n", CALLERS.join(" "));
    let open = format!("open {}\n", "200 ".repeat(CALLERS.len()));
    for (text, good) in [
        (format!("{head}{open}operation class\nx open\n"), true),
        (format!("{open}operation class\nx open\n"), false),
        (format!("{head}open 200\noperation class\nx open\n"), false),
        (format!("{head}{open}operation class\nx shut\n"), false),
        (format!("{head}{open}operation class\nx open\nx open\n"), false),
        (format!("{head}{open}operation class\nx\n"), false),
    ] {
        assert_eq!(Matrix::parse(&text).is_ok(), good, "{text}");
    }
    let matrix = Matrix::parse(&format!("{head}{open}operation class\nx open\n")).unwrap();
    let mut found = vec!["200".to_owned(); CALLERS.len()];
    assert_eq!(matrix.differences("x", &found), Vec::<String>::new());
    assert_eq!(matrix.differences("y", &found).len(), 1);
    found[3] = "401".to_owned();
    assert_eq!(matrix.differences("x", &found).len(), 1);
}

/// Nobody learns from a refusal whether an id is somebody else's, nobody's, or no id at all.
#[test]
fn ids_that_are_not_ones_own_are_refused_alike() {
    let scene = Scene::new();
    let others = [scene.bench.login("colleague"), scene.bench.key_in("another", "jschmidt")];
    for operation in operations().iter().filter(|operation| operation.caller == Caller::User) {
        let Some(thing) = operation.parameters().first().copied() else { continue };
        let own = &scene.own[thing];
        let foreign = others.iter().map(|key| scene.bare(operation).bearer(key));
        let unknown = [samples()[thing].clone(), "x".to_owned(), "%00".to_owned(), own.to_uppercase()].map(|id| {
            let things = Things::from_iter(scene.own.clone().into_iter().chain([(thing.to_owned(), id)]));
            Scene::upon(operation, &things).bearer(&scene.key)
        });
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
                let answer = scene.bench.send(as_caller(&scene, caller, scene.bare(operation)));
                assert_eq!(answer.text(), format!("{{\"detail\":\"{words}\"}}"), "{} for {caller}", operation.id);
            }
        }
    }
}
