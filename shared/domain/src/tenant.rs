//! Tenants: who pays, what each may use, and how they come and go.
//!
//! ```text
//! active <-> suspended;  active, suspended -> deleting -> deleted
//! ```
//! A tenant that is deleted keeps its row, so that a key which outlived it still opens nothing.

use serde::{Deserialize, Serialize};

use crate::{
    TenantId, Timestamp,
    limits::Limits,
    names::{Email, TenantName},
};

/// Who owns what a tenant has as a whole, and not one of its people: a name that no person has, since none has a colon in it.
pub const ITSELF: &str = ":tenant";

/// The tenant that the installation's admins work for.
pub const PLATFORM: &str = "platform";

/// What a tenant pays for, cheapest first: each has what those before it have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Shared inference, usage, keys.
    #[default]
    Free,
    /// As free.
    Starter,
    /// With credentials and instances of its own.
    Pro,
    /// As pro.
    Enterprise,
}

impl Tier {
    /// Every tier, cheapest first.
    pub const ALL: [Self; 4] = [Self::Free, Self::Starter, Self::Pro, Self::Enterprise];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starter => "starter",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
        }
    }
}

/// Whether a tenant's keys open anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// They do.
    Active,
    /// They do not, until an admin says otherwise; what runs goes on.
    Suspended,
    /// They never will again; what runs is being ended.
    Deleting,
    /// It is gone: to whoever asks, it never was.
    Deleted,
}

impl TenantStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id: a UUID, or the name that a login table gave it.
    pub id: TenantId,
    /// Its name, for people.
    pub name: TenantName,
    /// Where to write to.
    pub email: Email,
    /// What it pays for.
    pub tier: Tier,
    /// Whether its keys open anything.
    pub status: TenantStatus,
    /// What it may ask of models.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows by one with each change.
    pub version: u64,
}

/// What an admin changes about a tenant; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantUpdate {
    /// Another name.
    pub name: Option<TenantName>,
    /// Another address.
    pub email: Option<Email>,
    /// Another tier.
    pub tier: Option<Tier>,
    /// Suspended, or active again.
    pub suspended: Option<bool>,
    /// Other limits.
    pub limits: Option<Limits>,
}

/// Why a tenant is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefusal {
    /// It is on its way out.
    #[error("The tenant is being deleted")]
    Leaving,
    /// Something of it still runs or waits.
    #[error("The tenant has {0} live workloads: end them first, or delete it with ?force=true")]
    Busy(u64),
}

impl Tenant {
    /// A tenant that was just asked for.
    #[must_use]
    pub fn create(id: TenantId, name: TenantName, email: Email, tier: Tier, now: Timestamp) -> Self {
        let status = TenantStatus::Active;
        Self { id, name, email, tier, status, limits: Limits::default(), created_at: now, updated_at: now, version: 1 }
    }

    /// Whether anybody is told of it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.status != TenantStatus::Deleted
    }

    /// As it is after an admin's update.
    ///
    /// # Errors
    /// [`TenantRefusal::Leaving`] when it is on its way out.
    pub fn update(&self, update: TenantUpdate, now: Timestamp) -> Result<Self, TenantRefusal> {
        let TenantUpdate { name, email, tier, suspended, limits } = update;
        let status = match (self.status, suspended) {
            (TenantStatus::Deleting | TenantStatus::Deleted, _) => return Err(TenantRefusal::Leaving),
            (_, Some(true)) => TenantStatus::Suspended,
            (_, Some(false)) => TenantStatus::Active,
            (status, None) => status,
        };
        Ok(Self {
            name: name.unwrap_or_else(|| self.name.clone()),
            email: email.unwrap_or_else(|| self.email.clone()),
            tier: tier.unwrap_or(self.tier),
            status,
            limits: limits.unwrap_or_else(|| self.limits.clone()),
            ..self.changed(now)
        })
    }

    /// As it is once nothing may be begun for it any more; it is gone when nothing of it runs ([`Tenant::gone`]).
    ///
    /// # Errors
    /// [`TenantRefusal::Leaving`] when it is already.
    pub fn leave(&self, now: Timestamp) -> Result<Self, TenantRefusal> {
        match self.status {
            TenantStatus::Active | TenantStatus::Suspended => {
                Ok(Self { status: TenantStatus::Deleting, ..self.changed(now) })
            }
            TenantStatus::Deleting | TenantStatus::Deleted => Err(TenantRefusal::Leaving),
        }
    }

    /// As it was before [`Tenant::leave`], when something of it turned out to be live: `before` is its status then.
    #[must_use]
    pub fn stay(&self, before: TenantStatus, now: Timestamp) -> Self {
        Self { status: before, ..self.changed(now) }
    }

    /// As it is when nothing of it is left.
    #[must_use]
    pub fn gone(&self, now: Timestamp) -> Self {
        Self { status: TenantStatus::Deleted, ..self.changed(now) }
    }

    fn changed(&self, now: Timestamp) -> Self {
        Self { updated_at: now, version: self.version + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(status: TenantStatus) -> Tenant {
        let (name, email) =
            (TenantName::parse("Test Organization").unwrap(), Email::parse("test@example.com").unwrap());
        let id = TenantId::new("550e8400-e29b-41d4-a716-446655440000");
        Tenant { status, ..Tenant::create(id, name, email, Tier::Free, Timestamp::from_millis(0)) }
    }

    #[test]
    fn tiers_are_in_order() {
        assert!(Tier::ALL.is_sorted() && Tier::default() == Tier::Free);
        assert_eq!(Tier::ALL.map(Tier::name), ["free", "starter", "pro", "enterprise"]);
    }

    #[test]
    fn a_tenants_life() {
        use TenantStatus as S;
        let now = Timestamp::from_millis(1_000);
        for (status, suspended, updated, left) in [
            (S::Active, None, Some(S::Active), true),
            (S::Active, Some(true), Some(S::Suspended), true),
            (S::Suspended, None, Some(S::Suspended), true),
            (S::Suspended, Some(false), Some(S::Active), true),
            (S::Deleting, Some(false), None, false),
            (S::Deleted, None, None, false),
        ] {
            let tenant = tenant(status);
            let update = TenantUpdate { suspended, tier: Some(Tier::Pro), ..TenantUpdate::default() };
            let found = tenant.update(update, now).ok();
            assert_eq!(found.as_ref().map(|found| found.status), updated, "{status:?} {suspended:?}");
            assert!(found.is_none_or(|found| found.tier == Tier::Pro && found.version == 2 && found.updated_at == now));
            assert_eq!(tenant.leave(now).map(|left| left.status).ok(), left.then_some(S::Deleting), "{status:?}");
        }
        let leaving = tenant(S::Suspended).leave(now).unwrap();
        assert_eq!(leaving.stay(S::Suspended, now).status, S::Suspended);
        assert!(leaving.is_there() && !leaving.gone(now).is_there());
    }
}
