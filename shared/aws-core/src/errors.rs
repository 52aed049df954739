//! What the SDK's errors mean to a port, and how calls that carry secrets are kept out of the log.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use cloud::PortError;
use tracing::{
    instrument::{WithDispatch, WithSubscriber},
    subscriber::NoSubscriber,
};

/// The codes with which services say that they are asked too often: the SDK's own list of throttling errors, and the two with which
/// Step Functions and EC2 say that an account's limit on things under way is reached, which also passes by itself.
const THROTTLES: [&str; 16] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "ExecutionLimitExceeded",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
    "KmsThrottlingException",
];

/// The code that a service gave its refusal; `None` when there was no answer, or none that could be read.
pub fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// What happened, in words for the log. A service's own message may name accounts and resources: it is not for callers of the API.
pub fn words<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(answer) => {
            let (code, message) =
                (answer.err().code().unwrap_or("no code"), answer.err().message().unwrap_or_default());
            format!("{code}: {message}")
        }
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "no answer in time".to_owned(),
        SdkError::DispatchFailure(_) => "no connection".to_owned(),
        SdkError::ResponseError(_) => "an answer that cannot be read".to_owned(),
        _ => "the request could not be made".to_owned(),
    }
}

/// What a port says of a call that failed. Nothing in it tells whether the call had an effect: every call of a port can be repeated.
pub fn port_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> PortError {
    match code(error) {
        Some(code) if THROTTLES.contains(&code) => PortError::Throttled,
        _ => PortError::Unavailable(words(error)),
    }
}

/// Keeps everything that the SDK would log about a call out of the log: at the level `trace` it prints whole requests and answers, with
/// the tokens in them.
pub fn quietly<F: Future>(call: F) -> WithDispatch<F> {
    call.with_subscriber(NoSubscriber::new())
}
