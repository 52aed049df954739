//! What each surface promises, row by row of the checklist: tests are named by the rows' ids.

mod actions;
mod bad_input;
mod cluster;
mod contention;
mod credentials;
mod disks;
mod front;
pub(crate) mod inference;
mod jobs;
mod keys;
mod login;
mod nodes;
mod once;
mod operators;
mod output;
mod poison;
mod streams;
mod submit;
mod sweep;
mod tenants;

use serde_json::Value;

use crate::support::{
    drive::Bench,
    wire::{Answer, Ask, like},
};

/// Asks, and compares status and body to the letter; in `body` `<uuid>`, `<time>`, `<number>` and `<text>` stand for what differs from run
/// to run.
#[track_caller]
pub(crate) fn check(bench: &Bench, ask: Ask, status: u16, body: &Value) -> Answer {
    let what = format!("{} {} {}", ask.method, ask.path, String::from_utf8_lossy(&ask.body[..ask.body.len().min(200)]));
    let answer = bench.send(ask);
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    if let Err(difference) = like(&answer.json(), body) {
        panic!("{what}: the body differs at {difference}\nfound: {}", answer.text());
    }
    answer
}
