//! HTTP surfaces: API Gateway's REST proxy events in, our router, answers out.

use std::{process::ExitCode, sync::Arc, time::Duration};

use aws_core::Sdk;

use axum::{Router, body::Body, response::Response};
use cloud::SystemClock;
use http::Request;
use lambda_http::{RequestExt, request::RequestContext};
use tower::{Service, ServiceExt};
use web::{
    Plane, Surface,
    admin::Peer,
    serve::{Front, Hosts, RequestId},
};

use crate::{Config, HANDLER, Outside, Setup, StartError, metrics, plane};

/// Answers one operation of a surface, the one whose function `_HANDLER` names; all of them where it is unset, as under
/// `cargo lambda watch`.
pub fn serve(surface: fn() -> Surface) -> ExitCode {
    serve_with(surface, |_config, _sdk| Box::pin(async { Ok(Outside::nothing()) }))
}

/// As [`serve`], of a surface whose functions have something that lies outside AWS's own services.
pub fn serve_with(surface: fn() -> Surface, outside: fn(Config, Sdk) -> Setup) -> ExitCode {
    crate::run(async move {
        let config = Config::from_process()?;
        let (function, surface) = pick(surface(), std::env::var(HANDLER).ok())?;
        let streams = surface.streams();
        let sdk = Sdk::new(config.aws.clone(), Arc::new(SystemClock));
        let outside = outside(config.clone(), sdk.clone()).await?;
        let plane = plane(&config, &sdk, outside);
        let router = router(&plane, config.cors_origins.clone(), surface);
        let counted = counting(router, plane, function);
        let ended = if streams {
            lambda_http::run_with_streaming_response(counted).await
        } else {
            lambda_http::run(counted).await
        };
        ended.map_err(|error| StartError::Runtime(error.to_string()))
    })
}

/// The part of the surface that this function is.
fn pick(surface: Surface, handler: Option<String>) -> Result<(String, Surface), StartError> {
    match handler.filter(|handler| !handler.is_empty() && handler != "bootstrap") {
        None => Ok((surface.name().to_owned(), surface)),
        Some(handler) => {
            let known = surface.function_names().join(", ");
            match surface.only(&handler) {
                Some(surface) => Ok((handler, surface)),
                None => Err(StartError::UnknownHandler(handler, known)),
            }
        }
    }
}

/// What one request is answered.
#[cfg(test)]
pub(crate) async fn answer(
    plane: Plane,
    cors_origins: Vec<String>,
    surface: Surface,
    request: lambda_http::Request,
) -> Response<Body> {
    let mut counted = counting(router(&plane, cors_origins, surface), plane, "Test".to_owned());
    match counted.call(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn router(plane: &Plane, cors_origins: Vec<String>, surface: Surface) -> Router {
    let front = Front { hosts: Hosts::Edge, cors_origins };
    let (routes, _part) = web::serve::mount(plane.settings.version, vec![surface]);
    web::serve::router(plane.clone(), (routes, web::Document(API.into())), front)
}

/// The whole API's document, which no single surface could write.
const API: &str = include_str!("../../../infra/openapi.json");

/// The router, with a line of metrics for each request, and the gateway's request id in place of one of ours.
fn counting(
    router: Router,
    plane: Plane,
    function: String,
) -> impl Service<lambda_http::Request, Response = Response<Body>, Error = std::convert::Infallible, Future: Send> {
    tower::service_fn(move |request: lambda_http::Request| {
        let (router, clock, function) = (router.clone(), plane.ports.clock.clone(), function.clone());
        async move {
            let started = clock.now();
            let answer = router.oneshot(with_id(request)).await;
            let status = answer.as_ref().map_or(500, |answer| answer.status().as_u16());
            let (at, took) = (clock.now(), clock.now().since(started));
            count(&function, (at, took), status);
            answer
        }
    })
}

fn count(function: &str, (at, took): (domain::Timestamp, Duration), status: u16) {
    let outcome = format!("{}xx", status / 100);
    metrics::write(&metrics::Counted { operation: function, at, took, outcome: &outcome, failed: status >= 500 });
}

/// The request as our router takes it: under the id that the gateway gave it, and without the stage in its path, which is the gateway's.
fn with_id(mut request: lambda_http::Request) -> Request<Body> {
    let (id, address) = match request.extensions().get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV1(context)) => {
            (context.request_id.clone(), context.identity.source_ip.as_ref().and_then(|address| address.parse().ok()))
        }
        _ => (None, None),
    };
    if let Some(id) = id {
        request.extensions_mut().insert(RequestId(id));
    }
    if let Some(address) = address {
        request.extensions_mut().insert(Peer(address));
    }
    let path = request.raw_http_path().to_owned();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    match format!("{path}{query}").parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => tracing::warn!(%error, "a path stays as it came"),
    }
    request.map(Body::new)
}
