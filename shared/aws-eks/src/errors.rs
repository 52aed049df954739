//! What the API server's refusals mean to a fleet.

use cloud::{FleetError, PortError, VolumeError};
use kube::core::Status;

/// What an answer means where nothing can be refused for good.
pub(crate) fn port(error: kube::Error) -> PortError {
    match error {
        kube::Error::Api(status) => port_status(&status),
        // The token's source speaks for itself.
        kube::Error::Service(source) => match source.downcast::<PortError>() {
            Ok(told) => *told,
            Err(source) => PortError::Unavailable(source.to_string()),
        },
        other => PortError::Unavailable(other.to_string()),
    }
}

fn port_status(status: &Status) -> PortError {
    if status.code == 429 {
        return PortError::Throttled;
    }
    PortError::Unavailable(format!("{} {}: {}", status.code, status.reason, status.message))
}

/// What an answer to a creation means.
pub(crate) fn fleet(error: kube::Error) -> FleetError {
    let kube::Error::Api(status) = &error else { return port(error).into() };
    let (code, text) = (status.code, status.message.clone());
    match code {
        403 if text.contains("exceeded quota") => FleetError::Capacity(text),
        // The cluster does not let us, whatever we ask for: whoever runs it can change that, and no job is to blame.
        403 if is_about_us(&text) => port(error).into(),
        // Admission said no; 413 is its word for too large.
        400 | 403 | 413 | 422 => FleetError::Refused(text),
        _ => port(error).into(),
    }
}

/// What an answer to the creation of something for a disk means. A quota that is used up may be free again.
pub(crate) fn volume(error: kube::Error) -> VolumeError {
    match fleet(error) {
        FleetError::Capacity(why) => PortError::Unavailable(why).into(),
        FleetError::Refused(why) => VolumeError::Refused(why),
        FleetError::Port(error) => error.into(),
    }
}

/// Whether the refusal is of our identity's rights (`User "x" cannot create resource "pods" ...`), not of what we sent.
fn is_about_us(text: &str) -> bool {
    text.contains("is forbidden: User \"") && text.contains("\" cannot ")
}

/// Whether the name is taken.
pub(crate) fn exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// Whether it changed since it was read.
pub(crate) fn conflicts(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

/// Whether it is not there.
pub(crate) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn each_refusal_has_one_meaning() {
        let quota = r#"pods "sw-1" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8, used: 8, limited: 8"#;
        let rights = r#"pods is forbidden: User "slipway" cannot create resource "pods" in API group "" in the namespace "jobs""#;
        let security =
            r#"pods "sw-1" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false"#;
        let hook = r#"admission webhook "images.example.com" denied the request: not from our registry"#;
        for (code, reason, message, meaning) in [
            (403, "Forbidden", quota, "capacity"),
            (403, "Forbidden", rights, "port"),
            (403, "Forbidden", security, "refused"),
            (403, "Forbidden", hook, "refused"),
            (400, "BadRequest", hook, "refused"),
            (422, "Invalid", "Pod is invalid: spec.containers[0].image: Required value", "refused"),
            (401, "Unauthorized", "Unauthorized", "port"),
            (404, "NotFound", r#"namespaces "jobs" not found"#, "port"),
            (409, "Conflict", "Operation cannot be fulfilled on resourcequotas \"gpus\"", "port"),
            (410, "Expired", "The provided continue parameter is too old", "port"),
            (429, "TooManyRequests", "the server has received too many requests", "throttled"),
            (500, "InternalError", "failed calling webhook", "port"),
            (503, "ServiceUnavailable", "etcd is not there", "port"),
            (504, "Timeout", "request did not complete within the allotted time", "port"),
        ] {
            let found = match fleet(status(code, reason, message)) {
                FleetError::Capacity(_) => "capacity",
                FleetError::Refused(_) => "refused",
                FleetError::Port(PortError::Throttled) => "throttled",
                FleetError::Port(PortError::Unavailable(_)) => "port",
            };
            assert_eq!(found, meaning, "{code} {message}");
        }
        let source = kube::Error::Service(Box::new(PortError::Throttled));
        assert_eq!(port(source), PortError::Throttled, "the source of tokens is a port as well");
    }
}
