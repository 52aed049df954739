//! What container engines are asked, word by word.

use cloud::{Ids, OsIds};
use domain::{Secret, Timestamp, agent::Room};

use super::*;

/// A machine's orders; the image is what a user might try.
fn boot(gpus: Vec<u32>, image: &str) -> Boot {
    Boot {
        plane: "https://plane.example.com".into(),
        workload: OsIds.workload(Timestamp::from_millis(0)),
        room: Room::Container,
        token: Secret::new("a very secret token"),
        listen: "0.0.0.0".into(),
        ssh_port: 22_022,
        jupyter_port: 8_888,
        model_port: Some(8_000),
        model_server: None,
        work_dir: "/var/lib/slipway/work".into(),
        host_key: "/var/lib/slipway/host_key".into(),
        hidden: Vec::new(),
        image_root: None,
        image: image.into(),
        gpus,
        disk: false,
        gpus_simulated: false,
    }
}

fn words(engine: Engine, boot: &Boot) -> Vec<String> {
    words_with(engine, boot, None)
}

fn words_with(engine: Engine, boot: &Boot, disk: Option<PathBuf>) -> Vec<String> {
    let layout = Layout {
        boot,
        program: "/usr/local/bin/slipway-agent".into(),
        run: "/var/lib/slipway/work/run".into(),
        home: "/var/lib/slipway/work/home".into(),
        disk,
        weights: None,
        shared_memory_kib: 4096,
    };
    engine.run(&layout).into_iter().map(|word| word.into_string().unwrap()).collect()
}

#[test]
fn a_container_is_started_with_these_words() {
    let docker = [("--gpus", "\"device=2,5\"")].as_slice();
    let podman = [("--device", "nvidia.com/gpu=2"), ("--device", "nvidia.com/gpu=5")].as_slice();
    let none = [("--env", "NVIDIA_VISIBLE_DEVICES=void")].as_slice();
    for (engine, gpus, simulated, devices) in [
        (Engine::Docker, vec![2, 5], false, docker),
        (Engine::Podman, vec![2, 5], false, podman),
        (Engine::Docker, vec![], false, none),
        (Engine::Podman, vec![], false, none),
        (Engine::Docker, vec![0], true, none),
    ] {
        let boot = Boot { gpus_simulated: simulated, ..boot(gpus, "pytorch/pytorch:2.1") };
        let (id, short) = (boot.workload.to_string(), boot.workload.short());
        let mut expected: Vec<String> = ["run", "--rm"].map(str::to_owned).into();
        let (name, label, host) =
            (format!("slipway-{id}"), format!("slipway.workload={id}"), format!("slipway-{short}"));
        let mark = format!("SLIPWAY_WORKLOAD={id}");
        let before = [
            ("--pull", "never"),
            ("--log-driver", "none"),
            ("--name", &name),
            ("--label", &label),
            ("--hostname", &host),
            ("--network", "bridge"),
            ("--publish", "0.0.0.0:22022:22022/tcp"),
            ("--publish", "127.0.0.1:8888:8888/tcp"),
            ("--publish", "0.0.0.0:8000:8000/tcp"),
            ("--security-opt", "no-new-privileges"),
            ("--cap-drop", "ALL"),
        ];
        let capabilities = CAPABILITIES.map(|(name, _why)| ("--cap-add", name));
        let limits = [("--pids-limit", "32768"), ("--shm-size", "4096k")];
        let after = [
            ("--mount", "type=bind,source=/usr/local/bin/slipway-agent,target=/slipway/agent,readonly"),
            ("--mount", "type=bind,source=/var/lib/slipway/work/run,target=/slipway/run,readonly"),
            ("--mount", "type=bind,source=/var/lib/slipway/work/home,target=/home/dev"),
            ("--env", &mark),
            ("--env", "HOME=/home/dev"),
            ("--entrypoint", "/slipway/agent"),
        ];
        for (option, value) in before.iter().chain(&capabilities).chain(&limits).chain(devices).chain(&after) {
            expected.extend([(*option).to_owned(), (*value).to_owned()]);
        }
        let end = ["--", "pytorch/pytorch:2.1", "inner", "--socket", "/slipway/run/agent.sock"];
        expected.extend(end.map(str::to_owned));
        assert_eq!(words(engine, &boot), expected);
    }
}

#[test]
fn a_disk_is_one_more_mount() {
    let boot = boot(vec![0], "pytorch/pytorch:2.1");
    for engine in [Engine::Docker, Engine::Podman] {
        let mut with = words_with(engine, &boot, Some("/var/lib/slipway/work/disk".into()));
        let mount = "type=bind,source=/var/lib/slipway/work/disk,target=/disk";
        let at = with.iter().position(|word| word == mount).unwrap();
        assert_eq!(with.drain(at - 1..=at).next().as_deref(), Some("--mount"));
        assert_eq!(with, words(engine, &boot));
    }
}

#[test]
fn an_image_is_one_word_and_never_an_option() {
    for image in ["--privileged", "x; reboot", "$(reboot)", "a b\nc", "--volume=/:/host x"] {
        for engine in [Engine::Docker, Engine::Podman] {
            let boot = boot(vec![0], image);
            let found = words(engine, &boot);
            let at = found.iter().position(|word| word == "--").unwrap();
            assert_eq!((found[at + 1].as_str(), found.len()), (image, at + 5), "{image}");
            assert!(found[..at].iter().all(|word| !word.contains(image)), "{image}");
            assert!(found.iter().all(|word| !word.contains("secret")), "the token is not the container's");
            assert!(
                !found
                    .iter()
                    .any(|word| word == "host" || word.contains("privileged=") || word.contains("docker.sock"))
            );
            let pull = engine.pull(image);
            assert_eq!(pull, ["pull", "--", image]);
        }
    }
}

#[test]
fn ports_mounts_and_memory_are_written_as_engines_read_them() {
    for (address, expected) in
        [("0.0.0.0", "0.0.0.0:7:7/tcp"), ("::", "[::]:7:7/tcp"), ("10.0.0.1", "10.0.0.1:7:7/tcp")]
    {
        assert_eq!(published(address, 7), expected);
    }
    for (path, expected) in [
        ("/a b", "type=bind,source=/a b,target=/t,readonly"),
        ("/a,b", "type=bind,\"source=/a,b\",target=/t,readonly"),
        ("/a\"b", "type=bind,\"source=/a\"\"b\",target=/t,readonly"),
    ] {
        assert_eq!(mounted(Path::new(path), "/t", true), expected);
    }
    for (meminfo, expected) in
        [("MemTotal:       2097152 kB\nMemFree: 1 kB\n", Some(2_097_152)), ("", None), ("MemTotal: much", None)]
    {
        assert_eq!(total_kib(meminfo), expected);
    }
    assert_eq!(last_words(b"one\n\n  two \n"), "one two");
}
