//! Every function of an installation.

use std::time::Duration;

use domain::message::QueueName;

use web::surface::PAGES;

use crate::support::operations::operations;

/// What calls a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// API Gateway, with this method and path; `streams` says that the answer may be a stream.
    Http { method: String, path: String, streams: bool },
    /// API Gateway, with a GET of any of these paths: pages, whose answers are streams.
    Pages(Vec<String>),
    /// A queue.
    Queue(QueueName),
    /// A state of the launch.
    Step,
    /// The clock, each time that so many minutes are over.
    Clock { minutes: u32 },
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name, which is its handler's.
    pub(crate) name: String,
    /// The crate whose program it is.
    pub(crate) surface: String,
    pub(crate) trigger: Trigger,
}

impl Function {
    /// How long one invocation may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(match &self.trigger {
            // A stream ends by itself after ten minutes at the latest (`web::stream`).
            Trigger::Http { streams: true, .. } => 660,
            // API Gateway waits for 29 seconds.
            Trigger::Http { .. } | Trigger::Pages(_) => 28,
            Trigger::Queue(_) => 120,
            // Each Task of the launch has 120 seconds.
            Trigger::Step => 110,
            Trigger::Clock { .. } => 300,
        })
    }
}

/// Every function, in the order of their names.
pub(crate) fn all() -> Vec<Function> {
    let mut functions = http();
    functions.extend(pages());
    functions.extend(workers());
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    functions
}

fn http() -> Vec<Function> {
    let tails = slipway::surfaces().iter().flat_map(web::Surface::tails).collect::<Vec<_>>();
    let surfaces = slipway::surfaces().into_iter().map(|surface| (surface.name(), surface.operation_ids()));
    let surfaces = surfaces.collect::<Vec<_>>();
    let function = |operation: crate::support::operations::Operation| {
        let of = surfaces.iter().find(|(_, ids)| ids.contains(&operation.id)).expect("an operation of a surface");
        let streams = operation.described["responses"]["200"]["content"].get("text/event-stream").is_some();
        let below = |path: String, tail: &String| path.replace(&format!("{{{tail}}}"), &format!("{{{tail}+}}"));
        let path = tails.iter().fold(operation.path.clone(), below);
        let trigger = Trigger::Http { method: operation.method.to_string(), path, streams };
        Function { name: operation.pascal(), surface: of.0.to_owned(), trigger }
    };
    operations().into_iter().map(function).collect()
}

/// A function for the pages of each surface that has any.
fn pages() -> Vec<Function> {
    let paths = |surface: &web::Surface| surface.page_paths().into_iter().filter_map(gateways).collect::<Vec<_>>();
    let surfaces = slipway::surfaces().into_iter().map(|surface| (surface.name(), paths(&surface)));
    let with_pages = surfaces.filter(|(_, paths)| !paths.is_empty());
    let function = |(surface, paths): (&str, _)| Function {
        name: PAGES.into(),
        surface: surface.into(),
        trigger: Trigger::Pages(paths),
    };
    with_pages.map(function).collect()
}

/// A page's path as API Gateway writes it, where all that is below is `{name+}`; none for one that ends with a slash, which it has not.
fn gateways(path: &str) -> Option<String> {
    (!path.ends_with('/')).then(|| match path.split_once("{*") {
        Some((folder, name)) => format!("{folder}{{{}+}}", name.trim_end_matches('}')),
        None => path.to_owned(),
    })
}

fn workers() -> Vec<Function> {
    let worker = |name: &str, surface: &str, trigger| Function { name: name.into(), surface: surface.into(), trigger };
    let (each_minute, seldom) = (Trigger::Clock { minutes: 1 }, Trigger::Clock { minutes: 5 });
    let mut workers = vec![
        worker("Dispatcher", "dispatcher", Trigger::Queue(QueueName::Doorbells)),
        worker("Reconciler", "launcher", Trigger::Queue(QueueName::Reconciles)),
        worker("DiskWorker", "disk-worker", Trigger::Queue(QueueName::Disks)),
        worker("DiskSweep", "disk-worker", each_minute.clone()),
        worker("DiskOrphans", "disk-worker", seldom.clone()),
        worker("Sweeper", "sweeper", each_minute.clone()),
        worker("Orphans", "sweeper", each_minute.clone()),
        worker("Nodes", "sweeper", each_minute.clone()),
        worker("Meters", "sweeper", seldom),
        worker("Tenants", "sweeper", each_minute),
    ];
    workers.extend(launcher::FUNCTIONS.map(|(function, _)| worker(function, "launcher", Trigger::Step)));
    workers
}
