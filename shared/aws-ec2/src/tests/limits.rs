//! What a node runs first, run for real with stand-ins for the programs that would end this machine.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("slipway-limits-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("bin")).unwrap();
        let folder = Self(path);
        // Each stand-in writes down how it was called; the clock says what the test wants.
        for program in ["shutdown", "systemd-run", "systemctl"] {
            folder.program(program, &format!("#!/bin/sh\necho {program} \"$@\" >> \"$LOG\"\n"));
        }
        folder.program("date", "#!/bin/sh\necho \"$NOW\"\n");
        folder.file("enrol-within-seconds", "1800");
        folder.file("longest-seconds", "176520");
        folder
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.0.join("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Boots at this second, and gives what was armed.
    fn boot(&self, now: u32) -> Vec<String> {
        let log = self.0.join("log");
        fs::write(&log, "").unwrap();
        let path = format!("{}:/usr/bin:/bin", self.0.join("bin").display());
        let mut script = Command::new("sh");
        script.args(["-c", include_str!("../node/limits.sh"), "limits"]).arg(&self.0);
        let ran = script.env("PATH", path).env("LOG", &log).env("NOW", now.to_string()).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let lines = fs::read_to_string(&log).unwrap();
        lines.lines().filter(|line| !line.starts_with("systemctl stop")).map(str::to_owned).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn end(seconds: u32) -> String {
    format!("systemd-run --unit=slipway-end --on-active={seconds}s --timer-property=AccuracySec=1s systemctl poweroff")
}

#[test]
fn a_machine_that_nobody_enrols_ends_itself() {
    let folder = Folder::new("unenrolled");
    assert_eq!(folder.boot(1_000_000), ["shutdown -P +30".to_owned(), end(176_520)]);
    // A restart gives no more time, and always a little, so that it can be seen why.
    assert_eq!(folder.boot(1_000_600), ["shutdown -P +20".to_owned(), end(175_920)]);
    assert_eq!(folder.boot(2_000_000), ["shutdown -P +1".to_owned(), end(60)]);
}

#[test]
fn one_that_has_enrolled_has_its_longest_life() {
    let folder = Folder::new("enrolled");
    folder.file("first-boot", "1000000");
    folder.file("enrolled", "");
    assert_eq!(folder.boot(1_090_000), [end(86_520)]);
}
