//! `GET /v1/disks/{disk_name}/contents`

use std::io::{BufRead, BufReader, Read};

use axum::{Json, extract::State};
use domain::{SnapshotId, Timestamp, agent::Listed, names::DiskName};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use web::{Checked, DetailRefusals, Error, Id, Member, Plane, Problem};

use crate::{
    act::{read, snapshot_of},
    name::Named,
};

/// The longest line of a list that is read: a path has at most 4 KiB, and some bytes are written as six.
const LONGEST_LINE: u64 = 32 * 1024;
/// The most that a list may be when it is unpacked: nobody fills our memory with a list of zeros.
const LARGEST_LIST: u64 = 64 * 1024 * 1024;

/// What of the list.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The folder whose files and folders are listed; the disk's root when left out.
    #[serde(default)]
    path: String,
    /// One of the disk's own snapshots; what the disk is made of now when left out.
    snapshot_id: Option<String>,
    /// Only what comes after this path: the last one of the page before.
    after: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

fn hundred() -> usize {
    100
}

/// A page of what is in a folder.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Contents {
    #[schema(value_type = String)]
    disk_name: DiskName,
    /// The snapshot that holds this.
    #[schema(value_type = String)]
    snapshot_id: SnapshotId,
    path: String,
    /// By path.
    entries: Vec<Entry>,
    /// To be given as `after` for the next page; null at the end.
    next: Option<String>,
}

/// A file or a folder.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"path": "models/a.safetensors", "kind": "file", "size": 1048576, "modified": "2026-01-20T18:30:00Z"}))]
pub(crate) struct Entry {
    /// From the disk's root.
    path: String,
    /// `file`, `folder`, `link` or `other`.
    kind: String,
    /// In bytes.
    size: u64,
    #[schema(value_type = String, format = DateTime)]
    modified: Timestamp,
}

/// List what is in a folder of a disk, as it was when its snapshot was taken. The disk need not be attached to anything.
#[utoipa::path(get, path = "/v1/disks/{disk_name}/contents", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk."), Wanted),
    responses((status = 200, description = "A page of it.", body = Contents), DetailRefusals))]
pub(crate) async fn get_disk_contents(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    Checked(wanted): Checked<Wanted>,
) -> Result<Json<Contents>, Error> {
    if !(1..=1000).contains(&wanted.limit) {
        let (loc, msg) = (vec!["query".into(), "limit".into()], "limit is from 1 to 1000".to_owned());
        let problem = Problem { kind: "value_error", loc, msg, input: Some(json!(wanted.limit)) };
        return Err(Error::Invalid(vec![problem]));
    }
    let disk = read(&plane, &member, &name).await?;
    let snapshot = snapshot_of(&plane, &disk, wanted.snapshot_id.as_deref()).await?;
    let (disk_id, number) = snapshot.listed_as;
    let list = plane.store.contents((&disk.tenant, disk_id), number).await?;
    let list = list.ok_or(Error::NotFound("There is no list of what this snapshot holds"))?;
    let (entries, next) = page(&list, &wanted)?;
    let path = folder(&wanted.path).to_owned();
    Ok(Json(Contents { disk_name: disk.name, snapshot_id: snapshot.id, path, entries, next }))
}

/// A folder's path without slashes at its ends.
fn folder(path: &str) -> &str {
    path.trim_matches('/')
}

/// What lies directly in the folder that is wanted, after where the last page ended.
fn page(list: &[u8], wanted: &Wanted) -> Result<(Vec<Entry>, Option<String>), Error> {
    let folder = folder(&wanted.path);
    let after = wanted.after.as_deref().map(|after| after.trim_matches('/'));
    let mut found = Vec::new();
    let mut lines = BufReader::new(Read::take(GzDecoder::new(list), LARGEST_LIST));
    loop {
        let mut line = String::new();
        let broken = |error: std::io::Error| Error::Internal(format!("a list does not unpack: {error}"));
        if Read::take(&mut lines, LONGEST_LINE).read_line(&mut line).map_err(broken)? == 0 {
            break;
        }
        // What an agent sent that is no entry is left out: user code may have taken it over, and its list is its own.
        let Ok(listed) = serde_json::from_str::<Listed>(&line) else { continue };
        let parent = listed.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent == folder && after.is_none_or(|after| listed.path.as_str() > after) {
            found.push(listed);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let more = found.len() > wanted.limit;
    found.truncate(wanted.limit);
    let next = found.last().filter(|_| more).map(|last| last.path.clone());
    let entry = |Listed { path, kind, size, modified }| Entry { path, kind, size, modified };
    Ok((found.into_iter().map(entry).collect(), next))
}
