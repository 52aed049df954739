//! What must hold of the templates, and a planted fault for each rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use domain::message::QueueName;
use serde_json::{Value, json};
use store::{Table, tables};

use super::{
    environment::{placeholders, referred},
    root, stacks,
};
use crate::support::bless;

/// CloudFormation takes 500 resources in a stack; we leave room.
const MOST_RESOURCES: usize = 400;

/// The root, and the stack of each surface by its path.
#[derive(Clone)]
struct Templates {
    root: Value,
    nested: BTreeMap<String, Value>,
}

fn templates() -> Templates {
    let nested = stacks::documents().into_iter().map(|(surface, stack)| (stacks::path(&surface), stack));
    Templates { root: root::template(), nested: nested.collect() }
}

type Rule = fn(&Templates) -> Vec<String>;

fn resources<'a>(template: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let all = template["Resources"].as_object().into_iter().flatten();
    all.filter(move |(_, resource)| resource["Type"] == kind)
}

/// How many resources SAM makes of one (SAM developer guide, "Generated CloudFormation resources").
fn made(resource: &Value) -> usize {
    let properties = &resource["Properties"];
    let role = usize::from(properties["Role"].is_null());
    match resource["Type"].as_str().unwrap_or_default() {
        "AWS::Serverless::Function" => {
            let events = properties["Events"].as_object().into_iter().flatten();
            // A schedule has a role of its own.
            let of_event = |(_, event): (_, &Value)| if event["Type"] == "ScheduleV2" { 2 } else { 1 };
            1 + role + events.map(of_event).sum::<usize>()
        }
        "AWS::Serverless::StateMachine" => 1 + role,
        // The API, its deployment, its stage.
        "AWS::Serverless::Api" => 3,
        _ => 1,
    }
}

fn no_stack_is_too_large(templates: &Templates) -> Vec<String> {
    let named = templates.nested.iter().map(|(path, stack)| (path.as_str(), stack));
    let count = |(path, stack): (&str, &Value)| {
        let made: usize =
            stack["Resources"].as_object().into_iter().flatten().map(|(_, resource)| made(resource)).sum();
        (made >= MOST_RESOURCES).then(|| format!("{path}: {made} resources"))
    };
    named.chain([("template.yaml", &templates.root)]).filter_map(count).collect()
}

/// Whoever may do something to everything may only look.
fn no_role_is_wide(templates: &Templates) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, stack) in &templates.nested {
        for (name, function) in resources(stack, "AWS::Serverless::Function") {
            if !function["Properties"]["Role"].is_null() {
                wrong.push(format!("{path}: {name} shares a role"));
            }
            let statements = function["Properties"]["Policies"][0]["Statement"].as_array().into_iter().flatten();
            for statement in statements.filter(|statement| statement["Resource"] == "*") {
                let actions = statement["Action"].as_array().into_iter().flatten().filter_map(Value::as_str);
                if !actions.clone().all(|action| action.starts_with("ec2:Describe")) || actions.count() == 0 {
                    wrong.push(format!("{path}: {name} may {} upon everything", statement["Action"]));
                }
            }
        }
    }
    wrong
}

/// A message is invisible for at least six times as long as its function may work on it (Lambda developer guide, "Using Lambda with SQS").
fn messages_stay_invisible(templates: &Templates) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut consumed = BTreeSet::new();
    for (name, function) in templates.nested.values().flat_map(|stack| resources(stack, "AWS::Serverless::Function")) {
        let properties = &function["Properties"];
        for (_, event) in properties["Events"].as_object().into_iter().flatten() {
            let Some(arn) = event["Properties"]["Queue"]["Ref"].as_str() else { continue };
            let queue = arn.trim_end_matches("Arn");
            let visibility =
                templates.root["Resources"][queue]["Properties"]["VisibilityTimeout"].as_u64().unwrap_or(0);
            if visibility < 6 * properties["Timeout"].as_u64().unwrap_or(u64::MAX / 6) {
                wrong.push(format!("{queue}: a message comes back while {name} still works on it"));
            }
            consumed.insert(queue.to_owned());
        }
    }
    if consumed.len() != QueueName::ALL.len() {
        wrong.push(format!("only {consumed:?} are consumed"));
    }
    wrong
}

fn queues_have_dead_letters_and_alarms(templates: &Templates) -> Vec<String> {
    let root = &templates.root;
    let dead_of = |queue: &Value| {
        queue["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0].as_str().map(str::to_owned)
    };
    let dead = resources(root, "AWS::SQS::Queue").filter_map(|(_, queue)| dead_of(queue)).collect::<BTreeSet<_>>();
    let watched =
        resources(root, "AWS::CloudWatch::Alarm").flat_map(|(_, alarm)| referred(&alarm["Properties"]["Dimensions"]));
    let watched = watched.collect::<BTreeSet<_>>();
    let mut wrong = Vec::new();
    for (name, queue) in resources(root, "AWS::SQS::Queue") {
        if !watched.contains(name) {
            wrong.push(format!("{name}: no alarm looks at it"));
        }
        if queue["Properties"]["SqsManagedSseEnabled"] != true {
            wrong.push(format!("{name} is not encrypted"));
        }
        match dead_of(queue) {
            None if !dead.contains(name) => wrong.push(format!("{name}: what fails in it is lost")),
            Some(letters) => {
                let other = &root["Resources"][&letters]["Properties"]["FifoQueue"];
                if *other != queue["Properties"]["FifoQueue"] {
                    wrong.push(format!("{name}: {letters} is of another kind"));
                }
            }
            None => {}
        }
    }
    wrong
}

fn tables_are_kept(templates: &Templates) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut missing =
        Table::ALL.into_iter().filter(|table| table.is_on_aws()).map(Table::name).collect::<BTreeSet<_>>();
    for (name, table) in resources(&templates.root, "AWS::DynamoDB::Table") {
        let properties = &table["Properties"];
        let said = properties["TableName"]["Fn::Sub"].as_str().and_then(|text| text.strip_prefix("${Deployment}-"));
        if !said.is_some_and(|said| missing.remove(said)) {
            wrong.push(format!("{name} is no table of the store's"));
        }
        let kept = [
            properties["DeletionProtectionEnabled"] == true,
            properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == true,
            properties["TimeToLiveSpecification"] == json!({"AttributeName": tables::TTL, "Enabled": true}),
            table["DeletionPolicy"] == "Retain" && table["UpdateReplacePolicy"] == "Retain",
        ];
        if kept.contains(&false) {
            wrong.push(format!("{name} is not kept as it should be: {kept:?}"));
        }
    }
    wrong.extend(missing.into_iter().map(|name| format!("there is no table {name}")));
    wrong
}

fn names(fields: &Value) -> BTreeSet<String> {
    fields.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// Each stack is given the parameters that it has and has those that it uses, and each parameter of the root is used.
fn parameters_are_given_and_used(templates: &Templates) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut installed = BTreeSet::new();
    for (_, resource) in resources(&templates.root, "AWS::CloudFormation::Stack") {
        let path = resource["Properties"]["TemplateURL"].as_str().unwrap_or_default().to_owned();
        let stack = templates.nested.get(&path).unwrap_or(&Value::Null);
        let (has, given) = (names(&stack["Parameters"]), names(&resource["Properties"]["Parameters"]));
        let mut used = referred(&stack["Resources"]);
        used.extend(referred(&stack["Conditions"]));
        wrong
            .extend(has.symmetric_difference(&given).map(|name| format!("{path}: {name} is given or taken, not both")));
        wrong.extend(has.difference(&used).map(|name| format!("{path}: {name} is not used")));
        installed.insert(path);
    }
    wrong.extend(
        templates
            .nested
            .keys()
            .filter(|path| !installed.contains(*path))
            .map(|path| format!("{path} is not installed")),
    );
    let used = ["Resources", "Conditions", "Outputs"].map(|part| referred(&templates.root[part]));
    let unused =
        names(&templates.root["Parameters"]).into_iter().filter(|name| !used.iter().any(|used| used.contains(name)));
    wrong.extend(unused.map(|name| format!("template.yaml: {name} is not used")));
    wrong
}

/// The variables that a source names, all in capitals, outside of its tests.
fn variables(source: &str) -> BTreeSet<String> {
    let product = source.split("#[cfg(test)]").next().unwrap_or_default();
    let named = product.split('"').skip(1).step_by(2).filter(|text| {
        text.len() > 4
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    });
    named.map(str::to_owned).collect()
}

/// What a function's program reads is told it. What Lambda sets itself is not ours to say.
fn functions_are_told_what_they_read(templates: &Templates) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(bless::root().join(path)).unwrap_or_default();
    let mut every = variables(&read("shared/runtime/src/config.rs"));
    every.extend(QueueName::ALL.map(|queue| format!("{}_URL", queue.name().to_ascii_uppercase())));
    let mut wrong = Vec::new();
    for (path, stack) in &templates.nested {
        let surface = path.trim_start_matches("infra/stacks/").trim_end_matches(".yaml");
        let own = variables(&read(&format!("functions/{surface}/src/main.rs")));
        let needed = every.union(&own).filter(|name| !name.starts_with("AWS_") && !name.starts_with('_'));
        let needed = needed.cloned().collect::<BTreeSet<_>>();
        for (name, function) in resources(stack, "AWS::Serverless::Function") {
            let told = names(&function["Properties"]["Environment"]["Variables"]);
            wrong.extend(needed.difference(&told).map(|variable| format!("{path}: {name} is not told {variable}")));
        }
    }
    wrong
}

/// The launch's placeholders are filled in, and its role reaches the same functions.
fn the_launch_reaches_its_functions(templates: &Templates) -> Vec<String> {
    let launch = &templates.root["Resources"]["Launch"]["Properties"];
    let substituted = launch["DefinitionSubstitutions"].as_object().cloned().unwrap_or_default();
    let mut wrong = Vec::new();
    let named = placeholders(slipway::machine::LAUNCH).collect::<BTreeSet<_>>();
    if named != substituted.keys().cloned().collect() {
        wrong.push(format!("the launch names {named:?}"));
    }
    let may = launch["Policies"][0]["Statement"][0]["Resource"].as_array().cloned().unwrap_or_default();
    wrong.extend(
        substituted.values().filter(|arn| !may.contains(arn)).map(|arn| format!("the launch may not call {arn}")),
    );
    wrong
}

const RULES: [Rule; 8] = [
    no_stack_is_too_large,
    no_role_is_wide,
    messages_stay_invisible,
    queues_have_dead_letters_and_alarms,
    tables_are_kept,
    parameters_are_given_and_used,
    functions_are_told_what_they_read,
    the_launch_reaches_its_functions,
];

fn broken(templates: &Templates) -> Vec<String> {
    RULES.iter().flat_map(|rule| rule(templates)).collect()
}

#[test]
fn the_templates_keep_the_rules() {
    let wrong = broken(&templates());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Puts a value into a template, or takes one out.
fn plant(template: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let fields = template.pointer_mut(parent).and_then(Value::as_object_mut);
    let fields = fields.unwrap_or_else(|| panic!("there is no {parent}"));
    match value {
        Some(value) => drop(fields.insert(name.to_owned(), value)),
        None => assert!(fields.remove(name).is_some(), "there is no {pointer}"),
    }
}

#[test]
fn a_broken_rule_is_seen() {
    const ROTATE: &str = "/Resources/RotateKey/Properties";
    let rotate = |rest: &str| format!("{ROTATE}{rest}");
    let root = |rest: &str| format!("/Resources/{rest}");
    let plants = [
        ("keys", rotate("/Policies/0/Statement/0/Resource"), Some(json!("*")), "upon everything"),
        ("keys", rotate("/Role"), Some(json!("x")), "shares a role"),
        ("", root("Doorbells/Properties/VisibilityTimeout"), Some(json!(719)), "comes back while"),
        ("dispatcher", root("Dispatcher/Properties/Events"), None, "are consumed"),
        ("", root("Doorbells/Properties/RedrivePolicy"), None, "what fails in it is lost"),
        ("", root("DoorbellsDead/Properties/FifoQueue"), None, "of another kind"),
        ("", root("ReconcilesDead/Properties/SqsManagedSseEnabled"), None, "not encrypted"),
        ("", root("ReconcilesDeadLetters"), None, "no alarm"),
        ("", root("CapacityTable"), None, "there is no table capacity"),
        ("", root("CapacityTable/Properties/TableName/Fn::Sub"), Some(json!("${Deployment}-local")), "no table of"),
        ("", root("WorkloadsTable/Properties/TimeToLiveSpecification/AttributeName"), Some(json!("over")), "not kept"),
        ("", root("WorkloadsTable/Properties/DeletionProtectionEnabled"), Some(json!(false)), "not kept"),
        ("", root("WorkloadsTable/Properties/PointInTimeRecoverySpecification"), None, "not kept"),
        ("", root("WorkloadsTable/DeletionPolicy"), None, "not kept"),
        ("", root("AgentApiStack"), None, "not installed"),
        ("", root("JobsStack/Properties/Parameters/Pools"), None, "not both"),
        ("jobs", "/Parameters/Colour".to_owned(), Some(json!({"Type": "String"})), "Colour is not used"),
        ("", "/Parameters/Colour".to_owned(), Some(json!({"Type": "String"})), "template.yaml: Colour is not used"),
        ("meta", root("GetHealth/Properties/Environment/Variables/KMS_KEY_ID"), None, "not told KMS_KEY_ID"),
        ("", root("Launch/Properties/DefinitionSubstitutions/Undo"), None, "the launch names"),
        ("", root("Launch/Properties/Policies"), Some(json!([])), "the launch may not call"),
    ];
    for (surface, pointer, value, expected) in plants {
        let mut planted = templates();
        let nested = planted.nested.get_mut(&stacks::path(surface));
        plant(nested.unwrap_or(&mut planted.root), &pointer, value);
        let found = broken(&planted);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{pointer}: {expected}: {found:?}");
    }
}

#[test]
fn a_stack_that_grows_is_seen() {
    let mut grown = templates();
    let keys = grown.nested.get_mut(&stacks::path("keys")).expect("a stack");
    let function = keys["Resources"]["RotateKey"].clone();
    // Each is a function and its role, so that half as many are enough.
    for number in 0..MOST_RESOURCES / 2 {
        plant(keys, &format!("/Resources/More{number}"), Some(function.clone()));
    }
    assert!(no_stack_is_too_large(&grown)[0].contains("keys.yaml: 40"), "{:?}", no_stack_is_too_large(&grown));
}

#[test]
fn variables_are_found_in_sources() {
    let source = "read(\"POOLS\"); needed(\"KMS_KEY_ID\"); say(\"Well\"); #[cfg(test)] mod tests { \"OTHER_NAME\" }";
    assert_eq!(variables(source), BTreeSet::from(["KMS_KEY_ID".to_owned(), "POOLS".to_owned()]));
}
