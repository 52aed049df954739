//! The rules of the house, read from the manifests and the sources (design.md, section 1).

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::support::bless;

/// A crate of the workspace, as `cargo metadata` describes it.
#[derive(Clone, Debug)]
struct Room {
    name: String,
    /// Its folder below the root.
    folder: String,
    /// What it is built from, without what only its tests need.
    needs: Vec<String>,
}

fn rooms() -> Vec<Room> {
    let root = bless::root();
    let manifest = root.join("Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"]).arg(manifest);
    let output = cargo.output().expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").iter().map(|package| room(&root, package)).collect()
}

fn room(root: &Path, package: &Value) -> Room {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let manifest = text(&package["manifest_path"]);
    let folder = Path::new(&manifest).parent().and_then(|folder| folder.strip_prefix(root).ok()).expect("a folder");
    let needed = package["dependencies"].as_array().into_iter().flatten().filter(|needed| needed["kind"] != "dev");
    Room {
        name: text(&package["name"]),
        folder: folder.to_string_lossy().into_owned(),
        needs: needed.map(|needed| text(&needed["name"])).collect(),
    }
}

/// How far out a room lies: it may need only what lies further in.
fn distance(folder: &str) -> Option<u8> {
    Some(match folder {
        "shared/domain" => 0,
        "shared/cloud" => 1,
        "shared/store" | "shared/aws-core" => 2,
        "shared/web" | "shared/aws-ec2" | "shared/aws-eks" => 3,
        "shared/runtime" => 4,
        "shared/fleets" => 5,
        "infra/agent" => 6,
        "infra/local" | "infra/server" => 7,
        "tests" => 8,
        other => return other.starts_with("functions/").then_some(6),
    })
}

/// Where the manifests break a rule.
fn misplaced(rooms: &[Room]) -> Vec<String> {
    let mut wrong = Vec::new();
    let place = |name: &str| rooms.iter().find(|room| room.name == name).and_then(|room| distance(&room.folder));
    for room in rooms {
        let (name, folder) = (&room.name, &room.folder);
        let Some(own) = distance(folder) else {
            wrong.push(format!(
                "{folder} has no place in the house: give it one in tests/drift/house.rs and in design.md"
            ));
            continue;
        };
        for needed in &room.needs {
            if let Some(owners) = owners(needed).filter(|owners| !owners.contains(&folder.as_str())) {
                wrong.push(format!("{name} needs {needed}, which only {owners:?} may: put a port into shared/cloud"));
            }
            if folder == "shared/domain" && IMPURE.iter().any(|impure| needed.starts_with(impure)) {
                wrong.push(format!("domain needs {needed}: it is pure; pass in what it would do, as a value"));
            }
            if WORKERS.contains(&folder.as_str()) && needed == "web" {
                wrong.push(format!("{name} needs web: a worker answers nobody; what both need belongs into the store"));
            }
            if place(needed).is_some_and(|inner| inner >= own) {
                wrong
                    .push(format!("{name} needs {needed}, which does not lie further in: move what both need inwards"));
            }
        }
    }
    wrong
}

/// The rooms that may name a crate of AWS's, or one that is made of them; `None` for all other crates. What is built with every
/// `cargo test` names DynamoDB's SDK alone.
fn owners(needed: &str) -> Option<&'static [&'static str]> {
    Some(match needed {
        "aws-sdk-dynamodb" | "aws-smithy-runtime-api" | "aws-smithy-types" => {
            &["shared/store", "shared/aws-core", "shared/aws-ec2"]
        }
        "aws-sdk-ec2" => &["shared/aws-ec2"],
        "kube" | "k8s-openapi" => &["shared/aws-eks"],
        "aws-core" => &["shared/aws-ec2", "shared/runtime", "shared/fleets", "infra/server"],
        "aws-ec2" | "aws-eks" => &["shared/fleets"],
        // Optional in the workers, for their Lambda binaries.
        "fleets" => &["functions/disk-worker", "functions/launcher", "functions/sweeper", "infra/server"],
        other if other.starts_with("lambda_") => &["shared/runtime"],
        other if other.starts_with("aws-") => &["shared/aws-core", "shared/aws-ec2"],
        _ => return None,
    })
}

/// What is called by queues, clocks and launches, and by no person.
const WORKERS: [&str; 4] = ["functions/disk-worker", "functions/dispatcher", "functions/launcher", "functions/sweeper"];

/// Runtimes, networks, clocks and dice.
const IMPURE: [&str; 14] = [
    "tokio",
    "async",
    "futures",
    "axum",
    "http",
    "hyper",
    "tower",
    "reqwest",
    "rand",
    "getrandom",
    "chrono",
    "tracing",
    "utoipa",
    "rusqlite",
];

#[test]
fn every_room_is_in_its_place() {
    let wrong = misplaced(&rooms());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_misplaced_room_is_seen() {
    let room = |name: &str, folder: &str, needs: &[&str]| Room {
        name: name.into(),
        folder: folder.into(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
    };
    let good = [
        room("domain", "shared/domain", &["serde"]),
        room("cloud", "shared/cloud", &["domain"]),
        room("jobs", "functions/jobs", &["cloud"]),
    ];
    assert_eq!(misplaced(&good), Vec::<String>::new());
    for (folder, needs) in [
        ("shared/domain", "tokio"),
        ("shared/domain", "http"),
        ("shared/domain", "cloud"),
        ("shared/web", "jobs"),
        ("functions/auth", "jobs"),
        ("functions/auth", "aws-sdk-dynamodb"),
        ("functions/jobs", "aws-ec2"),
        ("functions/jobs", "fleets"),
        ("shared/aws-core", "aws-sdk-ec2"),
        ("functions/jobs", "kube"),
        ("shared/store", "aws-sdk-ec2"),
        ("infra/local", "lambda_http"),
        ("shared/attic", "serde"),
        ("functions/dispatcher", "web"),
        ("functions/launcher", "web"),
        ("functions/sweeper", "web"),
    ] {
        let rooms = [&good[..], &[room("new", folder, &[needs])]].concat();
        assert_eq!(misplaced(&rooms).len(), 1, "{folder} with {needs}");
    }
}

/// A word that may stand only in some places, and what to do instead.
struct Rule {
    words: &'static [&'static str],
    /// Where it may not stand.
    below: &'static [&'static str],
    /// But for there.
    except: &'static [&'static str],
    instead: &'static str,
}

const PRODUCT: &[&str] = &["shared/", "functions/", "infra/"];
const EVERYWHERE: &[&str] = &[""];

const RULES: [Rule; 4] = [
    Rule {
        words: &[
            "condition_expression",
            "update_expression",
            "key_condition",
            "attribute_not_exists",
            "\"pk\"",
            "\"sk\"",
            "AttributeValue",
        ],
        below: PRODUCT,
        except: &["shared/store/"],
        instead: "keys and expressions of DynamoDB are the store's alone: add a method there",
    },
    Rule {
        words: &["SystemTime::now", "Instant::now", "Uuid::new_v4", "Uuid::now_v7", "rand::", "OsRng", "getrandom::"],
        below: PRODUCT,
        // Connections lie in the pool of a real network for so long; there is none in a run that is replayed.
        except: &["shared/cloud/src/clock.rs", "shared/cloud/src/ids.rs", "shared/cloud/src/upstreams/http.rs"],
        instead: "ask the Clock or the Ids port, so that a run can be replayed",
    },
    Rule {
        words: &["todo!(", "unimplemented!(", "#[ignore", "#[should_panic", "#[allow(", "#![allow("],
        below: EVERYWHERE,
        except: &["tests/drift/house.rs"],
        instead: "finish it, assert on the error, or state why a lint is excepted with #[expect(.., reason = ..)]",
    },
    Rule {
        words: &["thread::sleep", "time::sleep("],
        below: &["tests/", "shared/", "functions/"],
        // Journeys and benchmarks start the program itself, and can only look again until it answers.
        except: &["shared/cloud/src/clock.rs", "tests/drift/house.rs", "tests/journeys/", "tests/benches/"],
        instead: "wait for what you wait for, in virtual time",
    },
];

/// The longest file.
const LONGEST: usize = 500;

/// Where a source breaks a rule. Comments may say anything.
fn offences(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let length = text.lines().count();
    if length > LONGEST {
        wrong.push(format!("{path} has {length} lines; split it along what its parts are about, below {LONGEST}"));
    }
    let concerned = |rule: &&Rule| {
        let below = rule.below.iter().any(|folder| path.starts_with(folder));
        below && !rule.except.iter().any(|place| path.starts_with(place))
    };
    for rule in RULES.iter().filter(concerned) {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in rule.words.iter().filter(|word| stands_in(line, word)) {
                wrong.push(format!("{path}:{}: {word}: {}", at + 1, rule.instead));
            }
        }
    }
    wrong
}

/// Whether `word` stands in `line` as a word of its own, and not as the end of another.
fn stands_in(line: &str, word: &str) -> bool {
    let joined = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| !(word.starts_with(char::is_alphabetic) && joined(&line[..at])))
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            let short = path.strip_prefix(bless::root()).expect("a path").to_string_lossy().into_owned();
            found.push((short, fs::read_to_string(&path).expect("a text")));
        }
    }
}

#[test]
fn every_source_keeps_the_rules() {
    let mut found = Vec::new();
    sources(&bless::root(), &mut found);
    assert!(found.len() > 100, "only {} sources were found", found.len());
    let wrong = found.iter().flat_map(|(path, text)| offences(path, text)).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_offence_is_seen() {
    let long = "\n".repeat(LONGEST + 1);
    for (path, text, seen) in [
        ("functions/jobs/src/x.rs", "request.condition_expression(\"a\")", 1),
        ("functions/jobs/src/x.rs", "item.insert(\"pk\".into(), x)", 1),
        ("shared/store/src/x.rs", "item.insert(\"pk\".into(), x)", 0),
        ("shared/web/src/x.rs", "let now = SystemTime::now();", 1),
        ("shared/web/src/x.rs", "// SystemTime::now() would be wrong", 0),
        ("shared/cloud/src/clock.rs", "SystemTime::now()", 0),
        ("infra/local/src/x.rs", "let byte: u8 = rand::random();", 1),
        ("infra/local/src/x.rs", "operand::new()", 0),
        ("tests/laws/x.rs", "#[ignore = \"slow\"]", 1),
        ("tests/laws/x.rs", "std::thread::sleep(pause)", 1),
        ("shared/domain/src/x.rs", "#[allow(dead_code)]", 1),
        ("shared/domain/src/x.rs", "todo!()", 1),
        ("shared/domain/src/x.rs", &long, 1),
    ] {
        assert_eq!(offences(path, text).len(), seen, "{path}: {:.40}", text);
    }
}

/// What lies at the top: one folder a kind of thing, and the tools' own files.
const TOP: [&str; 16] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "template.yaml",
    "samconfig.toml",
    "functions",
    "shared",
    "infra",
    "events",
    "tests",
    "clippy.toml",
    "rustfmt.toml",
    "rust-toolchain.toml",
    "deny.toml",
    "LICENSE",
    "target",
];

#[test]
fn the_top_level_is_tidy() {
    let entries = fs::read_dir(bless::root())
        .expect("the root")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let strange = entries.filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str())).collect::<Vec<_>>();
    assert!(
        strange.is_empty(),
        "{strange:?} at the top level: put it under functions/, shared/, infra/, events/ or tests/"
    );
}
