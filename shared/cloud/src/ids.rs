//! Randomness: the only file that asks the operating system for it.

use domain::{CredentialId, DiskId, KeyId, MessageId, OperationId, TenantId, Timestamp, WorkloadId};

/// Where identifiers and secrets come from.
pub trait Ids: Send + Sync {
    /// 256 fresh random bits.
    fn random(&self) -> [u8; 32];

    /// A fresh workload id, made at `at`.
    fn workload(&self, at: Timestamp) -> WorkloadId {
        WorkloadId::new(at, &self.random())
    }

    /// A fresh tenant id, made at `at`.
    fn tenant(&self, at: Timestamp) -> TenantId {
        TenantId::fresh(at, &self.random())
    }

    /// A fresh id of a tenant's key, made at `at`.
    fn key(&self, at: Timestamp) -> KeyId {
        KeyId::new(at, &self.random())
    }

    /// A fresh disk id, made at `at`.
    fn disk(&self, at: Timestamp) -> DiskId {
        DiskId::new(at, &self.random())
    }

    /// A fresh operation id, made at `at`.
    fn operation(&self, at: Timestamp) -> OperationId {
        OperationId::new(at, &self.random())
    }

    /// A fresh credential id, made at `at`.
    fn credential(&self, at: Timestamp) -> CredentialId {
        CredentialId::new(at, &self.random())
    }

    /// A fresh message id, made at `at`.
    fn message(&self, at: Timestamp) -> MessageId {
        MessageId::new(at, &self.random())
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsIds;

impl Ids for OsIds {
    /// # Panics
    /// When the operating system cannot give random bytes: nothing here may go on with guessable keys.
    #[expect(clippy::expect_used, reason = "a process without randomness must not issue keys")]
    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        bytes
    }
}
