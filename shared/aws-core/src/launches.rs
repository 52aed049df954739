//! The launch state machine, over Step Functions.

use async_trait::async_trait;
use aws_sdk_sfn::{
    Client,
    operation::{send_task_failure::SendTaskFailureError, send_task_success::SendTaskSuccessError},
};
use cloud::{Launches, PortError, TaskToken, launches::Launch};

use crate::{errors::quietly, port_error};

/// The longest error name that `SendTaskFailure` takes (Step Functions API reference). Counted in bytes here, which is never more than it
/// allows in characters.
const LONGEST_ERROR: usize = 256;

/// The longest cause that `SendTaskFailure` takes, counted likewise.
const LONGEST_CAUSE: usize = 32_768;

/// One state machine: `infra/launch.asl.json`, deployed as a Standard workflow.
pub struct StateMachine {
    client: Client,
    arn: String,
}

impl StateMachine {
    /// The state machine of this ARN.
    #[must_use]
    pub fn new(client: Client, arn: impl Into<String>) -> Self {
        Self { client, arn: arn.into() }
    }
}

/// The beginning of `text` that fits into `most` bytes, cut between characters.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[async_trait]
impl Launches for StateMachine {
    async fn start(&self, launch: &Launch) -> Result<(), PortError> {
        let input = serde_json::to_string(launch).map_err(|error| PortError::Unavailable(error.to_string()))?;
        let request = self.client.start_execution().state_machine_arn(&self.arn).input(input);
        // While an execution of this name and input runs, starting it again is answered like the first time; once it is over, its name is
        // taken for 90 days. Either way the launch was started, once.
        match request.name(launch.workload.to_string()).send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(refused) if refused.is_execution_already_exists() => Ok(()),
                _ => Err(port_error(&error)),
            },
        }
    }

    async fn complete(&self, token: &TaskToken) -> Result<(), PortError> {
        use SendTaskSuccessError::{InvalidToken, TaskDoesNotExist, TaskTimedOut};
        // Whoever has the token may end the step: it does not go to the log.
        let sent = quietly(self.client.send_task_success().task_token(token.0.reveal()).output("{}").send()).await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(InvalidToken(_) | TaskDoesNotExist(_) | TaskTimedOut(_)) => Ok(()),
                _ => Err(port_error(&error)),
            },
        }
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError> {
        use SendTaskFailureError::{InvalidToken, TaskDoesNotExist, TaskTimedOut};
        let request = self.client.send_task_failure().task_token(token.0.reveal());
        let request = request.error(cut(error, LONGEST_ERROR)).cause(cut(cause, LONGEST_CAUSE));
        match quietly(request.send()).await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(InvalidToken(_) | TaskDoesNotExist(_) | TaskTimedOut(_)) => Ok(()),
                _ => Err(port_error(&error)),
            },
        }
    }
}
