//! From a request to the beginning of an answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use cloud::{Answer, UpstreamError};
use domain::{
    TenantId, Timestamp,
    job::ModelServe,
    launch_log::estimate::{Usual, kind},
    lifecycle::{Stage, State},
    limits::{Demand, Standing, Unit},
    model::{Model, ModelKind},
    names::ModelName,
    tenant::PLATFORM,
};
use futures::{FutureExt, StreamExt, future::Either};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use store::{
    Plane,
    identities::{Holder, KeyRow, ModelKey, TenantKey},
    limits::{Scoped, Whose, key_scope, model_scope, tenant_scope},
    memory::{Busy, Facts},
};
use web::{
    Error,
    admin::keep_out,
    body, caller, nodes,
    tenant::{FOR_A_TENANT, holder},
};

use crate::{
    refusal::{Refusal, of_upstream},
    relay::{Account, Relay, Ticket},
    request_body::RequestBody,
    watch::Watch,
};

/// The largest body that is taken: what a function of Lambda's can be given.
const LARGEST: usize = 6 * 1024 * 1024;
/// A stream begins within this, and an answer in one piece is there.
const BEGINS_WITHIN: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(600));
/// What a model server says about a refusal is not read beyond this.
const LONGEST_REFUSAL: usize = 64 * 1024;
/// After so many seconds somebody who was told that a model is not served may ask again, where nothing better is known.
const ASK_AGAIN: u64 = 30;

/// One of the operations that ask a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Chat,
    Completion,
    Embedding,
}

impl Operation {
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completion => "/v1/completions",
            Self::Embedding => "/v1/embeddings",
        }
    }

    /// Whether a model of this kind answers it.
    const fn suits(self, kind: ModelKind) -> bool {
        match self {
            Self::Chat | Self::Completion => matches!(kind, ModelKind::Chat | ModelKind::Completion),
            Self::Embedding => matches!(kind, ModelKind::Embedding),
        }
    }

    /// Whether its answer is text.
    const fn writes(self) -> bool {
        matches!(self, Self::Chat | Self::Completion)
    }
}

/// Answers a request, or says why not.
pub(crate) async fn answer(plane: &Plane, operation: Operation, request: Request) -> Response {
    match Box::pin(asked(plane, operation, request)).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// Who asks, which model, and what is known of both.
struct Asked {
    row: KeyRow,
    facts: Arc<Facts>,
    tenant: TenantId,
    who: String,
    wanted: RequestBody,
    name: ModelName,
    model: Model,
    begun: Timestamp,
}

async fn asked(plane: &Plane, operation: Operation, request: Request) -> Result<Response, Refusal> {
    let asked = admit(plane, operation, request).await?;
    let scopes = scopes(&asked);
    let is_bounded = scopes.iter().any(|scoped| scoped.limits.bound_tokens());
    let most = asked.wanted.most(u64::from(asked.model.context_length), operation.writes());
    let prices = (asked.model.price_input, asked.model.price_output);
    let micros = prices.0.of_tokens(most.input).saturating_add(prices.1.of_tokens(most.output));
    let demand = Demand { requests: 1, tokens: most.input.saturating_add(most.output), micros };
    let reserved = plane.reserve(&scopes, &demand).await;
    let now = plane.ports.clock.now();
    let reservations = reserved.map_err(|no| Refusal::no_room(no, now))?;
    let account = Account {
        request: plane.ports.ids.message(now),
        tenant: asked.tenant.clone(),
        key: asked.who.clone(),
        model: asked.name.clone(),
        prices,
        most,
        begun: asked.begun,
    };
    let ticket = Ticket::new(plane, account, reservations);
    let bounds = (is_bounded && operation.writes()).then(|| u64::from(asked.model.context_length));
    let sent = match send(plane, &asked, operation, bounds).await {
        Ok((answer, busy)) => refused_by_server(plane, answer, busy).await,
        Err(refusal) => Err(refusal),
    };
    match sent {
        Ok((answer, busy)) => Ok(relay(plane, &asked.wanted, (answer, busy), ticket)),
        Err(refusal) => {
            ticket.refused().await;
            Err(refusal)
        }
    }
}

/// Lets a request in: a key that opens something now, a body that can be read, a model that is registered and served.
async fn admit(plane: &Plane, operation: Operation, request: Request) -> Result<Asked, Refusal> {
    let (parts, body) = request.into_parts();
    keep_out(plane, &parts, FOR_A_TENANT).await?;
    let begun = plane.ports.clock.now();
    let (kind, key) = caller::offered(&parts.headers)?;
    let bytes = body::read(&parts.headers, body, LARGEST).await;
    let wanted = bytes.map_err(Refusal::from).and_then(|bytes| read(&parts.headers, bytes));
    let named = wanted.as_ref().ok().and_then(|wanted| ModelName::parse(&wanted.model).ok());
    let (row, facts) = plane.known(&key, named.as_ref()).await?;
    // Whoever is nobody is told so before anything else.
    let row = caller::opened(plane, kind, row)?;
    let (tenant, who) = holder(&row.holder)?;
    let facts = facts.ok_or(caller::INVALID)?;
    caller::tier(tenant, facts.tenant.as_ref())?;
    let wanted = wanted?;
    let unknown = || Refusal::NoSuchModel(wanted.model.clone());
    let name = named.ok_or_else(unknown)?;
    if row.holder.only().is_some_and(|only| *only != name) {
        return Err(unknown());
    }
    let model = facts.model.clone().ok_or_else(unknown)?;
    if !operation.suits(model.kind) {
        let words =
            format!("The model `{}` is for {}, and not for {}", wanted.model, model.kind.name(), operation.path());
        return Err(Refusal::bad(Some("model"), words));
    }
    let tenant = tenant.clone();
    if facts.servers().next().is_none() {
        return Err(not_ready(plane, (&tenant, facts.publisher.clone()), &name).await);
    }
    Ok(Asked { row, facts, tenant, who, wanted, name, model, begun })
}

fn read(headers: &HeaderMap, bytes: Bytes) -> Result<RequestBody, Refusal> {
    if !body::is_json(headers) {
        return Err(Error::UnsupportedMediaType.into());
    }
    RequestBody::read(bytes)
}

/// The limits that a request is subject to.
fn scopes(asked: &Asked) -> Vec<Scoped> {
    let Asked { row, facts, tenant, name, model, .. } = asked;
    let key = match &row.holder {
        Holder::Tenant(TenantKey { id, .. }) | Holder::Model(ModelKey { id, .. }) => {
            Some(Scoped { whose: Whose::Key, id: key_scope(tenant, *id), limits: row.limits.clone() })
        }
        // A person's key changes every other hour: what it may do is what its tenant may.
        Holder::User(_) | Holder::Enroll(_) | Holder::Session(_) => None,
    };
    let own = facts.tenant.as_ref().map(|row| Scoped {
        whose: Whose::Tenant,
        id: tenant_scope(tenant),
        limits: row.limits.clone(),
    });
    let model = Scoped { whose: Whose::Model, id: model_scope(name), limits: model.limits.clone() };
    key.into_iter().chain(own).chain([model]).filter(|scoped| !scoped.limits.is_empty()).collect()
}

/// Nobody serves a model: when somebody will, as far as launches say that are under way.
async fn not_ready(plane: &Plane, (tenant, publisher): (&TenantId, Option<TenantId>), name: &ModelName) -> Refusal {
    let mut soonest = None;
    let owner = nodes::owner();
    for of in [tenant.clone(), TenantId::new(PLATFORM)].into_iter().chain(publisher) {
        let serves = |serve: &ModelServe| serve.model == *name;
        let found = plane.store.chosen(
            (&of, &owner),
            true,
            |workload| workload.spec.serve.as_ref().is_some_and(serves) && workload.state.stage() != Stage::Ending,
            (20, 0),
        );
        for workload in found.await.unwrap_or_default() {
            let launches = plane.store.past_launches(workload.pool(), kind(&workload)).await.unwrap_or_default();
            // A launch that waits for GPUs has all of it before it, and nobody knows when it begins.
            let (state, stayed) = match workload.state {
                State::Queued => (State::Placed, Duration::ZERO),
                state => (state, plane.ports.clock.now().since(workload.since)),
            };
            let left = Usual::of(&launches).and_then(|usual| usual.left(state, stayed)).unwrap_or(ASK_AGAIN);
            soonest = Some(soonest.map_or(left, |soonest: u64| soonest.min(left)));
        }
    }
    let seconds = soonest.unwrap_or(ASK_AGAIN).max(1);
    Refusal::NotReady { model: name.as_str().to_owned(), seconds, is_coming: soonest.is_some() }
}

/// What is sent along: what the body is, and what is wanted. Nothing else of a caller's headers reaches a server, its key least of all.
fn headers(streams: bool) -> HeaderMap {
    let accept = if streams { "text/event-stream" } else { "application/json" };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::ACCEPT, accept)];
    headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// Asks a server, and once another one where the first was not reached or had no room.
async fn send(
    plane: &Plane,
    asked: &Asked,
    operation: Operation,
    bounds: Option<u64>,
) -> Result<(Answer, Busy), Refusal> {
    let streams = asked.wanted.streams;
    let within = if streams { BEGINS_WITHIN.0 } else { BEGINS_WITHIN.1 };
    let parts = asked.wanted.parts(bounds);
    let mut tried = Vec::new();
    while let Some(busy) = plane.server(&asked.facts, &tried).filter(|_| tried.len() < 2) {
        let question = cloud::Question { path: operation.path(), headers: headers(streams), body: parts.clone() };
        let asking = plane.ports.upstreams.ask(busy.upstream(), question);
        let waiting = plane.ports.clock.sleep(within);
        let answered = match futures::future::select(asking, waiting).await {
            Either::Left((answered, _)) => answered,
            Either::Right(((), _)) => {
                busy.failed(plane.ports.clock.now());
                return Err(Refusal::Failed(StatusCode::GATEWAY_TIMEOUT, "The model's server did not answer in time"));
            }
        };
        let now = plane.ports.clock.now();
        match answered {
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                busy.failed(now);
                tried.push(busy.upstream().clone());
            }
            Ok(answer) => {
                busy.answered();
                return Ok((answer, busy));
            }
            // It may be computing already, or have: nobody else is asked the same.
            Err(UpstreamError::Broken(why)) => {
                tracing::warn!(upstream = %busy.upstream(), why, "inference.failed");
                busy.failed(now);
                return Err(Refusal::Failed(StatusCode::BAD_GATEWAY, "The model's server broke off"));
            }
            Err(UpstreamError::NotReached(why)) => {
                tracing::warn!(upstream = %busy.upstream(), why, "inference.not_reached");
                busy.failed(now);
                tried.push(busy.upstream().clone());
            }
        }
    }
    let model = asked.wanted.model.clone();
    Err(Refusal::NotReady { model, seconds: 1, is_coming: false })
}

/// An answer that is a refusal is told in `OpenAI`'s words.
async fn refused_by_server(plane: &Plane, answer: Answer, busy: Busy) -> Result<(Answer, Busy), Refusal> {
    let status = answer.status;
    if status.is_success() {
        return Ok((answer, busy));
    }
    if status.is_server_error() || status.is_redirection() || status.is_informational() {
        tracing::warn!(upstream = %busy.upstream(), %status, "inference.server_error");
        busy.failed(plane.ports.clock.now());
        return Err(Refusal::Failed(StatusCode::BAD_GATEWAY, "The model's server failed"));
    }
    let reading = async {
        let (mut body, mut read) = (answer.body, Vec::new());
        while let Some(Ok(bytes)) = body.next().await {
            read.extend_from_slice(&bytes);
            if read.len() > LONGEST_REFUSAL {
                break;
            }
        }
        read
    };
    let waiting = plane.ports.clock.sleep(Duration::from_secs(5));
    let read = match futures::future::select(reading.boxed(), waiting).await {
        Either::Left((read, _)) => read,
        Either::Right(_) => Vec::new(),
    };
    // That it has too much to do is its own affair, and no limit of the caller's.
    let status = if status == StatusCode::TOO_MANY_REQUESTS { StatusCode::SERVICE_UNAVAILABLE } else { status };
    Err(of_upstream(status, &read))
}

/// The answer to a caller.
fn relay(plane: &Plane, wanted: &RequestBody, (answer, busy): (Answer, Busy), ticket: Ticket) -> Response {
    let Answer { status, headers, body } = answer;
    let content = headers.get(header::CONTENT_TYPE).cloned();
    let is_events = content.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let now = plane.ports.clock.now();
    let standings = ticket.standings(now);
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let watch = Watch::new(is_events, is_events && wanted.asks_for_usage(), length);
    let relay = Relay::new((body, status.as_u16()), (watch, is_events), busy, ticket);
    let mut response = (status, Body::new(relay)).into_response();
    let to = response.headers_mut();
    to.insert(header::CONTENT_TYPE, content.unwrap_or_else(|| HeaderValue::from_static("application/json")));
    to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_events {
        // Proxies such as nginx would else keep events back until they have a buffer full of them.
        to.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    } else if let Some(length) = headers.get(header::CONTENT_LENGTH) {
        to.insert(header::CONTENT_LENGTH, length.clone());
    }
    say_limits(to, &standings, now);
    response
}

/// The headers of the limits that are nearest: of requests, and of tokens.
pub(crate) fn say_limits(headers: &mut HeaderMap, standings: &[Standing], now: Timestamp) {
    for (unit, names) in [
        (Unit::Requests, ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]),
        (Unit::Tokens, ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]),
    ] {
        let of_unit = standings.iter().filter(|standing| standing.meter.unit() == unit);
        // The nearest is the one of which the smallest part is left.
        let nearest = of_unit.min_by(|one, other| {
            let part = |of: &Standing, by: &Standing| u128::from(of.remaining) * u128::from(by.limit.max(1));
            part(one, other).cmp(&part(other, one))
        });
        let Some(nearest) = nearest else { continue };
        for (name, value) in names.into_iter().zip([nearest.limit, nearest.remaining, nearest.reset_seconds(now)]) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}
