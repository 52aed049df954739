//! Everything that an operation or a worker may touch.

use std::sync::Arc;

use cloud::Ports;
use domain::{PoolId, SecretHash, gpu::Gpu, identity::LoginTable, message::Message, policy::Policy, workload::Change};

use crate::{
    Store, StoreError,
    workloads::{OutboxKey, Write},
};

/// The tables, the ports and the settings.
#[derive(Clone)]
pub struct Plane {
    /// The tables.
    pub store: Store,
    /// The world.
    pub ports: Ports,
    /// What this installation allows and offers.
    pub settings: Arc<Settings>,
}

/// What an installation allows and offers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The version that is shown.
    pub version: &'static str,
    /// Limits.
    pub policy: Policy,
    /// Who may log in.
    pub login: LoginTable,
    /// The pools that are offered.
    pub pools: Vec<Pool>,
    /// The hash of the admin's token.
    pub admin_token: SecretHash,
    /// How often an agent says how it is, in milliseconds: while its workload is launched, and later.
    pub sync_ms: (u64, u64),
}

/// A pool that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// Its type of GPU.
    pub gpu: Gpu,
    /// The most GPUs that one workload can have.
    pub max_per_node: u32,
}

impl Plane {
    /// Writes what was decided and sends its messages.
    ///
    /// Once the write is acknowledged the messages are sure to be sent: what fails here is sent by the sweep.
    ///
    /// # Errors
    /// When nothing was written; see [`Store::write`].
    pub async fn commit(&self, write: &Write<'_>) -> Result<(), StoreError> {
        self.store.write(write).await?;
        for change in write.changes {
            if let Some(outbox) = change.outbox.as_ref().filter(|outbox| !outbox.messages.is_empty())
                && let Err(error) = self.relay(&OutboxKey::of(&change.workload), &outbox.messages).await
            {
                tracing::warn!(workload = %change.workload.id, %error, "outbox.left_to_the_sweep");
            }
        }
        Ok(())
    }

    /// Writes one change and sends its messages.
    ///
    /// # Errors
    /// When nothing was written; see [`Store::write`].
    pub async fn commit_one(&self, change: Change) -> Result<(), StoreError> {
        self.commit(&Write::of(&[change])).await
    }

    /// Sends the messages of an outbox and marks it as sent.
    ///
    /// # Errors
    /// When they may not have been sent; sending them again does no harm.
    pub async fn relay(&self, key: &OutboxKey, messages: &[Message]) -> Result<(), WorkError> {
        for message in messages {
            self.ports.queue.send(message).await?;
        }
        Ok(self.store.sent(key).await?)
    }

    /// Rings a pool's doorbell. A lost one is rung again by the sweep, so that this never fails its caller.
    pub async fn ring(&self, pool: &PoolId) {
        if let Err(error) = self.ports.queue.send(&Message::Doorbell { pool: pool.clone() }).await {
            tracing::warn!(%pool, %error, "doorbell.left_to_the_sweep");
        }
    }
}

/// A worker could not finish. Its message comes back, and it begins again from what the tables say.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A port failed.
    #[error(transparent)]
    Port(#[from] cloud::PortError),
    /// The tables failed, or the row moved too often.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something sealed does not open, or the key service is away.
    #[error(transparent)]
    Vault(#[from] cloud::VaultError),
}
