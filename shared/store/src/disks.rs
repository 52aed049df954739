//! Disks with their snapshots and operations.
//!
//! One partition an owner, `TENANT#OWNER`: a row `disk#NAME` for each disk, so that a name is one owner's one disk by its key alone;
//! `id#ID`, which says what the disk is called now; and `counts`. One partition a disk, `TENANT#disk#ID`: `operation#ID`,
//! `snapshot#NUMBER` and `contents#NUMBER#PART`. And for each snapshot and each volume of the cloud that may have to go, a row of its own:
//! `snapshot#ID`, which counts the disks that have it, and `volume#ID`.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    Disk, DiskId, OperationId, SnapshotId, TenantId, Timestamp, UserName, VolumeId,
    disk::{DiskChange, Operation, Snapshot},
    names::DiskName,
    policy,
};

use crate::{
    Store, StoreError, Table,
    identities::Claim,
    items::{Item, count_of, millis, number, row, text, text_of, value},
    requests::{DueMark, Range},
    tables::{DUE_NOW, TTL},
    transaction::{Guard, Transaction},
};

mod contents;

const COUNTS: &str = "counts";
const DISK: &str = "disk#";
const REFS: &str = "refs";
const SPENT: &str = "spent";

/// Something about disks that the sweep found due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DueDisk {
    /// A disk, by its owner and name.
    Disk(TenantId, UserName, DiskName),
    /// A snapshot that one disk fewer has.
    Snapshot(SnapshotId),
    /// A volume that is of no use any more.
    Volume(VolumeId),
}

fn owner_pk(tenant: &TenantId, owner: &UserName) -> String {
    format!("{tenant}#{owner}")
}

fn disk_pk(tenant: &TenantId, disk: DiskId) -> String {
    format!("{tenant}#disk#{disk}")
}

fn name_sk(name: &DiskName) -> String {
    format!("{DISK}{}", name.as_str())
}

fn snapshot_sk(number: u64) -> String {
    format!("snapshot#{number:010}")
}

impl Store {
    /// An owner's disk of this name, read strongly.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn disk_named(
        &self,
        tenant: &TenantId,
        owner: &UserName,
        name: &DiskName,
    ) -> Result<Option<Disk>, StoreError> {
        let key = (&*owner_pk(tenant, owner), &*name_sk(name));
        self.get_row(Table::Disks, key).await?.map(value).transpose()
    }

    /// A disk by its id, whatever it is called.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn disk(&self, tenant: &TenantId, owner: &UserName, id: DiskId) -> Result<Option<Disk>, StoreError> {
        let pk = owner_pk(tenant, owner);
        // Between the two reads it may be renamed, which is rare: then the next look finds it.
        for _ in 0..3 {
            let Some(named) = self.get_row(Table::Disks, (&pk, &format!("id#{id}"))).await? else { return Ok(None) };
            let name = text_of(&named, "name").unwrap_or_default().to_owned();
            let disk = self.get_row(Table::Disks, (&pk, &format!("{DISK}{name}"))).await?;
            let disk = disk.map(value::<Disk>).transpose()?;
            if disk.as_ref().is_some_and(|disk| disk.id == id) {
                return Ok(disk);
            }
        }
        Err(StoreError::Contended)
    }

    /// An owner's disks, by name.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn disks(&self, tenant: &TenantId, owner: &UserName) -> Result<Vec<Disk>, StoreError> {
        let pk = owner_pk(tenant, owner);
        let condition = Some(("begins_with(sk, :disk)", vec![(":disk", text(DISK))]));
        let range = Range { hash: ("pk", &pk), condition, ..Range::default() };
        self.all(Table::Disks, &range).await?.into_iter().map(value).collect()
    }

    /// What was asked of a disk under this id.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn disk_operation(
        &self,
        tenant: &TenantId,
        disk: DiskId,
        operation: OperationId,
    ) -> Result<Option<Operation>, StoreError> {
        let key = (&*disk_pk(tenant, disk), &*format!("operation#{operation}"));
        self.get_row(Table::Disks, key).await?.map(value).transpose()
    }

    /// A disk's snapshots, newest first, those included that are not complete.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn disk_snapshots(&self, tenant: &TenantId, disk: DiskId) -> Result<Vec<Snapshot>, StoreError> {
        let pk = disk_pk(tenant, disk);
        let condition = Some(("begins_with(sk, :snapshot)", vec![(":snapshot", text("snapshot#"))]));
        let range = Range { hash: ("pk", &pk), condition, descending: true, ..Range::default() };
        self.all(Table::Disks, &range).await?.into_iter().map(value).collect()
    }

    /// Writes what was decided about a disk, if it is still as it was decided upon; `most` is how many an owner may have, for a new one.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when it is not; [`StoreError::NameTaken`], [`StoreError::TooManyDisks`], [`StoreError::Claimed`].
    pub async fn write_disk(
        &self,
        change: &DiskChange,
        claim: Option<&Claim>,
        most: Option<u32>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.transaction();
        if let Some(claim) = claim {
            claim.add_to(&mut transaction)?;
        }
        add(&mut transaction, change, most, self.clock.now())?;
        transaction.commit().await?.written().map_err(|error| Claim::judged(claim, error))
    }

    /// Removes a disk that is gone for good and has no snapshots any more, and with it its name.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when it is not as it was read.
    pub async fn forget_disk(&self, disk: &Disk) -> Result<(), StoreError> {
        let mut transaction = self.transaction();
        let pk = owner_pk(&disk.tenant, &disk.owner);
        let same = [("#version", text("version")), (":before", number(disk.version))];
        transaction.remove(Guard::Version, Table::Disks, (&pk, &name_sk(&disk.name)), "#version = :before", &same)?;
        transaction.delete(Table::Disks, (&pk, &format!("id#{}", disk.id)))?;
        let less = [(":less", number(-1))];
        transaction.update(Guard::Version, Table::Disks, (&pk, COUNTS), ("ADD disks :less", None), &less)?;
        transaction.commit().await?.written()
    }

    /// Puts off the next look at a disk that is waited for, unless it was changed since it was read.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn disk_looked_at(&self, disk: &Disk, now: Timestamp) -> Result<(), StoreError> {
        let pk = owner_pk(&disk.tenant, &disk.owner);
        let next = millis(now.plus(policy::DISK_LOOK));
        let values = [("#version", text("version")), (":due", next), (":seen", number(disk.version))];
        let same = Some("#version = :seen AND attribute_exists(due_at)");
        self.update_row(Table::Disks, (&pk, &name_sk(&disk.name)), "SET due_at = :due", same, &values).await.map(drop)
    }

    /// What is due about disks at `now`: a page of it, after `after`.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn due_disks(
        &self,
        now: Timestamp,
        after: Option<DueMark>,
    ) -> Result<(Vec<DueDisk>, Option<DueMark>), StoreError> {
        let (keys, next) = self.due_keys(Table::Disks, now, after).await?;
        let due = |(pk, sk): (String, String)| {
            if let Some(name) = sk.strip_prefix(DISK) {
                let (tenant, owner) = pk.split_once('#')?;
                return Some(DueDisk::Disk(TenantId::new(tenant), UserName::new(owner), DiskName::parse(name).ok()?));
            }
            match (sk.as_str(), pk.split_once('#')?) {
                (REFS, ("snapshot", id)) => Some(DueDisk::Snapshot(SnapshotId::new(id))),
                (SPENT, ("volume", id)) => Some(DueDisk::Volume(VolumeId::new(id))),
                _ => None,
            }
        };
        Ok((keys.into_iter().filter_map(due).collect(), next))
    }

    /// Whether no disk has this snapshot any more. If one has, it is not due any more.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn snapshot_is_spare(&self, snapshot: &SnapshotId) -> Result<bool, StoreError> {
        let pk = format!("snapshot#{snapshot}");
        let Some(refs) = self.get_row(Table::Disks, (&pk, REFS)).await? else { return Ok(false) };
        if count_of(&refs, "disks") <= 0 {
            return Ok(true);
        }
        let held = Some("disks > :none");
        self.update_row(Table::Disks, (&pk, REFS), "REMOVE due_pk, due_at", held, &[(":none", number(0))]).await?;
        Ok(false)
    }

    /// Whether any disk has this snapshot.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn snapshot_is_had(&self, snapshot: &SnapshotId) -> Result<bool, StoreError> {
        let refs = self.get_row(Table::Disks, (&format!("snapshot#{snapshot}"), REFS)).await?;
        Ok(refs.is_some_and(|refs| count_of(&refs, "disks") > 0))
    }

    /// A snapshot that no disk has is gone.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn forget_snapshot(&self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        self.delete_row(Table::Disks, (&format!("snapshot#{snapshot}"), REFS)).await
    }

    /// A spent volume is gone.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn forget_volume(&self, volume: &VolumeId) -> Result<(), StoreError> {
        self.delete_row(Table::Disks, (&format!("volume#{volume}"), SPENT)).await
    }
}

/// Adds a change of a disk to `transaction`.
pub(crate) fn add(
    transaction: &mut Transaction<'_>,
    change: &DiskChange,
    most: Option<u32>,
    now: Timestamp,
) -> Result<(), StoreError> {
    put_disk(transaction, change, most)?;
    let Disk { tenant, id, .. } = &change.disk;
    let pk = disk_pk(tenant, *id);
    for operation in &change.operations {
        let mut item = row((&pk, &format!("operation#{}", operation.id)), operation)?;
        item.insert(TTL.to_owned(), number(operation.updated_at.plus(policy::HISTORY_TTL).seconds()));
        transaction.put(Guard::Version, Table::Disks, item, None)?;
    }
    let had = change.before.as_ref().map_or(0, |before| before.taken);
    for snapshot in &change.snapshots {
        let item = row((&pk, &snapshot_sk(snapshot.number)), snapshot)?;
        transaction.put(Guard::Version, Table::Disks, item, None)?;
        // It is one disk more that has it: one that was just begun, or that is shared.
        let fresh = snapshot.completed_at.is_none() || had < snapshot.number;
        if fresh {
            let shared = (had < snapshot.number && change.before.is_none()).then_some("disks > :none");
            refer(transaction, &snapshot.id, 1, shared, now)?;
        }
    }
    for snapshot in &change.dropped {
        transaction.delete(Table::Disks, (&pk, &snapshot_sk(snapshot.number)))?;
        refer(transaction, &snapshot.id, -1, None, now)?;
    }
    if let Some(volume) = &change.spent {
        let mut item = due_at(now);
        item.insert("pk".to_owned(), text(format!("volume#{volume}")));
        item.insert("sk".to_owned(), text(SPENT));
        transaction.put(Guard::Version, Table::Disks, item, None)?;
    }
    Ok(())
}

fn due_at(at: Timestamp) -> Item {
    Item::from([("due_pk".to_owned(), text(DUE_NOW)), ("due_at".to_owned(), millis(at))])
}

/// One disk more, or one fewer, has a snapshot. Whoever shares one needs one that is not going.
fn refer(
    transaction: &mut Transaction<'_>,
    snapshot: &SnapshotId,
    by: i64,
    condition: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let pk = format!("snapshot#{snapshot}");
    let mut values: Vec<(&str, AttributeValue)> = vec![(":by", number(by))];
    if condition.is_some() {
        values.push((":none", number(0)));
    }
    let mut expression = "ADD disks :by".to_owned();
    if by < 0 {
        expression.push_str(" SET due_pk = :due, due_at = :now");
        values.extend([(":due", text(DUE_NOW)), (":now", millis(now))]);
    }
    transaction.update(Guard::Snapshot, Table::Disks, (&pk, REFS), (&expression, condition), &values)
}

/// Puts the disk's own row, under its name, and keeps what goes with that: which disk the name is, and how many there are.
fn put_disk(transaction: &mut Transaction<'_>, change: &DiskChange, most: Option<u32>) -> Result<(), StoreError> {
    let disk = &change.disk;
    let pk = owner_pk(&disk.tenant, &disk.owner);
    let sk = name_sk(&disk.name);
    let mut item = row((&pk, &sk), disk)?;
    if let Some(due) = disk.due_at() {
        item.extend(due_at(due));
    }
    let free = ("attribute_not_exists(pk)", &[][..]);
    let renamed = change.before.as_ref().filter(|before| before.name != disk.name);
    match (&change.before, renamed) {
        (Some(_), Some(before)) => {
            let same = [("#version", text("version")), (":before", number(before.version))];
            let key = (&*pk, &*name_sk(&before.name));
            transaction.remove(Guard::Version, Table::Disks, key, "#version = :before", &same)?;
            transaction.put(Guard::Name, Table::Disks, item, Some(free))?;
        }
        (Some(before), None) => {
            let same = [(":before", number(before.version)), (":id", text(disk.id.to_string()))];
            // The name may have become another disk's.
            let unchanged = ("version = :before AND id = :id", &same[..]);
            return transaction.put(Guard::Version, Table::Disks, item, Some(unchanged));
        }
        (None, _) => {
            transaction.put(Guard::Name, Table::Disks, item, Some(free))?;
            let most = most.ok_or_else(|| StoreError::Broken("a new disk names no limit".to_owned()))?;
            let values = [(":one", number(1)), (":most", number(most))];
            let below = Some("attribute_not_exists(disks) OR disks < :most");
            let add = ("ADD disks :one", below);
            transaction.update(Guard::DiskLimit, Table::Disks, (&pk, COUNTS), add, &values)?;
        }
    }
    let named = Item::from([
        ("pk".to_owned(), text(&*pk)),
        ("sk".to_owned(), text(format!("id#{}", disk.id))),
        ("name".to_owned(), text(disk.name.as_str())),
    ]);
    transaction.put(Guard::Version, Table::Disks, named, None)
}
