//! The fleet against an API server that is made for these tests, and that server against what Kubernetes promises.

mod contract;
mod fake;
