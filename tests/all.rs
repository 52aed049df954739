//! Every test that is about more than one room: what surfaces promise, who may call what, laws over random schedules, what calls
//! cost, and that the documents in the repository are those of the code.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// The laws allocate hundreds of times in each of millions of calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod access;
mod aws;
mod costs;
mod drift;
mod journeys;
mod laws;
mod support;
mod surfaces;
