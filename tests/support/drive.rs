//! A plane under test without the local one around it: requests in, and the workers' steps by hand.

use std::{sync::Arc, time::Duration};

use cloud::{
    presigned::{SERVER_ID, amz_date, signed_headers},
    sim::World,
};
use domain::{
    PoolId, Secret, TenantId, UserName, WorkloadId,
    api_key::{KeyKind, mint, shown_prefix},
    identity::Member,
    message::{Message, QueueName},
    names::{Email, Label, TenantName},
    policy::MOST_RECEIVES,
    tenant::{Tenant, Tier},
};
use futures::executor::block_on;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use store::{Plane, Settings, embedded::Embedded, tenants::TenantKeyRow};
use tower::ServiceExt;

use super::{
    grants,
    operations::function_of,
    wire::{Answer, Ask},
};

/// The pools of [`super::settings`].
pub(crate) const H100: &str = "local/h100";
pub(crate) const A10G: &str = "local/a10g";
/// The tenant of everybody who logs in.
pub(crate) const TENANT: &str = "default";

/// A plane, its world, and a way to ask it.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) plane: Plane,
    pub(crate) embedded: Embedded,
    pub(crate) router: axum::Router,
    /// Whose workloads the steps are about.
    tenant: TenantId,
}

/// Where a job can be when somebody asks something of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    Placed,
    Booting,
    Active,
    Draining,
    Expired,
    Cancelled,
    Failed,
}

impl Stage {
    pub(crate) const ALL: [Self; 8] = [
        Self::Queued,
        Self::Placed,
        Self::Booting,
        Self::Active,
        Self::Draining,
        Self::Expired,
        Self::Cancelled,
        Self::Failed,
    ];
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of(&World::new(1))
    }

    pub(crate) fn of(world: &World) -> Self {
        world.set(|settings| settings.time_flies = true);
        let (plane, embedded) = block_on(super::plane(world));
        embedded.meter().start();
        let router = super::router(&plane);
        Self { world: world.clone(), plane, embedded, router, tenant: TenantId::new(TENANT) }
    }

    /// The same plane, with steps about another tenant's workloads.
    pub(crate) fn within(&self, tenant: &str) -> Self {
        let (plane, router) = (self.plane.clone(), self.router.clone());
        let (world, embedded) = (self.world.clone(), self.embedded.clone());
        Self { world, plane, embedded, router, tenant: TenantId::new(tenant) }
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut bench = Self::new();
        let mut settings = super::settings();
        change(&mut settings);
        bench.plane.settings = Arc::new(settings);
        bench.router = super::router(&bench.plane);
        bench
    }

    /// Asks, and looks at what every answer promises.
    #[track_caller]
    pub(crate) fn send(&self, ask: Ask) -> Answer {
        let what = format!("{} {}", ask.method, ask.path);
        let function = function_of(&ask);
        let work = || block_on(answer(self.router.clone(), ask)).sound(&what);
        match function {
            Some(function) => grants::watch(&function, &self.world, &self.embedded, work),
            None => work(),
        }
    }

    /// Lets a launcher work on messages about this job until one of them lies with the dead letters, as a queue's consumer does.
    pub(crate) fn give_up(&self, id: &str) {
        let id = id.parse().expect("an id");
        let message = Message::Reconcile { tenant: self.tenant.clone(), workload: id };
        block_on(self.plane.ports.queue.send(&message)).expect("a message");
        for _ in 0..100 {
            let Some(delivery) = self.world.receive(QueueName::Reconciles) else {
                if self.world.dead_letters().is_empty() {
                    self.pass(180);
                } else {
                    return;
                }
                continue;
            };
            let Message::Reconcile { tenant, workload } = &delivery.message else { continue };
            let work = || block_on(launcher::reconcile(&self.plane, tenant, *workload));
            let Err(error) = grants::watch("Reconciler", &self.world, &self.embedded, work) else {
                self.world.acknowledge(&delivery);
                continue;
            };
            if delivery.receives >= MOST_RECEIVES {
                let last = || block_on(launcher::give_up(&self.plane, tenant, *workload, Some(&error)));
                drop(grants::watch("Reconciler", &self.world, &self.embedded, last));
            }
        }
        panic!("nothing is given up");
    }

    /// Asks as `key`'s holder, expects 200, and gives the body.
    #[track_caller]
    pub(crate) fn ok(&self, key: &str, ask: Ask) -> Value {
        let answer = self.send(ask.bearer(key));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.world.move_to(self.world.now().plus(Duration::from_secs(seconds)));
    }

    /// A fresh key of somebody who logs in.
    #[track_caller]
    pub(crate) fn login(&self, name: &str) -> String {
        let answer = self.send(Ask::post("/v1/auth/aws-login").json(&credentials(name)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["api_key"].as_str().expect("a key").to_owned()
    }

    /// A key of somebody in any tenant, good for two hours.
    pub(crate) fn key_in(&self, tenant: &str, user: &str) -> String {
        let key = mint(KeyKind::User, &self.plane.ports.ids.random());
        let expires_at = self.world.now().plus(Duration::from_secs(7200));
        let (tenant, user) = (TenantId::new(tenant), UserName::new(user));
        let user_id = block_on(self.plane.store.user_id(&tenant, &user, self.world.now())).expect("a number");
        let member = Member { tenant, user, user_id, expires_at };
        block_on(self.plane.store.add_user_key(&key, &member)).expect("a key");
        key.reveal().to_owned()
    }

    /// Submits a job and gives its id.
    #[track_caller]
    pub(crate) fn submit(&self, key: &str, body: &Value) -> String {
        self.ok(key, Ask::post("/v1/jobs/submit").json(body))["job_id"].as_str().expect("an id").to_owned()
    }

    /// The job as its owner sees it.
    #[track_caller]
    pub(crate) fn job(&self, key: &str, id: &str) -> Value {
        self.ok(key, Ask::get(format!("/v1/jobs/{id}")))
    }

    /// One pass of the dispatcher.
    #[track_caller]
    pub(crate) fn dispatch(&self, pool: &str) {
        let work = || block_on(dispatcher::ring(&self.plane, &PoolId::new(pool))).expect("a pass");
        grants::watch("Dispatcher", &self.world, &self.embedded, work);
    }

    /// One step of a launch.
    pub(crate) fn step(&self, handler: &str, id: &str, more: &Value) -> Result<Value, launcher::StepError> {
        let mut input = json!({"tenant": self.tenant, "workload": id});
        for (name, value) in more.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        let work = || block_on(launcher::step(&self.plane, handler, input));
        grants::watch(&format!("Launch{handler}"), &self.world, &self.embedded, work)
    }

    /// What the launcher does about a reconcile message.
    #[track_caller]
    pub(crate) fn reconcile(&self, id: &str) {
        let id = id.parse::<WorkloadId>().expect("an id");
        let work = || block_on(launcher::reconcile(&self.plane, &self.tenant, id)).expect("a reconciliation");
        grants::watch("Reconciler", &self.world, &self.embedded, work);
    }

    /// Has a placed job's machine made, and gives the token that its agent is started with.
    #[track_caller]
    pub(crate) fn provision(&self, id: &str) -> String {
        self.step("Provision", id, &json!({})).expect("a machine");
        self.attach(id);
        self.step("AwaitBoot", id, &json!({"token": format!("boot of {id}")})).expect("a token kept");
        let instances = self.world.instances();
        let made = instances.iter().rfind(|one| one.order.workload.to_string() == id).expect("an instance");
        made.order.enroll_token.reveal().to_owned()
    }

    /// Has a job's disk brought to its machine, where it needs one; that takes its time.
    #[track_caller]
    pub(crate) fn attach(&self, id: &str) {
        for _ in 0..100 {
            if self.step("AttachDisk", id, &json!({})).expect("a disk")["ready"] == true {
                return;
            }
            self.pass(5);
        }
        panic!("the disk does not come");
    }

    /// What the disks' worker does about the messages that wait for it.
    #[track_caller]
    pub(crate) fn tend_disks(&self) {
        while let Some(delivery) = self.world.receive(QueueName::Disks) {
            let Message::Disk { tenant, owner, disk } = &delivery.message else { panic!("a message about no disk") };
            let work = || block_on(disk_worker::tend(&self.plane, tenant, owner, *disk)).expect("tended");
            grants::watch("DiskWorker", &self.world, &self.embedded, work);
            self.world.acknowledge(&delivery);
        }
    }

    /// The disks' part of a sweep, and what it sets in motion.
    #[track_caller]
    pub(crate) fn sweep_disks(&self) -> disk_worker::Swept {
        let work = || block_on(disk_worker::sweep(&self.plane)).expect("a sweep");
        let swept = grants::watch("DiskSweep", &self.world, &self.embedded, work);
        self.tend_disks();
        swept
    }

    /// A hunt for volumes and snapshots that nobody knows.
    #[track_caller]
    pub(crate) fn end_disk_orphans(&self) -> u32 {
        let work = || block_on(disk_worker::end_orphans(&self.plane)).expect("a hunt");
        grants::watch("DiskOrphans", &self.world, &self.embedded, work)
    }

    /// Has a provisioned job's agent call in, and gives its session.
    #[track_caller]
    pub(crate) fn enroll(&self, token: &str) -> Agent {
        let session = mint(KeyKind::Session, &self.plane.ports.ids.random());
        let body = json!({"session": session.hash().as_str(), "version": "0.1.0"});
        self.ok(token, Ask::post("/agent/v1/enroll").json(&body));
        Agent { session: session.reveal().to_owned() }
    }

    /// Launches a placed job until it is active.
    #[track_caller]
    pub(crate) fn launch(&self, id: &str) -> Agent {
        let agent = self.enroll(&self.provision(id));
        self.step("AwaitReady", id, &json!({"token": format!("ready of {id}")})).expect("a token kept");
        agent.sync(self, &report("ready"));
        self.step("Activate", id, &json!({})).expect("active");
        agent
    }

    /// Launches the node of an answer until it is active; and where its model answers.
    #[track_caller]
    pub(crate) fn serve(&self, made: &Value) -> cloud::Upstream {
        let id = made["id"].as_str().and_then(|id| id.strip_prefix("node-")).unwrap_or_else(|| panic!("{made}"));
        self.dispatch(A10G);
        self.launch(id);
        let id = id.parse().expect("an id");
        let workload = block_on(self.plane.store.workload(&self.tenant, id)).expect("read").expect("there");
        cloud::Upstream(workload.authority().expect("an active node"))
    }

    /// What is due of limits and of what models were asked.
    #[track_caller]
    pub(crate) fn close_meters(&self) -> u32 {
        let work = || block_on(sweeper::close_meters(&self.plane)).expect("a list");
        grants::watch("Meters", &self.world, &self.embedded, work)
    }

    /// A sweep.
    #[track_caller]
    pub(crate) fn sweep(&self) -> sweeper::Swept {
        grants::watch("Sweeper", &self.world, &self.embedded, || {
            block_on(sweeper::sweep(&self.plane)).expect("a sweep")
        })
    }

    /// A hunt for what runs and nobody knows.
    #[track_caller]
    pub(crate) fn end_orphans(&self) -> u32 {
        let work = || block_on(sweeper::end_orphans(&self.plane)).expect("a hunt");
        grants::watch("Orphans", &self.world, &self.embedded, work)
    }

    /// A tenant of this id, with a key; and the key's id.
    #[track_caller]
    pub(crate) fn a_tenant(&self, id: &str, tier: Tier) -> (String, String) {
        let (name, email) = (TenantName::parse("Test Organization"), Email::parse("test@example.com"));
        let (name, email) = (name.expect("a name"), email.expect("an address"));
        let tenant = Tenant::create(TenantId::new(id), name, email, tier, self.world.now());
        block_on(self.plane.store.write_tenant(&tenant, None)).expect("a tenant");
        self.a_tenant_key(id)
    }

    /// Another key of a tenant's; and its id.
    #[track_caller]
    pub(crate) fn a_tenant_key(&self, tenant: &str) -> (String, String) {
        self.a_limited_key(tenant, domain::limits::Limits::default())
    }

    /// A key of a tenant's with limits of its own; and its id.
    #[track_caller]
    pub(crate) fn a_limited_key(&self, tenant: &str, limits: domain::limits::Limits) -> (String, String) {
        let (now, ids) = (self.world.now(), &self.plane.ports.ids);
        let (key, id) = (mint(KeyKind::Tenant, &ids.random()), ids.key(now));
        let known = TenantKeyRow {
            id,
            tenant: TenantId::new(tenant),
            name: Label::parse("a key").expect("a name"),
            prefix: shown_prefix(KeyKind::Tenant, &key),
            hash: key.hash(),
            created_at: now,
            expires_at: None,
            revoked_at: None,
            limits,
        };
        block_on(self.plane.store.add_tenant_key(&known, None)).expect("a key");
        (key.reveal().to_owned(), id.to_string())
    }

    /// Tenants that are being deleted.
    #[track_caller]
    pub(crate) fn let_tenants_go(&self) -> u32 {
        let work = || block_on(sweeper::let_tenants_go(&self.plane)).expect("a list");
        grants::watch("Tenants", &self.world, &self.embedded, work)
    }

    /// The ledger of nodes is brought in line with a budget of so many for each pool.
    #[track_caller]
    pub(crate) fn keep_nodes(&self, nodes: u32) {
        let mut settings = (*self.plane.settings).clone();
        settings.pools.iter_mut().for_each(|pool| pool.nodes = nodes);
        let plane = Plane { settings: settings.into(), ..self.plane.clone() };
        let work = || block_on(sweeper::keep_nodes(&plane)).expect("a ledger");
        grants::watch("Nodes", &self.world, &self.embedded, work);
    }

    /// A job of `key`'s holder at `stage`. Time passes for some, so that keys may have expired.
    #[track_caller]
    pub(crate) fn job_at(&self, stage: Stage, key: &str) -> String {
        let id = self.submit(key, &small());
        if !matches!(stage, Stage::Queued | Stage::Cancelled) {
            self.dispatch(A10G);
        }
        let cancel = || self.ok(key, Ask::post(format!("/v1/jobs/{id}/cancel")));
        match stage {
            Stage::Queued | Stage::Placed => {}
            Stage::Booting => drop(self.enroll(&self.provision(&id))),
            Stage::Active => drop(self.launch(&id)),
            Stage::Cancelled => drop(cancel()),
            Stage::Draining => {
                self.launch(&id);
                cancel();
            }
            Stage::Expired => {
                self.launch(&id);
                self.pass(3600);
                self.sweep();
                self.end(&id);
            }
            Stage::Failed => {
                let why = json!({"error": {"Error": "Fleet.Refused", "Cause": "no such image"}});
                self.step("Undo", &id, &why).expect("undone");
            }
        }
        id
    }

    /// Ends what a draining job runs, grace and all.
    #[track_caller]
    pub(crate) fn end(&self, id: &str) {
        self.pass(130);
        self.reconcile(id);
        self.pass(31);
        self.reconcile(id);
    }

    /// What has been written or sent since the last look: nothing, after a refusal.
    pub(crate) fn effects(&self, since: u64) -> Vec<String> {
        let written = self.embedded.meter().take().into_iter().filter(|call| call.writes > 0.0);
        let written = written.map(|call| format!("{:?}", call.touches));
        let quiet = ["store.", "identity.", "vault.", "queue.healthy"];
        let calls = self.world.log().into_iter().skip(usize::try_from(since).expect("a count"));
        let sent = calls.map(|call| call.label).filter(|label| !quiet.iter().any(|quiet| label.starts_with(quiet)));
        written.chain(sent).collect()
    }
}

/// A node's agent.
pub(crate) struct Agent {
    pub(crate) session: String,
}

impl Agent {
    #[track_caller]
    pub(crate) fn sync(&self, bench: &Bench, report: &Value) -> Value {
        bench.ok(&self.session, Ask::post("/agent/v1/sync").json(report))
    }

    /// Sends an empty list of what is on the disk, for snapshot `number`, and says that the file system holds still for it.
    #[track_caller]
    pub(crate) fn hold_still(&self, bench: &Bench, number: u64) {
        let list = json!({"snapshot": number, "part": 0, "parts": 1, "data": ""});
        bench.ok(&self.session, Ask::post("/agent/v1/contents").json(&list));
        let mut still = report("ready");
        still["frozen"] = json!(number);
        self.sync(bench, &still);
    }

    /// Ships lines of the job's log, all of one moment.
    #[track_caller]
    pub(crate) fn log(&self, bench: &Bench, sequence: u64, lines: &[&str]) {
        let at = bench.world.now().to_string();
        let lines = lines.iter().map(|text| json!({"at": at, "stream": "stdout", "text": text})).collect::<Vec<_>>();
        bench.ok(&self.session, Ask::post("/agent/v1/logs").json(&json!({"sequence": sequence, "lines": lines})));
    }
}

/// What an agent reports whose command runs.
pub(crate) fn report(progress: &str) -> Value {
    json!({
        "applied": 0, "progress": progress, "main": {"state": "running"}, "jupyter": {"state": "off"}, "notes": [],
        "next_session": null
    })
}

/// Credentials that the identity service takes, as `name`.
pub(crate) fn credentials(name: &str) -> Value {
    json!({
        "aws_access_key_id": "ASIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_session_token": format!("local:{name}")
    })
}

/// A presigned request of `name`'s that was signed at `at`, as a client writes it.
pub(crate) fn presigned(name: &str, at: domain::Timestamp) -> cloud::Presigned {
    cloud::Presigned {
        access_key_id: Secret::new("ASIAIOSFODNN7EXAMPLE"),
        region: "eu-central-1".into(),
        date: amz_date(at),
        security_token: Secret::new(format!("local:{name}")),
        expires: 60,
        signed_headers: signed_headers(SERVER_ID),
        signature: Secret::new(Secret::new(format!("{name} at {at}")).hash().as_str()),
    }
}

/// The smallest job: one A10G for an hour.
pub(crate) fn small() -> Value {
    json!({"image": "busybox", "instance_type": "g5.xlarge", "duration_hours": 1})
}

/// Asks a plane, as part of a task or by itself.
pub(crate) async fn answer(router: axum::Router, ask: Ask) -> Answer {
    let response = router.oneshot(ask.request()).await.expect("routers are infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}
