//! What a machine is told at its first boot: cloud-init's configuration, as data.
//!
//! It is JSON, which is YAML. The scripts and units are constants; every value is a file of its own that they read, so that nothing is ever put into
//! the text of a script. The first thing that runs arms the machine's end (`node/limits.sh`): it powers itself off, which terminates it, when
//! its agent has not enrolled in time, and when no workload can live any longer. Only then is the agent fetched and checked against
//! its pinned SHA-256 (`node/start.sh`).
//!
//! What an agent does for its part (`infra/agent`, the room `Container`): when it has enrolled it makes `/etc/slipway/enrolled`, beside its
//! boot file, and runs `shutdown -c`; when its workload has ended, or the plane has refused it, it powers the machine off.
//!
//! It depends on the order and the settings alone, and on no clock: under one client token EC2 takes only one text.

use std::time::Duration;

use cloud::Order;
use domain::{
    Secret,
    agent::{Boot, ModelServer, Room},
    policy::GRACE,
};
use serde_json::{Value, json};

use crate::settings::Settings;

/// The SSH server's port on every node: 22 may be the image's own.
pub const SSH_PORT: u16 = 22_022;
/// JupyterLab's port, on the node's loopback.
pub const JUPYTER_PORT: u16 = 8_888;
/// The port at which a model answers, where one is served: vLLM's own.
pub const MODEL_PORT: u16 = 8_000;
/// What is open-ended has no longest life: ten years stand for that. Such a machine ends when its agent has heard nothing for an hour, or when
/// the plane has heard nothing of its agent.
const OPEN_ENDED: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// The most that EC2 takes, in bytes before it is encoded (EC2 user guide, "Run commands when you launch an EC2 instance").
pub const LARGEST: usize = 16 * 1024;

/// The user data cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUserData {
    /// It is larger than [`LARGEST`].
    #[error("the machine's first orders take {0} bytes, and EC2 takes 16384")]
    TooLarge(usize),
    /// The agent's address or its SHA-256 is not one.
    #[error("the agent's program is not configured: it needs an https address and a SHA-256")]
    BadAgent,
}

/// What the agent is told.
fn boot(order: &Order, settings: &Settings) -> Boot {
    Boot {
        plane: settings.plane.clone(),
        workload: order.workload,
        room: Room::Container,
        token: order.enroll_token.clone(),
        listen: "0.0.0.0".to_owned(),
        ssh_port: SSH_PORT,
        jupyter_port: JUPYTER_PORT,
        model_port: order.serves.then_some(MODEL_PORT),
        model_server: order.serves.then_some(ModelServer::Vllm),
        work_dir: "/var/lib/slipway/work".to_owned(),
        host_key: "/var/lib/slipway/host_key".to_owned(),
        // A container sees nothing of the machine but what is mounted into it.
        hidden: Vec::new(),
        image_root: None,
        image: order.image.clone(),
        // A machine may have more than were ordered: the job sees what it asked for.
        gpus: (0..order.gpus).collect(),
        disk: order.disk.is_some(),
        gpus_simulated: false,
    }
}

/// The longest that a machine may be there: time to enrol, the longest life, its grace, and once more the time to enrol for a launch's
/// other steps.
fn longest(order: &Order, settings: &Settings) -> Duration {
    let life = order.life.unwrap_or(OPEN_ENDED).max(settings.longest_life);
    life.saturating_add(GRACE).saturating_add(settings.enrol_within.saturating_mul(2))
}

/// Writes it.
///
/// # Errors
/// When it is too large, or the agent's program is misconfigured.
pub fn user_data(order: &Order, settings: &Settings) -> Result<Secret, BadUserData> {
    let agent = &settings.agent;
    let pinned = agent.sha256.len() == 64 && agent.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !pinned || !agent.url.starts_with("https://") || agent.url.contains(char::is_whitespace) {
        return Err(BadUserData::BadAgent);
    }
    let file = |path: &str, mode: &str, content: &str| -> Value {
        json!({"path": path, "permissions": mode, "owner": "root:root", "content": content})
    };
    let boot = Secret::new(format!("{}\n", json!(boot(order, settings))));
    let program = format!("{}  /usr/local/bin/slipway-agent\n", agent.sha256);
    let enrol_within = settings.enrol_within.as_secs().to_string();
    let longest = longest(order, settings).as_secs().to_string();
    let config = json!({
        "write_files": [
            file("/etc/slipway/boot.json", "0600", boot.reveal()),
            file("/etc/slipway/workload", "0644", &order.workload.to_string()),
            file("/etc/slipway/enrol-within-seconds", "0644", &enrol_within),
            file("/etc/slipway/longest-seconds", "0644", &longest),
            file("/etc/slipway/agent-url", "0644", &agent.url),
            file("/etc/slipway/agent.sha256", "0644", &program),
            file("/usr/local/sbin/slipway-limits", "0700", include_str!("node/limits.sh")),
            file("/usr/local/sbin/slipway-start", "0700", include_str!("node/start.sh")),
            file("/etc/systemd/system/slipway-limits.service", "0644", include_str!("node/slipway-limits.service")),
            file("/etc/systemd/system/slipway-agent.service", "0644", include_str!("node/slipway-agent.service")),
        ],
        "runcmd": [
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "slipway-limits.service"],
            ["systemctl", "enable", "--now", "slipway-agent.service"],
        ],
    });
    let text = Secret::new(format!("#cloud-config\n{config}\n"));
    if text.reveal().len() > LARGEST {
        return Err(BadUserData::TooLarge(text.reveal().len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{order, settings};

    fn read(text: &Secret) -> Value {
        serde_json::from_str(text.reveal().strip_prefix("#cloud-config\n").unwrap()).unwrap()
    }

    fn content(config: &Value, path: &str) -> String {
        let files = config["write_files"].as_array().unwrap();
        files.iter().find(|file| file["path"] == path).unwrap()["content"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_agent_is_told_its_orders_as_data() {
        let order = Order { gpus: 2, image: "it's; $(reboot) \"x\"\n".into(), ..order() };
        let config = read(&user_data(&order, &settings()).unwrap());
        let line = content(&config, "/etc/slipway/boot.json");
        assert_eq!(line.matches('\n').count(), 1);
        let boot: Boot = serde_json::from_str(&line).unwrap();
        assert_eq!((boot.token, boot.gpus, boot.ssh_port), (order.enroll_token, vec![0, 1], SSH_PORT));
        assert_eq!((boot.image, boot.room), (order.image, Room::Container));
        assert_eq!(config["write_files"][0]["permissions"], "0600");
    }

    #[test]
    fn a_model_is_served_by_vllm_where_one_is() {
        for (serves, port, server) in [(false, None, None), (true, Some(MODEL_PORT), Some(ModelServer::Vllm))] {
            let config = read(&user_data(&Order { serves, ..order() }, &settings()).unwrap());
            let boot: Boot = serde_json::from_str(&content(&config, "/etc/slipway/boot.json")).unwrap();
            assert_eq!((boot.model_port, boot.model_server), (port, server));
        }
    }

    #[test]
    fn scripts_are_the_same_for_everybody() {
        let strange = Order { image: "$(reboot)".into(), life: Some(Duration::from_secs(1)), gpus: 7, ..order() };
        let (one, other) =
            (read(&user_data(&order(), &settings()).unwrap()), read(&user_data(&strange, &settings()).unwrap()));
        for path in ["/usr/local/sbin/slipway-limits", "/usr/local/sbin/slipway-start"] {
            assert_eq!(content(&one, path), content(&other, path));
        }
        assert_eq!(one["runcmd"], other["runcmd"]);
        assert_eq!(one["runcmd"][1][3], "slipway-limits.service", "the machine's end is armed first");
    }

    #[test]
    fn a_machine_outlives_every_extension_and_no_more() {
        let hours = |count: u64| Duration::from_secs(3_600 * count);
        for (life, expected) in [
            (Some(hours(4)), 48 * 3_600 + 3_720),
            (Some(hours(72)), 72 * 3_600 + 3_720),
            (None, OPEN_ENDED.as_secs() + 3_720),
        ] {
            let config = read(&user_data(&Order { life, ..order() }, &settings()).unwrap());
            assert_eq!(content(&config, "/etc/slipway/longest-seconds"), expected.to_string());
            assert_eq!(content(&config, "/etc/slipway/enrol-within-seconds"), "1800");
        }
    }

    #[test]
    fn what_cannot_boot_is_refused() {
        let with = |url: &str, sha256: &str| {
            let agent = crate::AgentBinary { url: url.into(), sha256: sha256.into() };
            user_data(&order(), &Settings { agent, ..settings() }).map(drop)
        };
        let (url, sha256) = ("https://example.com/agent", "a".repeat(64));
        assert_eq!(with(url, &sha256), Ok(()));
        for (url, sha256) in
            [("http://example.com/agent", &*sha256), ("https://a b", &sha256), (url, "abc"), (url, &"A".repeat(64))]
        {
            assert_eq!(with(url, sha256), Err(BadUserData::BadAgent), "{url} {sha256}");
        }
        let large = Order { image: "x".repeat(LARGEST), ..order() };
        assert!(matches!(user_data(&large, &settings()), Err(BadUserData::TooLarge(size)) if size > LARGEST));
        let usual = user_data(&order(), &settings()).unwrap().reveal().len();
        assert!(usual < LARGEST / 2, "{usual} bytes leave little room");
    }
}
