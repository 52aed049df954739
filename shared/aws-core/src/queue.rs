//! Messages to workers, over SQS.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_sqs::{
    Client, Config,
    config::{retry::RetryConfig, timeout::TimeoutConfig},
    types::QueueAttributeName,
};
use cloud::{Ids, PortError, Queue};
use domain::message::{Message, QueueName};
use futures::future::join_all;

use crate::port_error;

/// A health check that takes longer than this says no: whoever asks for it waits.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The queues of a deployment. A message's body is its JSON, and its group SQS's message group: in a FIFO queue what is kept in order,
/// in a standard one what fair queueing goes by.
pub struct SqsQueue {
    client: Client,
    urls: BTreeMap<QueueName, String>,
    ids: Arc<dyn Ids>,
}

impl SqsQueue {
    /// The queues at these URLs. A function is told only of those that it sends to.
    #[must_use]
    pub fn new(client: Client, urls: BTreeMap<QueueName, String>, ids: Arc<dyn Ids>) -> Self {
        Self { client, urls, ids }
    }

    async fn answers(&self, url: &str) -> bool {
        let soon = TimeoutConfig::builder().operation_timeout(HEALTH_TIMEOUT).build();
        let once = Config::builder().timeout_config(soon).retry_config(RetryConfig::disabled());
        let asked = self.client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::QueueArn);
        asked.customize().config_override(once).send().await.is_ok()
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        let queue = message.queue();
        let unknown = || PortError::Unavailable(format!("no URL is configured for the queue of {}", queue.name()));
        let url = self.urls.get(&queue).ok_or_else(unknown)?;
        let body = serde_json::to_string(message).map_err(|error| PortError::Unavailable(error.to_string()))?;
        let mut request =
            self.client.send_message().queue_url(url).message_body(body).message_group_id(message.group());
        if queue.is_fifo() {
            // SQS drops what it takes for a repetition within five minutes, and two doorbells look alike: the second may be about a
            // change that the worker of the first has not seen. Only the SDK's own retries of this one call share the id.
            request = request.message_deduplication_id(hex::encode(self.ids.random()));
        }
        request.send().await.map(drop).map_err(|error| port_error(&error))
    }

    async fn healthy(&self) -> bool {
        let answers = join_all(self.urls.values().map(|url| self.answers(url))).await;
        !answers.is_empty() && answers.into_iter().all(|answers| answers)
    }
}
