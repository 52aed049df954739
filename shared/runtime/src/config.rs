//! What the templates tell a function, in environment variables.

use std::collections::BTreeMap;

use aws_core::Environment;
use domain::{message::QueueName, policy::Policy};
use store::Pool;

/// A function's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Region, credentials, and where AWS is asked.
    pub aws: Environment,
    /// What the tables' names begin with: `TABLE_PREFIX`.
    pub tables: String,
    /// Where messages go: `DOORBELLS_URL`, `RECONCILES_URL` and `DISKS_URL`.
    pub queues: BTreeMap<QueueName, String>,
    /// The launch: `STATE_MACHINE_ARN`.
    pub state_machine: String,
    /// The key that secrets are sealed under: `KMS_KEY_ID`.
    pub key: String,
    /// The installation's own secrets: `SERVICE_SECRET_ID`.
    pub secret: String,
    /// What the edge adds to each request: `ORIGIN_SECRET_ID`.
    pub origin_secret: String,
    /// Where clients and agents reach this plane: `PLANE_URL`.
    pub plane_url: String,
    /// The host name in it: presigned logins are signed for it.
    pub host: String,
    /// Whether the keys of IAM users, which live for years, may log in: `LOGIN_LONG_LIVED_KEYS`, `true` or `false`.
    pub long_lived_keys: bool,
    /// Web pages that may call: `CORS_ORIGINS`, comma-separated.
    pub cors_origins: Vec<String>,
    /// Limits, as JSON: `POLICY`; the defaults where it is empty.
    pub policy: Policy,
    /// What is offered, as JSON: `POOLS`.
    pub pools: Vec<Pool>,
}

/// A setting is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not set.
    #[error("the environment variable {0} is not set: the template sets it")]
    Missing(String),
    /// It is not what it should be.
    #[error("the environment variable {0} is wrong: {1}")]
    Wrong(&'static str, String),
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// When a variable is missing or wrong.
    pub fn from_process() -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables through `variable`; one that is empty counts as missing.
    ///
    /// # Errors
    /// When a variable is missing or wrong.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let optional = |name: &str| variable(name).filter(|value| !value.is_empty());
        let needed = |name: &str| optional(name).ok_or_else(|| ConfigError::Missing(name.to_owned()));
        let queue = |queue: QueueName| Ok((queue, needed(&format!("{}_URL", queue.name().to_ascii_uppercase()))?));
        let policy = optional("POLICY").map(|text| serde_json::from_str(&text)).transpose();
        let pools = optional("POOLS").map(|text| serde_json::from_str(&text)).transpose();
        let long_lived = optional("LOGIN_LONG_LIVED_KEYS").map_or(Ok(false), |text| text.parse());
        let plane_url = needed("PLANE_URL")?;
        let origins = optional("CORS_ORIGINS").unwrap_or_default();
        Ok(Self {
            aws: Environment::read(&variable).map_err(|missing| ConfigError::Missing(missing.to_string()))?,
            tables: needed("TABLE_PREFIX")?,
            queues: QueueName::ALL.into_iter().map(queue).collect::<Result<_, _>>()?,
            state_machine: needed("STATE_MACHINE_ARN")?,
            key: needed("KMS_KEY_ID")?,
            secret: needed("SERVICE_SECRET_ID")?,
            origin_secret: needed("ORIGIN_SECRET_ID")?,
            host: host_of(&plane_url)?,
            plane_url,
            long_lived_keys: long_lived
                .map_err(|_other| ConfigError::Wrong("LOGIN_LONG_LIVED_KEYS", "give true or false".to_owned()))?,
            cors_origins: origins
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
            policy: policy.map_err(|error| ConfigError::Wrong("POLICY", error.to_string()))?.unwrap_or_default(),
            pools: pools.map_err(|error| ConfigError::Wrong("POOLS", error.to_string()))?.unwrap_or_default(),
        })
    }
}

/// The host name in the plane's address, in lower case as clients' libraries write it.
fn host_of(url: &str) -> Result<String, ConfigError> {
    let read = url.parse::<http::Uri>().ok().filter(|read| read.scheme_str() == Some("https"));
    let host = read.as_ref().and_then(http::Uri::host).map(str::to_ascii_lowercase);
    host.ok_or_else(|| ConfigError::Wrong("PLANE_URL", "give an address such as https://gpus.example.com".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: [(&str, &str); 13] = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("TABLE_PREFIX", "slipway-"),
        ("DOORBELLS_URL", "https://sqs/doorbells.fifo"),
        ("RECONCILES_URL", "https://sqs/reconciles"),
        ("DISKS_URL", "https://sqs/disks.fifo"),
        ("STATE_MACHINE_ARN", "arn:aws:states:eu-central-1:000000000000:stateMachine:slipway-launch"),
        ("KMS_KEY_ID", "key"),
        ("SERVICE_SECRET_ID", "secret"),
        ("ORIGIN_SECRET_ID", "origin"),
        ("PLANE_URL", "https://GPUs.example.com/prod"),
        ("POOLS", r#"[{"id": "ec2/a10g", "gpu": "a10g", "max_per_node": 8}]"#),
    ];

    fn read(change: (&str, Option<&str>)) -> Result<Config, ConfigError> {
        Config::read(|name| match change {
            (changed, value) if changed == name => value.map(str::to_owned),
            _ => SET.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()),
        })
    }

    #[test]
    fn whatever_is_missing_is_named() {
        assert_eq!(read(("CORS_ORIGINS", Some("https://a.example, https://b.example"))).unwrap().cors_origins.len(), 2);
        for (name, _) in SET.iter().filter(|(name, _)| *name != "POOLS") {
            let error = read((name, None)).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert_eq!(read((name, Some(""))).unwrap_err().to_string(), error);
        }
        for (name, wrong) in [
            ("POOLS", "{}"),
            ("POOLS", r#"[{"id": "x", "gpu": "abacus", "max_per_node": 1}]"#),
            ("POLICY", "[]"),
            ("PLANE_URL", "gpus.example.com"),
            ("PLANE_URL", "http://gpus.example.com"),
            ("PLANE_URL", "https://"),
            ("LOGIN_LONG_LIVED_KEYS", "yes"),
        ] {
            assert!(matches!(read((name, Some(wrong))), Err(ConfigError::Wrong(named, _)) if named == name), "{wrong}");
        }
    }

    #[test]
    fn logins_are_for_the_planes_host_and_temporary_keys() {
        assert_eq!(read(("POLICY", None)).unwrap().host, "gpus.example.com");
        for (said, long_lived) in [(None, false), (Some("false"), false), (Some("true"), true)] {
            let config = read(("LOGIN_LONG_LIVED_KEYS", said)).unwrap();
            assert_eq!(config.long_lived_keys, long_lived, "{said:?}");
        }
    }
}
