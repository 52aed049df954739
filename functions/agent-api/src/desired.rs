//! What should be true on a node.

use std::time::Duration;

use domain::{
    Workload,
    agent::{Desired, Notice, Stop, Synced},
    lifecycle::State,
};
use store::workloads::{Purpose, sealed_with};
use web::{AgentCaller, Error, Plane};

/// How long a session lasts; an agent rotates it every hour.
pub(crate) const SESSION_TTL: Duration = Duration::from_secs(72 * 3600);

/// The one-time token is good for enrolling and for nothing else.
pub(crate) fn in_session(agent: &AgentCaller) -> Result<(), Error> {
    if agent.enrolling { Err(Error::Forbidden("This takes the session's secret: enroll first")) } else { Ok(()) }
}

/// The workload that an agent serves, if the agent is of its present attempt. To any other it is gone.
pub(crate) async fn served(plane: &Plane, agent: &AgentCaller) -> Result<Workload, Error> {
    present(plane.store.workload(&agent.holder.tenant, agent.holder.workload).await?, agent)
}

/// As [`served`], of a workload that was read.
pub(crate) fn present(found: Option<Workload>, agent: &AgentCaller) -> Result<Workload, Error> {
    let present = |workload: &Workload| workload.attempt == agent.holder.attempt && workload.state != State::Ended;
    found.filter(present).ok_or(Error::NotFound("This workload is over"))
}

/// What an agent is told that has applied version `applied`.
pub(crate) async fn synced(plane: &Plane, workload: &Workload, applied: u64) -> Result<Synced, Error> {
    let (launching, later) = plane.settings.sync_ms;
    let next_sync_ms = if workload.state == State::Active { later } else { launching };
    let desired = if applied == workload.version { None } else { Some(desired(plane, workload).await?) };
    Ok(Synced { version: workload.version, desired, next_sync_ms })
}

async fn desired(plane: &Plane, workload: &Workload) -> Result<Desired, Error> {
    let people = plane.store.people(&workload.tenant, workload.id).await?;
    let jupyter = match (&workload.jupyter.sealed_token, workload.jupyter.wanted) {
        (Some(sealed), true) => {
            let context = sealed_with(&workload.tenant, workload.id, Purpose::Jupyter);
            Some(plane.ports.vault.open(&context, sealed).await?)
        }
        _ => None,
    };
    let notice = workload.warned.and_then(|warned| {
        let text = format!("This job ends in {} minutes. Extend it to keep it.", warned.minutes);
        Some(Notice { number: warned.notice?, text })
    });
    Ok(Desired {
        users: people.for_agent(&workload.owner),
        jupyter,
        expire_at: workload.expires_at,
        disk: workload.disk.as_ref().map(|disk| disk.mount.clone()),
        notices: notice.into_iter().collect(),
        stop: workload.ending.as_ref().map(|ending| Stop { kill_at: ending.kill_at }),
    })
}
