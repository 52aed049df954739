//! What must never be seen: marks in everything that is secret, and an ear on the log.

use std::{
    cell::RefCell,
    fmt::{self, Write},
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Part of every secret that a simulated user gives.
pub(crate) const SECRET: &str = "SECRET-";

/// The first secret in a text: a user's, or a whole key, token or session of ours.
pub(crate) fn found_in(text: &str) -> Option<String> {
    if let Some(at) = text.find(SECRET) {
        return Some(text[at..].chars().take(24).collect());
    }
    ["swk_", "swe_", "sws_"].into_iter().find_map(|prefix| {
        let whole = |rest: &&str| rest.bytes().take(49).filter(u8::is_ascii_alphanumeric).count() == 49;
        let rest = text.split(prefix).skip(1).find(whole)?;
        Some(format!("{prefix}{}...", rest.chars().take(6).collect::<String>()))
    })
}

thread_local! {
    static LINES: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Everything that was logged in this thread since the last time.
pub(crate) fn take_log() -> String {
    LINES.with(RefCell::take)
}

/// Keeps what our own crates log at any level, and what others log at `info` and above, which is what a deployment shows: events, and
/// the fields of spans.
struct Ear;

/// Runs `work` while its thread's log is listened to.
pub(crate) fn listening<T>(work: impl FnOnce() -> T) -> T {
    tracing::dispatcher::with_default(&Dispatch::new(Ear), work)
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let foreign = ["aws_", "hyper", "h2", "axum", "tower"].iter().any(|name| metadata.target().starts_with(name));
        !foreign || *metadata.level() <= Level::INFO
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        LINES.with_borrow_mut(|lines| attributes.record(&mut Words(lines)));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        LINES.with_borrow_mut(|lines| values.record(&mut Words(lines)));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        LINES.with_borrow_mut(|lines| {
            event.record(&mut Words(lines));
            lines.push('\n');
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _written = write!(self.0, "{}={value:?} ", field.name());
    }
}

#[test]
fn events_and_spans_are_heard() {
    let secret = format!("{SECRET}x");
    let said: [(&str, &dyn Fn()); 4] = [
        ("an event", &|| tracing::info!(secret, "told")),
        ("an event's words", &|| tracing::debug!("told {secret}")),
        ("a span", &|| drop(tracing::info_span!("told", secret))),
        ("a span's later field", &|| {
            let span = tracing::info_span!("told", secret = tracing::field::Empty);
            span.record("secret", &*secret);
        }),
    ];
    for (name, say) in said {
        let log = listening(|| {
            drop(take_log());
            say();
            take_log()
        });
        assert!(found_in(&log).is_some(), "{name}: {log:?}");
    }
}
