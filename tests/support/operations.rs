//! Every operation, read from the API document, and a scene in which each one's example is good.

use std::collections::BTreeMap;

use domain::{names::GithubName, ssh::PublicKey};
use http::Method;
use serde_json::{Value, json};

use super::{
    drive::{A10G, Agent, Bench, small},
    wire::Ask,
};

/// The job's id in every example.
pub(crate) const SAMPLE_JOB: &str = "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11";

/// Who may call an operation, as the document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    Public,
    User,
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

    pub(crate) fn is_on_a_job(&self) -> bool {
        self.path.contains("{job_id}")
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
    let caller = match (needs("user_key"), needs("agent")) {
        (true, false) => Caller::User,
        (false, true) => Caller::Agent,
        (false, false) => Caller::Public,
        (true, true) => panic!("{what}: an operation is for people or for agents"),
    };
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

/// A plane in which the example of every operation is good: somebody with an active job, and its agent.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) key: String,
    pub(crate) job: String,
    pub(crate) agent: Agent,
    /// The one-time token of another job's agent, which has not called in.
    pub(crate) token: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let bench = Bench::new();
        let key = bench.login("jschmidt");
        let name = GithubName::parse("jeanschmidt").expect("a name");
        let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
        bench.world.publish(name, vec![PublicKey::parse(public).expect("a key")]);
        let job = bench.submit(&key, &small());
        let booting = bench.submit(&key, &small());
        bench.dispatch(A10G);
        let agent = bench.launch(&job);
        agent.log(&bench, 1, &["one", "two"]);
        let users = format!("/v1/jobs/{job}/users");
        bench.ok(&key, Ask::post(users).json(&json!({"github_username": "jeanschmidt"})));
        bench.reconcile(&job);
        let token = bench.provision(&booting);
        bench.embedded.meter().start();
        Self { bench, key, job, agent, token }
    }

    /// The key that opens an operation.
    pub(crate) fn key_for(&self, operation: &Operation) -> Option<&str> {
        match operation.caller {
            Caller::Public => None,
            Caller::User => Some(&self.key),
            Caller::Agent if operation.id == "agent_enroll" => Some(&self.token),
            Caller::Agent => Some(&self.agent.session),
        }
    }

    /// The operation's example, upon the job `id`, without a key.
    pub(crate) fn bare(&self, operation: &Operation, id: &str) -> Ask {
        let path = fill(&operation.path, id);
        let ask = Ask::new(operation.method.clone(), path);
        match &operation.example {
            Some(example) => ask.json(example),
            None => ask,
        }
    }

    /// The operation's example, with the key that opens it.
    pub(crate) fn ask(&self, operation: &Operation) -> Ask {
        let ask = self.bare(operation, &self.job);
        match self.key_for(operation) {
            Some(key) => ask.bearer(key),
            None => ask,
        }
    }
}

/// A path with its parameters filled in.
pub(crate) fn fill(path: &str, job: &str) -> String {
    let known = BTreeMap::from([("{job_id}", job), ("{github_username}", "jeanschmidt")]);
    let filled = known.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    assert!(!filled.contains('{'), "{path}: say in tests/support/operations.rs what its parameter is in examples");
    filled
}
