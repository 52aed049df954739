//! What can go wrong with state.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row was changed since it was read: read again and decide again.
    #[error("the row was changed since it was read")]
    Moved,
    /// The idempotency key was used before: the stored answer, or what else is known of it.
    #[error("the idempotency key was used before")]
    Claimed(Box<crate::identities::Claimed>),
    /// The idempotency key was used before, for another request: its answer is not for this one.
    #[error("the idempotency key was used for another request")]
    ClaimedOtherwise,
    /// The node has not as many free GPUs as it had when the placement was decided.
    #[error("the node has no room any more")]
    NoRoom,
    /// The owner has a disk of this name.
    #[error("the name is taken")]
    NameTaken,
    /// The owner has as many disks as the limits allow.
    #[error("the owner has too many disks")]
    TooManyDisks,
    /// The tenant has as many credentials as it may.
    #[error("the tenant has too many credentials")]
    TooManyCredentials,
    /// The owner has as many live jobs as the limits allow.
    #[error("the owner has too many live jobs")]
    TooManyJobs,
    /// The tables answered only with conflicts and throttling, in every retry.
    #[error("the tables are too busy")]
    Contended,
    /// The tables did not answer, or made no sense. The text is for the log.
    #[error("the tables failed: {0}")]
    Broken(String),
}

/// How a failed request is to be treated.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Come again: nothing was done, or it is not known whether it was.
    Retry,
    /// The condition of a single write failed.
    Condition,
    /// Coming again would not help.
    Final(String),
}

/// The codes that mean *come again* (DynamoDB developer guide, "Error handling with DynamoDB").
const RETRYABLE: [&str; 8] = [
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

pub(crate) fn classify<E: ProvideErrorMetadata + std::fmt::Debug, R>(error: &SdkError<E, R>) -> Failure {
    match error {
        SdkError::ServiceError(answer) => match answer.err().code() {
            Some("ConditionalCheckFailedException") => Failure::Condition,
            Some(code) if RETRYABLE.contains(&code) => Failure::Retry,
            _ => Failure::Final(format!("{:?}", answer.err())),
        },
        SdkError::ConstructionFailure(_) => Failure::Final("the request could not be built".to_owned()),
        _ => Failure::Retry,
    }
}
