//! The fleet's way into a cluster: an access entry for each role that reaches the fleet, and what its group may do in its namespace.

use serde_json::{Value, json};

use super::yaml;

/// The group that access entries put the roles into, and that the role's binding names.
const GROUP: &str = "slipway-fleet";
/// The namespace, as `EksNamespace` has it unless an installation says otherwise.
pub(crate) const NAMESPACE: &str = "slipway";

const DOCUMENTED: &str = include_str!("../../shared/aws-eks/src/lib.rs");

const HEAD: &str = "# What the fleet may do in its namespace, and with the volumes of the cluster: kubectl apply -f infra/eks/role.yaml. Written from shared/aws-eks/src/lib.rs by\n\
    # SLIPWAY_BLESS=1 cargo test -p tests --test all aws. Another namespace than slipway goes into EksNamespace and into this file.\n";

/// The access entry of a function's role.
pub(crate) fn access_entry(role: &str) -> Value {
    json!({
        "Type": "AWS::EKS::AccessEntry",
        "Condition": "Pods",
        "Properties": {
            "ClusterName": {"Ref": "EksCluster"},
            "PrincipalArn": {"Fn::GetAtt": [role, "Arn"]},
            "KubernetesGroups": [GROUP]
        }
    })
}

/// What introduces the rights in the namespace, and those in the whole cluster.
const HERE: &str = "The role of the fleet's identity:";
const EVERYWHERE: &str = "And in the whole cluster, where persistent volumes belong to no namespace:";

/// The rights that the crate's own words list after `introduced`: `pods` get, list; `secrets` create.
fn rights(documented: &str, introduced: &str) -> Vec<(String, Vec<String>)> {
    let words = documented.replace("//!", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = words.split_once(introduced).unwrap_or_else(|| panic!("no sentence begins {introduced}"));
    let sentence = rest.split('.').next().unwrap_or_default();
    let right = |part: &str| {
        let (resource, verbs) = part.trim().strip_prefix('`')?.split_once('`')?;
        Some((resource.to_owned(), verbs.split(',').map(|verb| verb.trim().to_owned()).collect()))
    };
    sentence.split(';').map(|part| right(part).expect("a resource and its verbs")).collect()
}

/// Gives the group a role of this kind.
fn binding(kind: &str, meta: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": GROUP},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}]
    })
}

/// The manifest's path and text.
pub(crate) fn manifest() -> (String, String) {
    let rule = |(on, verbs)| json!({"apiGroups": [""], "resources": [on], "verbs": verbs});
    let rules = |introduced: &str| rights(DOCUMENTED, introduced).into_iter().map(rule).collect::<Vec<_>>();
    let meta = json!({"name": GROUP, "namespace": NAMESPACE});
    let policy = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    let documents = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": policy}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": &meta,
            "rules": rules(HERE)
        }),
        binding("Role", &meta),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": GROUP},
            "rules": rules(EVERYWHERE)
        }),
        binding("ClusterRole", &json!({"name": GROUP})),
    ];
    let documents = documents.iter().map(yaml::text).collect::<Vec<_>>().join("---\n");
    ("infra/eks/role.yaml".to_owned(), HEAD.to_owned() + &documents)
}

#[test]
fn rights_are_read_from_the_words() {
    let words = "//! The role of the fleet's identity: `pods` get,\n//! list; `secrets` create. And more.";
    let expected = [("pods", vec!["get", "list"]), ("secrets", vec!["create"])];
    let expected = expected.map(|(on, verbs)| (on.to_owned(), verbs.into_iter().map(str::to_owned).collect()));
    assert_eq!(rights(words, HERE), expected);
    assert_eq!(rights(DOCUMENTED, EVERYWHERE).len(), 1, "nothing but volumes is the whole cluster's");
    let all = rights(DOCUMENTED, HERE);
    assert!(all.iter().all(|(on, verbs)| on != "secrets" || *verbs == ["create"]), "{all:?}");
}
