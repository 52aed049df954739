//! What EC2's answers about volumes and snapshots mean.

use aws_core::{
    errors::{code, words},
    port_error,
};
use aws_sdk_ec2::{
    error::{ProvideErrorMetadata, SdkError},
    types::{Snapshot, SnapshotState as Ec2State},
};
use cloud::{PortError, SnapshotState, VolumeError};

/// What a refusal with this code is told as, where repeating the call would not help (EC2 API reference, "Error codes").
fn refusal(code: &str) -> Option<&'static str> {
    Some(match code {
        "InvalidSnapshot.NotFound" => "its snapshot is not there any more",
        "InvalidVolume.NotFound" => "there is no such volume",
        "VolumeLimitExceeded" | "MaxIOPSLimitExceeded" => "the account may have no more volumes",
        "SnapshotLimitExceeded" => "the account may have no more snapshots",
        "TagLimitExceeded" => "it may have no more tags",
        "InvalidVolume.ZoneMismatch" => "its volume is in another zone than its machine",
        "AttachmentLimitExceeded" => "its machine may have no more volumes",
        _ => return None,
    })
}

/// What is said of a refusal that passes by itself: how many snapshots may be under way at once, and how much room a zone has.
fn passing(code: &str) -> Option<PortError> {
    let unavailable = |why: &str| Some(PortError::Unavailable(why.to_owned()));
    match code {
        "InsufficientVolumeCapacity" => unavailable("EC2 has no room for a volume in this zone now"),
        "ConcurrentSnapshotLimitExceeded" | "PendingSnapshotLimitExceeded" => {
            unavailable("too many snapshots are under way")
        }
        "SnapshotCreationPerVolumeRateExceeded" => Some(PortError::Throttled),
        // The snapshot that it is to be made of, or the volume that one is to be made of, is not ready yet.
        "IncorrectState" => unavailable("what it is about is not in the right state yet"),
        _ => None,
    }
}

/// What a call that failed means. A refusal that is not known is for good, as the fleet's is; its message may name what a disk's owner need not
/// know, and the reason of a refusal is told to them.
pub(super) fn failed<E: ProvideErrorMetadata>(error: &SdkError<E>) -> VolumeError {
    if port_error(error) == PortError::Throttled {
        return PortError::Throttled.into();
    }
    let Some(code) = code(error) else { return port_error(error).into() };
    if let Some(passing) = passing(code) {
        tracing::warn!(why = words(error), "volumes.later");
        return passing.into();
    }
    // The server failed, which says nothing of what was asked.
    if error.raw_response().is_none_or(|answer| answer.status().as_u16() >= 500) {
        return port_error(error).into();
    }
    tracing::error!(why = words(error), "volumes.refused");
    VolumeError::Refused(refusal(code).map_or_else(|| format!("EC2 refused it ({code})"), str::to_owned))
}

/// What is not there, as a port says it that can refuse nothing for good.
pub(super) fn gone_is_fine<T, E: ProvideErrorMetadata, R>(
    answer: Result<T, SdkError<E, R>>,
    gone: &str,
) -> Result<(), PortError> {
    match answer {
        Err(error) if code(&error) != Some(gone) => Err(port_error(&error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// How far a snapshot is. One in the recycle bin is not there any more, and a state that EC2 does not have yet is waited for.
pub(super) fn state(snapshot: &Snapshot) -> SnapshotState {
    match snapshot.state() {
        Some(Ec2State::Completed) => SnapshotState::Completed,
        Some(Ec2State::Error) => {
            let why = snapshot.state_message().filter(|why| !why.is_empty()).unwrap_or("EC2 does not say why");
            SnapshotState::Failed(why.to_owned())
        }
        Some(Ec2State::Recoverable) => SnapshotState::Failed("it was deleted".to_owned()),
        _ => SnapshotState::Pending,
    }
}
