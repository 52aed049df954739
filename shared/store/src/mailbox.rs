//! What managed services keep on AWS and the local plane keeps here: queued messages and running launches.

use domain::{
    Timestamp,
    message::{Message, QueueName},
    policy,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Store, StoreError, Table,
    items::{number, row, value},
    requests::Range,
};

/// A message that waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Sorts messages by the time of their sending.
    pub id: String,
    /// The message.
    pub message: Message,
    /// How often its consumer failed.
    pub failures: u32,
}

/// A stored document under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    name: String,
    body: String,
}

fn queue_pk(queue: QueueName) -> String {
    format!("queue#{}", queue.name())
}

fn dead_pk(queue: QueueName) -> String {
    format!("dead#{}", queue.name())
}

const LAUNCHES: &str = "launches";

impl Store {
    /// Puts a message into its queue, or writes how often its consumer failed.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn enqueue(&self, letter: &Letter) -> Result<(), StoreError> {
        self.put_row(Table::Local, row((&queue_pk(letter.message.queue()), &letter.id), letter)?).await
    }

    /// Takes a processed message out of its queue.
    ///
    /// # Errors
    /// When the tables fail; the message then comes again.
    pub async fn dequeue(&self, letter: &Letter) -> Result<(), StoreError> {
        self.delete_row(Table::Local, (&queue_pk(letter.message.queue()), &letter.id)).await
    }

    /// Every message of a queue, oldest first.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn letters(&self, queue: QueueName) -> Result<Vec<Letter>, StoreError> {
        let pk = queue_pk(queue);
        self.all(Table::Local, &Range { hash: ("pk", &pk), ..Range::default() }).await?.into_iter().map(value).collect()
    }

    /// Puts a message with the dead letters, where it is kept for a while ([`policy::DEAD_LETTER_TTL`]), and out of its queue.
    ///
    /// # Errors
    /// When the tables fail; the message then comes again.
    pub async fn bury(&self, letter: &Letter, now: Timestamp) -> Result<(), StoreError> {
        let mut item = row((&dead_pk(letter.message.queue()), &letter.id), letter)?;
        item.insert("ttl".to_owned(), number(now.plus(policy::DEAD_LETTER_TTL).seconds()));
        // In this order it may for a moment lie in both places, but never in none.
        self.put_row(Table::Local, item).await?;
        self.dequeue(letter).await
    }

    /// A queue's dead letters, oldest first.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn dead_letters(&self, queue: QueueName) -> Result<Vec<Letter>, StoreError> {
        let pk = dead_pk(queue);
        self.all(Table::Local, &Range { hash: ("pk", &pk), ..Range::default() }).await?.into_iter().map(value).collect()
    }

    /// Keeps a launch's execution.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn keep_launch(&self, name: &str, execution: &Value) -> Result<(), StoreError> {
        let document = Document { name: name.to_owned(), body: execution.to_string() };
        self.put_row(Table::Local, row((LAUNCHES, name), &document)?).await
    }

    /// Keeps a new launch's execution; false when there is one of that name.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn begin_launch(&self, name: &str, execution: &Value) -> Result<bool, StoreError> {
        let document = Document { name: name.to_owned(), body: execution.to_string() };
        self.put_new(Table::Local, row((LAUNCHES, name), &document)?).await
    }

    /// Every launch's execution that is kept.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn launches(&self) -> Result<Vec<(String, Value)>, StoreError> {
        let range = Range { hash: ("pk", LAUNCHES), ..Range::default() };
        let parse = |item| {
            let Document { name, body } = value(item)?;
            let body = serde_json::from_str(&body).map_err(|error| StoreError::Broken(error.to_string()))?;
            Ok((name, body))
        };
        self.all(Table::Local, &range).await?.into_iter().map(parse).collect()
    }

    /// Forgets a launch's execution.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn forget_launch(&self, name: &str) -> Result<(), StoreError> {
        self.delete_row(Table::Local, (LAUNCHES, name)).await
    }
}
