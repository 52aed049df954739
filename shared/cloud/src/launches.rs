//! The launch state machine, `infra/launch.asl.json`.

use async_trait::async_trait;
use domain::{Secret, TenantId, WorkloadId};
use serde::{Deserialize, Serialize};

use crate::PortError;

/// What a waiting step of a launch is completed with; good for one completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskToken(pub Secret);

/// A launch's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// The workload's tenant.
    pub tenant: TenantId,
    /// The workload to launch.
    pub workload: WorkloadId,
}

/// Runs launches.
#[async_trait]
pub trait Launches: Send + Sync {
    /// Starts the launch of a workload. Its name is the workload's id: a launch that was started before goes on undisturbed.
    ///
    /// # Errors
    /// When it is not known to have been started; starting it again does no harm.
    async fn start(&self, launch: &Launch) -> Result<(), PortError>;

    /// Completes the step that waits with this token. A token that was used, or whose step is over, is no error: reports are repeated.
    ///
    /// # Errors
    /// When the completion is not known to have been taken; repeating it does no harm.
    async fn complete(&self, token: &TaskToken) -> Result<(), PortError>;

    /// Fails the step that waits with this token: the launch is undone. As with [`Launches::complete`], a used token is no error.
    ///
    /// # Errors
    /// When the failure is not known to have been taken; repeating it does no harm.
    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError>;
}
