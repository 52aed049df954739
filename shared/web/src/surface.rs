//! A surface: operations that share a dialect. Each can be mounted alone, which is how it becomes a function of its own.

use axum::{Router, middleware::map_response, response::Response, routing::MethodRouter};
use store::Plane;
use utoipa::openapi::{
    RefOr,
    path::{Operation, PathItem},
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

/// How a surface words what it refuses (checklist K4).
pub type Dialect = fn(Response) -> Response;

/// What a stream of events is called.
const STREAM: &str = "text/event-stream";

/// The function that answers with a surface's pages.
pub const PAGES: &str = "Docs";

/// The operations of one surface.
pub struct Surface {
    name: &'static str,
    dialect: Dialect,
    operations: Vec<UtoipaMethodRouter<Plane>>,
    pages: Vec<(&'static str, MethodRouter<Plane>)>,
}

impl Surface {
    /// A surface without operations.
    #[must_use]
    pub fn new(name: &'static str, dialect: Dialect) -> Self {
        Self { name, dialect, operations: Vec::new(), pages: Vec::new() }
    }

    /// With this operation as well, as `routes!` gives it.
    #[must_use]
    pub fn operation(mut self, operation: UtoipaMethodRouter<Plane>) -> Self {
        self.operations.push(operation);
        self
    }

    /// With a page for people, which is no operation.
    #[must_use]
    pub fn page(mut self, path: &'static str, page: MethodRouter<Plane>) -> Self {
        self.pages.push((path, page));
        self
    }

    /// Its name: that of its crate, its stack and its binary.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its operations' ids, in the order of the API document.
    #[must_use]
    pub fn operation_ids(&self) -> Vec<String> {
        self.operations.iter().filter_map(operation_id).collect()
    }

    /// The paths of its pages, as its router has them; `{*name}` stands for all that is below.
    #[must_use]
    pub fn page_paths(&self) -> Vec<&'static str> {
        self.pages.iter().map(|(path, _)| *path).collect()
    }

    /// The names of the parameters in its operations' paths that stand for all that is below: `{*name}` in its router, `{name}` in the API
    /// document, which has no word for that, and `{name+}` at a gateway.
    #[must_use]
    pub fn tails(&self) -> Vec<String> {
        let paths = self.operations.iter().flat_map(|(_, paths, _)| paths.paths.keys());
        let tail = |path: &String| Some(path.split_once("{*")?.1.trim_end_matches('}').to_owned());
        paths.filter_map(tail).collect()
    }

    /// The names of its functions: one an operation, and [`PAGES`] for its pages together.
    #[must_use]
    pub fn function_names(&self) -> Vec<String> {
        let pages = (!self.pages.is_empty()).then(|| PAGES.to_owned());
        self.operation_ids().iter().map(|id| function_name(id)).chain(pages).collect()
    }

    /// Whether its answers go out as streams: one of its operations answers with events; or it is pages alone, whose pictures a gateway
    /// would else take for text, or want in Base64.
    #[must_use]
    pub fn streams(&self) -> bool {
        let pages_alone = self.operations.is_empty() && !self.pages.is_empty();
        pages_alone || self.streams_events()
    }

    fn streams_events(&self) -> bool {
        self.operations.iter().flat_map(operations).any(|operation| {
            let answers = operation.responses.responses.values();
            answers.into_iter().any(|answer| matches!(answer, RefOr::T(answer) if answer.content.contains_key(STREAM)))
        })
    }

    /// Only what the function called `function` answers ([`Surface::function_names`]); `None` if there is none.
    #[must_use]
    pub fn only(mut self, function: &str) -> Option<Self> {
        self.operations.retain(|operation| operation_id(operation).is_some_and(|id| function_name(&id) == function));
        if function != PAGES {
            self.pages.clear();
        }
        (!self.operations.is_empty() || !self.pages.is_empty()).then_some(self)
    }

    /// Its routes with their part of the API document, whose refusals are worded in its dialect.
    #[must_use]
    pub fn router(self) -> OpenApiRouter<Plane> {
        let router = self.operations.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::routes);
        let pages = self.pages.into_iter().fold(Router::new(), |pages, (path, page)| pages.route(path, page));
        let dialect = self.dialect;
        router.merge(pages.into()).layer(map_response(move |response: Response| std::future::ready(dialect(response))))
    }
}

/// The name of an operation's function on AWS, and of its file in `events/`: `submit_job` is `SubmitJob`.
#[must_use]
pub fn function_name(operation_id: &str) -> String {
    let capital =
        |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>();
    operation_id.split('_').map(capital).collect()
}

fn operations((_, paths, _): &UtoipaMethodRouter<Plane>) -> impl Iterator<Item = &Operation> {
    paths.paths.values().flat_map(methods)
}

fn methods(item: &PathItem) -> impl Iterator<Item = &Operation> {
    [&item.get, &item.put, &item.post, &item.delete, &item.patch].into_iter().flatten()
}

fn operation_id(operation: &UtoipaMethodRouter<Plane>) -> Option<String> {
    operations(operation).find_map(|operation| operation.operation_id.clone())
}
