//! GPU jobs: submit one, watch it, work in it, share it, end it. One file an operation.

mod action;
mod add_user;
mod cancel_job;
mod disable_jupyter;
mod enable_jupyter;
mod extend_job;
mod get_job;
mod get_job_events;
mod get_job_logs;
mod id;
mod list_jobs;
mod remove_user;
mod submit_job;
mod view;

use utoipa_axum::{router::OpenApiRouter, routes};
use web::Plane;

/// Every operation of this surface.
#[must_use]
pub fn routes() -> OpenApiRouter<Plane> {
    OpenApiRouter::new()
        .routes(routes!(submit_job::submit_job))
        .routes(routes!(list_jobs::list_jobs))
        .routes(routes!(get_job::get_job))
        .routes(routes!(cancel_job::cancel_job))
        .routes(routes!(extend_job::extend_job))
        .routes(routes!(enable_jupyter::enable_jupyter))
        .routes(routes!(disable_jupyter::disable_jupyter))
        .routes(routes!(add_user::add_user))
        .routes(routes!(remove_user::remove_user))
        .routes(routes!(get_job_logs::get_job_logs))
        .routes(routes!(get_job_events::get_job_events))
}
