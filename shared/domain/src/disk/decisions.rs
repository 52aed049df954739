//! What may be decided about a disk, by whom and when.

use super::{
    Action, Disk, DiskChange, DiskRefusal, DiskState, DiskStep, Head, Naming, Operation, Pending, Snapshot, Status,
};
use crate::{
    DiskId, OperationId, SnapshotId, TenantId, Timestamp, UserName, VolumeId, WorkloadId, names::DiskName, policy,
};

/// A disk that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub id: DiskId,
    /// Whose it is to be.
    pub tenant: TenantId,
    /// The person whose it is to be.
    pub owner: UserName,
    /// Its name.
    pub name: DiskName,
    /// Its size, in GB.
    pub size_gb: u32,
}

impl Asked {
    fn disk(self, state: DiskState, now: Timestamp) -> Disk {
        let Self { id, tenant, owner, name, size_gb } = self;
        Disk {
            id,
            tenant,
            owner,
            name,
            version: 1,
            state,
            since: now,
            size_gb,
            created_at: now,
            last_used: None,
            holder: None,
            uses: 0,
            volume: None,
            head: None,
            taken: 0,
            complete: 0,
            pending: None,
            operation: None,
            delete_at: None,
            prune_at: None,
            naming: None,
        }
    }

    /// A disk that a worker has yet to look at, and the operation that says when it has.
    #[must_use]
    pub fn create(self, operation: OperationId, now: Timestamp) -> DiskChange {
        let mut change = DiskChange::new(self.disk(DiskState::Creating, now));
        change.disk.operation = Some(operation);
        change.operations.push(Operation::new(operation, Action::Create, Status::Queued, now));
        change
    }

    /// A disk that is there at once: nothing has to be made for an empty one.
    #[must_use]
    pub fn create_at_once(self, now: Timestamp) -> DiskChange {
        DiskChange::new(self.disk(DiskState::Available, now))
    }

    /// A disk that begins as `snapshot` of `origin` is, and shares its blocks.
    ///
    /// # Errors
    /// When the snapshot is not complete, the origin is deleted, or there is less room than is needed.
    pub fn branch(
        self,
        origin: &Disk,
        snapshot: &Snapshot,
        operation: OperationId,
        now: Timestamp,
    ) -> Result<DiskChange, DiskRefusal> {
        origin.not_deleted()?;
        if snapshot.completed_at.is_none() {
            return Err(DiskRefusal::Empty(origin.name.as_str().to_owned()));
        }
        if self.size_gb < snapshot.size_gb {
            return Err(DiskRefusal::TooSmall { name: origin.name.as_str().to_owned(), has: snapshot.size_gb });
        }
        let mut change = DiskChange::new(self.disk(DiskState::Available, now));
        change.disk.head = Some(Head { snapshot: snapshot.id.clone(), number: 1 });
        (change.disk.taken, change.disk.complete) = (1, 1);
        change.snapshots.push(Snapshot { number: 1, ..snapshot.clone() });
        change.operations.push(Operation::new(operation, Action::Branch, Status::Completed, now));
        Ok(change)
    }
}

impl DiskChange {
    fn new(disk: Disk) -> Self {
        Self { before: None, disk, operations: vec![], snapshots: vec![], dropped: vec![], spent: None }
    }

    fn with(mut self, operation: Option<Operation>) -> Self {
        self.operations.extend(operation);
        self
    }
}

impl Disk {
    fn named(&self) -> String {
        self.name.as_str().to_owned()
    }

    fn not_deleted(&self) -> Result<(), DiskRefusal> {
        match self.delete_at {
            Some(at) => Err(DiskRefusal::Deleted { name: self.named(), at }),
            None => Ok(()),
        }
    }

    /// Whether its owner may do something with it that nobody else must be using it for.
    fn free(&self) -> Result<(), DiskRefusal> {
        self.not_deleted()?;
        match self.state {
            _ if self.in_use() => Err(DiskRefusal::InUse(self.named())),
            DiskState::Available => Ok(()),
            state => Err(DiskRefusal::Busy { name: self.named(), state: state.name() }),
        }
    }

    /// This disk after an edit that keeps its state.
    fn changed(&self, edit: impl FnOnce(&mut Self)) -> DiskChange {
        let mut disk = self.clone();
        disk.version += 1;
        edit(&mut disk);
        DiskChange { before: Some(self.clone()), ..DiskChange::new(disk) }
    }

    /// This disk after a step.
    fn stepped(&self, step: DiskStep, now: Timestamp, edit: impl FnOnce(&mut Self)) -> Result<DiskChange, DiskRefusal> {
        let state = self.state.after(step).ok_or_else(|| self.no(step.name()))?;
        Ok(self.changed(|next| {
            (next.state, next.since) = (state, now);
            edit(next);
        }))
    }

    fn no(&self, step: &'static str) -> DiskRefusal {
        DiskRefusal::NoSuchStep { name: self.named(), state: self.state.name(), step }
    }

    /// The operation under way after it came to its end.
    fn done(&self, action: Action, asked_at: Timestamp, now: Timestamp) -> Option<Operation> {
        let id = self.operation?;
        Some(Operation { updated_at: now, ..Operation::new(id, action, Status::Completed, asked_at) })
    }

    /// It can be had.
    ///
    /// # Errors
    /// When it is not being made.
    pub fn made(&self, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        let done = self.done(Action::Create, self.created_at, now);
        Ok(self.stepped(DiskStep::Make, now, |next| next.operation = None)?.with(done))
    }

    /// A workload that is placed takes it, with so much room or more. The number of this use is in what a volume is asked for with.
    ///
    /// # Errors
    /// When it is not available.
    pub fn hold(&self, workload: WorkloadId, size_gb: u32, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        self.stepped(DiskStep::Hold, now, |next| {
            next.holder = Some(workload);
            next.uses += 1;
            next.size_gb = next.size_gb.max(size_gb);
            next.last_used = Some(now);
        })
    }

    /// A volume was made for its present use. It is recorded before anything can be written to it.
    ///
    /// # Errors
    /// When `workload` does not have it any more, or has another volume of it.
    pub fn volume_made(&self, workload: WorkloadId, uses: u64, volume: VolumeId) -> Result<DiskChange, DiskRefusal> {
        let present = self.state == DiskState::Attached && self.holder == Some(workload) && self.uses == uses;
        if !present || self.volume.as_ref().is_some_and(|known| *known != volume) {
            return Err(self.no("record a volume"));
        }
        Ok(self.changed(|next| next.volume = Some(volume)))
    }

    /// Its workload is over. It is nobody else's before its volume is free and backed up.
    ///
    /// # Errors
    /// When `workload` does not have it.
    pub fn release(&self, workload: WorkloadId, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        if self.holder != Some(workload) {
            return Err(self.no(DiskStep::Release.name()));
        }
        self.stepped(DiskStep::Release, now, |next| next.last_used = Some(now))
    }

    /// Nothing was written: no volume was recorded for this use, and so none was attached.
    ///
    /// # Errors
    /// When there is a volume.
    pub fn unused(&self, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        if self.volume.is_some() {
            return Err(self.no(DiskStep::Unused.name()));
        }
        self.stepped(DiskStep::Unused, now, |next| next.holder = None)
    }

    /// The snapshot of what was written begins: its volume is free, so that nothing is written any more.
    ///
    /// # Errors
    /// When there is no volume, or an earlier snapshot is under way.
    pub fn back_up(&self, operation: OperationId, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        if self.volume.is_none() || self.pending.is_some() {
            return Err(self.no(DiskStep::BackUp.name()));
        }
        let change = self.stepped(DiskStep::BackUp, now, |next| {
            next.holder = None;
            next.begin(operation, false, now);
        })?;
        Ok(change.with(Some(Operation::new(operation, Action::Snapshot, Status::Queued, now))))
    }

    fn begin(&mut self, operation: OperationId, live: bool, now: Timestamp) {
        self.taken += 1;
        self.pending = Some(Pending { operation, number: self.taken, snapshot: None, begun_at: now, live });
    }

    /// Its owner wants a snapshot now, while a workload has it. `at_work` says that the workload is active: before that a new volume may
    /// have no file system yet, and a snapshot of it would be nothing that a later volume could be made of.
    ///
    /// # Errors
    /// When it is not attached to a workload at work, is deleted, or a snapshot is under way already.
    pub fn snapshot_now(
        &self,
        operation: OperationId,
        at_work: bool,
        now: Timestamp,
    ) -> Result<DiskChange, DiskRefusal> {
        self.not_deleted()?;
        match (self.state, &self.volume) {
            (DiskState::Attached, Some(_)) if at_work && self.pending.is_none() => {
                let change = self.changed(|next| next.begin(operation, true, now));
                Ok(change.with(Some(Operation::new(operation, Action::Snapshot, Status::Queued, now))))
            }
            // Whatever was written is in its newest snapshot.
            (DiskState::Available, _) if self.head.is_some() => {
                let done = Operation::new(operation, Action::Snapshot, Status::Completed, now);
                Ok(self.changed(|_| {}).with(Some(done)))
            }
            (DiskState::Available | DiskState::Creating, _) => Err(DiskRefusal::Empty(self.named())),
            (state, _) => {
                let launching = state == DiskState::Attached && !at_work;
                let state = match self.pending {
                    Some(_) => "being backed up",
                    None if launching => "with a job that is being launched",
                    None => state.name(),
                };
                Err(DiskRefusal::Busy { name: self.named(), state })
            }
        }
    }

    /// The cloud has begun the snapshot: from here on it is known by its id.
    ///
    /// # Errors
    /// When no snapshot is wanted any more.
    pub fn snapshot_begun(&self, snapshot: SnapshotId, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        let wanted = self.pending.clone().filter(|pending| pending.snapshot.is_none());
        let pending = wanted.ok_or_else(|| self.no("begin a snapshot"))?;
        let mut change = self.changed(|next| {
            next.pending = Some(Pending { snapshot: Some(snapshot.clone()), ..pending.clone() });
        });
        change.snapshots.extend(self.record(&pending, snapshot, None));
        Ok(change.with(Some(Self::operation(&pending, Status::Running, None, now))))
    }

    fn record(&self, pending: &Pending, id: SnapshotId, completed_at: Option<Timestamp>) -> Option<Snapshot> {
        let Pending { operation, number, begun_at, .. } = *pending;
        let volume = self.volume.clone()?;
        let (listed_as, size_gb) = ((self.id, number), self.size_gb);
        Some(Snapshot { id, number, operation, volume, listed_as, size_gb, created_at: begun_at, completed_at })
    }

    fn operation(pending: &Pending, status: Status, error: Option<String>, now: Timestamp) -> Operation {
        let asked = Operation::new(pending.operation, Action::Snapshot, status, pending.begun_at);
        Operation { error, updated_at: now, ..asked }
    }

    fn pending_id(&self, step: &'static str) -> Result<(Pending, SnapshotId), DiskRefusal> {
        let pending = self.pending.clone();
        let id = pending.as_ref().and_then(|pending| pending.snapshot.clone());
        pending.zip(id).ok_or_else(|| self.no(step))
    }

    /// The snapshot is complete: it is what the next volume is made of, and what was the volume may go.
    ///
    /// # Errors
    /// When none was under way.
    pub fn snapshot_completed(&self, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        let (pending, id) = self.pending_id("complete a snapshot")?;
        let edit = |next: &mut Self| {
            next.pending = None;
            next.head = Some(Head { snapshot: id.clone(), number: pending.number });
            next.complete += 1;
            // Old ones are looked for when there may be some.
            next.prune_at = (next.complete as usize > policy::SNAPSHOT_RETENTION.1).then_some(now);
        };
        let mut change = if pending.live {
            self.changed(edit)
        } else {
            let mut change = self.stepped(DiskStep::BackedUp, now, edit)?;
            change.spent = change.disk.volume.take();
            change
        };
        change.snapshots.extend(self.record(&pending, id, Some(now)));
        Ok(change.with(Some(Self::operation(&pending, Status::Completed, None, now))))
    }

    /// The snapshot failed. Where it was to stand for the volume, another one is made.
    ///
    /// # Errors
    /// When none was under way.
    pub fn snapshot_failed(&self, why: &str, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        let pending = self.pending.clone().ok_or_else(|| self.no("fail a snapshot"))?;
        let mut change = if pending.live {
            self.changed(|next| next.pending = None)
        } else {
            self.stepped(DiskStep::TryAgain, now, |next| next.pending = None)?
        };
        if let Some(id) = &pending.snapshot {
            change.dropped.extend(self.record(&pending, id.clone(), None));
        }
        let why = why.chars().take(300).collect();
        Ok(change.with(Some(Self::operation(&pending, Status::Failed, Some(why), now))))
    }

    /// Gives it another name. Its snapshots' tags follow.
    ///
    /// # Errors
    /// When somebody uses it, or it is deleted.
    pub fn rename(&self, name: DiskName, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        self.free()?;
        let total = self.complete;
        Ok(self.changed(|next| {
            next.name = name;
            next.since = now;
            let naming = Naming { version: next.version, total, updated: 0, errors: Vec::new(), tried: false };
            next.naming = (total > 0).then_some(naming);
        }))
    }

    /// The tags of its snapshots were set to its name, but for those in `errors`.
    #[must_use]
    pub fn tagged(&self, updated: u32, errors: Vec<String>, now: Timestamp) -> DiskChange {
        self.changed(|next| {
            let Some(naming) = &mut next.naming else { return };
            (naming.updated, naming.errors, naming.tried) = (updated, errors, true);
            if next.state == DiskState::Available {
                next.since = now;
            }
        })
    }

    /// Marks it for deletion.
    ///
    /// # Errors
    /// When somebody uses it, or it is deleted already.
    pub fn delete(&self, operation: OperationId, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        self.not_deleted()?;
        if self.state != DiskState::Creating {
            self.free()?;
        }
        // One that is deleted before it was made was made all the same: nothing was missing.
        let made = self.done(Action::Create, self.created_at, now).filter(|_| self.state == DiskState::Creating);
        let change = self.stepped(DiskStep::Delete, now, |next| {
            next.operation = Some(operation);
            next.delete_at = Some(now.plus(policy::DISK_RETENTION));
        })?;
        Ok(change.with(made).with(Some(Operation::new(operation, Action::Delete, Status::Queued, now))))
    }

    /// It was seen that it is marked: from here on only time goes by.
    ///
    /// # Errors
    /// When it is not marked, or that was seen.
    pub fn deleted(&self, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        let done = self.done(Action::Delete, self.since, now).filter(|_| self.state == DiskState::Deleting);
        let done = done.ok_or_else(|| self.no("complete a deletion"))?;
        Ok(self.changed(|next| next.operation = None).with(Some(done)))
    }

    /// Its owner has it back, or has it still.
    ///
    /// # Errors
    /// When it is gone for good.
    pub fn undelete(&self, operation: OperationId, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        let had_back = Operation::new(operation, Action::Undelete, Status::Completed, now);
        match self.delete_at {
            // Whoever asks twice has it.
            None => return Ok(self.changed(|_| {}).with(Some(had_back))),
            Some(at) if self.state == DiskState::Deleting && now < at => {}
            Some(at) => return Err(DiskRefusal::Deleted { name: self.named(), at }),
        }
        let deleted = self.done(Action::Delete, self.since, now);
        let change = self.stepped(DiskStep::Undelete, now, |next| {
            (next.operation, next.delete_at) = (None, None);
            next.prune_at = (next.complete as usize > policy::SNAPSHOT_RETENTION.1).then_some(now);
        })?;
        Ok(change.with(deleted).with(Some(had_back)))
    }

    /// Its time is over: its snapshots go, and then its name.
    ///
    /// # Errors
    /// When it is not deleted, or can still be had back.
    pub fn purge(&self, now: Timestamp) -> Result<DiskChange, DiskRefusal> {
        if self.delete_at.is_none_or(|at| now < at) {
            return Err(self.no(DiskStep::Purge.name()));
        }
        self.stepped(DiskStep::Purge, now, |next| (next.operation, next.naming) = (None, None))
    }

    /// Lets snapshots go, and looks for others a day later where there may be some. What the disk is made of stays while there is a disk.
    #[must_use]
    pub fn let_go(&self, snapshots: Vec<Snapshot>, now: Timestamp) -> DiskChange {
        let gone = self.state == DiskState::Deleted;
        let head = self.head.as_ref().filter(|_| !gone).map(|head| head.number);
        let dropped = snapshots.into_iter().filter(|snapshot| Some(snapshot.number) != head).collect::<Vec<_>>();
        let complete = dropped.iter().filter(|snapshot| snapshot.completed_at.is_some()).count();
        let mut change = self.changed(|next| {
            next.complete = next.complete.saturating_sub(u32::try_from(complete).unwrap_or(u32::MAX));
            let more = next.complete as usize > policy::SNAPSHOT_RETENTION.1;
            next.prune_at = (!gone && more).then(|| now.plus(std::time::Duration::from_secs(24 * 3600)));
        });
        change.dropped = dropped;
        change
    }

    /// Makes an earlier snapshot what the disk is from now on. The others stay.
    ///
    /// # Errors
    /// When somebody uses it, it is deleted, or the snapshot is not complete.
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        operation: OperationId,
        now: Timestamp,
    ) -> Result<DiskChange, DiskRefusal> {
        self.free()?;
        if snapshot.completed_at.is_none() {
            return Err(DiskRefusal::Empty(self.named()));
        }
        let head = Head { snapshot: snapshot.id.clone(), number: snapshot.number };
        let change = self.changed(|next| next.head = Some(head));
        Ok(change.with(Some(Operation::new(operation, Action::Restore, Status::Completed, now))))
    }
}
