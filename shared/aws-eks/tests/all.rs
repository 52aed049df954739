//! The fleet against an API server that is made for these tests, and that server against what Kubernetes promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod fake;
