//! What volumes and snapshots are marked with, and how they are found by it.

use aws_sdk_ec2::types::{Filter, ResourceType, Snapshot, Tag, TagSpecification, Volume};
use cloud::{DiskRef, SnapshotOrder, TaggedSnapshot, TaggedVolume, VolumeOrder};
use domain::{SnapshotId, TenantId, UserName, VolumeId, names::DiskName};

use crate::request::{DEPLOYMENT, TENANT, filter, token};

/// The tag with the disk's owner.
pub(super) const OWNER: &str = "slipway:owner";
/// The tag with the disk's id.
pub(super) const DISK: &str = "slipway:disk";
/// The tag of a volume with the disk's use.
pub(super) const USE: &str = "slipway:use";
/// The tag of a snapshot with the operation that it was made for.
pub(super) const OPERATION: &str = "slipway:operation";
/// The tag with the name that consoles show: the disk's.
pub(super) const NAME: &str = "Name";
/// The tag by which Kubernetes' driver for EBS knows the volumes that it may fix to nodes (AWS managed policy `AmazonEBSCSIDriverPolicyV2`).
/// It takes them from nodes, too: nobody else may.
pub(super) const DRIVER: &str = "ebs.csi.aws.com/cluster";

fn tag(key: &str, value: impl Into<String>) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn of_disk(deployment: &str, of: &DiskRef, name: &DiskName) -> Vec<Tag> {
    vec![
        tag(DEPLOYMENT, deployment),
        tag(TENANT, of.tenant.as_str()),
        tag(OWNER, written(of.owner.as_str())),
        tag(DISK, of.disk.to_string()),
        named(name),
    ]
}

/// The tag with a disk's name.
pub(super) fn named(name: &DiskName) -> Tag {
    tag(NAME, name.as_str())
}

/// What a volume is tagged with from the first moment.
pub(super) fn volume(deployment: &str, order: &VolumeOrder, by_driver: bool) -> TagSpecification {
    let mut tags = of_disk(deployment, &order.of, &order.name);
    tags.push(tag(USE, order.uses.to_string()));
    if by_driver {
        tags.push(tag(DRIVER, "true"));
    }
    TagSpecification::builder().resource_type(ResourceType::Volume).set_tags(Some(tags)).build()
}

/// What a snapshot is tagged with from the first moment.
pub(super) fn snapshot(deployment: &str, order: &SnapshotOrder) -> TagSpecification {
    let mut tags = of_disk(deployment, &order.of, &order.name);
    tags.push(tag(OPERATION, order.operation.to_string()));
    TagSpecification::builder().resource_type(ResourceType::Snapshot).set_tags(Some(tags)).build()
}

/// The client token of a volume: the same disk and use again is the same volume.
pub(super) fn client_token(deployment: &str, order: &VolumeOrder) -> String {
    let VolumeOrder { of, uses, name: _, size_gb, from, attempt: _ } = order;
    let (disk, uses, size) = (of.disk.to_string(), uses.to_string(), size_gb.to_string());
    let from = from.as_ref().map_or("", SnapshotId::as_str);
    token(&["volume", deployment, of.tenant.as_str(), &disk, &uses, &size, from])
}

fn of_deployment(deployment: &str) -> Filter {
    filter(&format!("tag:{DEPLOYMENT}"), &[deployment])
}

/// Finds every volume of an installation's disks. Those that its machines boot from have no such tag.
pub(super) fn all_volumes(deployment: &str) -> Vec<Filter> {
    vec![of_deployment(deployment), filter("tag-key", &[DISK])]
}

/// Finds every snapshot of an installation's disks.
pub(super) fn all_snapshots(deployment: &str) -> Vec<Filter> {
    vec![of_deployment(deployment), filter("tag-key", &[OPERATION])]
}

/// Finds the volumes of a disk's use.
pub(super) fn volumes_of(deployment: &str, order: &VolumeOrder) -> Vec<Filter> {
    vec![
        of_deployment(deployment),
        filter(&format!("tag:{TENANT}"), &[order.of.tenant.as_str()]),
        filter(&format!("tag:{DISK}"), &[&order.of.disk.to_string()]),
        filter(&format!("tag:{USE}"), &[&order.uses.to_string()]),
    ]
}

/// Finds the snapshots that an operation has made. A copy that somebody made of one carries its tags, but never the id of our volume.
pub(super) fn snapshots_of(deployment: &str, order: &SnapshotOrder) -> Vec<Filter> {
    vec![
        of_deployment(deployment),
        filter(&format!("tag:{OPERATION}"), &[&order.operation.to_string()]),
        filter("volume-id", &[order.volume.as_str()]),
    ]
}

fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

fn disk(tags: &[Tag]) -> Option<DiskRef> {
    Some(DiskRef {
        tenant: TenantId::new(value(tags, TENANT)?),
        owner: UserName::new(read(value(tags, OWNER)?)?),
        disk: value(tags, DISK)?.parse().ok()?,
    })
}

/// Reads a volume's tags; `None` when they are not as we write them.
pub(super) fn tagged_volume(volume: &Volume) -> Option<TaggedVolume> {
    Some(TaggedVolume {
        volume: VolumeId::new(volume.volume_id()?),
        of: disk(volume.tags())?,
        uses: value(volume.tags(), USE)?.parse().ok()?,
    })
}

/// Reads a snapshot's tags; `None` when they are not as we write them.
pub(super) fn tagged_snapshot(snapshot: &Snapshot) -> Option<TaggedSnapshot> {
    Some(TaggedSnapshot {
        snapshot: SnapshotId::new(snapshot.snapshot_id()?),
        of: disk(snapshot.tags())?,
        operation: value(snapshot.tags(), OPERATION)?.parse().ok()?,
        volume: VolumeId::new(snapshot.volume_id().unwrap_or_default()),
    })
}

/// Whether Kubernetes' driver fixes a volume to nodes and takes it from them.
pub(super) fn is_the_drivers(volume: &Volume) -> bool {
    value(volume.tags(), DRIVER).is_some()
}

/// A person's name as a tag has it. What services other than EC2 would not take in a tag is written as a colon and two hexadecimal digits for
/// each byte, the colon itself included (EC2 user guide, "Tag your Amazon EC2 resources").
fn written(name: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b" +-=._/@".contains(&byte);
    let byte = |byte: u8| if usual(byte) { char::from(byte).to_string() } else { format!(":{byte:02x}") };
    name.bytes().map(byte).collect()
}

/// Undoes [`written`].
fn read(tag: &str) -> Option<String> {
    let mut parts = tag.split(':');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.extend(hex::decode(part.get(..2)?).ok()?);
        bytes.extend(part.get(2..)?.bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_a_tag_and_is_read_again() {
        for (name, expected) in [
            ("ada.lovelace@example.com", "ada.lovelace@example.com"),
            ("a,b:c", "a:2cb:3ac"),
            ("Zoë*?", "Zo:c3:ab:2a:3f"),
            ("", ""),
        ] {
            assert_eq!(written(name), expected);
            assert_eq!(read(expected).as_deref(), Some(name));
        }
        for strange in [":", ":2", ":zz", ":é", "a:ff"] {
            assert_eq!(read(strange), None, "{strange}");
        }
    }
}
