//! What kubectl asks before it asks for anything.

use serde_json::{Value, json};

use super::store::RESOURCES;

/// The document at this path, if it is one of discovery's.
pub(crate) fn document(path: &str) -> Option<Value> {
    Some(match path.trim_end_matches('/') {
        "/version" => json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2025-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "",
        }),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1" => {
            let resources = RESOURCES.iter().map(|one| {
                json!({
                    "name": one.plural, "singularName": one.kind.to_lowercase(), "namespaced": !one.shared, "kind": one.kind,
                    "shortNames": [one.short],
                    "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                })
            });
            json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources.collect::<Vec<_>>()})
        }
        _ => return None,
    })
}
