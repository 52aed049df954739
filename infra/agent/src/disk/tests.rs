use std::{
    fs::Permissions,
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    pin::Pin,
    sync::Mutex,
};

use cloud::SystemClock;
use domain::{Timestamp, VolumeId, agent::Listed};
use flate2::read::GzDecoder;
use tempfile::TempDir;

use super::*;
use crate::plane::tests::{Jumping, Stub};

/// Notes what it was asked, and does as much of it as others look at.
const PROGRAM: &str = r#"#!/bin/sh
here=${0%/*} name=${0##*/}
{ printf '%s' "$name"; for word; do printf ' %s' "$word"; done; echo; } >> "$here/notes"
[ ! -e "$here/fail.$name" ] || { echo 'it went wrong' >&2; exit "$(cat "$here/fail.$name")"; }
case "$name" in
    blkid) [ -e "$here/type" ] || exit 2; cat "$here/type" ;;
    mkfs.ext4) echo TYPE=ext4 > "$here/type" ;;
esac
"#;

/// A machine whose block devices are files, and whose programs are stand-ins.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for made in ["bin", "blocks", "devices"] {
            fs::create_dir(machine.at(made)).unwrap();
        }
        for program in ["blkid", "mkfs.ext4", "mount", "umount", "resize2fs", "fsfreeze"] {
            fs::write(machine.at("bin").join(program), PROGRAM).unwrap();
            fs::set_permissions(machine.at("bin").join(program), Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(machine.at("mounts"), "/dev/root / ext4 rw 0 0\n").unwrap();
        for (name, serial) in [("nvme0n1", "vol0other"), ("sda", "vol0ours"), ("nvme1n1", "vol0ours")] {
            fs::create_dir_all(machine.at("blocks").join(name).join("device")).unwrap();
            fs::write(machine.at("blocks").join(name).join("device/serial"), format!("{serial}   \n")).unwrap();
            fs::write(machine.at("devices").join(name), [0; 4096]).unwrap();
        }
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tools(&self) -> Tools {
        Tools {
            blocks: self.at("blocks"),
            devices: self.at("devices"),
            mounts: self.at("mounts"),
            path: Some(format!("{}:/usr/bin:/bin", self.at("bin").display()).into()),
            looks: 1,
        }
    }

    async fn disk(&self, serial: &str, blank: bool) -> Result<Disk, String> {
        let mount = mount(Device::Serial(serial.to_owned()), blank);
        let disk = Disk::there(&mount, Room::Container, self.folder.path(), self.tools()).await;
        disk.map_err(|error| error.to_string())
    }

    /// What the programs were asked, with short names for the device and its place.
    fn asked(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.at("bin/notes")).unwrap_or_default();
        let device = self.at("devices/nvme1n1").display().to_string();
        let place = self.at("disk").display().to_string();
        notes.lines().map(|line| line.replace(&device, "DEVICE").replace(&place, "PLACE")).collect()
    }
}

fn mount(device: Device, blank: bool) -> Mount {
    Mount { volume: VolumeId::new("vol-0ours"), device, blank, next: 3, freeze: None }
}

async fn means(clock: Arc<dyn Clock>) -> (Means, Stub) {
    let stub = Stub::answering(&[("200 OK", "{}")]).await;
    let seen = Arc::new(watch::Sender::new(Seen::default()));
    (Means { plane: Arc::clone(&stub.plane), clock, seen }, stub)
}

/// The list that was sent, and the number that it was sent for.
fn heard(stub: &Stub) -> (u64, Vec<u8>) {
    let told = stub.told.lock().unwrap();
    let parts: Vec<Contents> = told.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let numbered =
        parts.iter().enumerate().all(|(at, part)| (part.part as usize, part.parts as usize) == (at, parts.len()));
    assert!(numbered, "{parts:?}");
    (parts[0].snapshot, parts.iter().flat_map(|part| STANDARD.decode(&part.data).unwrap()).collect())
}

fn unpacked(list: &[u8]) -> Vec<Listed> {
    let mut text = String::new();
    GzDecoder::new(list).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const LOOK: &str = "blkid --probe --output export DEVICE";
const MOUNT: &str = "mount -o nodev,nosuid,noatime DEVICE PLACE";

#[tokio::test]
async fn a_file_system_is_made_once_and_grows_with_its_device() {
    let machine = Machine::new();
    machine.disk("vol0ours", true).await.unwrap();
    let made = [LOOK, "mkfs.ext4 -q -F -m 0 DEVICE", MOUNT];
    assert_eq!(machine.asked(), made);
    machine.disk("vol0ours", false).await.unwrap();
    assert_eq!(machine.asked()[3..], [LOOK, MOUNT, "resize2fs DEVICE"]);
    // Where it was forgotten that it is not empty any more.
    machine.disk("vol0ours", true).await.unwrap();
    assert_eq!(machine.asked()[6..], [LOOK, MOUNT, "resize2fs DEVICE"]);
    fs::write(machine.at("bin/fail.resize2fs"), "1").unwrap();
    let disk = machine.disk("vol0ours", false).await.unwrap();
    assert!(disk.note().unwrap().contains("stays as large as it was"));
}

#[tokio::test]
async fn a_device_with_anything_on_it_is_never_formatted() {
    for (case, kind, fails, begins, blank, why) in [
        ("files lost", None, None, 0, false, "should have files, and has no file system"),
        ("something unknown", None, None, 7, true, "should be empty, and is not"),
        ("partitions", Some("PTTYPE=gpt\n"), None, 0, true, "no file system, but PTTYPE=gpt"),
        ("two things", None, Some("8"), 0, true, "it cannot be told what is on it: it went wrong"),
        ("no answer", None, Some("4"), 0, false, "it cannot be told what is on it: it went wrong"),
    ] {
        let machine = Machine::new();
        if let Some(kind) = kind {
            fs::write(machine.at("bin/type"), kind).unwrap();
        }
        if let Some(code) = fails {
            fs::write(machine.at("bin/fail.blkid"), code).unwrap();
        }
        fs::write(machine.at("devices/nvme1n1"), [begins; 4096]).unwrap();
        let error = machine.disk("vol0ours", blank).await.unwrap_err();
        assert!(error.contains(why), "{case}: {error}");
        assert_eq!(machine.asked(), [LOOK], "{case}");
    }
    let machine = Machine::new();
    fs::write(machine.at("bin/type"), "TYPE=ext4\n").unwrap();
    fs::write(machine.at("bin/fail.mount"), "32").unwrap();
    let error = machine.disk("vol0ours", false).await.unwrap_err();
    assert_eq!(error, "its disk: mount ended with Some(32): it went wrong");
    let error = machine.disk("vol0none", true).await.unwrap_err();
    assert_eq!(error, "its disk: no device with the serial number vol0none appeared");
}

#[tokio::test]
async fn what_an_agent_before_this_one_mounted_is_let_go_on() {
    let machine = Machine::new();
    let mounts = |device: &str| {
        format!(
            "/dev/root / ext4 rw 0 0\n{} {} ext4 rw 0 0\n",
            machine.at(device).display(),
            machine.at("disk").display()
        )
    };
    fs::create_dir(machine.at("disk")).unwrap();
    fs::write(machine.at("mounts"), mounts("devices/nvme1n1")).unwrap();
    machine.disk("vol0ours", true).await.unwrap();
    assert_eq!(machine.asked(), ["fsfreeze --unfreeze PLACE"]);
    fs::write(machine.at("mounts"), mounts("devices/nvme0n1")).unwrap();
    assert!(machine.disk("vol0ours", true).await.unwrap_err().contains("is there already"));
}

#[tokio::test]
async fn a_disk_is_held_still_for_as_long_as_that_is_wanted() {
    let machine = Machine::new();
    let disk = Arc::new(machine.disk("vol0ours", true).await.unwrap());
    fs::write(machine.at("disk/file"), "12345").unwrap();
    let (means, stub) = means(Arc::new(SystemClock)).await;
    let keeping = disk.kept(means.clone());
    let mut seen = means.seen.subscribe();
    let wanted = mount(Device::Serial("vol0ours".to_owned()), true);
    disk.want(&Mount { freeze: Some(5), next: 5, ..wanted.clone() });
    seen.wait_for(|seen| seen.frozen == Some(5)).await.unwrap();
    assert_eq!(machine.asked().last().unwrap(), "fsfreeze --freeze PLACE");
    let (number, list) = heard(&stub);
    assert_eq!((number, unpacked(&list)[0].path.as_str(), unpacked(&list)[0].size), (5, "file", 5));
    disk.want(&Mount { next: 6, ..wanted });
    seen.wait_for(|seen| seen.frozen.is_none()).await.unwrap();
    assert_eq!(machine.asked().last().unwrap(), "fsfreeze --unfreeze PLACE");
    keeping.abort();
    stub.told.lock().unwrap().clear();
    disk.closed(&means).await;
    assert_eq!(heard(&stub).0, 6, "what is written from then on belongs to the next one");
    assert_eq!(machine.asked()[5..], ["fsfreeze --unfreeze PLACE", "umount PLACE"]);
}

#[tokio::test]
async fn a_disk_goes_on_by_itself() {
    let machine = Machine::new();
    let disk = Arc::new(machine.disk("vol0ours", true).await.unwrap());
    let (means, _stub) = means(Arc::new(Jumping::default())).await;
    let keeping = disk.kept(means.clone());
    disk.want(&Mount { freeze: Some(1), ..mount(Device::Serial("vol0ours".to_owned()), true) });
    while machine.asked().last().is_none_or(|last| last != "fsfreeze --unfreeze PLACE") {
        tokio::task::yield_now().await;
    }
    keeping.abort();
    assert_eq!(means.seen.borrow().frozen, None);
}

#[tokio::test]
async fn a_folder_is_its_own_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("files");
    let wanted = mount(Device::Folder(path.display().to_string()), true);
    let there = async |room| Disk::there(&wanted, room, folder.path(), Tools::default()).await;
    assert!(there(Room::Sandbox).await.is_err(), "it is never made");
    there(Room::Pod).await.unwrap();
    fs::create_dir(&path).unwrap();
    let disk = there(Room::Sandbox).await.unwrap();
    assert_eq!(disk.path(), path);
    let (means, stub) = means(Arc::new(SystemClock)).await;
    disk.closed(&means).await;
    assert_eq!(heard(&stub).0, 3);
    let device = mount(Device::Serial("vol0ours".to_owned()), true);
    for room in [Room::Sandbox, Room::Pod] {
        assert!(Disk::there(&device, room, folder.path(), Tools::default()).await.is_err());
    }
}

/// Each look at it takes ten seconds.
#[derive(Debug, Default)]
struct Slow(Mutex<i64>);

impl Clock for Slow {
    fn now(&self) -> Timestamp {
        let mut now = self.0.lock().unwrap();
        *now += 10_000;
        Timestamp::from_millis(*now)
    }

    fn sleep<'a, 'b>(&'a self, _pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn a_list_names_what_is_there_and_follows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("b/deeper")).unwrap();
    fs::write(folder.path().join("b/deeper/file"), "1234567").unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    symlink("/etc", folder.path().join("c")).unwrap();
    let modified = std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    File::open(folder.path().join("a")).unwrap().set_modified(modified).unwrap();
    let found = unpacked(&contents::listed(folder.path(), &SystemClock).unwrap());
    let short: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.kind.as_str())).collect();
    assert_eq!(
        short,
        [("a", "file"), ("b", "folder"), ("c", "link"), ("b/deeper", "folder"), ("b/deeper/file", "file")]
    );
    assert_eq!((found[0].modified, found[4].size), (Timestamp::from_millis(1_700_000_000_123), 7));
    let cut = unpacked(&contents::listed(folder.path(), &Slow::default()).unwrap());
    let short: Vec<_> = cut.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(short, ["a", "b", "... and more that is not listed"]);
    assert!(contents::listed(&folder.path().join("c"), &SystemClock).is_err());
}

#[tokio::test]
async fn a_list_is_sent_in_parts() {
    let (means, stub) = means(Arc::new(SystemClock)).await;
    let list: Vec<u8> = (0..LARGEST_PART * 2 + 1).map(|at| u8::try_from(at % 251).unwrap()).collect();
    send(&list, 9, &means).await.unwrap();
    assert_eq!(stub.told.lock().unwrap().len(), 3);
    assert_eq!(heard(&stub), (9, list));
}
