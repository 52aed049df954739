//! I25: whatever the plane can make in the world is found again and taken away. The table below must name every method of every port, so
//! that a new one cannot be forgotten; what makes something says what sweeps it.

use std::{collections::BTreeSet, fs, path::Path};

use Makes::{Nothing, Swept};

enum Makes {
    /// It makes nothing that stays.
    Nothing,
    /// What it makes stays until this finds it.
    Swept(&'static str),
}

/// Every method of every port.
const METHODS: [(&str, Makes); 20] = [
    ("Clock::now", Nothing),
    ("Clock::sleep", Nothing),
    ("Fleet::describe", Nothing),
    ("Fleet::list", Nothing),
    (
        "Fleet::provision",
        Swept("sweeper::orphans, by the tags in Fleet::list; before that by the workload's own deadline"),
    ),
    ("Fleet::terminate", Nothing),
    ("Identity::caller", Nothing),
    ("Ids::message", Nothing),
    ("Ids::random", Nothing),
    ("Ids::workload", Nothing),
    ("Launches::complete", Nothing),
    ("Launches::fail", Nothing),
    (
        "Launches::start",
        Swept("the document's own TimeoutSeconds, and launcher::release_launch when its workload ends"),
    ),
    ("People::keys_of", Nothing),
    ("Queue::healthy", Nothing),
    (
        "Queue::send",
        Swept("the queue's redrive to its dead letters; what a message asks for is asked again by the sweep"),
    ),
    ("Vault::open", Nothing),
    ("Vault::seal", Nothing),
    // The simulated cloud's own, which no plane is given.
    ("FaultPoint::before", Nothing),
    ("FaultPoint::crash", Nothing),
];

/// The methods of the public traits in a source file, each as `Trait::method`.
fn methods(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = None;
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("pub trait ") {
            inside = rest.split([':', ' ', '<']).next();
        } else if line.starts_with('}') {
            inside = None;
        } else if let (Some(name), Some(rest)) = (inside, line.strip_prefix("    ")) {
            let method = rest.strip_prefix("async fn ").or_else(|| rest.strip_prefix("fn "));
            found.extend(method.and_then(|rest| rest.split('(').next()).map(|method| format!("{name}::{method}")));
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).expect("the ports' sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            texts.push(fs::read_to_string(path).expect("a source"));
        }
    }
    texts
}

#[test]
fn i25_everything_that_is_made_is_swept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cloud/src");
    let there = sources(&folder).iter().flat_map(|source| methods(source)).collect::<BTreeSet<_>>();
    let listed = METHODS.iter().map(|(method, _)| (*method).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(there, listed, "a port has a method that the table lacks, or the other way round");
    // Whatever is made is named like what makes it: a verb of making that claims to make nothing is a slip.
    let verbs = ["provision", "start", "send", "create", "put", "attach", "register", "open_", "allocate"];
    for (method, makes) in &METHODS {
        let name = method.rsplit(':').next().unwrap_or_default();
        let is_made = verbs.iter().any(|verb| name.starts_with(verb));
        match makes {
            Nothing => assert!(!is_made, "{method} sounds as if it made something"),
            Swept(by) => assert!(is_made && !by.is_empty(), "{method} is swept by nothing"),
        }
    }
}

#[test]
fn methods_are_found() {
    let source =
        "pub trait A: Send {\n    /// x\n    async fn one(&self);\n    fn two(&self) {\n    }\n}\nfn free() {}\n";
    assert_eq!(methods(source), ["A::one", "A::two"]);
}
