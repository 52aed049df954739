//! Disks: files that outlive the jobs that use them. One file an operation.

mod act;
mod branch_disk;
mod create_disk;
mod delete_disk;
mod get_disk;
mod get_disk_contents;
mod get_disk_operation;
mod list_disk_snapshots;
mod list_disks;
mod name;
mod rename_disk;
mod restore_disk;
mod snapshot_disk;
mod undelete_disk;
mod view;

use utoipa_axum::routes;
use web::{Surface, dialect::detail};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("disks", detail)
        .operation(routes!(create_disk::create_disk))
        .operation(routes!(list_disks::list_disks))
        .operation(routes!(get_disk::get_disk))
        .operation(routes!(delete_disk::delete_disk))
        .operation(routes!(get_disk_operation::get_disk_operation))
        .operation(routes!(rename_disk::rename_disk))
        .operation(routes!(list_disk_snapshots::list_disk_snapshots))
        .operation(routes!(snapshot_disk::snapshot_disk))
        .operation(routes!(branch_disk::branch_disk))
        .operation(routes!(restore_disk::restore_disk))
        .operation(routes!(undelete_disk::undelete_disk))
        .operation(routes!(get_disk_contents::get_disk_contents))
}
