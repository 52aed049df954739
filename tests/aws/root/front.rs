//! The way in: the API, and CloudFront before it.

use serde_json::{Value, json};
use web::serve::ORIGIN_SECRET;

use super::Resources;
use crate::aws::roles::sub;

/// The API's stage, which is in its paths and which CloudFront adds.
const STAGE: &str = "prod";
/// CloudFront's own policy `CachingDisabled` (CloudFront developer guide, "Use managed cache policies").
const NO_CACHE: &str = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad";
/// CloudFront's own policy `AllViewerExceptHostHeader` (CloudFront developer guide, "Use managed origin request policies").
const ALL_BUT_HOST: &str = "b689b0a8-53d0-40ab-baf2-68738e2966ac";
/// The address that a request came from, in a header of ours: `CloudFront-Viewer-Address` cannot be had together with `Authorization` and
/// without `Host`, since no origin request policy lets through all headers but one and adds CloudFront's (CloudFront API reference,
/// `OriginRequestPolicyHeadersConfig`).
const VIEWER: &str = "x-slipway-viewer";

pub(super) fn resources() -> Resources {
    vec![
        ("Api".into(), api()),
        ("# Viewer".into(), json!("Says who asks. What a client says about itself in this header is overwritten.")),
        ("Viewer".into(), viewer()),
        ("Edge".into(), edge()),
    ]
}

fn api() -> Value {
    json!({
        "Type": "AWS::Serverless::Api",
        "Properties": {
            "Name": {"Ref": "Deployment"},
            "StageName": STAGE,
            "OpenApiVersion": "3.0.1",
            "EndpointConfiguration": {"Type": "REGIONAL"},
            "DefinitionBody": {"Fn::Transform": {"Name": "AWS::Include", "Parameters": {"Location": "infra/api.json"}}},
            // Each function writes a line for each request: the gateway's own logs would say it twice.
            "MethodSettings": [{
                "ResourcePath": "/*", "HttpMethod": "*", "LoggingLevel": "OFF", "MetricsEnabled": false,
                "ThrottlingRateLimit": 500, "ThrottlingBurstLimit": 1000
            }]
        }
    })
}

fn viewer() -> Value {
    let code = format!(
        "function handler(event) {{\n  var request = event.request;\n  request.headers['{VIEWER}'] = {{value: event.viewer.ip}};\n  return request;\n}}\n"
    );
    json!({
        "Type": "AWS::CloudFront::Function",
        "Properties": {
            "Name": sub("${Deployment}-viewer"),
            "AutoPublish": true,
            "FunctionConfig": {"Comment": sub("${Deployment}: says who asks"), "Runtime": "cloudfront-js-2.0"},
            "FunctionCode": code
        }
    })
}

fn edge() -> Value {
    let origin = json!({
        "Id": "api",
        "DomainName": sub("${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}"),
        "OriginPath": format!("/{STAGE}"),
        "CustomOriginConfig": {
            "OriginProtocolPolicy": "https-only", "OriginSSLProtocols": ["TLSv1.2"],
            "OriginReadTimeout": {"Ref": "OriginTimeout"}
        },
        "OriginCustomHeaders": [{
            "HeaderName": ORIGIN_SECRET, "HeaderValue": sub("{{resolve:secretsmanager:${OriginSecret}:SecretString}}")
        }]
    });
    let behaviour = json!({
        "TargetOriginId": "api",
        "ViewerProtocolPolicy": "https-only",
        "AllowedMethods": ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"],
        "Compress": false,
        "CachePolicyId": NO_CACHE,
        "OriginRequestPolicyId": ALL_BUT_HOST,
        "FunctionAssociations": [
            {"EventType": "viewer-request", "FunctionARN": {"Fn::GetAtt": ["Viewer", "FunctionMetadata.FunctionARN"]}}
        ]
    });
    json!({
        "Type": "AWS::CloudFront::Distribution",
        "Properties": {"DistributionConfig": {
            "Enabled": true, "Comment": {"Ref": "Deployment"}, "HttpVersion": "http2and3", "IPV6Enabled": true,
            "Origins": [origin], "DefaultCacheBehavior": behaviour
        }}
    })
}
