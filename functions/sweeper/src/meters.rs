//! What is due of limits and of what models were asked.

use store::{Plane, WorkError};

/// Makes the sums of hours that are over, and counts as used what was leased of limits by gateways that are gone. What fails comes again.
///
/// # Errors
/// When an index of what is due could not be read; what was done until then is done.
pub async fn close_meters(plane: &Plane) -> Result<u32, WorkError> {
    let (now, mut done, mut mark) = (plane.ports.clock.now(), 0, None);
    loop {
        let (hours, next) = plane.store.due_hours(now, mark).await?;
        for (tenant, hour) in hours {
            match plane.store.close_hour(&tenant, hour).await {
                Ok(()) => done += 1,
                Err(error) => tracing::warn!(%tenant, %error, "meters.hour_not_closed"),
            }
        }
        match next {
            Some(_) => mark = next,
            None => break,
        }
    }
    let mut mark = None;
    loop {
        let (limits, next) = plane.store.due_limits(now, mark).await?;
        for id in limits {
            match plane.store.settle_abandoned(&id).await {
                Ok(()) => done += 1,
                Err(error) => tracing::warn!(%error, "meters.limit_not_settled"),
            }
        }
        match next {
            Some(_) => mark = next,
            None => return Ok(done),
        }
    }
}
