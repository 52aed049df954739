//! What the sandbox shows and hides, as flags.

use domain::agent::ModelServer;

use super::{host::is_a_users_home, *};

fn layout() -> Layout {
    Layout {
        root: "/".into(),
        entries: vec![Entry::Folder("usr".into()), Entry::Link { name: "bin".into(), target: "usr/bin".into() }],
        homes: vec!["/root".into()],
        hidden: vec!["/srv/slipway".into()],
        masked: vec!["/etc/shadow".into()],
        shown: vec!["/root/.pyenv".into()],
        given: vec!["/tmp/server.py".into()],
        resolver: None,
        devices: vec!["/dev/nvidia0".into()],
        var_tmp: true,
        as_root: true,
        host_name: "slipway-abc".into(),
        program: "/opt/slipway".into(),
        socket: "/srv/slipway/work/1/agent.sock".into(),
        disk: None,
        weights: None,
        work_dir: "/srv/slipway/work/1".into(),
        path: "/usr/bin".into(),
        workload: "w".into(),
    }
}

/// The flags as one line, to look for runs of words in.
fn line(layout: &Layout) -> String {
    let words: Vec<String> = layout.flags().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    format!(" {} ", words.join(" "))
}

#[test]
fn the_flags_show_and_hide() {
    let line = line(&layout());
    for wanted in [
        "--unshare-pid --unshare-ipc --unshare-uts",
        "--cap-drop ALL",
        "--die-with-parent --new-session --hostname slipway-abc",
        "--ro-bind /usr /usr --symlink usr/bin /bin",
        "--dev-bind-try /dev/nvidia0 /dev/nvidia0",
        "--bind /srv/slipway/work/1/tmp /tmp --bind /srv/slipway/work/1/tmp /var/tmp",
        "--tmpfs /run --tmpfs /home --tmpfs /root --ro-bind /root/.pyenv /root/.pyenv --ro-bind /tmp/server.py /tmp/server.py --tmpfs /srv/slipway",
        "--ro-bind /dev/null /etc/shadow",
        "--bind /srv/slipway/work/1/home /home/dev",
        "--ro-bind /opt/slipway /run/slipway/slipway",
        "--remount-ro / --chdir /home/dev --clearenv --setenv PATH /usr/bin",
        "--setenv SLIPWAY_WORKLOAD w",
    ] {
        assert!(line.contains(&format!(" {wanted} ")), "{wanted} in {line}");
    }
    for unwanted in ["--unshare-net", "--unshare-all", "--unshare-user", "--share-net", "--cap-add"] {
        assert!(!line.contains(unwanted), "{unwanted} in {line}");
    }
}

#[test]
fn a_disk_is_at_its_place_whatever_else_is_there() {
    let entries = vec![Entry::Folder("usr".into()), Entry::Link { name: "disk".into(), target: "/etc".into() }];
    let (with, without) = (
        line(&Layout { disk: Some("/srv/slipway/disks/volumes/1/files".into()), entries: entries.clone(), ..layout() }),
        line(&Layout { entries, ..layout() }),
    );
    let bind = " --bind /srv/slipway/disks/volumes/1/files /disk ";
    assert!(with.contains(bind) && with.find(bind) > with.find("--tmpfs /srv/slipway"), "{with}");
    assert!(!with.contains("--symlink /etc /disk") && without.contains("--symlink /etc /disk"), "{without}");
}

#[test]
fn an_ordinary_user_needs_a_user_namespace() {
    let line = line(&Layout { as_root: false, ..layout() });
    assert!(line.contains(" --unshare-user ") && !line.contains("--cap-drop"), "{line}");
}

#[test]
fn the_fleets_folders_are_hidden_however_high_they_lie() {
    for (folders, hidden) in [
        (vec!["/etc"], Some(vec!["/srv/1", "/etc"])),
        (vec!["/etc/../etc/"], Some(vec!["/srv/1", "/etc"])),
        (vec!["/tmp"], Some(vec!["/srv/1"])),
        (vec![], Some(vec!["/srv/1"])),
        (vec!["/no-such-folder"], None),
    ] {
        let named: Vec<String> = folders.iter().map(ToString::to_string).collect();
        let found = hidden_folders(&named, Path::new("/srv/1")).ok();
        assert_eq!(found, hidden.map(|hidden| hidden.iter().map(PathBuf::from).collect()), "{folders:?}");
    }
}

#[test]
fn a_services_home_is_no_persons() {
    for (home, persons) in [
        ("/root", true),
        ("/var/lib/jenkins", true),
        ("/data/people/ada", true),
        ("/", false),
        ("/bin", false),
        ("/usr/sbin", false),
        ("/nonexistent", false),
    ] {
        assert_eq!(is_a_users_home(Path::new(home)), persons, "{home}");
    }
}

#[test]
fn nothing_is_hidden_twice() {
    for (folders, kept) in [
        (vec!["/srv/slipway/work", "/srv/slipway"], vec!["/srv/slipway"]),
        (vec!["/srv/slipway", "/srv/slipway/work"], vec!["/srv/slipway"]),
        (vec!["/srv/a", "/srv/ab"], vec!["/srv/a", "/srv/ab"]),
        (vec!["/tmp/x", "/home/me/.slipway", "/data/slipway"], vec!["/data/slipway"]),
    ] {
        let found = outermost(folders.iter().map(PathBuf::from).collect());
        assert_eq!(found, kept.iter().map(PathBuf::from).collect::<Vec<_>>(), "{folders:?}");
    }
}

#[test]
fn the_search_path_decides_what_of_a_home_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    for made in [".pyenv/shims", ".cargo/bin", ".local/bin"] {
        fs::create_dir_all(home.join(made)).unwrap();
    }
    let path = [".pyenv/bin", ".pyenv/shims", ".cargo/bin", "missing/bin"]
        .map(|part| home.join(part).display().to_string())
        .join(":");
    let shown = shown_in_home(&format!("/usr/bin:{path}:{}", home.display()), home);
    assert_eq!(shown, [home.join(".pyenv"), home.join(".cargo/bin")]);
}

#[test]
fn wishes_are_words() {
    for (text, wish) in [
        (None, Some(Wish::Auto)),
        (Some(""), Some(Wish::Auto)),
        (Some("auto"), Some(Wish::Auto)),
        (Some("bubblewrap"), Some(Wish::Bubblewrap)),
        (Some("process-group"), Some(Wish::ProcessGroup)),
        (Some("docker"), None),
    ] {
        assert_eq!(Wish::read(text).ok(), wish, "{text:?}");
    }
}

#[test]
fn the_roots_own_places_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for made in ["usr/bin", "proc", "dev", "tmp", "home", "run", "sys"] {
        fs::create_dir_all(folder.path().join(made)).unwrap();
    }
    fs::write(folder.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("usr/bin", folder.path().join("bin")).unwrap();
    let mut found = entries(folder.path()).unwrap();
    found.sort_by_key(|entry| matches!(entry, Entry::Link { .. }));
    assert_eq!(found, [Entry::Folder("usr".into()), Entry::Link { name: "bin".into(), target: "usr/bin".into() }]);
}

#[test]
fn what_a_model_server_is_given_is_shown() {
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let (script, kept) = (folder.path().join("server.py"), folder.path().join("data/key"));
    fs::create_dir(folder.path().join("data")).expect("a folder");
    for file in [&script, &kept] {
        fs::write(file, "x").expect("written");
    }
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&kept, &link).expect("a link");
    let text = |path: &std::path::Path| path.display().to_string();
    let argv = [
        "python3".to_owned(),
        text(&script),
        text(&kept),
        text(&link),
        text(folder.path()),
        "/tmp/nothing-of-this-name".to_owned(),
        "/etc/passwd".to_owned(),
        format!("--model={}", text(&script)),
    ];
    let server = ModelServer::Command { argv: argv.into() };
    let hidden = [text(&folder.path().join("data"))];
    assert_eq!(given_files(Some(&server), &[], &hidden), [script]);
    assert_eq!(given_files(Some(&ModelServer::Vllm), &[], &hidden), Vec::<PathBuf>::new());
    assert_eq!(given_files(None, &[], &hidden), Vec::<PathBuf>::new());
}
