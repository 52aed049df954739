//! GPU jobs: submit one, watch it, work in it, share it, end it. One file an operation.

mod action;
mod add_user;
mod cancel_job;
mod disable_jupyter;
mod disk;
mod enable_jupyter;
mod extend_job;
mod get_job;
mod get_job_events;
mod get_job_logs;
mod id;
mod list_jobs;
mod remove_user;
mod stream_job_logs;
mod submit_job;
mod view;

use utoipa_axum::routes;
use web::{Surface, dialect::detail};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("jobs", detail)
        .operation(routes!(submit_job::submit_job))
        .operation(routes!(list_jobs::list_jobs))
        .operation(routes!(get_job::get_job))
        .operation(routes!(cancel_job::cancel_job))
        .operation(routes!(extend_job::extend_job))
        .operation(routes!(enable_jupyter::enable_jupyter))
        .operation(routes!(disable_jupyter::disable_jupyter))
        .operation(routes!(add_user::add_user))
        .operation(routes!(remove_user::remove_user))
        .operation(routes!(get_job_logs::get_job_logs))
        .operation(routes!(get_job_events::get_job_events))
        .operation(routes!(stream_job_logs::stream_job_logs))
}
