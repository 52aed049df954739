//! Ground truth: which volumes and snapshots there are, what is on them, and who writes to them.
//!
//! What is on a volume is the list of everything that was ever written to it, each time with a number that no other write has: so that a
//! checker can say whether what a job finds is what the one before it left.

mod port;

use std::time::Duration;

use domain::{InstanceId, OperationId, SnapshotId, Timestamp, VolumeId, WorkloadId, agent::Device, names::DiskName};

use super::{
    fleet::{Ground, Life},
    rng::Rng,
    world::{Settings, State, When, World},
};
use crate::{
    Attachment, Attempt, DiskRef, PortError, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume, VolumeError,
    VolumeOrder,
};

/// A volume that the cloud made.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// What the cloud calls it.
    pub id: VolumeId,
    /// What was asked for: the disk, its use, what it is made of.
    pub order: VolumeOrder,
    /// What was on it when it was made.
    pub began_with: Vec<u64>,
    /// Everything that is on it, oldest first.
    pub contents: Vec<u64>,
    /// When it was made.
    pub made_at: Timestamp,
    /// What it was fixed to last.
    pub fixed: Option<Fixed>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// How long after its making and its deletion the list of volumes is still wrong about it.
    pub list_lag: Duration,
}

/// How a volume is fixed to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The instance.
    pub instance: InstanceId,
    /// The instance's workload.
    pub workload: WorkloadId,
    /// From when on it can be written to.
    pub there_at: Timestamp,
    /// When it comes off, where somebody took it off.
    pub off_at: Option<Timestamp>,
    /// How long after the end of the instance it stays fixed to what is left of that.
    pub lingers: Duration,
}

/// A snapshot that the cloud made, for us or for a stranger.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What the cloud calls it.
    pub id: SnapshotId,
    /// The disk in its tags.
    pub of: DiskRef,
    /// The operation in its tags.
    pub operation: OperationId,
    /// The name in its tags.
    pub name: DiskName,
    /// What it was made of.
    pub volume: VolumeId,
    /// The size of that, in GB.
    pub size_gb: u32,
    /// What was on it.
    pub contents: Vec<u64>,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// When it is complete, or has failed.
    pub ends_at: Timestamp,
    /// It fails.
    pub fails: bool,
    /// Somebody else made it of one of ours, tags and all.
    pub foreign: bool,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// How long after its making and its deletion the list of snapshots is still wrong about it.
    pub list_lag: Duration,
}

impl Volume {
    /// Whether it is there.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// Whether anything was written to it since it was made.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.contents != self.began_with
    }

    fn is_listed(&self, at: Timestamp) -> bool {
        is_listed(self.made_at, self.deleted_at, self.list_lag, at)
    }
}

impl Snapshot {
    /// Whether it is there, and complete at `at`.
    #[must_use]
    pub fn is_complete(&self, at: Timestamp) -> bool {
        self.deleted_at.is_none() && !self.fails && self.ends_at <= at
    }
}

fn is_listed(made_at: Timestamp, deleted_at: Option<Timestamp>, lag: Duration, at: Timestamp) -> bool {
    let gone = deleted_at.is_some_and(|gone| gone.plus(lag) <= at);
    made_at.plus(lag) <= at && !gone
}

/// A request that nobody answered and that is still under way.
enum Request {
    Create(VolumeOrder),
    Attach(VolumeId, Attempt),
    Snapshot(SnapshotOrder),
}

/// Every volume and every snapshot that ever was, and what is still under way.
pub(super) struct Shelf {
    volumes: Vec<Volume>,
    snapshots: Vec<Snapshot>,
    under_way: Vec<(Timestamp, Request)>,
    written: u64,
    rng: Rng,
}

impl Shelf {
    pub(super) fn new(seed: u64) -> Self {
        let (volumes, snapshots, under_way) = (Vec::new(), Vec::new(), Vec::new());
        Self { volumes, snapshots, under_way, written: 0, rng: Rng::stream(seed, "volumes") }
    }

    /// Requests that were under way until `now` arrive, each at its own time. Nobody waits for their answers.
    pub(super) fn arrive(&mut self, now: Timestamp, fleet: &Ground, settings: &Settings) {
        let (mut due, later) =
            std::mem::take(&mut self.under_way).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.under_way = later;
        due.sort_by_key(|(at, _)| *at);
        for (at, request) in due {
            match request {
                Request::Create(order) => drop(self.make(&order, at, settings)),
                Request::Attach(volume, attempt) => drop(self.attach(&volume, &attempt, (fleet, at, settings))),
                Request::Snapshot(order) => drop(self.snapshot(&order, at, settings)),
            }
        }
    }

    fn late<T>(&mut self, request: Request, now: Timestamp, settings: &Settings) -> Result<T, VolumeError> {
        let arrival = now.plus(self.rng.within(&settings.late));
        self.under_way.push((arrival, request));
        Err(VolumeError::Port(PortError::Unavailable("still under way".into())))
    }

    fn id(&mut self, kind: &str) -> String {
        format!("{kind}-{:016x}", self.rng.next_u64())
    }

    /// The volume, if it is there.
    fn there(&self, id: &VolumeId) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.id == *id && volume.is_there())
    }

    /// A volume where the attempt's machine is; nothing while that is not made yet.
    fn create(
        &mut self,
        order: &VolumeOrder,
        (fleet, now, settings): (&Ground, Timestamp, &Settings),
    ) -> Result<Option<VolumeId>, VolumeError> {
        match fleet.of_attempt(&order.attempt).map(|one| one.life(now)) {
            Some(Life::Stopped) => Err(VolumeError::Refused("the machine is gone".into())),
            Some(Life::Running) => self.make(order, now, settings).map(Some),
            Some(Life::Requested) | None => Ok(None),
        }
    }

    fn make(&mut self, order: &VolumeOrder, now: Timestamp, settings: &Settings) -> Result<VolumeId, VolumeError> {
        let token = |known: &&Volume| known.order.of == order.of && known.order.uses == order.uses;
        if let Some(known) = self.volumes.iter().find(token).filter(|_| !settings.forgets_tokens) {
            let asked = |order: &VolumeOrder| (order.size_gb, order.from.clone());
            let same = asked(&known.order) == asked(order);
            return if same { Ok(known.id.clone()) } else { refused("repeated with other parameters") };
        }
        let contents = match &order.from {
            None => Vec::new(),
            Some(from) => match self.snapshots.iter().find(|one| one.id == *from && one.is_complete(now)) {
                Some(from) if from.size_gb <= order.size_gb => from.contents.clone(),
                Some(_) => return refused("smaller than its snapshot"),
                None => return refused("there is no such snapshot, or it is not complete"),
            },
        };
        let id = VolumeId::new(self.id("vol"));
        self.volumes.push(Volume {
            id: id.clone(),
            order: order.clone(),
            began_with: contents.clone(),
            contents,
            made_at: now,
            fixed: None,
            deleted_at: None,
            list_lag: self.rng.within(&settings.list_lag),
        });
        Ok(id)
    }

    fn attach(
        &mut self,
        id: &VolumeId,
        attempt: &Attempt,
        (fleet, now, settings): (&Ground, Timestamp, &Settings),
    ) -> Result<Attachment, VolumeError> {
        let machine = match fleet.of_attempt(attempt) {
            Some(one) if one.life(now) == Life::Running => one,
            Some(one) if one.is_live(now) => return Ok(Attachment::Coming),
            Some(_) => return refused("the machine is gone"),
            None if fleet.is_ended(attempt) => return refused("the machine is gone"),
            None => return Ok(Attachment::Coming),
        };
        let takes = self.rng.within(&settings.attach);
        let lingers = self.rng.within(&settings.detach);
        let found = self.volumes.iter_mut().find(|volume| volume.id == *id && volume.is_there());
        let Some(volume) = found else { return refused("there is no such volume") };
        match volume.fixed.as_ref().filter(|fixed| fixed.holds(fleet, now)) {
            Some(fixed) if fixed.instance != machine.id || fixed.off_at.is_some() => return Ok(Attachment::Coming),
            Some(fixed) if fixed.there_at > now => return Ok(Attachment::Coming),
            Some(_) => {}
            None => {
                let (instance, workload) = (machine.id.clone(), machine.order.workload);
                volume.fixed = Some(Fixed { instance, workload, there_at: now.plus(takes), off_at: None, lingers });
                return Ok(Attachment::Coming);
            }
        }
        Ok(Attachment::There(Device::Serial(id.as_str().replace('-', ""))))
    }

    /// Whether a volume is free; if it is not, it is being taken off from now on.
    fn detach(&mut self, id: &VolumeId, (fleet, now, settings): (&Ground, Timestamp, &Settings)) -> bool {
        let takes = self.rng.within(&settings.detach);
        let found = self.volumes.iter_mut().find(|volume| volume.id == *id && volume.is_there());
        let Some(fixed) = found.and_then(|volume| volume.fixed.as_mut()) else { return true };
        if fixed.holds(fleet, now) {
            fixed.off_at.get_or_insert(now.plus(takes));
        }
        !fixed.holds(fleet, now)
    }

    /// Clouds have no token for this: what the list shows already is found, and what it does not show yet is made again.
    fn snapshot(
        &mut self,
        order: &SnapshotOrder,
        now: Timestamp,
        settings: &Settings,
    ) -> Result<SnapshotId, VolumeError> {
        let known = |one: &&Snapshot| {
            let same = one.of == order.of && one.operation == order.operation && one.volume == order.volume;
            same && one.deleted_at.is_none() && is_listed(one.begun_at, None, one.list_lag, now)
        };
        if let Some(known) = self.snapshots.iter().find(known).filter(|_| !settings.forgets_tokens) {
            return Ok(known.id.clone());
        }
        let Some(volume) = self.there(&order.volume) else { return refused("there is no such volume") };
        let made = Snapshot {
            id: SnapshotId::new(""),
            of: order.of.clone(),
            operation: order.operation,
            name: order.name.clone(),
            volume: order.volume.clone(),
            size_gb: volume.order.size_gb,
            contents: volume.contents.clone(),
            begun_at: now,
            ends_at: now,
            fails: false,
            foreign: false,
            deleted_at: None,
            list_lag: Duration::ZERO,
        };
        let fails = self.rng.chance(settings.failing_snapshots);
        let made = Snapshot {
            id: SnapshotId::new(self.id("snap")),
            ends_at: now.plus(self.rng.within(&settings.snapshot)),
            fails,
            list_lag: self.rng.within(&settings.list_lag),
            ..made
        };
        let id = made.id.clone();
        if !fails && self.rng.chance(settings.strangers) {
            self.copy(&made);
        }
        self.snapshots.push(made);
        Ok(id)
    }

    /// Somebody's scanner copies a snapshot as soon as it is complete, tags and all.
    fn copy(&mut self, of: &Snapshot) {
        let copy = Snapshot {
            id: SnapshotId::new(self.id("snap")),
            volume: VolumeId::new("vol-ffffffffffffffff"),
            contents: vec![u64::MAX],
            begun_at: of.ends_at,
            ends_at: of.ends_at.plus(Duration::from_secs(60)),
            foreign: true,
            ..of.clone()
        };
        self.snapshots.push(copy);
    }

    /// What was to be seen at `at`. That it was not made yet by then says nothing.
    fn state_of(&self, id: &SnapshotId, at: Timestamp) -> SnapshotState {
        match self.snapshots.iter().find(|one| one.id == *id) {
            Some(one) if one.deleted_at.is_some_and(|gone| gone <= at) => SnapshotState::Failed("it is gone".into()),
            Some(one) if one.ends_at > at => SnapshotState::Pending,
            Some(one) if one.fails => SnapshotState::Failed("simulated: internal error".into()),
            Some(_) => SnapshotState::Completed,
            None => SnapshotState::Failed("there is no such snapshot".into()),
        }
    }

    fn tag(&mut self, id: &SnapshotId, name: &DiskName, settings: &Settings) -> Result<(), VolumeError> {
        let refuses = self.rng.chance(settings.failing_tags);
        let found = self.snapshots.iter_mut().find(|one| one.id == *id && one.deleted_at.is_none());
        let Some(one) = found.filter(|_| !refuses) else { return refused("Access denied") };
        one.name = name.clone();
        Ok(())
    }

    fn delete_volume(&mut self, id: &VolumeId, (fleet, now): (&Ground, Timestamp)) -> Result<(), PortError> {
        let found = self.volumes.iter_mut().find(|volume| volume.id == *id && volume.is_there());
        let Some(volume) = found else { return Ok(()) };
        if volume.fixed.as_ref().is_some_and(|fixed| fixed.holds(fleet, now)) {
            return Err(PortError::Unavailable("the volume is in use".into()));
        }
        volume.deleted_at = Some(now);
        Ok(())
    }

    fn delete_snapshot(&mut self, id: &SnapshotId, now: Timestamp) {
        if let Some(one) = self.snapshots.iter_mut().find(|one| one.id == *id) {
            one.deleted_at.get_or_insert(now);
        }
    }

    fn list_volumes(&self, at: Timestamp) -> Vec<TaggedVolume> {
        let tagged =
            |one: &Volume| TaggedVolume { volume: one.id.clone(), of: one.order.of.clone(), uses: one.order.uses };
        self.volumes.iter().filter(|one| one.is_listed(at)).map(tagged).collect()
    }

    fn list_snapshots(&self, at: Timestamp) -> Vec<TaggedSnapshot> {
        let listed = |one: &&Snapshot| is_listed(one.begun_at, one.deleted_at, one.list_lag, at);
        let tagged = |one: &Snapshot| TaggedSnapshot {
            snapshot: one.id.clone(),
            of: one.of.clone(),
            operation: one.operation,
            volume: one.volume.clone(),
        };
        self.snapshots.iter().filter(listed).map(tagged).collect()
    }

    /// As of when a look is taken: for a stale one, a moment that the lists' own lag allows.
    fn moment(&mut self, now: Timestamp, settings: &Settings, when: When) -> Timestamp {
        match when {
            When::Now | When::Late => now,
            When::Stale => now.minus(self.rng.within(&settings.list_lag)),
        }
    }
}

impl Fixed {
    /// Whether the volume is not free at `at`: it is on, on its way, or coming off.
    fn holds(&self, fleet: &Ground, at: Timestamp) -> bool {
        let off = self.off_at.is_some_and(|off| off <= at);
        let left = fleet.stopped_at(&self.instance).is_some_and(|stopped| stopped.plus(self.lingers) <= at);
        !off && !left
    }

    /// Whether the workload can write to it at `at`.
    fn is_on(&self, fleet: &Ground, at: Timestamp) -> bool {
        let runs = fleet.stopped_at(&self.instance).is_none_or(|stopped| stopped > at);
        runs && self.there_at <= at && self.off_at.is_none_or(|off| off > at)
    }
}

fn refused<T>(why: &str) -> Result<T, VolumeError> {
    Err(VolumeError::Refused(why.to_owned()))
}

/// Ground truth about volumes and snapshots.
impl World {
    /// Every volume that was ever made, in the order of their making.
    #[must_use]
    pub fn volumes(&self) -> Vec<Volume> {
        self.state().shelf.volumes.clone()
    }

    /// Every snapshot that was ever made, strangers' copies among them.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.state().shelf.snapshots.clone()
    }

    /// The volumes that a workload can write to now, with what is on them.
    #[must_use]
    pub fn mounted(&self, workload: WorkloadId) -> Vec<Volume> {
        let state = self.state();
        let State { shelf, fleet, now, .. } = &*state;
        let on = |volume: &&Volume| {
            let fixed = volume.fixed.as_ref().filter(|fixed| fixed.workload == workload);
            volume.is_there() && fixed.is_some_and(|fixed| fixed.is_on(fleet, *now))
        };
        shelf.volumes.iter().filter(on).cloned().collect()
    }

    /// Whether a volume is fixed to something, or is coming off it.
    #[must_use]
    pub fn is_fixed(&self, volume: &VolumeId) -> bool {
        let state = self.state();
        let State { shelf, fleet, now, .. } = &*state;
        let fixed = shelf.there(volume).and_then(|volume| volume.fixed.as_ref());
        fixed.is_some_and(|fixed| fixed.holds(fleet, *now))
    }

    /// What runs for a workload writes once to each volume that it has.
    pub fn write(&self, workload: WorkloadId) {
        let mut state = self.state();
        let State { shelf, fleet, now, .. } = &mut *state;
        for volume in shelf.volumes.iter_mut().filter(|volume| volume.is_there()) {
            let fixed = volume.fixed.as_ref().filter(|fixed| fixed.workload == workload);
            if fixed.is_some_and(|fixed| fixed.is_on(fleet, *now)) {
                shelf.written += 1;
                volume.contents.push(shelf.written);
            }
        }
    }

    /// When the next request about volumes that is under way arrives.
    #[must_use]
    pub fn next_volume_arrival(&self) -> Option<Timestamp> {
        self.state().shelf.under_way.iter().map(|(at, _)| *at).min()
    }
}
