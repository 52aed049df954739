//! Nodes and instances: what serves a model for a tenant as a whole, launched, listed and ended in one way for admins and tenants.

use domain::{
    TenantId, Timestamp, UserName, Workload, WorkloadId,
    agent::VLLM_VERSION,
    credential::Provider,
    gpu::Gpu,
    job::{ModelServe, Spec},
    lifecycle::Stage,
    model::Model,
    names::{ImageName, ModelName},
    offer::{self, Found, Place, Wanted},
    policy::IDLE_MINUTES,
    tenant::ITSELF,
    workload::{NodeStatus, Submission},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Plane, StoreError, workloads::Write};
use utoipa::ToSchema;

use crate::{Command, Error, Input, Nothing, Problem};

/// What serves models where GPUs are bought: vLLM's own image, with its server and everything that it needs.
const IMAGE: &str = "vllm/vllm-openai";

/// How often a launch is begun anew whose credential was deleted meanwhile.
const LAUNCH_TRIES: u32 = 3;

/// How many models a refusal names at most.
const MOST_NAMED: usize = 20;

/// What is to be launched, and where.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1,
    "model": "meta-llama/Llama-3.1-8B-Instruct", "idle_minutes_to_autostop": 30
}))]
pub struct Launch {
    /// `aws`, `azure` or `gcp`, where this installation has a fleet there. One machine stands for any.
    pub provider: String,
    /// The provider's region.
    pub region: String,
    /// The type of GPU, as in `A10G`, `h100` or `NVIDIA A100-SXM4-80GB`.
    pub gpu: String,
    /// How many GPUs, all on one machine.
    #[schema(minimum = 1)]
    pub gpu_count: u32,
    /// The registered model's name.
    #[schema(value_type = String, max_length = 128)]
    pub model: ModelName,
    /// It ends by itself when nobody has used it for so many minutes; it runs until it is ended when this is left out.
    #[schema(minimum = 1, maximum = 10080)]
    pub idle_minutes_to_autostop: Option<u32>,
    /// Take capacity that may be taken back at any time, and no other.
    #[serde(default)]
    pub use_spot: bool,
}

impl Input for Launch {
    const SECRET: &'static [&'static str] = &[];
}

/// A node or an instance.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "node-0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11", "cluster_name": "cl-3e1a5b7c9d11",
    "model_name": "meta-llama/Llama-3.1-8B-Instruct", "provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1,
    "status": "launching", "request_id": "req-0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11", "created_at": "2024-01-15T10:30:00Z",
    "phase": "queued", "progress": 0, "endpoint": null, "use_spot": false, "idle_minutes_to_autostop": 30, "error": null,
    "gpu_seconds": 0
}))]
pub struct Node {
    id: String,
    cluster_name: String,
    model_name: String,
    provider: &'static str,
    region: String,
    gpu: String,
    gpu_count: u32,
    /// `launching`, `initializing`, `active`, `failed`, `terminating` or `terminated`.
    status: &'static str,
    request_id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Where its launch stands, as its log says.
    phase: &'static str,
    /// How far its launch has come, in percent.
    progress: u8,
    /// Where the model answers, while it is active.
    endpoint: Option<String>,
    use_spot: bool,
    idle_minutes_to_autostop: Option<u32>,
    /// Why it failed or was ended, where that is known.
    error: Option<String>,
    /// GPUs times seconds that it really used, once it has ended.
    gpu_seconds: u64,
}

impl Node {
    /// The node that a workload is; `None` for one that serves no model.
    #[must_use]
    pub fn of(workload: &Workload) -> Option<Self> {
        let serve = workload.spec.serve.as_ref()?;
        Some(Self {
            id: workload.id.as_node(),
            cluster_name: workload.id.cluster_name(),
            model_name: serve.model.as_str().to_owned(),
            provider: serve.provider.name(),
            region: serve.region.as_str().to_owned(),
            gpu: workload.spec.gpu.slug().to_ascii_uppercase(),
            gpu_count: workload.spec.gpu_count,
            status: workload.node_status().name(),
            request_id: workload.id.request_id(),
            created_at: workload.created_at,
            phase: workload.state.name(),
            progress: workload.progress,
            endpoint: workload.endpoint(),
            use_spot: serve.use_spot,
            idle_minutes_to_autostop: serve.idle_minutes,
            error: workload.ending.as_ref().and_then(|ending| ending.reason.clone()),
            gpu_seconds: workload.usage.gpu_seconds,
        })
    }
}

/// Whom the nodes of a tenant belong to.
#[must_use]
pub fn owner() -> UserName {
    UserName::new(ITSELF)
}

/// Launches a node for a tenant, on behalf of `by`.
///
/// # Errors
/// What is wrong with the request, in words that name what is known here; [`Error::Conflict`] when the tenant has as many as it may.
pub async fn launch<P>(plane: &Plane, of: (&TenantId, &str), command: &Command<Launch, P>) -> Result<Node, Error> {
    for _ in 0..LAUNCH_TRIES {
        if let Some(node) = begin(plane, of, command).await? {
            return Ok(node);
        }
    }
    Err(StoreError::Contended.into())
}

/// As [`launch`]; `None` where the tenant's credential went meanwhile, with which it was to be launched.
async fn begin<P>(
    plane: &Plane,
    (tenant, by): (&TenantId, &str),
    command: &Command<Launch, P>,
) -> Result<Option<Node>, Error> {
    let (spec, here) = spec(plane, &command.input, (tenant, by)).await?;
    let now = plane.ports.clock.now();
    let id = plane.ports.ids.workload(now);
    let submission =
        Submission { id, tenant: tenant.clone(), owner: owner(), spec, duration: None, sealed_jupyter_token: None };
    let mut change = Workload::submit(submission, now);
    by.clone_into(&mut change.entry.by);
    let stand_in = if here { change.workload.stood_in_for(now) } else { None };
    let launched = stand_in.as_ref().map_or_else(|| change.workload.clone(), |change| change.workload.clone());
    let node = shown(&launched)?;
    let doorbell = launched.doorbell();
    let change = change.sending(plane.ports.ids.message(now), vec![doorbell]);
    let changes = std::iter::once(change).chain(stand_in).collect();
    let claim = command.claim_new(id.as_node(), &node, now)?;
    let most_live = Some(plane.settings.policy.nodes_per_tenant);
    match plane.commit(&Write { changes, claim, most_live, ..Write::default() }).await {
        Ok(()) => Ok(Some(node)),
        Err(StoreError::Moved) => Ok(None),
        Err(StoreError::TooManyJobs) => {
            Err(Error::Conflict("There are as many as one tenant may have: end one first".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// A workload that is known to serve a model.
fn shown(workload: &Workload) -> Result<Node, Error> {
    Node::of(workload).ok_or_else(|| StoreError::Broken("a node serves no model".to_owned()).into())
}

/// What is to be run; and whether this machine stands for the place that was asked for.
async fn spec(plane: &Plane, wanted: &Launch, (tenant, by): (&TenantId, &str)) -> Result<(Spec, bool), Error> {
    let offers = plane.settings.offers();
    let Launch { provider, region, gpu, gpu_count, model, idle_minutes_to_autostop, use_spot } = wanted;
    let asked = Wanted { provider, region, gpu, gpu_count: *gpu_count };
    let Found { offer, provider, region, machine } = offer::find(&offers, &asked).map_err(|missing| {
        let given = match missing.field {
            "provider" => json!(asked.provider),
            "region" => json!(asked.region),
            "gpu" => json!(asked.gpu),
            _ => json!(asked.gpu_count),
        };
        Error::field(missing.field, missing.to_string(), Some(given))
    })?;
    let idle_minutes = *idle_minutes_to_autostop;
    if idle_minutes.is_some_and(|minutes| !IDLE_MINUTES.contains(&minutes)) {
        let words = format!("A node may be idle for {} to {} minutes", IDLE_MINUTES.start(), IDLE_MINUTES.end());
        return Err(Error::field("idle_minutes_to_autostop", words, idle_minutes.map(Value::from)));
    }
    let model = known(plane, model).await?;
    let unfit = |unfit: domain::model::DoesNotFit| Error::field("gpu_count", unfit.to_string(), Some(json!(gpu_count)));
    model.fits(offer.gpu, *gpu_count).map_err(unfit)?;
    let serve = ModelServe {
        model: model.name,
        huggingface_id: model.huggingface_id,
        kind: model.kind,
        context_length: model.context_length,
        provider,
        region,
        credential: plane.store.default_credential(tenant, provider).await?,
        asked_by: by.to_owned(),
        use_spot: *use_spot,
        idle_minutes,
    };
    let image =
        ImageName::parse(&format!("{IMAGE}:v{VLLM_VERSION}")).map_err(|bad| StoreError::Broken(bad.to_string()))?;
    let spec = Spec {
        image,
        instance_type: machine.to_owned(),
        gpu: offer.gpu,
        gpu_count: *gpu_count,
        pool: offer.pool.clone(),
        name: None,
        github_user: None,
        priority: plane.settings.policy.highest_priority,
        gpu_hour: offer.gpu_hour,
        end_on_exit: false,
        disk: None,
        serve: Some(serve),
    };
    Ok((spec, offer.place == Place::Here))
}

/// The registered model of this name.
async fn known(plane: &Plane, name: &ModelName) -> Result<Model, Error> {
    if let Some(model) = plane.store.model(name).await? {
        return Ok(model);
    }
    let known = plane.store.models().await?;
    let names = known.iter().map(|model| model.name.as_str()).take(MOST_NAMED).collect::<Vec<_>>();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let words = format!("Model is not registered; known are: {names}");
    Err(Error::field("model", words, Some(json!(name.as_str()))))
}

/// A tenant's node. `unknown` is what is said where there is none, also of another tenant's (invariants, threat 3.3).
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find(plane: &Plane, tenant: &TenantId, id: WorkloadId, unknown: &'static str) -> Result<Workload, Error> {
    present(plane.store.workload(tenant, id).await?, unknown)
}

fn present(workload: Option<Workload>, unknown: &'static str) -> Result<Workload, Error> {
    workload.filter(|workload| workload.spec.serve.is_some()).ok_or(Error::NotFound(unknown))
}

/// A tenant's node, as it is shown.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(plane: &Plane, (tenant, id): (&TenantId, WorkloadId), unknown: &'static str) -> Result<Node, Error> {
    shown(&find(plane, tenant, id, unknown).await?)
}

/// Which nodes a list is to have: a query string.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    status: Option<String>,
    provider: Option<String>,
    gpu: Option<String>,
    limit: usize,
    offset: usize,
}

impl Default for Which {
    fn default() -> Self {
        Self { status: None, provider: None, gpu: None, limit: 100, offset: 0 }
    }
}

/// A [`Which`] that makes sense.
struct Chosen {
    statuses: Vec<NodeStatus>,
    provider: Option<Provider>,
    gpu: Option<Gpu>,
}

impl Which {
    fn read(&self) -> Result<Chosen, Error> {
        let problem = |name: &'static str, words: String, given: Value| {
            Error::Invalid(vec![Problem {
                kind: "value_error",
                loc: vec!["query".into(), name.into()],
                msg: words,
                input: Some(given),
            }])
        };
        if !(1..=500).contains(&self.limit) || self.offset > 1_000_000 {
            let words = "A page has 1 to 500, after at most 1,000,000".to_owned();
            return Err(problem("limit", words, json!(self.limit)));
        }
        let parts = self.status.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty());
        let status = |part: &str| {
            let known = NodeStatus::ALL.map(NodeStatus::name).join(", ");
            let found = NodeStatus::ALL.into_iter().find(|status| status.name() == part);
            found.ok_or_else(|| problem("status", format!("A status is one of {known}"), json!(part)))
        };
        let provider = |text: &str| {
            let known = Provider::ALL.map(Provider::name).join(", ");
            let found = Provider::named(text);
            found.ok_or_else(|| problem("provider", format!("A provider is one of {known}"), json!(text)))
        };
        let gpu = |text: &str| {
            let known = Gpu::ALL.iter().map(|gpu| gpu.slug()).collect::<Vec<_>>().join(", ");
            Gpu::named(text).map_err(|_unknown| problem("gpu", format!("A GPU is one of {known}"), json!(text)))
        };
        Ok(Chosen {
            statuses: parts.map(status).collect::<Result<_, _>>()?,
            provider: self.provider.as_deref().map(provider).transpose()?,
            gpu: self.gpu.as_deref().map(gpu).transpose()?,
        })
    }
}

impl Chosen {
    fn takes(&self, workload: &Workload) -> bool {
        let status = self.statuses.is_empty() || self.statuses.contains(&workload.node_status());
        let provider = |serve: &ModelServe| self.provider.is_none_or(|provider| serve.provider == provider);
        let serves = workload.spec.serve.as_ref().is_some_and(provider);
        status && serves && self.gpu.is_none_or(|gpu| workload.spec.gpu == gpu)
    }

    /// Only those are wanted that have not ended.
    fn is_live(&self) -> bool {
        let over = |status: &NodeStatus| matches!(status, NodeStatus::Failed | NodeStatus::Terminated);
        !self.statuses.is_empty() && !self.statuses.iter().any(over)
    }
}

/// A tenant's nodes, newest first.
///
/// # Errors
/// What of the query makes no sense.
pub async fn list(plane: &Plane, tenant: &TenantId, which: &Which) -> Result<Vec<Node>, Error> {
    let chosen = which.read()?;
    let page = (which.limit, which.offset);
    let found = plane.store.chosen((tenant, &owner()), chosen.is_live(), |one| chosen.takes(one), page).await?;
    Ok(found.iter().filter_map(Node::of).collect())
}

/// How a node is ended: a query string.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct How {
    /// At once, without any time to finish.
    pub purge: bool,
}

/// A node is ending.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"status": "terminating", "message": "Node termination initiated"}))]
pub struct Terminating {
    /// `terminating`; `terminated` or `failed` where it has ended already.
    status: &'static str,
    message: String,
}

/// Ends a tenant's node, on behalf of `by`: gracefully, or with `purge` at once. One that is ending goes on ending, and of one that has ended
/// the caller is told so. `word` is what such a thing is called, with what is said where there is none.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn terminate<P>(
    plane: &Plane,
    (tenant, id): (&TenantId, WorkloadId),
    (by, purge): (&str, bool),
    (word, unknown): (&str, &'static str),
    command: &Command<Nothing, P>,
) -> Result<Terminating, Error> {
    let said = || Terminating { status: "terminating", message: format!("{word} termination initiated") };
    plane
        .decide((tenant, id), |found, now| async move {
            let held = present(found, unknown)?;
            let decided = match held.state.stage() {
                Stage::Over => {
                    let message = format!("{word} has ended already");
                    return Ok((None, Terminating { status: held.node_status().name(), message }));
                }
                Stage::Ending if !purge => return Ok((None, said())),
                Stage::Waiting | Stage::Launching | Stage::Running | Stage::Ending if purge => held.purge(by, now),
                Stage::Waiting | Stage::Launching | Stage::Running | Stage::Ending => held.cancel(by, now),
            };
            let change = decided?;
            let message = change.rouses();
            let change = change.sending(plane.ports.ids.message(now), vec![message]);
            let claim = command.claim(id.as_node(), &said(), now)?;
            Ok((Some(Write { claim, ..Write::of(change) }), said()))
        })
        .await
}
