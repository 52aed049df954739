//! `POST /v1/jobs/submit`

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use domain::{
    Secret, WorkloadId,
    gpu::{InstanceType, instance_type},
    job::{Fetch, Hours, Particulars, People, Spec},
    names::{DiskName, EnvName, GithubName, ImageName, JobName},
    policy::{LARGEST_ENVIRONMENT, LARGEST_PARTICULARS, LARGEST_PEOPLE, LONGEST_COMMAND, MOST_KEYS},
    ssh::PublicKey,
    workload::{Submission, Workload},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{
    Pool, StoreError,
    workloads::{Purpose, Write, sealed_with},
};
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Input, Member, Plane};

use crate::{action::worded, disk, enable_jupyter::new_token};

/// What is to be run, and on what.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "image": "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime",
    "instance_type": "p5.48xlarge",
    "duration_hours": 4,
    "env_vars": {"WANDB_API_KEY": "secret", "EXPERIMENT": "training-v1"},
    "command": "python train.py --epochs 100"
}))]
pub(crate) struct Submit {
    /// The container image.
    #[schema(value_type = String, max_length = 255)]
    image: ImageName,
    /// The machine type, which says the type of GPU.
    instance_type: String,
    /// From 1 to 48 hours; 8 when left out.
    duration_hours: Option<f64>,
    /// How many GPUs; all of the machine type's when left out.
    #[schema(minimum = 1)]
    gpu_count: Option<u32>,
    /// A name for people.
    #[schema(value_type = Option<String>, max_length = 63)]
    name: Option<JobName>,
    /// The command line of the job's main process, given to the image's shell as one argument.
    #[schema(value_type = Option<String>)]
    command: Option<Secret>,
    /// The environment of the main process and of every session.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    env_vars: BTreeMap<EnvName, Secret>,
    /// Public keys that open the way in, one line each.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ssh_public_keys: Vec<PublicKey>,
    /// The owner's name at GitHub, whose public keys open the way in.
    #[schema(value_type = Option<String>, max_length = 39)]
    github_user: Option<GithubName>,
    /// Start JupyterLab.
    #[serde(default)]
    jupyter_enabled: bool,
    /// Higher goes first; at most 50, which is also what a job gets that names none.
    #[schema(minimum = 0, maximum = 50)]
    priority: Option<u8>,
    /// End the job when its command ends.
    #[serde(default)]
    end_on_exit: bool,
    /// The caller's disk that the job is to have. One that is not there is made, when a size is given with it.
    #[schema(value_type = Option<String>, max_length = 63)]
    disk_name: Option<DiskName>,
    /// From 10 to 10,000 GB: the size of a disk that is made, or the room that there must be at least on one that is there.
    #[schema(minimum = 10, maximum = 10000)]
    disk_size_gb: Option<u32>,
}

impl Input for Submit {
    const SECRET: &'static [&'static str] = &["env_vars", "command"];
}

/// A job was submitted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "job_id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11",
    "status": "queued",
    "message": "Job submitted successfully to queue (message ID: 0198c7a2-5b1e-7d4e-8a51-0c2b4d6e8f10)",
    "estimated_start_time": null
}))]
pub(crate) struct Submitted {
    #[schema(value_type = String, format = Uuid)]
    job_id: WorkloadId,
    /// Always `queued`.
    status: &'static str,
    message: String,
    /// Not estimated yet.
    estimated_start_time: Option<String>,
}

/// Submit a new GPU job to the queue.
#[utoipa::path(post, path = "/v1/jobs/submit", tag = "jobs", security(("user_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = Submit,
    responses((status = 200, description = "It is in the queue for good: nothing that happens to us loses it.", body = Submitted), DetailRefusals))]
pub(crate) async fn submit_job(
    State(plane): State<Plane>,
    member: Member,
    command: Command<Submit>,
) -> Result<Json<Submitted>, Error> {
    let now = plane.ports.clock.now();
    let submit = &command.input;
    let mut spec = submit.spec(&plane)?;
    let needed = disk::needed(&plane, &member, submit.disk_name.as_ref(), submit.disk_size_gb).await?;
    spec.disk = needed.as_ref().map(|needed| needed.of.clone());
    let duration = Some(submit.duration(&plane)?);
    let id = plane.ports.ids.workload(now);
    let sealed_jupyter_token = match submit.jupyter_enabled {
        true => Some(new_token(&plane, &member.tenant, id).await?),
        false => None,
    };
    let (tenant, owner) = (member.tenant.clone(), member.user.clone());
    let message_id = plane.ports.ids.message(now);
    let change = Workload::submit(Submission { id, tenant, owner, spec, duration, sealed_jupyter_token }, now);
    let messages = submit.messages(&change.workload);
    let change = change.sending(message_id, messages);
    let message = worded("Job submitted successfully to queue", message_id);
    let answer = Submitted { job_id: id, status: "queued", message, estimated_start_time: None };
    let particulars = submit.sealed_particulars(&plane, &change.workload).await?;
    let people = submit.people();
    let claim = command.claim(id.to_string(), &answer, now)?;
    let most_live = Some(plane.settings.policy.jobs_per_user);
    let disk = needed.and_then(|needed| needed.made);
    let write = Write { particulars, people, claim, most_live, disk, ..Write::of(change) };
    plane.commit(&write).await?;
    Ok(Json(answer))
}

impl Submit {
    fn spec(&self, plane: &Plane) -> Result<Spec, Error> {
        let (kind, pool) = self.offered(&plane.settings.pools)?;
        let gpu_count = self.gpu_count.unwrap_or(kind.gpus);
        if gpu_count == 0 || gpu_count > kind.gpus {
            let most = kind.gpus;
            let words = format!("{} has {most} GPU(s): ask for 1 to {most}", kind.name);
            return Err(Error::field("gpu_count", words, Some(json!(gpu_count))));
        }
        if gpu_count > pool.max_per_node {
            let most = pool.max_per_node;
            return Err(Error::field(
                "gpu_count",
                format!("No node here has more than {most} GPU(s) of type {}: ask for at most {most}", kind.gpu),
                Some(json!(gpu_count)),
            ));
        }
        let highest = plane.settings.policy.highest_priority;
        let priority = self.priority.unwrap_or(highest);
        if priority > highest {
            return Err(Error::field("priority", format!("priority is from 0 to {highest}"), Some(json!(priority))));
        }
        self.check_sizes()?;
        Ok(Spec {
            image: self.image.clone(),
            instance_type: kind.name.to_owned(),
            gpu: kind.gpu,
            gpu_count,
            pool: pool.id.clone(),
            name: self.name.clone(),
            github_user: self.github_user.clone(),
            priority,
            gpu_hour: pool.gpu_hour(),
            end_on_exit: self.end_on_exit,
            disk: None,
            serve: None,
        })
    }

    /// The machine type and a pool that has its GPUs.
    fn offered<'a>(&self, pools: &'a [Pool]) -> Result<(InstanceType, &'a Pool), Error> {
        let here = |gpu| pools.iter().find(|pool| pool.gpu == gpu);
        let known = instance_type(&self.instance_type);
        known.and_then(|kind| Some((kind, here(kind.gpu)?))).ok_or_else(|| {
            let offered = domain::gpu::INSTANCE_TYPES.iter().filter(|kind| here(kind.gpu).is_some());
            let names = offered.map(|kind| kind.name).collect::<Vec<_>>().join(", ");
            let wrong = if known.is_some() { "is not offered here" } else { "is unknown" };
            let words = format!("Instance type {wrong}; offered are: {names}");
            Error::field("instance_type", words, Some(json!(self.instance_type)))
        })
    }

    fn check_sizes(&self) -> Result<(), Error> {
        if self
            .command
            .as_ref()
            .is_some_and(|command| command.reveal().len() > LONGEST_COMMAND || command.reveal().contains('\0'))
        {
            let words = format!("A command has at most {LONGEST_COMMAND} bytes, and no NUL");
            return Err(Error::field("command", words, None));
        }
        let size = self.env_vars.iter().map(|(name, value)| name.as_str().len() + value.reveal().len()).sum::<usize>();
        if size > LARGEST_ENVIRONMENT || self.env_vars.values().any(|value| value.reveal().contains('\0')) {
            return Err(Error::field(
                "env_vars",
                format!("The environment has at most {LARGEST_ENVIRONMENT} bytes in all, and no NUL"),
                None,
            ));
        }
        if self.ssh_public_keys.len() > MOST_KEYS {
            return Err(Error::field("ssh_public_keys", format!("At most {MOST_KEYS} keys"), None));
        }
        if self.people().is_some_and(|people| people.is_too_large()) {
            let words = format!("The keys have at most {} KiB in all", LARGEST_PEOPLE / 1024);
            return Err(Error::field("ssh_public_keys", words, None));
        }
        Ok(())
    }

    fn duration(&self, plane: &Plane) -> Result<Hours, Error> {
        let policy = &plane.settings.policy;
        let (least, most) = (Hours::whole(policy.shortest_hours), Hours::whole(policy.longest_hours));
        let asked = self.duration_hours.map_or(Some(Hours::whole(policy.default_hours)), Hours::from_number);
        asked.filter(|hours| (least..=most).contains(hours)).ok_or_else(|| {
            let words = format!("A job lasts from {} to {} hours", policy.shortest_hours, policy.longest_hours);
            Error::field("duration_hours", words, self.duration_hours.map(|hours| json!(hours)))
        })
    }

    async fn sealed_particulars(&self, plane: &Plane, workload: &Workload) -> Result<Option<String>, Error> {
        if self.command.is_none() && self.env_vars.is_empty() {
            return Ok(None);
        }
        let particulars = Particulars { command: self.command.clone(), env: self.env_vars.clone() };
        let text = serde_json::to_string(&particulars).map_err(|error| StoreError::Broken(error.to_string()))?;
        if text.len() > LARGEST_PARTICULARS {
            let words =
                "The command and the environment hold too many characters that must be escaped: put them in a file";
            return Err(Error::field("command", words, None));
        }
        let context = sealed_with(&workload.tenant, workload.id, Purpose::Particulars);
        Ok(Some(plane.ports.vault.seal(&context, &Secret::new(text)).await?))
    }

    fn people(&self) -> Option<People> {
        let github = self.github_user.iter().map(|name| (name.clone(), Fetch::Wanted)).collect::<BTreeMap<_, _>>();
        (!github.is_empty() || !self.ssh_public_keys.is_empty())
            .then(|| People { keys: self.ssh_public_keys.clone(), github })
    }

    /// The dispatcher is told; and where keys are to be fetched, the launcher is, so that they are there before the job is.
    fn messages(&self, workload: &Workload) -> Vec<domain::message::Message> {
        let fetch = self.github_user.is_some().then(|| workload.reconcile());
        std::iter::once(workload.doorbell()).chain(fetch).collect()
    }
}
