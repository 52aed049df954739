use crate::{
    InstanceId,
    agent::{JupyterState, MainProcess, Note, Progress, Report},
    credential::Provider,
    job::{Hours, ModelServe, Spec},
    lifecycle::{Cause, State},
    names::{ImageName, ModelName, RegionName},
    policy::{HEARD_AGAIN, Policy, SECOND_LOOK, SILENCE},
    workload::{Address, Due, NodeStatus, Submission},
    *,
};
use std::time::Duration;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn served(idle_minutes: Option<u32>) -> ModelServe {
    let model = ModelName::parse("meta-llama/Llama-3.1-8B-Instruct").unwrap();
    ModelServe {
        model: model.clone(),
        huggingface_id: model,
        kind: crate::model::ModelKind::Chat,
        context_length: 8192,
        provider: Provider::Aws,
        region: RegionName::parse("us-west-2").unwrap(),
        credential: None,
        asked_by: "ann".to_owned(),
        use_spot: true,
        idle_minutes,
    }
}

fn report(progress: Progress, idle_seconds: Option<u64>) -> Report {
    let (main, jupyter) = (MainProcess::Running, JupyterState::Off);
    Report { applied: 0, progress, main, jupyter, notes: vec![], frozen: None, idle_seconds, next_session: None }
}

fn launched(idle_minutes: Option<u32>) -> Workload {
    let spec = Spec {
        image: ImageName::parse("vllm/vllm-openai").unwrap(),
        instance_type: "g5.xlarge".to_owned(),
        gpu: gpu::Gpu::A10g,
        gpu_count: 1,
        pool: PoolId::new("local/a10g"),
        name: None,
        github_user: None,
        priority: 50,
        gpu_hour: crate::price::Price::default(),
        end_on_exit: false,
        disk: None,
        serve: Some(served(idle_minutes)),
    };
    let (tenant, owner) = (TenantId::new("platform"), UserName::new("admin"));
    let id = WorkloadId::new(START, &[1; 32]);
    let submission = Submission { id, tenant, owner, spec, duration: None, sealed_jupyter_token: None };
    let change = Workload::submit(submission, START);
    assert_eq!(
        change.entry.message,
        "Submitted for 1 GPU(s) of type a10g at aws us-west-2, on spot capacity, to serve meta-llama/Llama-3.1-8B-Instruct"
    );
    change.workload
}

/// A node in `state`, which it enters at second 10 at the latest.
fn node(state: State, idle_minutes: Option<u32>) -> Workload {
    let mut node = launched(idle_minutes);
    for second in 1..=10 {
        if node.state == state {
            return node;
        }
        let now = after(second);
        let told = |progress| node.report(&report(progress, None), now).changes.remove(0);
        let change = match node.state {
            State::Queued => node.place(&NodeId::new("n"), now).unwrap(),
            State::Placed => node.begin_attempt(now).unwrap(),
            State::Provisioning => node.enroll(1, "0.1.0", now).unwrap(),
            State::InstanceReady => told(Progress::Installing),
            State::Installing => told(Progress::ModelLoading),
            State::ModelLoading => told(Progress::Ready),
            State::HealthCheck => node.activate(now).unwrap(),
            State::Active => node.cancel("admin", now).unwrap(),
            State::Draining | State::Ended => node.end(None, now).unwrap(),
        };
        node = change.workload;
    }
    panic!("{state:?} was not reached");
}

#[test]
fn states_as_nodes_show_them() {
    for (state, status) in State::ALL.into_iter().zip([
        "launching",
        "launching",
        "launching",
        "initializing",
        "initializing",
        "initializing",
        "initializing",
        "active",
        "terminating",
        "terminated",
    ]) {
        assert_eq!(node(state, None).node_status().name(), status, "{state:?}");
    }
    for (cause, status) in [
        (Cause::Idle, NodeStatus::Terminated),
        (Cause::Failed, NodeStatus::Failed),
        (Cause::Preempted, NodeStatus::Failed),
    ] {
        assert_eq!(NodeStatus::of(State::Ended, Some(cause)), status, "{cause:?}");
        assert_eq!(NodeStatus::of(State::Draining, Some(cause)), NodeStatus::Terminating, "{cause:?}");
    }
}

#[test]
fn it_idles_away_after_its_minutes_and_not_before() {
    let check = |state: State, minutes: Option<u32>, idle: Option<u64>, at: u64, ends: bool| {
        let reported = node(state, minutes).report(&report(Progress::Ready, idle), after(at));
        let ended = reported.changes.iter().find(|change| change.entry.kind == "idle");
        assert_eq!(ended.is_some(), ends, "{state:?} {minutes:?} {idle:?} {at}");
        if let Some(change) = ended {
            let ending = change.workload.ending.clone().unwrap();
            assert_eq!((change.workload.state, ending.cause), (State::Draining, Cause::Idle));
            assert_eq!((ending.reason.as_deref(), ending.left_at), (Some("idle for 30 minutes"), None));
            assert!(ending.kill_at > after(at));
        }
    };
    // It became active at second 7.
    check(State::Active, Some(30), Some(1_800), 1_807, true);
    check(State::Active, Some(30), Some(1_799), 4_000, false);
    check(State::Active, Some(30), Some(9_999), 1_806, false);
    check(State::Active, Some(30), Some(u64::MAX), 1_807, true);
    check(State::Active, Some(30), Some(0), 9_999, false);
    check(State::Active, Some(30), None, 9_999, false);
    check(State::Active, None, Some(9_999), 9_999, false);
    for state in State::ALL.into_iter().filter(|state| *state != State::Active) {
        check(state, Some(30), Some(9_999), 9_999, false);
    }
    // What is not idle is no news: nothing is written.
    assert!(node(State::Active, Some(30)).report(&report(Progress::Ready, Some(60)), after(100)).changes.is_empty());
}

#[test]
fn it_has_no_end_and_a_look_in_its_place() {
    let active = node(State::Active, None);
    assert_eq!((active.expires_at, active.heard_at), (None, Some(active.since)));
    assert_eq!(active.due_at(), Some(active.since.plus(SILENCE)));
    assert_eq!(active.extend(Hours::whole(1), &Policy::default(), after(60)).unwrap_err(), Refusal::OpenEnded);
    assert!(active.set_jupyter(Some("sealed".to_owned()), after(1_000_000)).is_ok(), "it runs as long as it is active");
    // Rows that were written before there were nodes, or with a length, have one.
    let row = serde_json::to_value(&active).unwrap();
    assert!(row.get("duration").is_none() && row.get("expires_at").is_none());
    assert_eq!(serde_json::from_value::<Workload>(row).unwrap(), active);
}

#[test]
fn silence_is_looked_at_twice() {
    let active = node(State::Active, None);
    let first_at = active.since.plus(SILENCE);
    let due = |node: &Workload, at| match node.due(at) {
        Due::Change(change) => Some(change),
        Due::Nothing | Due::Launch | Due::Reconcile => None,
    };
    assert!(due(&active, first_at.minus(Duration::from_millis(1))).is_none());
    let looked = due(&active, first_at).unwrap();
    assert_eq!((looked.entry.kind.as_str(), looked.workload.state), ("silent", State::Active));
    let second_at = first_at.plus(SECOND_LOOK);
    assert_eq!(looked.workload.due_at(), Some(second_at));
    assert!(due(&looked.workload, first_at).is_none(), "the same look again is none");
    let ended = due(&looked.workload, second_at).unwrap();
    let ending = ended.workload.ending.unwrap();
    assert_eq!((ended.workload.state, ending.cause), (State::Draining, Cause::Failed));
    assert_eq!(ending.reason.as_deref(), Some("nothing was heard from its agent for 60 minutes"));
    // An agent that comes back between the two is given its time anew, and is written down at once.
    let mut back = looked.workload;
    let heard_at = first_at.plus(Duration::from_secs(1));
    assert_eq!(back.news_of_life(heard_at), Some(heard_at));
    let behind = first_at.minus(Duration::from_secs(5));
    assert!(back.news_of_life(behind).is_some_and(|at| at > first_at), "a host's clock that is behind");
    back.heard_at = Some(heard_at);
    assert!(due(&back, second_at).is_none() && back.news_of_life(after(3_700)).is_none());
    assert_eq!(back.due_at(), Some(heard_at.plus(SILENCE)));
}

#[test]
fn it_is_seldom_written_down_that_an_agent_was_heard() {
    let active = node(State::Active, None);
    let news_at = active.since.plus(HEARD_AGAIN);
    assert_eq!(active.news_of_life(news_at), Some(news_at));
    assert_eq!(active.news_of_life(news_at.minus(Duration::from_millis(1))), None);
    for state in State::ALL.into_iter().filter(|state| *state != State::Active) {
        assert_eq!(node(state, None).news_of_life(after(999_999)), None, "{state:?}");
    }
    assert_eq!(Workload { duration: Some(Hours::whole(1)), ..active }.news_of_life(after(999_999)), None);
}

#[test]
fn a_purge_leaves_no_grace() {
    for state in State::ALL {
        let node = node(state, None);
        let purged = node.purge("admin", after(15));
        let Ok(change) = purged else {
            assert_eq!(state, State::Ended);
            continue;
        };
        let ended = if state == State::Queued { State::Ended } else { State::Draining };
        let ending = change.workload.ending.clone().unwrap();
        assert_eq!((change.workload.state, ending.cause), (ended, Cause::Cancelled), "{state:?}");
        assert_eq!(ending.kill_at, after(15), "{state:?}");
        assert_eq!(change.workload.version, node.version + 1);
        if state != State::Queued {
            assert_eq!(change.workload.due_at(), Some(after(15)), "{state:?}: the sweep looks at once");
            assert!(change.workload.state.holds_gpus(), "{state:?}: what may still run holds its GPUs");
            let again = change.workload.purge("admin", after(16)).unwrap().workload;
            assert_eq!(again.ending.unwrap().kill_at, after(15), "a second time puts nothing off");
        }
    }
    // One that failed stays failed.
    let failed = node(State::Active, None).fail("why", after(20)).unwrap().workload;
    let ending = failed.purge("admin", after(15)).unwrap().workload.ending.unwrap();
    assert_eq!((ending.cause, ending.reason.as_deref()), (Cause::Failed, Some("why")));
}

#[test]
fn progress_only_grows_within_a_phase_and_between() {
    let note = |number, percent| Note { number, text: "a fact".to_owned(), percent };
    let with = |progress, notes| Report { notes, ..report(progress, None) };
    let check = |node: &Workload, report: Report, expected: &[u8]| {
        let changes = node.report(&report, after(60)).changes;
        assert_eq!(changes.iter().map(|change| change.entry.progress).collect::<Vec<_>>(), expected, "{report:?}");
        changes.last().map_or_else(|| node.clone(), |change| change.workload.clone())
    };
    let installing = node(State::Installing, None);
    assert_eq!(installing.progress, 40);
    let half = check(&installing, with(Progress::Installing, vec![note(1, Some(25)), note(2, Some(50))]), &[45, 50]);
    // What an agent says may fall; what is told does not. Nor does anything else that happens meanwhile.
    let half = check(&half, with(Progress::Installing, vec![note(3, Some(10)), note(4, None)]), &[50, 50]);
    let here = InstanceId::new("i");
    let address = Address { host: "h".to_owned(), ssh_port: 1, jupyter_port: 2, model_port: None };
    assert_eq!(half.provisioned(here, address, after(61)).unwrap().entry.progress, 50);
    // A percentage is of the phase that the report is in: it is told after its beginning, what has none before.
    let loading = check(&half, with(Progress::ModelLoading, vec![note(5, Some(50)), note(6, None)]), &[50, 65, 75]);
    assert_eq!(loading.notes_seen, 6);
    // A late report of a phase that is over measures nothing.
    let loading = check(&loading, with(Progress::Installing, vec![note(7, Some(100))]), &[75]);
    let last = check(&loading, with(Progress::ModelLoading, vec![note(8, Some(255))]), &[85]);
    assert_eq!(last.report(&report(Progress::Ready, None), after(62)).changes[0].entry.progress, 90);
}

#[test]
fn a_model_server_that_ends_fails_the_node() {
    let exited = Report { main: MainProcess::Exited { code: 3 }, ..report(Progress::ModelLoading, None) };
    for state in [State::ModelLoading, State::HealthCheck, State::Active] {
        let changes = node(state, Some(30)).report(&exited, after(60)).changes;
        let ending = changes.last().unwrap().workload.ending.clone().unwrap();
        let why = Some("the model's server ended with exit code 3");
        assert_eq!((ending.cause, ending.reason.as_deref()), (Cause::Failed, why), "{state:?}");
        assert!(changes.last().unwrap().workload.report(&exited, after(61)).changes.is_empty());
    }
}

#[test]
fn the_endpoint_is_the_fleets_address() {
    let mut active = node(State::Active, None);
    assert_eq!(active.endpoint(), None);
    for (host, model_port, endpoint) in [
        ("10.0.0.1", Some(8000), Some("http://10.0.0.1:8000")),
        ("fd00::1", Some(8000), Some("http://[fd00::1]:8000")),
        ("10.0.0.1", None, None),
    ] {
        active.address = Some(Address { host: host.to_owned(), ssh_port: 1, jupyter_port: 2, model_port });
        assert_eq!(active.endpoint().as_deref(), endpoint, "{host}");
    }
    active.address = Some(Address { host: "h".to_owned(), ssh_port: 1, jupyter_port: 2, model_port: Some(1) });
    assert_eq!(Workload { state: State::Draining, ..active }.endpoint(), None);
}

#[test]
fn a_stand_in_says_so() {
    let told = launched(None).stood_in_for(START).unwrap().entry.message;
    assert_eq!(told, "This machine stands for aws us-west-2, and for its spot capacity: nothing is bought there");
}

#[test]
fn the_agent_is_told_what_it_serves() {
    let told = served(None).for_agent(4);
    assert_eq!(
        (told.served_name.as_str(), told.context_length, told.gpus),
        ("meta-llama/Llama-3.1-8B-Instruct", 8192, 4)
    );
    assert_eq!(told.source, told.served_name);
}
