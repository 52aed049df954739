//! The outermost layers: which names we answer to, which pages may ask, request ids, one log line a request.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use domain::SecretHash;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use store::Plane;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};
use tracing::Instrument;
use utoipa_axum::router::OpenApiRouter;

use crate::{Document, Error, Surface, admin::Peer, dialect, openapi};

/// Which `Host` names are answered. A web page that rebinds its own name to our address still sends its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Loopback's names and addresses only.
    Loopback,
    /// These names, without ports.
    Listed(Vec<String>),
    /// Any name: whoever hands requests on to us has looked at it. Where the installation has an origin secret, only what brings it in
    /// [`ORIGIN_SECRET`] is answered, so that nobody goes around the edge.
    Edge,
}

/// The header in which the edge proves itself.
pub const ORIGIN_SECRET: &str = "x-slipway-origin";

/// The header in which the edge says which address a request came from. It overwrites what a client says of itself there.
pub const VIEWER: &str = "x-slipway-viewer";

/// The id of a request, given by whoever hands it on to us; else we give it one.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

impl Hosts {
    fn answers(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        match self {
            Self::Loopback => {
                let address = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
                address || name.eq_ignore_ascii_case("localhost")
            }
            Self::Listed(names) => names.iter().any(|listed| listed.eq_ignore_ascii_case(name)),
            Self::Edge => true,
        }
    }
}

/// Whether a request comes in by the front door; true when that is an edge which has proved itself.
async fn admitted(plane: &Plane, front: &Front, uri: &Uri, headers: &HeaderMap) -> Result<bool, Error> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.host()).unwrap_or_default();
    if !front.hosts.answers(host) {
        return Err(Error::Forbidden("This name is not answered here"));
    }
    if front.hosts != Hosts::Edge {
        return Ok(false);
    }
    let secrets = plane.settings.secrets.current().await?;
    let Some(expected) = &secrets.origin else { return Ok(false) };
    let brought = headers.get(ORIGIN_SECRET).map(|secret| SecretHash::of(secret.as_bytes()));
    if brought.is_some_and(|brought| brought.matches(&expected.hash())) {
        Ok(true)
    } else {
        Err(Error::Forbidden("Come in by the front door"))
    }
}

/// The address that a request came from: what an edge says that has proved itself, or whoever else hands it on to us; else the connection's
/// other end.
fn peer(proven: bool, request: &Request) -> Option<Peer> {
    let said = || request.headers().get(VIEWER)?.to_str().ok()?.parse().ok().map(Peer);
    let told = || request.extensions().get::<Peer>().copied();
    let connected =
        || request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| Peer(address.ip()));
    proven.then(said).flatten().or_else(told).or_else(connected)
}

/// How the API is reached.
#[derive(Clone, Debug)]
pub struct Front {
    /// Which names are answered.
    pub hosts: Hosts,
    /// Whose pages may ask: origins such as `https://console.example.org`.
    pub cors_origins: Vec<String>,
}

/// The routes of several surfaces together, and their API document.
pub fn mount(version: &str, surfaces: Vec<Surface>) -> (Router<Plane>, Document) {
    let all = OpenApiRouter::with_openapi(openapi::base(version));
    let (router, mut api) = surfaces.into_iter().map(Surface::router).fold(all, OpenApiRouter::merge).split_for_parts();
    // What takes all that is below is a parameter like any other to the document.
    let paths = std::mem::take(&mut api.paths.paths);
    api.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    (router, Document::of(&api))
}

/// Everything that answers HTTP, in one router, around `routes`.
pub fn router(plane: Plane, (routes, document): (Router<Plane>, Document), front: Front) -> Router {
    routes
        .fallback(|| async { dialect::no_such_path() })
        .with_state(plane.clone())
        .layer(Extension(document))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Error::Internal(format!("a handler panicked: {text}")).into_response()
        }))
        .layer(map_response(async |response: Response| dialect::detail(response)))
        .layer(cors(&front.cors_origins))
        .layer(from_fn_with_state(Arc::new((plane, front)), watch))
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| origin.parse::<HeaderValue>().ok()).collect::<Vec<_>>();
    let ours = ["x-request-id", "x-error-code", "idempotent-replayed"].map(HeaderName::from_static);
    let theirs = ["idempotency-key", "last-event-id", "x-admin-token"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(theirs.into_iter().chain([header::AUTHORIZATION, header::CONTENT_TYPE]).collect::<Vec<_>>())
        .expose_headers(ours.into_iter().chain([header::RETRY_AFTER]).collect::<Vec<_>>())
        .max_age(std::time::Duration::from_secs(600))
}

/// Refuses names that are not ours, numbers the request, and writes its one log line.
async fn watch(State(context): State<Arc<(Plane, Front)>>, mut request: Request, next: Next) -> Response {
    let (plane, front) = &*context;
    let started = plane.ports.clock.now();
    let given = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone());
    let id = given.unwrap_or_else(|| plane.ports.ids.message(started).to_string());
    let method = request.method().clone();
    let operation = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // Whatever is logged on the way carries the id that the caller is told, and the tenant once it is known.
    let span = tracing::info_span!("request", request_id = %id, tenant = tracing::field::Empty);
    let mut response = match admitted(plane, front, request.uri(), request.headers()).await {
        Ok(proven) => {
            if let Some(peer) = peer(proven, &request) {
                request.extensions_mut().insert(peer);
            }
            next.run(request).instrument(span).await
        }
        Err(refused) => dialect::detail(refused.into_response()),
    };
    let took_ms = plane.ports.clock.now().since(started).as_millis();
    let status = response.status().as_u16();
    // The path may hold ids, and the query anything at all: only the route is logged. Agents call every other second, which is news
    // only when it fails.
    let operation = operation.unwrap_or_default();
    if operation.starts_with("/agent/") && status < 400 {
        tracing::debug!(request_id = %id, %method, operation, status, took_ms, "request");
    } else {
        tracing::info!(request_id = %id, %method, operation, status, took_ms, "request");
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_answered() {
        for (host, answered) in [
            ("127.0.0.1:8000", true),
            ("127.9.9.9", true),
            ("localhost", true),
            ("LOCALHOST:1", true),
            ("[::1]:8000", true),
            ("evil.example:8000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(Hosts::Loopback.answers(host), answered, "{host}");
        }
        let listed = Hosts::Listed(vec!["gpu.example.org".into()]);
        assert!(
            listed.answers("gpu.example.org:443") && listed.answers("GPU.example.org") && !listed.answers("localhost")
        );
    }
}
