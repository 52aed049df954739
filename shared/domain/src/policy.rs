//! Limits that an installation may set; the defaults are the references' (checklist K21) or ours where they are silent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lifecycle::State;

/// What users may ask for, and how long things may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The shortest job, in hours.
    pub shortest_hours: u32,
    /// The longest life of a job from its activation, extensions included, in hours.
    pub longest_hours: u32,
    /// What a job gets that names no duration, in hours.
    pub default_hours: u32,
    /// The highest priority that a user may ask for; it is also what a job gets that names none.
    pub highest_priority: u8,
    /// How many jobs of one user may wait and run at once.
    pub jobs_per_user: u32,
    /// How many nodes or instances one tenant may have that have not ended.
    #[serde(default = "nodes_per_tenant")]
    pub nodes_per_tenant: u32,
    /// How many disks one user may have, those included that are marked for deletion.
    pub disks_per_user: u32,
    /// How many people may be added to one job.
    pub users_per_job: usize,
    /// How long a key lives after a login or a rotation, in hours (1 to 168).
    pub key_ttl_hours: u32,
    /// How many streams of events one tenant may follow at once.
    #[serde(default = "ten")]
    pub streams_per_tenant: u32,
    /// How long a stream of events may last, in seconds (1 to 600). It ends by itself then, and its reader comes back. API Gateway cuts a
    /// stream after 15 minutes, and our own functions end a little after ten; but a function goes on, and keeps its tenant's place, when its
    /// reader is long gone, and a key that was revoked is asked for only when a reader comes back.
    #[serde(default = "two_minutes")]
    pub longest_stream_seconds: u32,
}

const fn ten() -> u32 {
    10
}

const fn two_minutes() -> u32 {
    120
}

/// What an installation that was configured before there were nodes has.
const fn nodes_per_tenant() -> u32 {
    100
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            shortest_hours: 1,
            longest_hours: 48,
            default_hours: 8,
            highest_priority: 50,
            jobs_per_user: 1_000,
            nodes_per_tenant: nodes_per_tenant(),
            disks_per_user: 100,
            users_per_job: 20,
            key_ttl_hours: 2,
            streams_per_tenant: ten(),
            longest_stream_seconds: two_minutes(),
        }
    }
}

/// The longest command line, in bytes. Linux takes 128 KiB for one argument.
pub const LONGEST_COMMAND: usize = 64 * 1024;

/// The largest environment that a job may bring, names and values together, in bytes.
pub const LARGEST_ENVIRONMENT: usize = 32 * 1024;

/// The most keys that may be given with a job.
pub const MOST_KEYS: usize = 50;

/// The most that the keys of all people of a job may take, in bytes.
pub const LARGEST_PEOPLE: usize = 256 * 1024;

/// The most that the command and the environment may take together when they are written as JSON, in bytes. Sealed they are a third
/// longer, and a row of DynamoDB holds 400 KB.
pub const LARGEST_PARTICULARS: usize = 192 * 1024;

/// A job's processes may finish for this long after its end (invariant I7).
pub const GRACE: Duration = Duration::from_secs(120);

/// What runs gets this long to end after a cancel or a failure.
pub const SHORT_GRACE: Duration = Duration::from_secs(20);

/// A launch that has not begun by then is started again, and messages that have not been sent by then are sent again: long enough for
/// whoever is at it to finish, and no longer. Doing either twice does no harm.
pub const SECOND_TRY: Duration = Duration::from_secs(5);

/// An active workload is looked at this often even when nothing is due, in case that what it runs on went away and nobody said so.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// An open-ended workload whose agent was not heard for so long is looked at once more, and then ended (design.md, section 4).
pub const SILENCE: Duration = Duration::from_secs(3600);

/// How long after the first look the second one comes: longer than any agent waits between two calls, so that one that is there is heard
/// in between, even where one of its calls is lost.
pub const SECOND_LOOK: Duration = Duration::from_secs(10 * 60);

/// That the agent of an open-ended workload was heard is written down this often at most: no more than one look of the sweep, so that
/// nobody is ended who was silent for less than [`SILENCE`].
pub const HEARD_AGAIN: Duration = LOOK_AGAIN;

/// A node may be left alone for so many minutes at least and at most before it ends by itself.
pub const IDLE_MINUTES: std::ops::RangeInclusive<u32> = 1..=7 * 24 * 60;

/// Two hosts' clocks may be this far apart: a job that leaves so shortly before its end has come to its end.
pub const CLOCKS_APART: Duration = Duration::from_secs(15);

/// Owners are warned this many minutes before the end, longest first.
pub const WARNINGS: [u32; 3] = [30, 15, 5];

/// How long an answer to an idempotent request is kept.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 3600);

/// How often a message is tried before it is put with the dead letters. AWS's queues and the local ones do it alike.
pub const MOST_RECEIVES: u32 = 5;

/// How long a dead letter is kept for somebody to look at: as long as SQS can.
pub const DEAD_LETTER_TTL: Duration = Duration::from_secs(14 * 24 * 3600);

/// How long a presigned login is remembered after its use. It is good for at most two minutes by any one clock (its date may be a minute
/// ahead, and it lives for a minute); the rest is for clocks that differ.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(5 * 60);

/// A stream of events counts against its tenant's for so long after it last said that it is alive: a process that was killed gives its place
/// back by itself.
pub const STREAM_LEASE: Duration = Duration::from_secs(45);

/// How long a key that is over is still known as one, so that its holder is told so.
pub const DEAD_KEY_TTL: Duration = Duration::from_secs(24 * 3600);

/// How long a key lives that was given no end.
pub const ENDLESS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// So many wrong tries of an admin's credential from one address, in a window of so long; then even the right one is refused there until the
/// window is over.
pub const WRONG_TRIES: (u64, Duration) = (10, Duration::from_secs(15 * 60));

/// A request that was let in before a tenant was deleted is over by then: only then is looked for what it left.
pub const LAST_REQUESTS: Duration = Duration::from_secs(60);

/// How many keys a tenant may have that have not been taken back.
pub const KEYS_PER_TENANT: usize = 100;

/// How long a report of usage may be, in days, and how far back it may reach: a year, and the month after it.
pub const USAGE_DAYS: i64 = 397;
/// How long it is kept what an ended workload used: a day longer than a report reaches back.
pub const USAGE_TTL: Duration = Duration::from_secs(398 * 24 * 3600);

/// An hour's requests to models are summed up so long after it is over.
pub const HOUR_CLOSES: Duration = Duration::from_secs(15 * 60);

/// How long ended workloads, their timelines and logs are kept.
pub const HISTORY_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

/// The sizes that a disk may have, in GB.
pub const DISK_GB: std::ops::RangeInclusive<u32> = 10..=10_000;

/// How long a deleted disk can be had back (invariant I13).
pub const DISK_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a snapshot is kept, and how many are kept however old they are.
pub const SNAPSHOT_RETENTION: (Duration, usize) = (Duration::from_secs(7 * 24 * 3600), 3);

/// A disk that is waited for (a volume that comes off, a snapshot that is being made) is looked at this often.
pub const DISK_LOOK: Duration = Duration::from_secs(30);

/// What could not be tagged is tried again after this long.
pub const TAGS_AGAIN: Duration = Duration::from_secs(10 * 60);

/// A snapshot of a disk that is in use waits this long for the agent to freeze the file system, and is then taken as it is.
pub const FREEZE_WITHIN: Duration = Duration::from_secs(60);

/// How long a workload may stay in a state before the sweep moves it on; `None` where the end is known in another way (active:
/// `expires_at`) or where giving up would lie about what runs (draining: retried until the fleet says that nothing runs).
#[must_use]
pub const fn longest_stay(state: State) -> Option<Duration> {
    let minutes = match state {
        State::Queued => 48 * 60,
        State::Placed | State::HealthCheck => 10,
        State::Provisioning => 20,
        State::InstanceReady => 5,
        State::Installing => 30,
        State::ModelLoading => 60,
        State::Active | State::Draining | State::Ended => return None,
    };
    Some(Duration::from_secs(minutes * 60))
}
