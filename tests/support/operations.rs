//! Every operation, read from the API document, and a scene in which each one's example is good.

use std::{cell::Cell, collections::BTreeMap, io::Write, sync::OnceLock};

use cloud::sim::Script;
use domain::{
    Disk, SnapshotId, TenantId, UserName, VolumeId,
    credential::{self, CloudKeys, Provider},
    disk::{Asked, DiskChange, DiskRefusal},
    names::{DiskName, GithubName, Label},
    ssh::PublicKey,
    tenant::Tier,
};
use flate2::{Compression, write::GzEncoder};
use futures::executor::block_on;
use http::Method;
use serde_json::{Value, json};
use store::credentials::sealed_with;

use super::{
    ADMIN, SERVICE,
    drive::{A10G, Agent, Bench, TENANT, small},
    wire::Ask,
};

/// The job's id in every example.
pub(crate) const SAMPLE_JOB: &str = "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11";
/// The id of a disk's operation in every example.
const SAMPLE_OPERATION: &str = "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d12";

/// The tenant of every example: it is there under this id in every scene.
pub(crate) const SAMPLE_TENANT: &str = "550e8400-e29b-41d4-a716-446655440000";
/// The id of a tenant's key in every example.
const SAMPLE_KEY: &str = "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d13";
/// The id of a tenant's credential in every example.
const SAMPLE_CREDENTIAL: &str = "cred-12345678-1234-1234-1234-123456789012";

/// The model of every example: it is registered in every scene.
pub(crate) const SAMPLE_MODEL: &str = "meta-llama/Llama-3.1-8B-Instruct";
/// The ids of a node and of an instance in every example.
const SAMPLE_NODE: &str = "node-0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d14";
const SAMPLE_INSTANCE: &str = "node-0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d15";

/// What a model's server answers in every example.
const SAMPLE_ANSWER: &str = r#"{"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Paris"}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;

/// The name of the node's cluster in every example.
const SAMPLE_CLUSTER: &str = "cl-3e1a5b7c9d14";

/// What stands in paths and in queries that must be there, by the parameters' names.
pub(crate) type Things = BTreeMap<String, String>;

/// A new parameter needs an entry here, and what it stands for a place in [`Scene::new`].
fn things(job: &str, disk: &str, operation: &str, [key, credential]: [&str; 2]) -> Things {
    [
        ("job_id", job),
        ("github_username", "jeanschmidt"),
        ("disk_name", disk),
        ("operation_id", operation),
        ("tenant_id", SAMPLE_TENANT),
        ("key_id", key),
        ("credential_id", credential),
        ("model_name", SAMPLE_MODEL),
        ("model", SAMPLE_MODEL),
        ("node_id", SAMPLE_NODE),
        ("instance_id", SAMPLE_INSTANCE),
        ("cluster_name", SAMPLE_CLUSTER),
    ]
    .map(|(name, thing)| (name.to_owned(), thing.to_owned()))
    .into()
}

/// What stands in the paths of examples.
pub(crate) fn samples() -> Things {
    things(SAMPLE_JOB, "my-training-data", SAMPLE_OPERATION, [SAMPLE_KEY, SAMPLE_CREDENTIAL])
}

/// Who may call an operation, as the document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    Public,
    User,
    Tenant,
    Admin,
    Service,
    Agent,
}

/// An operation of the API document.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) caller: Caller,
    /// Its body's example; `None` when it takes no body.
    pub(crate) example: Option<Value>,
    /// As the document has it.
    pub(crate) described: Value,
}

impl Operation {
    /// The name of its file in `events/`, of its function and of its handler.
    pub(crate) fn pascal(&self) -> String {
        web::surface::function_name(&self.id)
    }

    /// Names of its path's parameters. The first is that of the thing that it is about, which may be somebody else's.
    pub(crate) fn parameters(&self) -> Vec<&str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
    }

    /// Whether it takes an agent's one-time token, and not its session.
    pub(crate) fn enrolls(&self) -> bool {
        self.id == "agent_enroll"
    }

    /// The query that it cannot do without, with what stands there.
    fn needed_query(&self, things: &Things) -> String {
        let parameters = self.described["parameters"].as_array().cloned().unwrap_or_default();
        let needed = parameters.into_iter().filter(|one| one["in"] == "query" && one["required"] == true);
        let pairs = needed.map(|one| one["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>();
        let pairs = pairs.into_iter().map(|name| format!("{name}={}", things[&name])).collect::<Vec<_>>();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }

    /// The status of its good answer.
    pub(crate) fn good(&self) -> u16 {
        let statuses = self.described["responses"].as_object().into_iter().flatten();
        let good = statuses.filter_map(|(status, _)| status.parse().ok()).find(|status| (200..300).contains(status));
        good.unwrap_or(200)
    }

    /// Names of its query parameters.
    pub(crate) fn query(&self) -> Vec<String> {
        let parameters = self.described["parameters"].as_array().cloned().unwrap_or_default();
        let of_query = parameters.into_iter().filter(|parameter| parameter["in"] == "query");
        of_query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
    }
}

/// The document, as it is served and committed.
pub(crate) fn document() -> String {
    let (_, document) = web::serve::mount(env!("CARGO_PKG_VERSION"), slipway::surfaces());
    document.0.to_string()
}

/// Every operation, in the document's order.
pub(crate) fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&document()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let of_path = |(path, item): (String, Value)| {
        let methods = item.as_object().expect("a path item").clone();
        let document = &document;
        methods
            .into_iter()
            .map(move |(method, described)| operation(document, &path, &method, described))
            .collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(of_path).collect()
}

fn operation(document: &Value, path: &str, method: &str, described: Value) -> Operation {
    let what = format!("{method} {path}");
    let schemes = described["security"].as_array().cloned().unwrap_or_default();
    let needs = |name: &str| schemes.iter().any(|scheme| scheme.get(name).is_some());
    let kinds = [
        ("user_key", Caller::User),
        ("tenant_key", Caller::Tenant),
        ("admin_token", Caller::Admin),
        ("service_token", Caller::Service),
        ("agent", Caller::Agent),
    ];
    let callers = kinds.into_iter().filter(|(scheme, _)| needs(scheme)).map(|(_, caller)| caller).collect::<Vec<_>>();
    assert!(callers.len() < 2, "{what}: an operation is for one kind of caller");
    let caller = callers.first().copied().unwrap_or(Caller::Public);
    let body = &described["requestBody"]["content"]["application/json"];
    let named = body["schema"]["$ref"].as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
    let examples = [&body["example"], &named.unwrap_or(&body["schema"])["example"]];
    let example = examples.into_iter().find(|example| !example.is_null()).cloned().unwrap_or_default();
    let takes_body = described.get("requestBody").is_some();
    assert!(
        !takes_body || example.is_object(),
        "{what}: its body has no example; add #[schema(example = json!(..))] to the type"
    );
    Operation {
        id: described["operationId"].as_str().unwrap_or_else(|| panic!("{what}: no operationId")).to_owned(),
        method: method.to_uppercase().parse().expect("a method"),
        path: path.to_owned(),
        caller,
        example: takes_body.then_some(example),
        described,
    }
}

/// The pages' paths: those that stand for themselves, and folders of which all that is below is one.
fn pages() -> Vec<String> {
    let pages = slipway::surfaces().into_iter().flat_map(|surface| surface.page_paths());
    pages.map(|path| path.split("{*").next().unwrap_or_default().to_owned()).collect()
}

/// The pages, as if they were an operation; one of them stands for all.
pub(crate) fn pages_operation() -> Operation {
    Operation {
        id: web::surface::PAGES.to_lowercase(),
        method: Method::GET,
        path: "/redoc".to_owned(),
        caller: Caller::Public,
        example: None,
        described: Value::Null,
    }
}

/// The function that answers a request, by its method and path; none for what is no operation.
pub(crate) fn function_of(ask: &Ask) -> Option<String> {
    static ALL: OnceLock<Vec<(Method, Vec<String>, String)>> = OnceLock::new();
    static TAILS: OnceLock<Vec<String>> = OnceLock::new();
    let tails = TAILS.get_or_init(|| slipway::surfaces().iter().flat_map(web::Surface::tails).collect());
    let split =
        |path: &str| path.split('?').next().unwrap_or_default().split('/').map(str::to_owned).collect::<Vec<_>>();
    let all = ALL.get_or_init(|| {
        let of = |operation: &Operation| (operation.method.clone(), split(&operation.path), operation.pascal());
        operations().iter().map(of).collect()
    });
    let asked = split(&ask.path);
    static PAGES: OnceLock<Vec<String>> = OnceLock::new();
    let path = ask.path.split('?').next().unwrap_or_default();
    let is_page = |page: &String| path == page || (page.ends_with('/') && path.starts_with(page));
    if ask.method == Method::GET && PAGES.get_or_init(pages).iter().any(is_page) {
        return Some(web::surface::PAGES.to_owned());
    }
    let same = |template: &[String]| {
        let mut parts = template.iter().zip(&asked);
        // The last parameter may stand for all that is below.
        let last = template.last().map(|part| part.trim_matches(['{', '}'])).unwrap_or_default();
        let below = asked.len() > template.len() && tails.iter().any(|tail| tail == last);
        (below || template.len() == asked.len()) && parts.all(|(part, given)| part == given || part.starts_with('{'))
    };
    // A path without parameters goes before one with.
    let mut found =
        all.iter().filter(|(method, template, _)| *method == ask.method && same(template)).collect::<Vec<_>>();
    found.sort_by_key(|(_, template, _)| template.iter().filter(|part| part.starts_with('{')).count());
    found.first().map(|(_, _, function)| function.clone())
}

/// What may become of a disk.
type Decision<'a> = &'a dyn Fn(&Disk) -> Result<DiskChange, DiskRefusal>;

/// A disk of `jschmidt`'s that was used once and is idle, with the snapshot that the examples name, and a list of what it holds; and the
/// operation that made it.
pub(crate) fn a_disk(bench: &Bench, name: &str) -> String {
    let (store, ids, now) = (&bench.plane.store, &bench.plane.ports.ids, bench.world.now());
    let (operation, job) = (ids.operation(now), ids.workload(now));
    let asked = Asked {
        id: ids.disk(now),
        tenant: TenantId::new(TENANT),
        owner: UserName::new("jschmidt"),
        name: DiskName::parse(name).expect("a name"),
        size_gb: 10,
    };
    let mut change = asked.create(operation, now);
    block_on(store.write_disk(&change, None, Some(100))).expect("a disk");
    let decisions: [Decision<'_>; 7] = [
        &|disk| disk.made(now),
        &|disk| disk.hold(job, 10, now),
        &|disk| disk.volume_made(job, 1, VolumeId::new("vol-0123456789abcdef")),
        &|disk| disk.release(job, now),
        &|disk| disk.back_up(ids.operation(now), now),
        &|disk| disk.snapshot_begun(SnapshotId::new("snap-1234567890abcdef"), now),
        &|disk| disk.snapshot_completed(now),
    ];
    for decide in decisions {
        change = decide(&change.disk).expect("it may");
        block_on(store.write_disk(&change, None, None)).expect("written");
    }
    let listed = r#"{"path":"notes","kind":"file","size":5,"modified":"2026-01-20T18:30:00Z"}"#;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(listed.as_bytes()).expect("packed");
    let list = packed.finish().expect("packed");
    block_on(store.keep_contents((&change.disk.tenant, change.disk.id), 1, (0, 1), list)).expect("kept");
    operation.to_string()
}

/// A tenant's credential for AWS, its default there; and its id.
pub(crate) fn a_credential(bench: &Bench, tenant: &str) -> String {
    let (ports, now) = (&bench.plane.ports, bench.world.now());
    let id = ports.ids.credential(now);
    let name = Label::parse("AWS Production").expect("a name");
    let tenant = TenantId::new(tenant);
    let asked = credential::Asked { id, tenant: tenant.clone(), provider: Provider::Aws, name, is_default: true };
    let keys = json!({"access_key_id": "AKIA0123456789ABCDEF", "secret_access_key": "secret", "region": "us-west-2"});
    let keys = CloudKeys::read(Provider::Aws, keys.as_object().cloned().unwrap_or_default()).expect("keys");
    let text = keys.to_text().expect("a text");
    let sealed = block_on(ports.vault.seal(&sealed_with(&tenant, id), &text)).expect("sealed");
    block_on(bench.plane.store.write_credential(&asked.create(now), Some(&sealed), None)).expect("a credential");
    id.to_string()
}

/// A registered model, a node that is to serve it, and an instance of the tenant's that was to.
fn nodes(bench: &Bench, tenant_key: &str) -> (String, String) {
    let model = json!({
        "name": SAMPLE_MODEL, "family": "llama", "size": "8B", "type": "chat", "context_length": 8192, "vram_required_gb": 16,
        "price_input_per_million": 0.15, "price_output_per_million": 0.60
    });
    let made = bench.send(Ask::post("/admin/models").json(&model).with("x-admin-token", ADMIN));
    assert_eq!(made.status, 201, "{}", made.text());
    let wanted =
        json!({"provider": "aws", "region": "us-west-2", "gpu": "H100", "gpu_count": 1, "model": SAMPLE_MODEL});
    let id = |ask: Ask| bench.send(ask.json(&wanted)).json()["id"].as_str().expect("an id").to_owned();
    let node = id(Ask::post("/admin/nodes/launch").with("x-admin-token", ADMIN));
    // It has ended, so that it keeps nobody from deleting the tenant.
    let instance = id(Ask::post("/v1/instances").bearer(tenant_key));
    bench.send(Ask::delete(format!("/v1/instances/{instance}")).bearer(tenant_key));
    (node, instance)
}

/// A plane in which the example of every operation is good: somebody with an active job, and its agent.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) key: String,
    /// What is the holder's own, by the names of the parameters that it stands for.
    pub(crate) own: Things,
    pub(crate) agent: Agent,
    /// The one-time token of another job's agent, which has not called in.
    pub(crate) token: String,
    /// A key of the tenant that the examples name, which pays for everything.
    pub(crate) tenant_key: String,
    /// Models are served.
    served: Cell<bool>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let bench = Bench::new();
        let key = bench.login("jschmidt");
        let name = GithubName::parse("jeanschmidt").expect("a name");
        let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
        bench.world.publish(name, vec![PublicKey::parse(public).expect("a key")]);
        let mut with_a_disk = small();
        (with_a_disk["disk_name"], with_a_disk["disk_size_gb"]) = (json!("of-the-job"), json!(10));
        let job = bench.submit(&key, &with_a_disk);
        let booting = bench.submit(&key, &small());
        bench.dispatch(A10G);
        let agent = bench.launch(&job);
        agent.log(&bench, 1, &["one", "two"]);
        let users = format!("/v1/jobs/{job}/users");
        bench.ok(&key, Ask::post(users).json(&json!({"github_username": "jeanschmidt"})));
        bench.reconcile(&job);
        let token = bench.provision(&booting);
        bench.embedded.meter().start();
        let (tenant_key, _) = bench.a_tenant(SAMPLE_TENANT, Tier::Enterprise);
        let (_, key_id) = bench.a_tenant_key(SAMPLE_TENANT);
        let kept = [key_id.as_str(), &a_credential(&bench, SAMPLE_TENANT)];
        let mut own = things(&job, "my-disk", &a_disk(&bench, "my-disk"), kept);
        let (node, instance) = nodes(&bench, &tenant_key);
        let cluster = format!("cl-{}", &node[node.len() - 12..]);
        let made = [("node_id", node), ("instance_id", instance), ("cluster_name", cluster)];
        own.extend(made.map(|(name, thing)| (name.to_owned(), thing)));
        Self { bench, key, own, agent, token, tenant_key, served: Cell::new(false) }
    }

    /// The key that opens an operation.
    pub(crate) fn key_for(&self, operation: &Operation) -> Option<&str> {
        match operation.caller {
            Caller::Public => None,
            Caller::User => Some(&self.key),
            Caller::Tenant => Some(&self.tenant_key),
            Caller::Admin => Some(ADMIN),
            Caller::Service => Some(SERVICE),
            Caller::Agent if operation.enrolls() => Some(&self.token),
            Caller::Agent => Some(&self.agent.session),
        }
    }

    /// The operation's example, upon `things`, without a key.
    pub(crate) fn upon(operation: &Operation, things: &Things) -> Ask {
        let ask = Ask::new(operation.method.clone(), fill(operation, things));
        match &operation.example {
            Some(example) => ask.json(example),
            None => ask,
        }
    }

    /// The models of the examples are served by shared nodes from now on, where an operation asks one.
    pub(crate) fn serve_for(&self, operation: &Operation) {
        let asks = operation.described["tags"][0] == "inference" && operation.method == Method::POST;
        if !asks || self.served.replace(true) {
            return;
        }
        let model =
            operation.example.as_ref().map_or(SAMPLE_MODEL, |example| example["model"].as_str().expect("a name"));
        let admin = |ask: Ask| self.bench.send(ask.with("x-admin-token", ADMIN));
        if model != SAMPLE_MODEL {
            let embedding = json!({
                "name": model, "family": "bge", "size": "0.6B", "type": "embedding", "context_length": 8192,
                "vram_required_gb": 2, "price_input_per_million": 0.01, "price_output_per_million": 0
            });
            assert_eq!(admin(Ask::post("/admin/models").json(&embedding)).status, 201);
        }
        let wanted = json!({"provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1, "model": model});
        let made = admin(Ask::post("/admin/nodes/launch").json(&wanted)).json();
        let at = self.bench.within("platform").serve(&made);
        self.bench.world.serve(at, |_| Script::json(http::StatusCode::OK, SAMPLE_ANSWER));
    }

    /// The operation's example, upon what is the holder's own, without a key.
    pub(crate) fn bare(&self, operation: &Operation) -> Ask {
        self.serve_for(operation);
        Self::upon(operation, &self.own)
    }

    /// The operation's example, with the key that opens it.
    pub(crate) fn ask(&self, operation: &Operation) -> Ask {
        let ask = self.bare(operation);
        match self.key_for(operation) {
            Some(key) if operation.caller == Caller::Admin => ask.with("x-admin-token", key),
            Some(key) => ask.bearer(key),
            None => ask,
        }
    }
}

/// An operation's path with its parameters filled in.
pub(crate) fn fill(operation: &Operation, things: &Things) -> String {
    let path = operation.parameters().into_iter().fold(operation.path.clone(), |path, name| {
        let thing = things.get(name);
        let thing = thing.unwrap_or_else(|| panic!("say in tests/support/operations.rs what {name} is in examples"));
        path.replace(&format!("{{{name}}}"), thing)
    });
    path + &operation.needed_query(things)
}
