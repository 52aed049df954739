//! Laws: what must hold whatever happens, over the real handlers and a simulated cloud.
//!
//! | Where | What |
//! |---|---|
//! | [`harness`], [`launches`], [`agents`], [`people`] | the platform around the handlers: deliveries, launches, instances with agents, users |
//! | [`wire`], [`secrets`] | ears: which rows a write touched, which secret was seen in the open |
//! | [`invariants`] | the laws of every step and every sweep: I1 to I7 |
//! | [`at_once`] | the laws about one event, as it happens: I8, I9, I16 to I19, I22 |
//! | [`at_rest`] | the laws of a whole history: I5, I8, I22 to I24 |
//! | [`inventory`] | I25: every port's methods, and scenes in which what they make is left behind and found |
//! | [`random`], [`turns`] | random schedules and what happens in them; how to replay one and how to soak |
//! | [`single`] | every single fault at every call of every workflow, held to `tests/faults.txt` |
//! | [`disks`] | the laws about disks, I10 to I15, with schedules and single faults of their own |
//! | [`nodes`] | schedules with nodes among the jobs: idle stops, silence, terminations and purges |
//! | [`mutants`] | bugs that are sown, and must be caught by the laws that are about them |
//!
//! A step is what happens between two fault points. After each one, whatever it wrote, answered or logged is checked, with everything that
//! runs. What says that something must have happened by then is checked after each sweep of a calm world, and when the world has come
//! to rest, twice a schedule: ten virtual minutes after faults end, and when every job is over.
//!
//! Not here yet: inference (I21), which does not exist; I20, that a sealed text opens only where it belongs, is a
//! test beside the vault.

mod agents;
mod at_once;
mod at_rest;
mod disks;
mod harness;
mod invariants;
mod inventory;
mod launches;
pub(crate) mod mutants;
mod nodes;
mod people;
mod random;
pub(crate) mod secrets;
mod single;
mod turns;
pub(crate) mod wire;
