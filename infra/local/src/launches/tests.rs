use std::collections::VecDeque;

use cloud::{OsIds, SystemClock, sim::World};
use domain::{Secret, TenantId};
use store::embedded::Embedded;

use super::*;

const HANDLERS: [&str; 6] = ["Provision", "AttachDisk", "AwaitBoot", "AwaitReady", "Activate", "Undo"];

/// Answers as it was told to, and tells what it was asked.
struct Script {
    told: mpsc::UnboundedSender<(String, Value)>,
    answers: Mutex<BTreeMap<&'static str, VecDeque<Result<Value, TaskError>>>>,
}

#[async_trait]
impl Steps for Script {
    async fn step(&self, handler: &str, payload: Value) -> Result<Value, TaskError> {
        // A disk is a step like the others: nobody here needs one.
        if handler == "AttachDisk" {
            return Ok(json!({ "ready": true }));
        }
        self.told.send((handler.to_owned(), payload)).unwrap();
        let answer = self.answers.lock().unwrap().get_mut(handler).and_then(VecDeque::pop_front);
        match (handler, answer) {
            (_, Some(Err(error))) if error.error == "panic" => panic!("as it was told to"),
            (_, Some(Err(error))) if error.error == "hang" => std::future::pending().await,
            (_, Some(answer)) => answer,
            ("Provision", None) => Ok(json!({ "ready": true })),
            (_, None) => Ok(Value::Null),
        }
    }
}

struct Bench {
    store: Store,
    launches: LocalLaunches,
    told: mpsc::UnboundedReceiver<(String, Value)>,
}

impl Bench {
    async fn new(answers: &[(&'static str, Result<Value, TaskError>)]) -> Self {
        let store = Store::new(Embedded::in_memory().unwrap().client(), "", Arc::new(SystemClock), Arc::new(OsIds));
        store.create_tables().await.unwrap();
        Self::over(store, answers).await
    }

    /// A new life over the same tables.
    async fn over(store: Store, answers: &[(&'static str, Result<Value, TaskError>)]) -> Self {
        Self::at(Arc::new(SystemClock), store, answers).await
    }

    /// A life whose launches go by this clock.
    async fn at(clock: Arc<dyn Clock>, store: Store, answers: &[(&'static str, Result<Value, TaskError>)]) -> Self {
        let launches = LocalLaunches::new(store.clone(), clock, Arc::new(OsIds), &HANDLERS).unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let mut script = BTreeMap::<_, VecDeque<_>>::new();
        for (handler, answer) in answers {
            script.entry(*handler).or_default().push_back(answer.clone());
        }
        launches.run(Arc::new(Script { told: tell, answers: Mutex::new(script) })).await.unwrap();
        Self { store, launches, told }
    }

    async fn started(answers: &[(&'static str, Result<Value, TaskError>)]) -> Self {
        let bench = Self::new(answers).await;
        bench.launches.start(&launch()).await.unwrap();
        bench
    }

    /// The next call's handler and the token in its payload.
    async fn next(&mut self) -> (String, Option<TaskToken>) {
        let told = tokio::time::timeout(Duration::from_secs(10), self.told.recv()).await.expect("a call within 10 s");
        let (handler, payload) = told.unwrap();
        assert_eq!(payload["workload"], json!(launch().workload));
        (handler, payload["token"].as_str().map(|token| TaskToken(Secret::new(token))))
    }

    async fn expect(&mut self, handler: &str) -> Option<TaskToken> {
        let (called, token) = self.next().await;
        assert_eq!(called, handler);
        token
    }

    async fn over_by(&self) -> Value {
        for _ in 0..1_000 {
            if let Some((_, kept)) = self.store.launches().await.unwrap().pop()
                && kept["over_at"].is_string()
            {
                return kept;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the launch is not over");
    }
}

fn launch() -> Launch {
    Launch { tenant: TenantId::new("t"), workload: "01890000-0000-7000-8000-000000000001".parse().unwrap() }
}

#[tokio::test]
async fn a_launch_goes_through_and_is_begun_once() {
    let mut bench = Bench::started(&[]).await;
    bench.launches.start(&launch()).await.unwrap();
    bench.expect("Provision").await;
    let boot = bench.expect("AwaitBoot").await.unwrap();
    bench.launches.complete(&boot).await.unwrap();
    let ready = bench.expect("AwaitReady").await.unwrap();
    assert_ne!(boot, ready);
    // A token that was used changes nothing and is no error, and so is one of nobody's.
    for token in [boot.clone(), TaskToken(Secret::new("nonsense")), TaskToken(Secret::new("a.1.b"))] {
        bench.launches.complete(&token).await.unwrap();
    }
    bench.launches.complete(&ready).await.unwrap();
    bench.expect("Activate").await;
    let kept = bench.over_by().await;
    assert!(kept["execution"].is_null(), "nothing secret stays: {kept}");
    bench.launches.start(&launch()).await.unwrap();
    bench.launches.complete(&ready).await.unwrap();
    assert!(bench.told.try_recv().is_err());
    let mut later = Bench::over(bench.store.clone(), &[]).await;
    later.launches.start(&launch()).await.unwrap();
    later.launches.forget_old().await.unwrap();
    assert_eq!(later.store.launches().await.unwrap().len(), 1, "it is remembered for a while");
    assert!(later.told.try_recv().is_err());
}

#[tokio::test]
async fn failures_are_undone() {
    let mut bench = Bench::started(&[("Provision", Err(TaskError::new("Launch.Gone", "")))]).await;
    bench.expect("Provision").await;
    bench.expect("Undo").await;
    bench.over_by().await;
    let mut bench = Bench::started(&[]).await;
    bench.expect("Provision").await;
    let boot = bench.expect("AwaitBoot").await.unwrap();
    bench.launches.fail(&boot, "Agent.Left", "it left").await.unwrap();
    bench.expect("Undo").await;
    bench.over_by().await;
}

#[tokio::test]
async fn a_handler_that_dies_is_called_again() {
    let world = World::new(1);
    let begun = world.now();
    let store = Store::new(Embedded::in_memory().unwrap().client(), "", Arc::new(SystemClock), Arc::new(OsIds));
    store.create_tables().await.unwrap();
    let dies = [("Provision", Err(TaskError::new("panic", "")))];
    let mut bench = Bench::at(world.ports().clock, store, &dies).await;
    bench.launches.start(&launch()).await.unwrap();
    bench.expect("Provision").await;
    let (again, _) = loop {
        match bench.told.try_recv() {
            Ok(told) => break told,
            Err(_nothing) => world.move_to(world.now().plus(Duration::from_secs(1))),
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(again, "Provision");
    assert!(world.now().since(begun) < Duration::from_secs(60), "it was retried, and did not time out");
    bench.expect("AwaitBoot").await;
}

#[tokio::test]
async fn a_launch_goes_on_in_the_next_life() {
    let hang = || Err(TaskError::new("hang", ""));
    let mut first = Bench::started(&[("Provision", hang())]).await;
    first.expect("Provision").await;
    first.launches.stop().await;
    let mut second = Bench::over(first.store.clone(), &[]).await;
    second.launches.start(&launch()).await.unwrap();
    second.expect("Provision").await;
    let boot = second.expect("AwaitBoot").await.unwrap();
    second.launches.stop().await;
    assert!(second.launches.complete(&boot).await.is_err(), "a stopped launch takes no token");
    let mut third = Bench::over(second.store.clone(), &[]).await;
    third.launches.complete(&boot).await.unwrap();
    // It may or may not have been written that the handler had answered; either way the token counts.
    loop {
        match third.next().await {
            (handler, _) if handler == "AwaitBoot" => {}
            (handler, _) => break assert_eq!(handler, "AwaitReady"),
        }
    }
}

#[test]
fn the_handlers_are_the_documents() {
    let store = || Store::new(Embedded::in_memory().unwrap().client(), "", Arc::new(SystemClock), Arc::new(OsIds));
    let open =
        |handlers: &[&str]| LocalLaunches::new(store(), Arc::new(SystemClock), Arc::new(OsIds), handlers).map(drop);
    assert!(open(&HANDLERS).is_ok());
    assert!(matches!(open(&HANDLERS[1..]), Err(StartError::Handlers { .. })));
}
