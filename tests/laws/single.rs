//! Single faults, exhaustively: each workflow is run once to see where calls go out, and then once for each call and each fault that can
//! happen there. Whatever happens, no law is broken, and what was acknowledged comes to its goal or fails honestly.

use std::{
    env, fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloud::sim::{Fault, FaultPlan};
use domain::{
    NodeId, PoolId, Workload,
    job::{Fetch, Hours},
    lifecycle::{Cause, State},
    names::GithubName,
    ssh::PublicKey,
};
use futures::executor::block_on;

use super::{
    agents::{Agents, Temper},
    at_rest, disks,
    harness::{Harness, Violation, broken},
    people::{self, Ask, Exchange, User, request, submit},
    random::KEY,
    secrets,
};
use crate::support::bless;

/// What a user sets in motion, and what is to come of it.
struct Workflow {
    /// Its name in the record.
    name: &'static str,
    /// What is so before anything is asked.
    arrange: fn(&mut Harness),
    /// For how many seconds the job is left alone before it is acted upon; where nothing is done to it, its submit is the workflow.
    settled: u64,
    /// What its owner then does.
    act: Act,
    /// For how many seconds the job is watched, unless it is over before.
    wait: u64,
    /// What came of it.
    goal: fn(&mut Played, &Workload) -> Result<End, Violation>,
}

/// What an owner does to a job, or with a key.
enum Act {
    /// Nothing but the submit itself.
    Submit,
    /// Nothing: time does it.
    Wait,
    /// This is posted to this path below the job, with this body, and stands in the timeline as this kind.
    Post { kind: &'static str, path: &'static str, body: Option<&'static str> },
    /// The key is rotated.
    Rotate,
}

const CANCEL: Act = Act::Post { kind: "cancelled", path: "cancel", body: None };
const EXTEND: Act = Act::Post { kind: "extended", path: "extend", body: Some(r#"{"extension_hours": 1}"#) };
const JUPYTER: Act = Act::Post { kind: "jupyter", path: "jupyter/enable", body: None };
const ADD: Act = Act::Post { kind: "user_added", path: "users", body: Some(r#"{"github_username": "canarya-gh"}"#) };

/// A workflow on a job that was left alone for so long, in a world as it is.
const fn upon(name: &'static str, settled: u64, act: Act, goal: Goal) -> Workflow {
    Workflow { name, arrange: |_| {}, settled, act, wait: 130, goal }
}

type Goal = fn(&mut Played, &Workload) -> Result<End, Violation>;

const ALL: [Workflow; 9] = [
    Workflow { wait: 300, ..upon("launch", 0, Act::Submit, active) },
    Workflow { arrange: no_room, ..upon("cancel what waits", 0, CANCEL, cancelled) },
    upon("cancel what is launched", 0, CANCEL, cancelled),
    upon("cancel what runs", 180, CANCEL, cancelled),
    upon("extend", 180, EXTEND, extended),
    // The agent learns of it with one report, and says with the next that it is ready.
    Workflow { wait: 620, ..upon("start Jupyter", 180, JUPYTER, jupyter_ready) },
    Workflow { arrange: friend_has_keys, ..upon("add a user", 180, ADD, friend_is_in) },
    // From the first warning to the end.
    Workflow { wait: 3_700, ..upon("expire", 180, Act::Wait, expired) },
    upon("rotate a key", 180, Act::Rotate, new_key_opens),
];

fn no_room(h: &mut Harness) {
    for node in ["h100-1", "h100-2"] {
        block_on(h.truth.retire_node(&PoolId::new("local/h100"), &NodeId::new(node))).expect("the tables are written");
    }
    h.read_pools(|_| true).expect("no count is negative");
}

fn friend_has_keys(h: &mut Harness) {
    h.world.publish(GithubName::parse("canarya-gh").expect("a name"), vec![PublicKey::parse(KEY).expect("a key")]);
}

fn goal_if(reached: bool) -> Result<End, Violation> {
    Ok(if reached { End::Goal } else { End::Nothing })
}

fn ended_as(row: &Workload, cause: Cause) -> Result<End, Violation> {
    goal_if(row.state == State::Ended && row.ending.as_ref().is_some_and(|ending| ending.cause == cause))
}

fn active(_: &mut Played, row: &Workload) -> Result<End, Violation> {
    goal_if(row.state == State::Active)
}

fn cancelled(_: &mut Played, row: &Workload) -> Result<End, Violation> {
    ended_as(row, Cause::Cancelled)
}

fn expired(_: &mut Played, row: &Workload) -> Result<End, Violation> {
    ended_as(row, Cause::Expired)
}

fn extended(_: &mut Played, row: &Workload) -> Result<End, Violation> {
    goal_if(row.state == State::Active && row.duration == Some(Hours::whole(2)))
}

fn jupyter_ready(_: &mut Played, row: &Workload) -> Result<End, Violation> {
    goal_if(row.state == State::Active && row.jupyter.wanted && row.jupyter.ready)
}

/// The friend's keys were fetched, or the job's people say why they were not.
fn friend_is_in(played: &mut Played, row: &Workload) -> Result<End, Violation> {
    let people = block_on(played.h.truth.people(&row.tenant, row.id)).expect("the tables are read");
    let friend = people.github.iter().find(|(name, _)| name.as_str() == "canarya-gh").map(|(_, fetch)| fetch);
    Ok(match friend {
        Some(Fetch::Fetched { keys }) if row.state == State::Active && !keys.is_empty() => End::Goal,
        Some(Fetch::Failed { error }) if row.state == State::Active && !error.is_empty() => End::HonestFailure,
        _ => End::Nothing,
    })
}

/// The key that the user holds by now opens what the old one did.
fn new_key_opens(played: &mut Played, row: &Workload) -> Result<End, Violation> {
    let list = request(0, &played.users[0], Ask::Read, "GET", "/v1/jobs");
    let number = played.h.send(list);
    played.h.settle()?;
    goal_if(row.state == State::Active && played.h.exchanges.all[number].status() == Some(200))
}

/// One seed for all: an instance boots after more than three seconds, so that a cancel can come before.
const SEED: u64 = 4;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Goal,
    /// It was not to be had, and whoever asked for it is told why.
    HonestFailure,
    Nothing,
}

/// A world in which a workflow is played, with its users; the first of them asks.
struct Played {
    h: Harness,
    users: Vec<User>,
}

/// What a workflow came to.
pub(crate) struct Outcome {
    /// The calls that belong to it.
    pub(crate) sites: Vec<(u64, String)>,
    pub(crate) end: End,
}

impl Played {
    fn new(plan: &FaultPlan) -> Self {
        let mut h = Harness::new(SEED, None);
        h.agents = Agents::seeded(SEED, Some(Temper::Good));
        h.peaceful = *plan == FaultPlan::None;
        let users = people::users(&mut h);
        Self { h, users }
    }

    fn the_job(&self) -> Option<&Workload> {
        self.h.rows.workloads.values().next()
    }

    /// Sends a request as a careful client does: again, with the same idempotency key, until somebody answers.
    fn ask(&mut self, exchange: &Exchange) -> Result<(), Violation> {
        for tries in 0..6 {
            let number = self.h.send(Exchange { key: self.users[0].key.clone(), ..exchange.clone() });
            self.h.pass(8)?;
            self.h.hear(&mut self.users);
            match self.h.exchanges.all[number].status() {
                None | Some(401 | 500..) => {}
                Some(200) => return Ok(()),
                // What came through before, unheard, is refused now; what is asked for the first time is not.
                Some(409) if tries > 0 => return Ok(()),
                Some(other) => return broken("goal", format!("a careful client was answered {other}")),
            }
        }
        broken("goal", "a careful client was never answered")
    }

    fn act(&self, act: &Act) -> Option<Exchange> {
        let id = self.the_job()?.id;
        let user = &self.users[0];
        match act {
            Act::Submit | Act::Wait => None,
            Act::Rotate => Some(request(0, user, Ask::Rotate, "POST", "/v1/keys/rotate")),
            Act::Post { kind, path, body } => {
                let exchange = request(0, user, Ask::Act { id, kind }, "POST", format!("/v1/jobs/{id}/{path}"));
                Some(Exchange { body: body.map(str::to_owned), once: Some((*kind).to_owned()), ..exchange })
            }
        }
    }

    /// Plays a workflow under a plan.
    fn play(&mut self, workflow: &Workflow, plan: FaultPlan) -> Result<Outcome, Violation> {
        drop(secrets::take_log());
        (workflow.arrange)(&mut self.h);
        self.h.world.follow(plan);
        let mut job = submit(0, &self.users[0], 1, ("p5.48xlarge", 2), 1.0);
        job.body = job.body.map(|body| body.replace("canarya-gh", "nobody"));
        job.once = Some("submit".to_owned());
        let mut first = self.h.world.calls() + 1;
        self.ask(&job)?;
        self.h.rest(workflow.settled)?;
        if !matches!(workflow.act, Act::Submit) {
            first = self.h.world.calls() + 1;
        }
        if let Some(exchange) = self.act(&workflow.act) {
            self.ask(&exchange)?;
        }
        let until = self.h.world.now().plus(Duration::from_secs(workflow.wait));
        while self.h.world.now() < until && self.the_job().is_some_and(|row| row.state != State::Ended) {
            self.h.skip(until)?;
        }
        let calls = first..=self.h.world.calls();
        let log = self.h.world.log().into_iter().filter(|call| calls.contains(&call.number));
        let sites = log.map(|call| (call.number, call.label)).collect();
        self.h.calm();
        self.h.rest(420)?;
        self.h.pass(180)?;
        at_rest::check(&mut self.h, false)?;
        let end = self.reached(workflow)?;
        // A job that is active stays so: its GPUs were counted at every step, and its end is another workflow.
        if self.the_job().is_some_and(|row| row.state == State::Ended) {
            at_rest::check(&mut self.h, true)?;
        }
        Ok(Outcome { sites, end })
    }

    /// How it ended; a violation when it came to nothing that it may come to.
    fn reached(&mut self, workflow: &Workflow) -> Result<End, Violation> {
        let jobs = self.h.rows.workloads.len();
        let Some(row) = self.the_job().filter(|_| jobs == 1).cloned() else {
            return broken("goal", format!("{jobs} jobs where one was submitted"));
        };
        let failed = row.ending.as_ref().filter(|ending| ending.cause == Cause::Failed && ending.reason.is_some());
        match (workflow.goal)(self, &row)? {
            End::Nothing if failed.is_some() && row.state == State::Ended => Ok(End::HonestFailure),
            End::Nothing => broken("goal", format!("it came to {} {:?}", row.state.name(), row.ending)),
            end => Ok(end),
        }
    }
}

fn play(workflow: &Workflow, plan: FaultPlan) -> Result<Outcome, Violation> {
    let mut played = Played::new(&plan);
    played.play(workflow, plan).map_err(|mut violation| {
        violation.story = played.h.story();
        violation
    })
}

/// What plays a workflow under a plan.
pub(crate) type Plays = Box<dyn Fn(FaultPlan) -> Result<Outcome, Violation> + Send + Sync>;

/// Each workflow with its name in the record.
pub(crate) type Workflows = Vec<(&'static str, Plays)>;

/// Whether every fault is tried at every call, as `.ci/run` does; otherwise it is every fourth pair, so that `cargo test` stays quick.
fn every() -> bool {
    bless::wanted() || env::var_os("SLIPWAY_EVERY_FAULT").is_some()
}

/// Every fault at every call of a workflow, as far as they are tried.
fn exhaust(name: &str, play: &Plays) -> Result<Found, String> {
    let told =
        |pair: &str, Violation { law, seen, story }: Violation| format!("{name}, {pair}: {law}: {seen}\n{story}");
    let plain = play(FaultPlan::None).map_err(|violation| told("without a fault", violation))?;
    assert_eq!(plain.end, End::Goal, "{name}, without a fault");
    let mut found = Found { pairs: 0, failures: 0 };
    for (n, label) in plain.sites {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.concerns(&label)) {
            found.pairs += 1;
            if !every() && !found.pairs.is_multiple_of(4) {
                continue;
            }
            let outcome = play(FaultPlan::Nth { n, fault })
                .map_err(|violation| told(&format!("{fault:?} at call {n}, {label}"), violation))?;
            found.failures += usize::from(outcome.end == End::HonestFailure);
        }
    }
    Ok(found)
}

/// How many pairs of a call and a fault a workflow has, and how many of them end in an honest failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    pairs: usize,
    failures: usize,
}

const HEAD: &str = "\
# Every fault at every call of each workflow: how many such pairs there are, and how many of them end in an honest failure instead of what
# was asked for. More failures need a reason in the commit that writes them here; fewer pairs mean that calls have gone, or that the test
# does not see them any more. Written by SLIPWAY_BLESS=1 cargo test -p tests --test all laws::single
#
";

const RECORD: &str = "tests/faults.txt";

fn line((name, Found { pairs, failures }): &(&str, Found)) -> String {
    format!("{name:<26} {pairs:>5} {failures:>16}\n")
}

fn heading() -> String {
    format!("{HEAD}{:<26} {:>5} {:>16}\n", "workflow", "pairs", "honest failures")
}

/// The record with these lines in it: where they were, or at its end.
fn with_lines(record: &str, all: &[(&str, Found)]) -> String {
    let body = record.strip_prefix(&*heading()).unwrap_or_default();
    let name = |line: &str| line.get(..26).unwrap_or_default().trim_end().to_owned();
    let mut lines = body.lines().map(|line| (name(line), format!("{line}\n"))).collect::<Vec<_>>();
    for found in all {
        match lines.iter_mut().find(|(known, _)| known == found.0) {
            Some(known) => known.1 = line(found),
            None => lines.push((found.0.to_owned(), line(found))),
        }
    }
    lines.into_iter().fold(heading(), |text, (_, line)| text + &line)
}

/// A workflow's line of the record.
fn recorded(record: &str, name: &str) -> Option<Found> {
    let mut numbers = record.lines().find_map(|line| line.strip_prefix(&format!("{name:<26} ")))?.split_whitespace();
    let mut next = || numbers.next()?.parse().ok();
    Some(Found { pairs: next()?, failures: next()? })
}

/// What is to be said about a workflow that is not as the record has it; where not `every` pair was tried, there may be fewer failures.
fn difference(name: &str, found: Found, recorded: Option<Found>, every: bool) -> Option<String> {
    let Some(known) = recorded else { return Some(format!("{name} has no line")) };
    if found.failures > known.failures {
        Some(format!("{name}: {} honest failures instead of {}: find out why", found.failures, known.failures))
    } else if found.pairs != known.pairs || (every && found != known) {
        Some(format!("{name}: {found:?} instead of {known:?}: look why, and write the line anew"))
    } else {
        None
    }
}

/// The record is one file, which several tests write.
static WRITING: Mutex<()> = Mutex::new(());

/// Plays every fault at every call of these workflows, and holds what is found to the record.
pub(crate) fn hold_to_the_record(workflows: &Workflows) {
    // Two threads take one workflow after the other.
    let next = AtomicUsize::new(0);
    let work = || {
        secrets::listening(|| {
            let mine = std::iter::from_fn(|| workflows.get(next.fetch_add(1, Ordering::Relaxed)));
            mine.map(|(name, play)| (*name, exhaust(name, play))).collect::<Vec<_>>()
        })
    };
    let mut all = std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker's workflows")).collect::<Vec<_>>()
    });
    all.sort_by_key(|(name, _)| workflows.iter().position(|(known, _)| known == name));
    let all = all.into_iter().map(|(name, found)| (name, found.unwrap_or_else(|violation| panic!("{violation}"))));
    let all = all.collect::<Vec<_>>();
    let path = bless::root().join(RECORD);
    if bless::wanted() {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let record = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, with_lines(&record, &all)).expect(RECORD);
    }
    let record = fs::read_to_string(path).unwrap_or_default();
    let wrong = all.iter().filter_map(|(name, found)| difference(name, *found, recorded(&record, name), every()));
    let wrong = wrong.collect::<Vec<_>>();
    let found = all.iter().map(line).collect::<String>();
    let same = !every() || record == with_lines(&record, &all);
    assert!(wrong.is_empty() && same, "{RECORD}: {wrong:#?}\n\n{found}");
}

#[test]
fn every_single_fault_is_borne() {
    let plays = |workflow: &'static Workflow| Box::new(|plan| play(workflow, plan)) as Plays;
    hold_to_the_record(&ALL.iter().map(|workflow| (workflow.name, plays(workflow))).collect());
}

#[test]
fn the_record_names_every_workflow_and_no_other() {
    let record = fs::read_to_string(bless::root().join(RECORD)).unwrap_or_default();
    let body = record.strip_prefix(&*heading()).unwrap_or_default();
    let there = body.lines().map(|line| line.get(..26).unwrap_or_default().trim_end()).collect::<Vec<_>>();
    let jobs = ALL.iter().map(|workflow| workflow.name);
    let names = jobs.chain(disks::single::ALL.iter().map(|workflow| workflow.name)).collect::<Vec<_>>();
    assert_eq!(there, names);
}

#[test]
fn a_rise_of_failures_is_seen() {
    let record = with_lines("", &[("launch", Found { pairs: 9, failures: 1 })]);
    for (name, pairs, failures, every, seen) in [
        ("launch", 9, 1, true, false),
        ("launch", 9, 0, true, true),
        ("launch", 9, 0, false, false),
        ("launch", 9, 2, false, true),
        ("launch", 8, 1, false, true),
        ("land", 9, 1, false, true),
    ] {
        let said = difference(name, Found { pairs, failures }, recorded(&record, name), every);
        assert_eq!(said.is_some(), seen, "{name} {pairs} {failures} {every}: {said:?}");
    }
}
