use std::{
    ffi::OsStr,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::Mutex as StdMutex,
};

use agent::tree::{Kind, Tree};
use cloud::{Clock, DiskRef, Ids, OsIds, SystemClock};
use domain::{PoolId, TenantId, UserName, WorkloadId};
use rustix::fs::{Mode, mkdirat};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

/// Attempts that live or have ended, by their workload.
#[derive(Default)]
struct Known(StdMutex<BTreeMap<WorkloadId, bool>>);

#[async_trait]
impl Attempts for Known {
    async fn lives(&self, attempt: &Attempt) -> Option<bool> {
        self.0.lock().unwrap().get(&attempt.workload).copied()
    }
}

struct Stage {
    folder: TempDir,
    known: Arc<Known>,
    volumes: LocalVolumes,
    of: DiskRef,
}

impl Stage {
    fn new(way: Way) -> Self {
        let (folder, known) = (tempfile::tempdir().unwrap(), Arc::new(Known::default()));
        let now = SystemClock.now();
        let of = DiskRef { tenant: TenantId::new("t"), owner: UserName::new("o"), disk: OsIds.disk(now) };
        for of in [VOLUMES, SNAPSHOTS] {
            fs::create_dir_all(folder.path().join(of)).unwrap();
        }
        let volumes = LocalVolumes::over(folder.path(), way, Arc::clone(&known) as Arc<dyn Attempts>);
        Self { folder, known, volumes, of }
    }

    fn attempt(&self, lives: Option<bool>) -> Attempt {
        let workload = OsIds.workload(SystemClock.now());
        if let Some(lives) = lives {
            self.known.0.lock().unwrap().insert(workload, lives);
        }
        Attempt { tenant: self.of.tenant.clone(), workload, number: 1, pool: PoolId::new("local/h100") }
    }

    async fn create(&self, uses: u64, from: Option<&SnapshotId>) -> Result<Option<VolumeId>, VolumeError> {
        let name = DiskName::parse("data").unwrap();
        let (of, from, attempt) = (self.of.clone(), from.cloned(), self.attempt(None));
        self.volumes.create(&VolumeOrder { of, uses, name, size_gb: 10, from, attempt }).await
    }

    async fn volume(&self, uses: u64, from: Option<&SnapshotId>) -> VolumeId {
        self.create(uses, from).await.unwrap().unwrap()
    }

    async fn snapshot(&self, volume: &VolumeId) -> SnapshotId {
        let operation = OsIds.operation(SystemClock.now());
        let order = SnapshotOrder {
            of: self.of.clone(),
            operation,
            name: DiskName::parse("data").unwrap(),
            volume: volume.clone(),
        };
        let made = self.volumes.snapshot(&order).await.unwrap();
        assert_eq!(self.volumes.snapshot(&order).await.unwrap(), made, "asking twice makes one");
        assert_eq!(self.volumes.snapshot_state(&made).await.unwrap(), SnapshotState::Completed);
        made
    }

    fn files(&self, volume: &VolumeId) -> PathBuf {
        self.volumes.volume(volume).join(FILES)
    }

    fn names(&self, of: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(of)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// All that there is to be seen of a tree, but for when it was last read.
fn described(root: &Path) -> Vec<String> {
    let tree = Tree::open(root).unwrap();
    let (mut folders, mut all, mut numbers) = (vec![PathBuf::new()], Vec::new(), Vec::new());
    while let Some(path) = folders.pop() {
        let folder = tree.folder(&path).unwrap();
        for found in tree.list(&folder).unwrap() {
            let at = path.join(&found.name);
            let holds = match found.kind {
                Kind::File => {
                    let (file, mut bytes) = (tree.file(&folder, &found.name).unwrap().unwrap(), Vec::new());
                    fs::File::from(file).read_to_end(&mut bytes).unwrap();
                    hex::encode(Sha256::digest(bytes))
                }
                Kind::Link => fs::read_link(root.join(&at)).unwrap().display().to_string(),
                Kind::Folder | Kind::Pipe | Kind::Other => String::new(),
            };
            let several = found.several.map(|number| {
                numbers.iter().position(|known| *known == number).unwrap_or_else(|| {
                    numbers.push(number);
                    numbers.len() - 1
                })
            });
            let size = if found.kind == Kind::Folder { 0 } else { found.size };
            all.push(format!(
                "{at:?} {:?} {:o} {size} {:?} {several:?} {holds}",
                found.kind, found.mode, found.modified
            ));
            if found.kind == Kind::Folder {
                folders.push(at);
            }
        }
    }
    tree.give_back().unwrap();
    let root = fs::metadata(root).unwrap();
    all.push(format!("{:o} {}.{}", root.mode(), root.mtime(), root.mtime_nsec()));
    all
}

/// Everything that a job may leave on its disk.
fn fill(root: &Path, outside: &Path) {
    fs::create_dir_all(root.join("a/empty")).unwrap();
    fs::write(root.join("a/text"), "hello\n").unwrap();
    fs::write(root.join("a/none"), "").unwrap();
    fs::write(root.join("a/large"), (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    fs::hard_link(root.join("a/text"), root.join("same")).unwrap();
    let program = root.join("run me");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4751)).unwrap();
    let holes = fs::File::create(root.join("holes")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"far out", 50_000_000).unwrap();
    holes.set_len(60_000_000).unwrap();
    symlink(outside, root.join("link")).unwrap();
    symlink("a/text", root.join("a\n\tb")).unwrap();
    symlink("nowhere", root.join(OsStr::new("dangling"))).unwrap();
    let folder = Tree::open(root).unwrap().folder(Path::new("")).unwrap();
    rustix::fs::mkfifoat(&folder, "pipe", Mode::RUSR).unwrap();
    let odd: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"not \xff UTF-8");
    fs::write(root.join(odd), "odd").unwrap();
    fs::write(root.join("secret"), "nobody reads this").unwrap();
    fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir_all(root.join("closed/deeper")).unwrap();
    fs::write(root.join("closed/deeper/file"), "closed").unwrap();
    let old = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["a/text", "a/empty"] {
        fs::File::open(root.join(path)).unwrap().set_modified(old).unwrap();
    }
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o011)).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o3711)).unwrap();
    fs::File::open(root).unwrap().set_modified(old).unwrap();
}

#[tokio::test]
async fn what_one_job_wrote_is_there_in_the_next_byte_for_byte() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("theirs"), "theirs").unwrap();
    let mut ways = vec![Way::Copies, Way::Reflinks];
    // Where the folder for temporary files is on btrfs.
    ways.extend(Some(Way::probed(outside.path()).unwrap()).filter(|way| !ways.contains(way)));
    for way in ways {
        let stage = Stage::new(way);
        let first = stage.volume(1, None).await;
        assert_eq!(fs::metadata(stage.files(&first)).unwrap().mode() & 0o7777, 0o700);
        fill(&stage.files(&first), outside.path());
        let before = described(&stage.files(&first));
        let snapshot = stage.snapshot(&first).await;
        assert_eq!(described(&stage.files(&first)), before, "the disk itself is as it was");
        stage.volumes.delete_volume(&first).await.unwrap();
        let second = stage.volume(2, Some(&snapshot)).await;
        assert_eq!(described(&stage.files(&second)), before);
        assert!(fs::metadata(stage.files(&second).join("holes")).unwrap().blocks() < 1_000, "holes stay holes");
        // One of them is changed, and neither the snapshot nor another one is.
        fs::write(stage.files(&second).join("a/text"), "other").unwrap();
        fs::remove_file(stage.files(&second).join("link")).unwrap();
        let third = stage.volume(3, Some(&snapshot)).await;
        assert_eq!(described(&stage.files(&third)), before);
        for volume in [&second, &third] {
            stage.volumes.delete_volume(volume).await.unwrap();
            stage.volumes.delete_volume(volume).await.unwrap();
        }
        stage.volumes.delete_snapshot(&snapshot).await.unwrap();
        assert_eq!(stage.volumes.snapshots().await.unwrap(), []);
        assert_eq!(stage.volumes.volumes().await.unwrap(), []);
        assert!(outside.path().join("theirs").exists(), "what a link leads to is no part of the disk");
    }
}

#[tokio::test]
async fn a_tree_may_be_deeper_than_a_path_is_long() {
    let stage = Stage::new(Way::Copies);
    let volume = stage.volume(1, None).await;
    let (name, mut at) = ("d".repeat(200), PathBuf::new());
    let tree = Tree::open(&stage.files(&volume)).unwrap();
    for _ in 0..40 {
        mkdirat(tree.folder(&at).unwrap(), &name, Mode::RWXU).unwrap();
        at.push(&name);
    }
    let snapshot = stage.snapshot(&volume).await;
    let copy = stage.volume(2, Some(&snapshot)).await;
    Tree::open(&stage.files(&copy)).unwrap().folder(&at).unwrap();
    copying::remove(&stage.volumes.volume(&copy)).unwrap();
    assert!(!stage.volumes.volume(&copy).exists());
}

#[tokio::test]
async fn what_was_not_finished_is_nothing() {
    let stage = Stage::new(Way::Copies);
    let volume = stage.volume(1, None).await;
    fs::write(stage.files(&volume).join("file"), "kept").unwrap();
    let snapshot = stage.snapshot(&volume).await;
    // Killed while a snapshot and a volume were made, and while another volume was removed.
    let half = [
        stage.folder.path().join("snapshots/.new-snap-x"),
        stage.folder.path().join(format!("volumes/.new-vol-{}-2", stage.of.disk)),
        stage.folder.path().join("volumes/.gone-vol-y"),
    ];
    for folder in &half {
        fs::create_dir_all(folder.join(FILES)).unwrap();
        fs::write(folder.join("files/file"), "ha").unwrap();
    }
    assert_eq!(stage.volumes.volumes().await.unwrap().len(), 1);
    assert!(matches!(
        stage.volumes.snapshot_state(&SnapshotId::new("snap-x")).await.unwrap(),
        SnapshotState::Failed(_)
    ));
    let second = stage.volume(2, Some(&snapshot)).await;
    assert_eq!(fs::read(stage.files(&second).join("file")).unwrap(), b"kept");
    let opened = LocalVolumes::open(stage.folder.path(), Arc::clone(&stage.known) as Arc<dyn Attempts>).unwrap();
    assert_eq!(opened.volumes().await.unwrap().len(), 2);
    assert_eq!(opened.snapshots().await.unwrap().len(), 1);
    let nothing_else = || stage.names(VOLUMES).len() == 2 && stage.names(SNAPSHOTS).len() == 1;
    while !nothing_else() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_and_never_an_empty_disk() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage, &str); 8] = [
        ("a byte", |snapshot| fs::write(snapshot.join("files/file"), "kepT").unwrap(), "\"file\" was changed"),
        ("a file less", |snapshot| fs::remove_file(snapshot.join("files/file")).unwrap(), "\"file\" is missing"),
        ("a file more", |snapshot| fs::write(snapshot.join("files/more"), "").unwrap(), "\"more\" was not in it"),
        (
            "a link",
            |snapshot| {
                fs::remove_file(snapshot.join("files/link")).unwrap();
                symlink("/etc", snapshot.join("files/link")).unwrap();
            },
            "\"link\" was changed",
        ),
        ("its manifest", |snapshot| fs::write(snapshot.join("manifest"), "").unwrap(), "its manifest was changed"),
        ("no manifest", |snapshot| fs::remove_file(snapshot.join("manifest")).unwrap(), "it has no manifest"),
        ("no files", |snapshot| fs::remove_dir_all(snapshot.join("files")).unwrap(), "its files are missing"),
        ("all of it", |snapshot| fs::remove_dir_all(snapshot).unwrap(), "is not there"),
    ];
    for (case, damage, why) in damages {
        let stage = Stage::new(Way::Copies);
        let volume = stage.volume(1, None).await;
        fs::write(stage.files(&volume).join("file"), "kept").unwrap();
        symlink("file", stage.files(&volume).join("link")).unwrap();
        let snapshot = stage.snapshot(&volume).await;
        damage(&stage.volumes.snapshot_folder(&snapshot));
        match stage.create(2, Some(&snapshot)).await {
            Err(VolumeError::Refused(said)) => assert!(said.contains(why), "{case}: {said}"),
            other => panic!("{case}: {other:?}"),
        }
        assert_eq!(stage.names(VOLUMES).len(), 1, "{case}");
    }
}

#[tokio::test]
async fn a_volume_is_one_attempts_at_a_time() {
    let stage = Stage::new(Way::Copies);
    let volume = stage.volume(1, None).await;
    assert_eq!(stage.volume(1, None).await, volume, "asking twice makes one");
    let (first, second) = (stage.attempt(Some(true)), stage.attempt(Some(true)));
    let there = Ok(Attachment::There(Device::Folder(stage.files(&volume).display().to_string())));
    assert_eq!(
        stage.volumes.attach(&volume, &stage.attempt(None)).await,
        Ok(Attachment::Coming),
        "nobody knows it yet"
    );
    let ended = stage.volumes.attach(&volume, &stage.attempt(Some(false))).await;
    assert!(matches!(ended, Err(VolumeError::Refused(_))), "{ended:?}");
    assert_eq!(stage.volumes.detach(&volume).await, Ok(true));
    for attempt in [&first, &first] {
        assert_eq!(stage.volumes.attach(&volume, attempt).await, there);
    }
    // The same after a crash.
    let opened = LocalVolumes::open(stage.folder.path(), Arc::clone(&stage.known) as Arc<dyn Attempts>).unwrap();
    assert_eq!(opened.detach(&volume).await, Ok(false));
    assert!(opened.delete_volume(&volume).await.is_err());
    assert_eq!(opened.attach(&volume, &second).await, Ok(Attachment::Coming), "the first one may still write");
    stage.known.0.lock().unwrap().insert(first.workload, false);
    assert_eq!(opened.detach(&volume).await, Ok(true));
    assert_eq!(opened.attach(&volume, &second).await, there);
    stage.known.0.lock().unwrap().insert(second.workload, false);
    opened.delete_volume(&volume).await.unwrap();
    assert_eq!(opened.detach(&volume).await, Ok(true), "one that is gone is free");
    let gone = opened.attach(&volume, &stage.attempt(Some(true))).await;
    assert!(matches!(gone, Err(VolumeError::Refused(_))), "{gone:?}");
}

#[tokio::test]
async fn tags_say_whose_it_is() {
    let stage = Stage::new(Way::Copies);
    let volume = stage.volume(7, None).await;
    let snapshot = stage.snapshot(&volume).await;
    let tagged = TaggedVolume { volume: volume.clone(), of: stage.of.clone(), uses: 7 };
    assert_eq!(stage.volumes.volumes().await.unwrap(), [tagged]);
    let name = DiskName::parse("other").unwrap();
    stage.volumes.tag(&snapshot, &name).await.unwrap();
    let tags = tags::read::<SnapshotTags>(&stage.volumes.snapshot_folder(&snapshot)).unwrap().unwrap();
    assert_eq!(tags.name.as_str(), "other");
    let found = stage.volumes.snapshots().await.unwrap();
    assert_eq!((&found[0].snapshot, &found[0].of, &found[0].volume), (&snapshot, &stage.of, &volume));
    for strange in ["snap-none", "../volumes", "", "."] {
        let strange = SnapshotId::new(strange);
        assert!(matches!(stage.volumes.tag(&strange, &name).await, Err(VolumeError::Refused(_))));
        stage.volumes.delete_snapshot(&strange).await.unwrap();
    }
    assert_eq!(stage.volumes.snapshots().await.unwrap().len(), 1);
}

#[test]
fn what_the_file_system_can_do_is_found_out_by_doing_it() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let way = Way::probed(folder.path()).unwrap();
        assert!(!way.words().is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{way:?}");
        fs::create_dir_all(folder.path().join(".probe/a")).unwrap();
    }
}
