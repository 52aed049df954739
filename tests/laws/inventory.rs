//! I25: whatever the plane can make in the world is found again and taken away. The table below must name every method of every port, so
//! that a new one cannot be forgotten; what makes something names the scene in which what it made is left behind, and found.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use cloud::{Order, Ports, launches::Launch};
use domain::{
    NodeId, PoolId, TenantId, WorkloadId,
    api_key::{KeyKind, mint},
    gpu::Gpu,
    message::{Message, QueueName},
};
use futures::executor::block_on;

use super::{
    agents::{Agents, Temper},
    disks,
    harness::{Harness, Violation, broken},
    mutants::Bug,
    people::{self, Ask, request, submit},
    secrets,
};
use Makes::{Nothing, Swept};

enum Makes {
    /// It makes nothing that stays.
    Nothing,
    /// What it makes stays until it is found, as here.
    Swept(Scene),
}

type Scene = fn(u64, Option<Bug>) -> Result<(), Violation>;

/// Every method of every port.
const METHODS: [(&str, Makes); 40] = [
    ("Attacher::attach", Swept(disks::scenes::an_unknown_volume_goes)),
    ("Attacher::create", Swept(disks::scenes::an_unknown_volume_goes)),
    ("Clock::now", Nothing),
    ("Clock::sleep", Nothing),
    ("Fleet::describe", Nothing),
    ("Fleet::in_account", Nothing),
    ("Fleet::list", Nothing),
    ("Fleet::provision", Swept(an_orphan_is_ended)),
    ("Fleet::terminate", Nothing),
    ("Identity::caller", Nothing),
    ("Identity::presigned_caller", Nothing),
    ("Ids::credential", Nothing),
    ("Ids::disk", Nothing),
    ("Ids::key", Nothing),
    ("Ids::message", Nothing),
    ("Ids::operation", Nothing),
    ("Ids::random", Nothing),
    ("Ids::tenant", Nothing),
    ("Ids::workload", Nothing),
    ("Launches::complete", Nothing),
    ("Launches::fail", Nothing),
    ("Launches::start", Swept(launches_end_with_their_workloads)),
    ("People::keys_of", Nothing),
    ("Providers::check", Nothing),
    ("Queue::healthy", Nothing),
    ("Queue::send", Swept(hopeless_messages_are_put_aside)),
    ("Secrets::current", Nothing),
    ("Upstreams::ask", Nothing),
    ("Vault::open", Nothing),
    ("Vault::seal", Nothing),
    ("Volumes::delete_snapshot", Nothing),
    ("Volumes::delete_volume", Nothing),
    ("Volumes::detach", Nothing),
    ("Volumes::snapshot", Swept(disks::scenes::a_second_snapshot_goes)),
    ("Volumes::snapshot_state", Nothing),
    ("Volumes::snapshots", Nothing),
    ("Volumes::tag", Nothing),
    ("Volumes::volumes", Nothing),
    // The simulated cloud's own, which no plane is given.
    ("FaultPoint::before", Nothing),
    ("FaultPoint::crash", Nothing),
];

/// A world in which agents say nothing, and a workload that no table knows.
fn unknown(seed: u64, bug: Option<Bug>) -> (Harness, TenantId, WorkloadId) {
    let mut h = Harness::new(seed, bug);
    h.agents = Agents::seeded(seed, Some(Temper::Mute));
    let workload = h.plane.ports.ids.workload(h.world.now());
    (h, TenantId::new("default"), workload)
}

/// A machine for nobody.
pub(super) fn a_machine(ports: &Ports, tenant: &TenantId) -> Order {
    Order {
        tenant: tenant.clone(),
        workload: ports.ids.workload(ports.clock.now()),
        attempt: 1,
        pool: PoolId::new("local/h100"),
        node: NodeId::new("h100-1"),
        gpus: 1,
        gpu: Gpu::H100,
        instance_type: "p5.4xlarge".to_owned(),
        life: Some(Duration::from_secs(3600)),
        serves: false,
        use_spot: false,
        image: "busybox".to_owned(),
        disk: None,
        enroll_token: mint(KeyKind::Enroll, &ports.ids.random()),
    }
}

/// What runs for a workload that nobody knows is ended with the first look after the fleet's list shows it.
pub(crate) fn an_orphan_is_ended(seed: u64, bug: Option<Bug>) -> Result<(), Violation> {
    let (mut h, tenant, workload) = unknown(seed, bug);
    let ports = h.world.ports();
    let order = Order { workload, ..a_machine(&ports, &tenant) };
    h.strays.insert(workload);
    block_on(ports.fleet.provision(&order)).expect("a machine");
    // The list's lag, the time between two looks, and what an instance takes to stop.
    h.pass(120 + 60 + 30)?;
    match h.world.live(workload).first() {
        Some(stray) => broken("I3", format!("{} still runs for nobody", stray.id)),
        None => Ok(()),
    }
}

/// A launch of a workload that nobody knows ends by itself, and so does that of a workload that is cancelled while it waits for its agent.
fn launches_end_with_their_workloads(seed: u64, bug: Option<Bug>) -> Result<(), Violation> {
    let (mut h, tenant, workload) = unknown(seed, bug);
    let nothing_goes_on = |h: &Harness| match h.flights.under_way().first() {
        Some(launch) => broken("I25", format!("the launch of {launch} goes on")),
        None => Ok(()),
    };
    block_on(h.world.ports().launches.start(&Launch { tenant, workload })).expect("a launch");
    // As long as its undo is tried again and again, in case that the tables are only slow.
    h.pass(480)?;
    nothing_goes_on(&h)?;
    let mut users = people::users(&mut h);
    let job = submit(0, &users[0], 1, ("p5.48xlarge", 1), 1.0);
    h.send(job);
    h.pass(90)?;
    h.hear(&mut users);
    let id = h.rows.workloads.keys().next().copied().expect("a job");
    assert_eq!(h.flights.under_way(), [id], "a job whose agent says nothing is being launched");
    let cancel = Ask::Act { id, kind: "cancelled" };
    h.send(request(0, &users[0], cancel, "POST", format!("/v1/jobs/{id}/cancel")));
    h.pass(120)?;
    nothing_goes_on(&h)
}

/// A message that nobody can work on is put aside, instead of coming back for ever.
fn hopeless_messages_are_put_aside(seed: u64, bug: Option<Bug>) -> Result<(), Violation> {
    let (mut h, tenant, workload) = unknown(seed, bug);
    h.peaceful = false;
    h.world.set_outage("store.", true);
    block_on(h.world.ports().queue.send(&Message::Reconcile { tenant, workload })).expect("a message");
    // As often as it is delivered, and as long as it is hidden each time.
    h.pass(5 * 180 + 60)?;
    let left = QueueName::ALL.into_iter().flat_map(|queue| h.world.messages(queue)).count();
    let dead = h.world.dead_letters().len();
    if (left, dead) == (0, 1) {
        return Ok(());
    }
    broken("I25", format!("{left} messages are left and {dead} put aside, of one that nobody can work on"))
}

/// The methods of the public traits in a source file, each as `Trait::method`.
fn methods(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = None;
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("pub trait ") {
            inside = rest.split([':', ' ', '<']).next();
        } else if line.starts_with('}') {
            inside = None;
        } else if let (Some(name), Some(rest)) = (inside, line.strip_prefix("    ")) {
            let method = rest.strip_prefix("async fn ").or_else(|| rest.strip_prefix("fn "));
            found.extend(method.and_then(|rest| rest.split('(').next()).map(|method| format!("{name}::{method}")));
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).expect("the ports' sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            texts.push(fs::read_to_string(path).expect("a source"));
        }
    }
    texts
}

#[test]
fn i25_everything_that_is_made_is_swept() {
    let folder = crate::support::bless::root().join("shared/cloud/src");
    let there = sources(&folder).iter().flat_map(|source| methods(source)).collect::<BTreeSet<_>>();
    let listed = METHODS.iter().map(|(method, _)| (*method).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(there, listed, "a port has a method that the table lacks, or the other way round");
    // Whatever is made is named like what makes it: a verb of making that claims to make nothing is a slip.
    let verbs = ["provision", "start", "send", "create", "put", "attach", "register", "open_", "allocate"];
    for (method, makes) in &METHODS {
        let name = method.rsplit(':').next().unwrap_or_default();
        let is_made = verbs.iter().any(|verb| name.starts_with(verb)) || name == "snapshot";
        match makes {
            Nothing => assert!(!is_made, "{method} sounds as if it made something"),
            Swept(scene) => {
                assert!(is_made, "{method} does not sound as if it made something");
                let broken = |seed| scene(seed, None).err().map(|violation| (seed, violation));
                assert_eq!(secrets::listening(|| (0..20).find_map(broken)), None, "{method}");
            }
        }
    }
}

#[test]
fn methods_are_found() {
    let source =
        "pub trait A: Send {\n    /// x\n    async fn one(&self);\n    fn two(&self) {\n    }\n}\nfn free() {}\n";
    assert_eq!(methods(source), ["A::one", "A::two"]);
}
