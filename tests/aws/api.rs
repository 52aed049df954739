//! The API's body for API Gateway: OpenAPI 3.0.1, paths and integrations only, since it refuses the 3.1 that our document is.
//!
//! Source: API Gateway developer guide, "OpenAPI extensions for API Gateway" and "Important notes" (what of OpenAPI it knows).

use serde_json::{Map, Value, json};

use super::functions::{self, Function, Trigger};

/// The body's text.
pub(crate) fn text() -> String {
    serde_json::to_string_pretty(&body(&functions::all())).expect("JSON") + "\n"
}

pub(crate) fn body(functions: &[Function]) -> Value {
    let mut paths = Map::new();
    for function in functions {
        if let Trigger::Pages(pages) = &function.trigger {
            paths.extend(pages.iter().map(|path| (path.clone(), page(function, path))));
        }
        let Trigger::Http { method, path, streams } = &function.trigger else { continue };
        let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
        item[method.to_lowercase()] = json!({
            "operationId": function.name,
            "parameters": parameters(path),
            "responses": {"200": {"description": "See the API document."}},
            "x-amazon-apigateway-integration": integration(function, *streams)
        });
        // What a page may ask is answered by whichever function of the path comes last: they all know it.
        item["options"] = json!({
            "parameters": parameters(path),
            "responses": {"200": {"description": "What a page may ask."}},
            "x-amazon-apigateway-integration": integration(function, false)
        });
    }
    json!({
        "openapi": "3.0.1",
        "info": {"title": {"Fn::Sub": "${Deployment}"}, "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "x-amazon-apigateway-gateway-responses": gateway_responses()
    })
}

/// A page's item: nobody else's page may ask for it.
fn page(function: &Function, path: &str) -> Value {
    json!({"get": {
        "parameters": parameters(path),
        "responses": {"200": {"description": "A page for people."}},
        "x-amazon-apigateway-integration": integration(function, true)
    }})
}

/// The names of a path's variables. A plus says that one takes all that is below, and is no part of its name.
fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.trim_end_matches('+')))
}

fn parameters(path: &str) -> Vec<Value> {
    variables(path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect()
}

fn integration(function: &Function, streams: bool) -> Value {
    // A function whose answers may stream always answers in that way, so it is always called in that way.
    let streams = streams || matches!(function.trigger, Trigger::Http { streams: true, .. });
    let (version, last) =
        if streams { ("2021-11-15", "response-streaming-invocations") } else { ("2015-03-31", "invocations") };
    let lambda = format!(
        "arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:${{Deployment}}-{}",
        function.name
    );
    let uri =
        format!("arn:${{AWS::Partition}}:apigateway:${{AWS::Region}}:lambda:path/{version}/functions/{lambda}/{last}");
    let mut integration = json!({"type": "aws_proxy", "httpMethod": "POST", "uri": {"Fn::Sub": uri}});
    if streams {
        integration["responseTransferMode"] = json!("STREAM");
    }
    integration
}

/// What the gateway refuses by itself, in the words of the dialect.
fn gateway_responses() -> Value {
    let said = |status: Option<u16>, code: &str, words: &str| {
        let mut response = json!({
            "responseParameters": {
                "gatewayresponse.header.X-Error-Code": format!("'{code}'"),
                "gatewayresponse.header.X-Request-Id": "context.requestId"
            },
            "responseTemplates": {"application/json": json!({"detail": words}).to_string()}
        });
        if let Some(status) = status {
            response["statusCode"] = json!(status);
        }
        response
    };
    json!({
        "DEFAULT_4XX": said(None, "bad_request", "The request cannot be taken as it is"),
        "DEFAULT_5XX": said(None, "internal", "Internal server error"),
        // A path or a method that is not declared is *forbidden* to the gateway; to us it is not there.
        "MISSING_AUTHENTICATION_TOKEN": said(Some(404), "not_found", "Not Found"),
        "RESOURCE_NOT_FOUND": said(Some(404), "not_found", "Not Found"),
        "REQUEST_TOO_LARGE": said(Some(413), "too_large", "The body is larger than 1 MiB"),
        "THROTTLED": said(Some(429), "too_many_requests", "Too many requests: slow down"),
        "QUOTA_EXCEEDED": said(Some(429), "too_many_requests", "Too many requests: slow down"),
        "INTEGRATION_TIMEOUT": said(Some(504), "unavailable", "It took too long: try again"),
        "INTEGRATION_FAILURE": said(Some(502), "unavailable", "Too busy: try again")
    })
}

/// What API Gateway refuses about a body, as far as it is known.
fn refused(body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if body["openapi"] != "3.0.1" {
        wrong.push("it knows OpenAPI 3.0.1 and nothing later".to_owned());
    }
    for (path, item) in body["paths"].as_object().into_iter().flatten() {
        for part in path.split('/').filter(|part| part.contains(['{', '}'])) {
            let whole = part.starts_with('{') && part.ends_with('}') && part.matches('{').count() == 1;
            if !whole {
                wrong.push(format!("{path}: a variable is a whole part of a path"));
            }
        }
        for (method, operation) in item.as_object().into_iter().flatten() {
            let integration = &operation["x-amazon-apigateway-integration"];
            if integration["uri"].is_null() || integration["httpMethod"] != "POST" {
                wrong.push(format!("{method} {path}: no integration"));
            }
            for name in variables(path) {
                let declared = operation["parameters"].as_array().into_iter().flatten();
                if !declared.clone().any(|parameter| parameter["name"] == name && parameter["required"] == true) {
                    wrong.push(format!("{method} {path}: {name} is not declared"));
                }
            }
        }
    }
    wrong
}

#[test]
fn api_gateway_takes_the_body() {
    let body = body(&functions::all());
    assert_eq!(refused(&body), Vec::<String>::new());
    let asked = |function: &Function| match &function.trigger {
        Trigger::Http { .. } => 1,
        Trigger::Pages(paths) => paths.len(),
        Trigger::Queue(_) | Trigger::Step | Trigger::Clock { .. } => 0,
    };
    let declared =
        body["paths"].as_object().expect("paths").values().flat_map(|item| item.as_object().expect("an item").keys());
    assert_eq!(
        declared.filter(|method| *method != "options").count(),
        functions::all().iter().map(asked).sum::<usize>()
    );
    assert!(body["paths"]["/docs/{file+}"].is_object() && body["paths"]["/redoc"].is_object());
}

#[test]
fn what_api_gateway_refuses_is_seen() {
    let integration = json!({"uri": "x", "httpMethod": "POST"});
    let named = json!([{"name": "id", "in": "path", "required": true}]);
    for (body, faults) in [
        (json!({"openapi": "3.1.0", "paths": {}}), 1),
        (
            json!({"openapi": "3.0.1", "paths": {"/a/{id}:go": {"get": {"x-amazon-apigateway-integration": integration}}}}),
            1,
        ),
        (
            json!({"openapi": "3.0.1", "paths": {"/a/{id}": {"get": {"x-amazon-apigateway-integration": integration}}}}),
            1,
        ),
        (json!({"openapi": "3.0.1", "paths": {"/a/{id}": {"get": {"parameters": named}}}}), 1),
        (
            json!({"openapi": "3.0.1", "paths": {"/a/{id}": {"get": {"parameters": named, "x-amazon-apigateway-integration": integration}}}}),
            0,
        ),
    ] {
        assert_eq!(refused(&body).len(), faults, "{body}");
    }
}
