//! What somebody wants to run, and on what.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    DiskId, PoolId, Secret, UserName,
    credential::{CredentialId, Provider},
    gpu::Gpu,
    model::ModelKind,
    names::{DiskName, EnvName, GithubName, ImageName, JobName, ModelName, RegionName},
    policy,
    price::Price,
    ssh::PublicKey,
};

/// What a workload is to be. It never changes after the submit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The container image.
    pub image: ImageName,
    /// The machine type's name, as it was asked for.
    pub instance_type: String,
    /// The type of GPU.
    pub gpu: Gpu,
    /// How many of them, all on one node.
    pub gpu_count: u32,
    /// Where it queues.
    pub pool: PoolId,
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<JobName>,
    /// The owner's name at GitHub, whose keys open the way in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_user: Option<GithubName>,
    /// Higher goes first.
    pub priority: u8,
    /// What an hour of one of its GPUs costs, as it was when it was asked for: what is changed later is for others.
    #[serde(default)]
    pub gpu_hour: Price,
    /// End when the main process ends, rather than when the time is over.
    pub end_on_exit: bool,
    /// The disk that it needs. A named disk is never replaced by something that goes with the machine (invariant I15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskUse>,
    /// The model that it serves: it is a node or an instance then, and no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<ModelServe>,
}

/// A model that a workload serves, and what was asked for with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelServe {
    /// The name under which it answers.
    pub model: ModelName,
    /// Where its weights come from: its id at Hugging Face.
    pub huggingface_id: ModelName,
    /// What it is for.
    #[serde(default)]
    pub kind: ModelKind,
    /// The most tokens of a request and its answer together.
    pub context_length: u32,
    /// The provider that was asked for; one machine stands for any.
    pub provider: Provider,
    /// The region that was asked for, likewise.
    pub region: RegionName,
    /// The tenant's own credential, in whose account it runs; the installation's own account where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// Who of the tenant asked for it: a person's name, or `key-` and a key's id.
    #[serde(default)]
    pub asked_by: String,
    /// Capacity that may be taken back at any time was asked for, and no other.
    #[serde(default)]
    pub use_spot: bool,
    /// It ends by itself when nobody has used it for so many minutes; `None` lets it run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_minutes: Option<u32>,
}

/// A disk that a workload needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// The disk, whatever it is called by now.
    pub id: DiskId,
    /// What it was called when it was asked for, for people.
    pub name: DiskName,
    /// How much room there must be on it at least, in GB; 0 for as much as it has.
    #[serde(default)]
    pub size_gb: u32,
}

/// The parts of a submit that are large or secret: sealed, and kept beside the workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Particulars {
    /// The user's own command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Secret>,
    /// The user's environment.
    pub env: BTreeMap<EnvName, Secret>,
}

/// Who may come in by SSH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Keys given in the submit; they belong to the owner.
    pub keys: Vec<PublicKey>,
    /// People named by their GitHub names, the owner's own among them.
    pub github: BTreeMap<GithubName, Fetch>,
}

/// What GitHub said about somebody's keys. They are asked for when the person is added, and again only when the person is added again: a
/// name that later belongs to somebody else opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Fetch {
    /// Nobody has asked yet.
    Wanted,
    /// These are the keys.
    Fetched {
        /// At most [`crate::policy::MOST_KEYS`].
        keys: Vec<PublicKey>,
    },
    /// They are to be asked for again; until then these open the way in.
    Again {
        /// What GitHub said the last time.
        keys: Vec<PublicKey>,
    },
    /// There are none to be had.
    Failed {
        /// Why, for the owner.
        error: String,
    },
}

impl Fetch {
    /// As it is when the person is added: whoever is in stays in while GitHub is asked again.
    #[must_use]
    pub fn asked_again(before: Option<Self>) -> Self {
        match before {
            Some(Self::Fetched { keys } | Self::Again { keys }) => Self::Again { keys },
            Some(Self::Wanted | Self::Failed { .. }) | None => Self::Wanted,
        }
    }

    /// Whether GitHub is to be asked.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted | Self::Again { .. })
    }
}

impl People {
    /// Whether this is more than is kept for one job; a row of DynamoDB holds 400 KB.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let of = |keys: &[PublicKey]| keys.iter().map(|key| key.as_str().len() + 8).sum::<usize>();
        let fetched = self.github.values().map(|fetch| match fetch {
            Fetch::Fetched { keys } | Fetch::Again { keys } => of(keys),
            Fetch::Wanted | Fetch::Failed { .. } => 0,
        });
        of(&self.keys) + fetched.sum::<usize>() > policy::LARGEST_PEOPLE
    }

    /// Whose keys are still to be asked for.
    pub fn wanted(&self) -> impl Iterator<Item = &GithubName> {
        self.github.iter().filter(|(_, fetch)| fetch.is_wanted()).map(|(name, _)| name)
    }

    /// Everybody with a key, in the form in which an agent is told.
    #[must_use]
    pub fn for_agent(&self, owner: &UserName) -> Vec<crate::agent::User> {
        let user = |name: &str, keys: &[PublicKey]| crate::agent::User {
            name: name.to_owned(),
            keys: keys.iter().map(|key| key.as_str().to_owned()).collect(),
        };
        let own = (!self.keys.is_empty()).then(|| user(owner.as_str(), &self.keys));
        let fetched = self.github.iter().filter_map(|(name, fetch)| match fetch {
            Fetch::Fetched { keys } | Fetch::Again { keys } => Some(user(name.as_str(), keys)),
            Fetch::Wanted | Fetch::Failed { .. } => None,
        });
        own.into_iter().chain(fetched).collect()
    }
}

/// A length of time that callers give in hours, with fractions: kept in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hours {
    seconds: u32,
}

impl Spec {
    /// What its timeline begins with.
    pub(crate) fn submitted(&self) -> String {
        let gpus = format!("{} GPU(s) of type {}", self.gpu_count, self.gpu);
        let Some(ModelServe { model, provider, region, use_spot, .. }) = &self.serve else {
            return format!("Submitted for {gpus}");
        };
        let (model, spot) = (model.as_str(), if *use_spot { ", on spot capacity" } else { "" });
        format!("Submitted for {gpus} at {} {}{spot}, to serve {model}", provider.name(), region.as_str())
    }
}

impl ModelServe {
    /// As the workload's agent is told it, which serves it on so many GPUs.
    #[must_use]
    pub fn for_agent(&self, gpus: u32) -> crate::agent::Serve {
        crate::agent::Serve {
            served_name: self.model.as_str().to_owned(),
            source: self.huggingface_id.as_str().to_owned(),
            kind: self.kind,
            context_length: self.context_length,
            gpus,
        }
    }
}

impl Hours {
    /// So many whole hours.
    #[must_use]
    pub const fn whole(hours: u32) -> Self {
        Self { seconds: hours.saturating_mul(3600) }
    }

    /// Reads a caller's number; `None` when it is not positive or longer than ten years.
    #[must_use]
    pub fn from_number(hours: f64) -> Option<Self> {
        let seconds = (hours * 3600.0).round();
        if !(1.0..=315_360_000.0).contains(&seconds) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
        let seconds = seconds as u32;
        Some(Self { seconds })
    }

    /// As a number of hours.
    #[must_use]
    pub fn number(self) -> f64 {
        f64::from(self.seconds) / 3600.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }

    /// Together with `more`.
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self { seconds: self.seconds.saturating_add(more.seconds) }
    }

    /// What is left of this after `used`.
    #[must_use]
    pub const fn minus(self, used: Self) -> Self {
        Self { seconds: self.seconds.saturating_sub(used.seconds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours() {
        for (number, expected) in [
            (1.0, Some(3600)),
            (0.5, Some(1800)),
            (0.0, None),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1e300, None),
        ] {
            assert_eq!(Hours::from_number(number).map(|hours| hours.seconds), expected, "{number}");
        }
        assert!((Hours::whole(2).plus(Hours::from_number(0.25).unwrap()).number() - 2.25).abs() < 1e-9);
        assert_eq!(Hours::whole(1).minus(Hours::whole(2)).duration(), Duration::ZERO);
    }
}
