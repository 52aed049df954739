//! Messages to workers.

use async_trait::async_trait;
use domain::message::Message;

use crate::PortError;

/// Where messages are handed over. Delivery is at least once, and in order within a group of a FIFO queue; a message whose consumer
/// fails comes back after its visibility time-out, and after several failures goes to the dead letters.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Hands over `message` to its queue (`Message::queue`) and group (`Message::group`).
    ///
    /// # Errors
    /// When it is not known to have been taken; sending it again does no harm.
    async fn send(&self, message: &Message) -> Result<(), PortError>;

    /// Whether messages can be handed over at present, for the health check.
    async fn healthy(&self) -> bool;
}
