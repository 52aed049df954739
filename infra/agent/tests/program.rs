//! The agent's own program, both copies of it, as real processes against a control plane that is played here.
//!
//! A container engine and the machine's `shutdown` are stand-ins: scripts in a folder that stands first in the search path, which note
//! what they were asked.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod models;
mod stage;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use domain::agent::{MainProcess, Progress, Room};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use self::stage::{AGENT, Stage};

/// What a user may think of, if nobody stopped them.
const STRANGE: &str = "--privileged x; touch /tmp/slipway-was-here $(reboot) 'a\"b\nc";
/// The job's own secret, and a command that says what it finds, as far as it was set by the image.
const COMMAND: &str =
    "echo \"image=$FROM_IMAGE told=$TOLD\"; trap 'echo asked; exit 7' TERM; while :; do sleep 0.1; done";

#[tokio::test]
async fn in_a_pod_the_two_copies_find_each_other_and_end_together() {
    // Kubernetes tells both containers at once, but one of them may be first by far.
    for (case, told) in [("both", &["outer", "inner"][..]), ("outer", &["outer"]), ("inner", &["inner"])] {
        let mut stage = Stage::new(Room::Pod, "image", COMMAND).await;
        // The user's container is there before its agent listens.
        let inner = stage.start("inner", &["inner", "--socket", &stage.socket()], &[("FROM_IMAGE", "kept")]);
        let outer = stage.start("outer", &["outer", "--boot", &stage.boot(), "--socket", &stage.socket()], &[]);
        stage.until(case, |told| told.progress() == Some(Progress::Ready)).await;
        stage.until(case, |told| told.log().contains("image=kept told=a secret of the user's")).await;
        stage.inner_has_no_secret_of_ours(inner).await;
        for name in told {
            kill(Pid::from_raw(if *name == "outer" { outer } else { inner }), Signal::SIGTERM).unwrap();
        }
        stage.until(case, |told| told.said_bye().is_some()).await;
        for name in ["outer", "inner"] {
            assert!(stage.ended(name).await.success(), "{case}: {name}");
        }
        let told = stage.told();
        assert!(told.log().contains("asked"), "{case}: the job was asked to end: {}", told.log());
        assert_eq!(told.main(), Some(MainProcess::Exited { code: 7 }), "{case}");
        assert_eq!(stage.asked("shutdown"), Vec::<Vec<String>>::new(), "{case}: a pod's machine is others' too");
    }
}

#[tokio::test]
async fn a_bought_machine_runs_the_image_and_goes_with_the_job() {
    let mut stage = Stage::new(Room::Container, STRANGE, "echo \"image=$FROM_IMAGE told=$TOLD\"").await;
    stage.start("outer", &["outer", "--boot", &stage.boot()], &[]);
    stage.until("the command", |told| told.main() == Some(MainProcess::Exited { code: 0 })).await;
    stage.until("its output", |told| told.log().contains("image=kept told=a secret of the user's")).await;
    assert!(stage.etc("enrolled").exists());
    assert_eq!(stage.asked("shutdown"), [["-c"]], "the machine stays while the job runs");
    stage.stop();
    assert!(stage.ended("outer").await.success());
    assert_eq!(stage.asked("shutdown"), [vec!["-c"], vec!["-P", "now"]]);
    assert_eq!(stage.told().said_bye().as_deref(), Some("It was told to stop."));
    let asked = stage.asked("docker");
    let run = asked.iter().find(|words| words[0] == "run").unwrap();
    let at = run.iter().position(|word| word == "--").unwrap();
    assert_eq!(&run[at + 1..], [STRANGE, "inner", "--socket", "/slipway/run/agent.sock"]);
    let pull = asked.iter().find(|words| words[0] == "pull").unwrap();
    assert_eq!(&pull[1..], ["--", STRANGE]);
    let told = stage.told();
    for secret in [told.token(), told.session(), "a secret of the user's".to_owned(), "FROM_IMAGE".to_owned()] {
        let found = asked.iter().flatten().find(|word| word.contains(&secret));
        assert_eq!(found, None, "the engine's arguments can be read by everybody on the machine");
    }
}

#[tokio::test]
async fn a_bought_machine_goes_when_there_is_no_job_for_it() {
    for (case, script, kept, reason) in [
        ("refused", "REFUSE", false, None),
        ("no image", "FAIL_PULL", true, Some("denied: nobody knows it")),
        ("no container", "FAIL_RUN", true, Some("no such runtime")),
    ] {
        let mut stage = Stage::new(Room::Container, "image", "true").await;
        if script == "REFUSE" {
            stage.refuse();
        }
        stage.start("outer", &["outer", "--boot", &stage.boot()], &[(script, "1")]);
        assert!(!stage.ended("outer").await.success(), "{case}");
        assert_eq!(stage.etc("enrolled").exists(), kept, "{case}");
        assert_eq!(stage.asked("shutdown").last().unwrap(), &["-P", "now"], "{case}");
        let said = stage.told().said_bye();
        assert_eq!(said.is_some(), reason.is_some(), "{case}");
        assert!(said.unwrap_or_default().contains(reason.unwrap_or_default()), "{case}: {:?}", stage.told().said_bye());
    }
}

#[tokio::test]
async fn with_another_room_in_its_orders_a_machine_is_used_as_it_is() {
    let mut stage = Stage::new(Room::Sandbox, "image", "echo \"told=$TOLD\"").await;
    stage.start("outer", &["outer", "--boot", &stage.boot()], &[("SLIPWAY_SANDBOX", "process-group")]);
    stage.until("it runs", |told| told.progress() == Some(Progress::Ready)).await;
    stage.until("its output", |told| told.log().contains("told=a secret of the user's")).await;
    stage.stop();
    assert!(stage.ended("outer").await.success());
    assert_eq!(stage.told().said_bye().as_deref(), Some("It was told to stop."));
    assert!(!stage.etc("enrolled").exists());
    for program in ["shutdown", "docker"] {
        assert_eq!(stage.asked(program), Vec::<Vec<String>>::new());
    }
}

#[tokio::test]
async fn a_job_begins_with_its_disk_and_leaves_a_list_of_it() {
    let mut cases = vec![("process-group", Room::Sandbox), ("", Room::Container)];
    if stage::has_bubblewrap() {
        cases.push(("bubblewrap", Room::Sandbox));
    }
    for (sandbox, room) in cases {
        let mut stage =
            Stage::with_disk(room, "echo \"at $SLIPWAY_DISK\"; echo written > \"${HERE:-$SLIPWAY_DISK}/file\"").await;
        // A container that is no container does not see its disk where it was told.
        let here = stage.disk().display().to_string();
        stage.start("outer", &["outer", "--boot", &stage.boot()], &[("SLIPWAY_SANDBOX", sandbox), ("HERE", &here)]);
        stage.until("it waits for its disk", |told| told.calls("sync") > 3).await;
        let waits = stage.told();
        assert_eq!(
            (waits.progress(), waits.main()),
            (Some(Progress::Installing), Some(MainProcess::Absent)),
            "{sandbox}"
        );
        let folder = stage.attach();
        stage.until("the command", |told| told.main() == Some(MainProcess::Exited { code: 0 })).await;
        let place = if sandbox == "process-group" { folder.display().to_string() } else { "/disk".to_owned() };
        stage.until("its output", |told| told.log().contains(&format!("at {place}\n"))).await;
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "written\n");
        stage.stop();
        assert!(stage.ended("outer").await.success());
        let sent = stage.told().contents();
        assert_eq!(sent.iter().map(|part| (part.snapshot, part.part, part.parts)).collect::<Vec<_>>(), [(4, 0, 1)]);
        let run = stage.asked("docker").into_iter().find(|words| words[0] == "run").unwrap_or_default();
        let mount = format!("type=bind,source={},target=/disk", folder.display());
        assert_eq!(run.contains(&mount), room == Room::Container, "{run:?}");
    }
}

#[tokio::test]
async fn a_job_whose_disk_never_comes_can_be_ended() {
    let mut stage = Stage::with_disk(Room::Sandbox, "true").await;
    stage.start("outer", &["outer", "--boot", &stage.boot()], &[]);
    stage.until("it waits for its disk", |told| told.calls("sync") > 1).await;
    stage.stop();
    assert!(stage.ended("outer").await.success());
    assert_eq!(stage.told().said_bye().as_deref(), Some("It was told to stop."));
    assert_eq!(stage.told().contents(), []);
}

#[test]
fn it_installs_itself_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("agent");
    assert!(Command::new(AGENT).arg("install").arg(&copy).status().unwrap().success());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o755);
    for (words, code, said) in [
        (&["--version"][..], 0, concat!("slipway-agent ", env!("CARGO_PKG_VERSION"))),
        (&["--help"], 0, "Usage: slipway-agent COMMAND"),
        (&["outer", "--privileged"], 2, ""),
    ] {
        let output = Command::new(&copy).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(String::from_utf8(output.stdout).unwrap().starts_with(said), "{words:?}");
    }
}
