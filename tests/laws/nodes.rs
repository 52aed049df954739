//! Nodes among jobs: what serves models, without an end of its own, and idles away.
//!
//! `SLIPWAY_SEED=N cargo test --test all laws::nodes` replays one schedule, call by call.
//! [`laws::random`](super::random) says how to soak.

use std::time::Duration;

use domain::{
    TenantId, UserName, Workload, WorkloadId,
    lifecycle::{Cause, Stage, State},
    model::{Described, Model, ModelKind},
    names::{ModelName, ModelWord},
    policy,
    timeline::Entry,
};
use futures::executor::block_on;
use store::{Plane, StoreError, workloads::Write};
use web::{
    Admin, Command, Nothing,
    nodes::{self, Launch},
};

use super::{
    agents::{Agent, Agents, Temper},
    harness::{Harness, Violation, broken},
    mutants::{Bug, all_are_caught},
    people,
    random::{come_to_rest, soak, weather},
    secrets,
    turns::{act_on, turn},
};

type Law = Result<(), Violation>;

const UNKNOWN: &str = "node not found";

/// How often an agent of a plane under these laws says how it is once its node is active.
const SYNCS: Duration = Duration::from_secs(300);

/// The one model that is registered.
fn model() -> Model {
    let name = ModelName::parse("meta-llama/Llama-3.1-8B-Instruct").expect("a model's name");
    let described = Described {
        name: name.clone(),
        family: ModelWord::parse("llama").expect("a word"),
        size: ModelWord::parse("8B").expect("a word"),
        kind: ModelKind::Chat,
        context_length: 8192,
        vram_required_gb: 16,
        price_input_per_million: 0.15,
        price_output_per_million: 0.6,
        huggingface_id: name,
        limits: domain::limits::Limits::default(),
    };
    Model::register(described, domain::Timestamp::default()).expect("a model")
}

/// What is asked of nodes.
#[derive(Clone, Debug)]
enum Ask {
    Launch { gpu: &'static str, gpus: u32, idle_minutes: Option<u32> },
    Terminate { id: WorkloadId, purge: bool },
}

/// Does what is asked, as the API does it. Whoever asks does not wait for the answer.
async fn carry_out(plane: Plane, tenant: TenantId, ask: Ask, bug: Option<Bug>) {
    match ask {
        Ask::Launch { gpu, gpus, idle_minutes } => {
            let wanted = Launch {
                provider: "aws".to_owned(),
                region: "us-west-2".to_owned(),
                gpu: gpu.to_owned(),
                gpu_count: gpus,
                model: model().name,
                idle_minutes_to_autostop: idle_minutes,
                use_spot: false,
            };
            drop(nodes::launch(&plane, (&tenant, "admin"), &Command::<_, Admin>::unclaimed(wanted)).await);
        }
        Ask::Terminate { id, purge } => {
            drop(
                nodes::terminate(
                    &plane,
                    (&tenant, id),
                    ("admin", purge),
                    ("Node", UNKNOWN),
                    &Command::<_, Admin>::unclaimed(Nothing {}),
                )
                .await,
            );
            if purge && bug == Some(Bug::PurgeFreesAtOnce) {
                frees_at_once(&plane, &tenant, id).await;
            }
        }
    }
}

/// The bug of a purge that does not wait for the fleet.
async fn frees_at_once(plane: &Plane, tenant: &TenantId, id: WorkloadId) {
    let ended = plane.decide((tenant, id), |held, now| async move {
        let change = held.and_then(|held| held.end(None, now).ok());
        Ok::<_, StoreError>((change.map(Write::of), ()))
    });
    drop(ended.await);
}

/// The bug of an idle stop that does not ask whether its node is active.
async fn idles_too_soon(plane: Plane, tenant: TenantId, id: WorkloadId) {
    let drained = plane.decide((&tenant, id), |held, now| async move {
        let mut change = held.and_then(|held| held.cancel("agent", now).ok());
        if let Some(change) = &mut change {
            "idle".clone_into(&mut change.entry.kind);
            change.workload.ending.as_mut().expect("it is ending").cause = Cause::Idle;
        }
        Ok::<_, StoreError>((change.map(Write::of), ()))
    });
    drop(drained.await);
}

/// One of the nodes that have not ended.
fn a_node(h: &mut Harness) -> Option<(TenantId, WorkloadId)> {
    let live = |row: &&Workload| row.spec.serve.is_some() && row.state != State::Ended;
    let live = h.rows.workloads.values().filter(live).map(|row| row.id).collect::<Vec<_>>();
    let id = h.rng.pick(&live)?;
    Some((h.rows.workloads.get(&id)?.tenant.clone(), id))
}

fn ask(h: &mut Harness, tenant: TenantId, ask: Ask) {
    let (plane, bug) = (h.plane.clone(), h.bug);
    h.errand(format!("{ask:?}"), carry_out(plane, tenant, ask, bug));
}

/// One turn: somebody asks something of nodes or of jobs, and some time passes.
fn step(h: &mut Harness, users: &mut [people::User], number: usize) -> Law {
    if h.bug == Some(Bug::IdleBeforeActive) {
        let launching = |row: &&Workload| row.spec.serve.is_some() && row.state.stage() == Stage::Launching;
        if let Some((tenant, id)) = h.rows.workloads.values().find(launching).map(|row| (row.tenant.clone(), row.id)) {
            let plane = h.plane.clone();
            h.errand("idles too soon".to_owned(), idles_too_soon(plane, tenant, id));
        }
    }
    match h.rng.below(10) {
        0..3 => {
            let tenant = [TenantId::new("platform"), users[0].tenant.clone()][h.rng.below(2)].clone();
            let gpu = ["A10G", "h100"][h.rng.below(2)];
            let gpus = [1, 1, 2, 4][h.rng.below(4)];
            let idle_minutes = [None, Some(1), Some(5), Some(30)][h.rng.below(4)];
            ask(h, tenant, Ask::Launch { gpu, gpus, idle_minutes });
        }
        3 | 4 => {
            let purge = h.rng.chance(500);
            if let Some((tenant, id)) = a_node(h) {
                ask(h, tenant, Ask::Terminate { id, purge });
            }
        }
        5 => return turn(h, users, number),
        6 | 7 => {
            let seconds = u64::try_from(h.rng.below(900)).unwrap_or(0);
            return h.rest(seconds);
        }
        8 => {
            let hours = [1, 2, 9][h.rng.below(3)];
            return h.rest(hours * 3_600);
        }
        _ => {}
    }
    match h.rng.below(3) {
        0 => h.run(6).map(drop),
        1 => h.settle(),
        _ => h.pass(20),
    }
}

/// One schedule, up to the first law that it breaks, with what happened until then.
pub(crate) fn schedule(seed: u64, bug: Option<Bug>) -> Result<(), Violation> {
    drop(secrets::take_log());
    let mut h = Harness::new(seed, bug);
    play(&mut h, seed).map_err(|mut violation| {
        violation.story = h.story();
        violation
    })
}

fn play(h: &mut Harness, seed: u64) -> Law {
    block_on(h.truth.write_model(&model(), None)).expect("a model");
    let temper = h.rng.chance(400).then_some(Temper::Good);
    h.agents = Agents::seeded(seed, temper);
    let mut users = people::users(h);
    users.truncate(2);
    weather(h);
    let turns = 3 + h.rng.below(14).min(h.rng.below(14));
    for number in 0..turns {
        step(h, &mut users, number)?;
        h.hear(&mut users);
    }
    come_to_rest(h, &mut users, seed, wind_up)
}

/// Until everything is over: nodes are told to end, those that idle away may, and so are jobs.
fn wind_up(h: &mut Harness, users: &mut [people::User]) -> Law {
    for row in h.rows.workloads.values().cloned().collect::<Vec<_>>() {
        if let Some(exchange) = act_on(h, users, row.id, "cancelled") {
            h.send(exchange);
        }
        let idles = row.spec.serve.as_ref().is_some_and(|serve| serve.idle_minutes.is_some());
        if row.spec.serve.is_some() && !(idles && h.rng.chance(500)) {
            let purge = h.rng.chance(500);
            ask(h, row.tenant, Ask::Terminate { id: row.id, purge });
        }
    }
    for _ in 0..600 {
        h.hear(users);
        if h.rows.workloads.values().all(|row| row.state == State::Ended) {
            return h.pass(180);
        }
        let far = h.world.now().plus(Duration::from_secs(24 * 3600));
        h.skip(far)?;
        // One that never idles because its agent is silent is ended for that; what never became active fails.
        let stubborn = |row: &&Workload| row.spec.serve.is_some() && row.state == State::Active;
        for row in h.rows.workloads.values().filter(stubborn).cloned().collect::<Vec<_>>() {
            if row.spec.serve.as_ref().is_some_and(|serve| serve.idle_minutes.is_none()) {
                ask(h, row.tenant, Ask::Terminate { id: row.id, purge: false });
            }
        }
    }
    Ok(())
}

impl Agent {
    /// For how long nothing has happened there at `now`; none of what serves no model.
    pub(crate) fn idle_seconds(&self, now: domain::Timestamp) -> Option<u64> {
        self.serves().then(|| now.since(self.idle_from()).as_secs())
    }
}

/// I7, of what has no end: it is ended as idle only when it was active, and not used, for as long as it allows.
pub(crate) fn idled_rightly(h: &Harness, before: Option<&Workload>, (after, entries): (&Workload, &[Entry])) -> Law {
    let Some(at) = entries.iter().find(|entry| entry.kind == "idle").map(|entry| entry.at) else { return Ok(()) };
    let minutes = after.spec.serve.as_ref().and_then(|serve| serve.idle_minutes);
    let allowed = minutes.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
    let began = entries.iter().find(|entry| entry.kind == "active").map(|entry| entry.at);
    let active = began.or(before.filter(|row| row.state == State::Active).map(|row| row.since));
    let (Some(allowed), Some(active)) = (allowed, active) else {
        return broken("I7", format!("{} was ended as idle, and was not active", after.id));
    };
    // Two clocks that may be wrong, and whole seconds.
    let slack = h.skew * 2 + Duration::from_secs(1);
    let idle_from = h.agents.all.iter().filter(|agent| agent.workload == after.id).map(Agent::idle_from).max();
    let from = idle_from.unwrap_or(active).max(active);
    if at.plus(slack).since(from) >= allowed {
        return Ok(());
    }
    broken("I7", format!("{} was ended as idle at {at}, and was in use or not active until {from}", after.id))
}

/// I6, I7: when what has no end must have left, at the latest: when its agent is silent, or says that nobody uses it.
pub(crate) fn leaves_by(h: &Harness, row: &Workload) -> Option<domain::Timestamp> {
    let heard = row.heard_at.unwrap_or(row.since).max(row.since);
    let silent = heard.plus(policy::SILENCE).plus(policy::SECOND_LOOK);
    let minutes = row.spec.serve.as_ref()?.idle_minutes.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
    let speaks = |agent: &&Agent| agent.workload == row.id && matches!(agent.temper, Temper::Good | Temper::Repeating);
    let idle_from = h.agents.all.iter().find(speaks).map(Agent::idle_from);
    let idle = minutes.zip(idle_from).map(|(minutes, from)| from.max(row.since).plus(minutes).plus(SYNCS));
    Some(idle.map_or(silent, |idle| idle.min(silent)))
}

/// Every bug about nodes, and the laws of which one must catch it.
const ALL: [(Bug, &[&str]); 3] =
    [(Bug::IdleBeforeActive, &["I7"]), (Bug::PurgeFreesAtOnce, &["I1", "I4"]), (Bug::NeverIdle, &["I7"])];

#[test]
fn every_sown_bug_about_nodes_is_caught() {
    println!("{}", all_are_caught(&ALL, &["I7", "I4"], |_| schedule));
}

#[test]
fn random_schedules_with_nodes_break_no_law() {
    soak(("laws::nodes", 200), schedule);
}

/// What a schedule has seen, by its name.
fn seen_in(h: &Harness) -> Vec<&'static str> {
    let owner = UserName::new(":tenant");
    let mut seen = Vec::new();
    for row in h.rows.workloads.values().filter(|row| row.owner == owner) {
        let timeline = block_on(h.truth.timeline(&row.tenant, row.id, 0, 500)).expect("the tables are read");
        let marks = ["stand_in", "active", "idle", "cancelled", "purged", "silent"];
        seen.extend(marks.into_iter().filter(|mark| timeline.iter().any(|entry| entry.kind == *mark)));
        let silence = "nothing was heard from its agent for 60 minutes";
        let reason = row.ending.as_ref().and_then(|ending| ending.reason.as_deref());
        seen.extend((reason == Some(silence)).then_some("ended for its silence"));
        let between = row.heard_at.is_some_and(|heard| row.silent_at.is_some_and(|silent| heard > silent));
        seen.extend(between.then_some("heard again"));
    }
    seen
}

#[test]
fn the_schedules_see_all_that_they_are_about() {
    let seen = secrets::listening(|| {
        let watched = |seed| {
            let mut h = Harness::new(seed, None);
            play(&mut h, seed).map(|()| seen_in(&h)).unwrap_or_default()
        };
        (0..150).flat_map(watched).collect::<std::collections::BTreeSet<_>>()
    });
    for mark in ["stand_in", "active", "idle", "cancelled", "purged", "silent"] {
        assert!(seen.contains(mark), "{mark} is missing; seen were {seen:?}");
    }
}

#[test]
fn a_node_whose_agent_is_silent_is_ended() {
    let watched = |calls: u32| {
        let mut h = Harness::new(1, None);
        block_on(h.truth.write_model(&model(), None)).expect("a model");
        h.agents = Agents::seeded(1, Some(Temper::Dies(calls)));
        ask(&mut h, TenantId::new("platform"), Ask::Launch { gpu: "A10G", gpus: 1, idle_minutes: None });
        h.pass(600).and_then(|()| h.rest(2 * 3_600)).map(|()| seen_in(&h)).expect("no law is broken")
    };
    // How many calls a launch takes is not this test's business: after one of these its node has just become active.
    let seen = secrets::listening(|| (4..12).map(watched).collect::<Vec<_>>());
    let ended = |seen: &Vec<&str>| seen.contains(&"active") && seen.contains(&"ended for its silence");
    assert!(seen.iter().any(ended), "{seen:?}");
}
