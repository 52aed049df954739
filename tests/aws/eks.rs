//! The fleet's way into a cluster: an access entry for each role that reaches the fleet, and what its group may do in its namespace.

use serde_json::{Value, json};

use super::yaml;

/// The group that access entries put the roles into, and that the role's binding names.
const GROUP: &str = "slipway-fleet";
/// The namespace, as `EksNamespace` has it unless an installation says otherwise.
pub(crate) const NAMESPACE: &str = "slipway";

const HEAD: &str = "# What the fleet may do in its namespace: kubectl apply -f infra/eks/role.yaml. Written from shared/aws-eks/src/lib.rs by\n\
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

/// The rights that the crate's own words list: `pods` get, list; `secrets` create.
fn rights(documented: &str) -> Vec<(String, Vec<String>)> {
    let words = documented.replace("//!", " ");
    let (_, rest) = words.split_once("The role of the fleet's identity:").expect("the sentence about the role");
    let sentence = rest.split('.').next().unwrap_or_default();
    let right = |part: &str| {
        let (resource, verbs) = part.trim().strip_prefix('`')?.split_once('`')?;
        Some((resource.to_owned(), verbs.split(',').map(|verb| verb.trim().to_owned()).collect()))
    };
    sentence.split(';').map(|part| right(part).expect("a resource and its verbs")).collect()
}

/// The manifest's path and text.
pub(crate) fn manifest() -> (String, String) {
    let rules = rights(include_str!("../../shared/aws-eks/src/lib.rs"));
    let rules = rules.into_iter().map(|(on, verbs)| json!({"apiGroups": [""], "resources": [on], "verbs": verbs}));
    let meta = json!({"name": GROUP, "namespace": NAMESPACE});
    let policy = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    let documents = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": policy}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
            "rules": rules.collect::<Vec<_>>()
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": GROUP},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}]
        }),
    ];
    let documents = documents.iter().map(yaml::text).collect::<Vec<_>>().join("---\n");
    ("infra/eks/role.yaml".to_owned(), HEAD.to_owned() + &documents)
}

#[test]
fn rights_are_read_from_the_words() {
    let words = "//! The role of the fleet's identity: `pods` get,\n//! list; `secrets` create. And more.";
    let expected = [("pods", vec!["get", "list"]), ("secrets", vec!["create"])];
    let expected = expected.map(|(on, verbs)| (on.to_owned(), verbs.into_iter().map(str::to_owned).collect()));
    assert_eq!(rights(words), expected);
    let all = rights(include_str!("../../shared/aws-eks/src/lib.rs"));
    assert!(all.iter().all(|(on, verbs)| on != "secrets" || *verbs == ["create"]), "{all:?}");
}
