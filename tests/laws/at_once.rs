//! The laws about one event, checked the moment it has happened: an answer goes out, a job ends, an owner's counts move, a line is logged.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use domain::{TenantId, UserName, Workload, lifecycle::State};
use futures::executor::block_on;

use super::{
    harness::{Harness, Violation, broken},
    people::{Ask, MARKS},
    secrets, wire,
};

type Law = Result<(), Violation>;

/// I8, I18, I19: an acknowledged submit is there; no answer names anything of another tenant; no answer gives back what was secret.
pub(crate) fn answered(h: &Harness, number: usize) -> Law {
    let exchange = &h.exchanges.all[number];
    let (Some(Some(answer)), Some(tenant)) = (&exchange.answer, &exchange.tenant) else { return Ok(()) };
    if let (Ask::Submit { name }, Some(200)) = (&exchange.ask, exchange.status()) {
        let id = exchange.json()["job_id"].as_str().and_then(|id| id.parse().ok());
        if id.is_none_or(|id| !h.rows.workloads.contains_key(&id)) {
            return broken("I8", format!("{name} was acknowledged and is not there"));
        }
    }
    let text = format!("{}{}", answer.headers, answer.body);
    let id = h.rows.workloads.values().find(|row| row.tenant != *tenant && text.contains(&row.id.to_string()));
    if text.contains(foreign_mark(tenant)) || id.is_some() {
        return broken("I18", format!("{} told {tenant}: {text}", exchange.path));
    }
    let given = matches!(exchange.ask, Ask::Rotate | Ask::Login | Ask::Agent { .. }) && answer.status == 200;
    let in_body = secrets::found_in(&answer.body).filter(|_| !given);
    match in_body.or_else(|| secrets::found_in(&answer.headers)) {
        Some(secret) => broken("I19", format!("{} answered with {secret}", exchange.path)),
        None => Ok(()),
    }
}

/// What stands in every field of the other tenant.
fn foreign_mark(tenant: &TenantId) -> &'static str {
    let [a, b] = MARKS;
    if tenant.as_str() == b { a } else { b }
}

/// I18, I19: what a launch of `tenant` hands from step to step names nothing of another tenant, and holds no secret.
pub(crate) fn step_said(what: &str, tenant: &TenantId, text: &str) -> Law {
    if text.contains(foreign_mark(tenant)) {
        return broken("I18", format!("{what} says of {tenant}'s launch: {text}"));
    }
    match secrets::found_in(text) {
        Some(secret) => broken("I19", format!("{secret} is in what {what} says")),
        None => Ok(()),
    }
}

/// I9: nothing is billed but what ran, and all of it from the agent's first word on.
pub(crate) fn i9_billed(h: &Harness, row: &Workload) -> Law {
    if row.state != State::Ended {
        return Ok(());
    }
    let now = h.world.now();
    let intervals = h.world.intervals(row.id);
    let ran = intervals.iter().map(|run| run.to.unwrap_or(now).since(run.from)).sum::<Duration>();
    let gpus = u64::from(row.spec.gpu_count);
    // Both ends are read from clocks that may be wrong, and the last second counts as a whole one.
    let wrong = h.skew.as_secs() * 2 + 1;
    let most = if ran.is_zero() { 0 } else { (ran.as_secs() + wrong) * gpus };
    let stopped = intervals.iter().filter_map(|run| run.to).max();
    let enrolled =
        h.agents.all.iter().filter(|agent| agent.workload == row.id).filter_map(|agent| agent.enrolled_at).min();
    let least = stopped
        .zip(enrolled)
        .map_or(0, |(stopped, enrolled)| stopped.since(enrolled).as_secs().saturating_sub(wrong) * gpus);
    if (least..=most).contains(&row.usage.gpu_seconds) {
        return Ok(());
    }
    broken("I9", format!("{} is billed {} GPU-seconds, and ran {least} to {most}", row.id, row.usage.gpu_seconds))
}

/// I19: the log holds no secret.
pub(crate) fn i19_log() -> Law {
    match secrets::found_in(&secrets::take_log()) {
        Some(secret) => broken("I19", format!("{secret} is in the log")),
        None => Ok(()),
    }
}

/// I22: an owner's counts are those of the rows.
pub(crate) fn i22_owner(h: &Harness, tenant: &TenantId, owner: &UserName) -> Law {
    i22_none_negative(&h.books, "workloads", &format!("{tenant}#owner#{owner}"))?;
    let mine = |row: &&Workload| row.tenant == *tenant && row.owner == *owner;
    let rows = h.rows.workloads.values().filter(mine).count();
    let listed = block_on(h.truth.list(tenant, owner, &[], (1, 0))).expect("the tables are read");
    if usize::try_from(listed.total) == Ok(rows) {
        return Ok(());
    }
    broken("I22", format!("{owner} has {rows} jobs and is told of {}", listed.total))
}

/// I22: no count is below zero, in whatever row it is kept.
pub(crate) fn i22_none_negative(books: &Client, table: &str, pk: &str) -> Law {
    match block_on(wire::negatives(books, table, pk)).first() {
        Some(negative) => broken("I22", negative),
        None => Ok(()),
    }
}
