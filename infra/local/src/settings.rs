//! What an installation may be told: environment variables, each described once, in [`VARIABLES`].

mod models;
mod nodes;
mod sky;
mod table;

use std::{
    collections::BTreeMap,
    env::{self, VarError},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    str::FromStr,
};

use cloud::providers::ProviderUrls;
use domain::{
    Secret, TenantId,
    agent::ModelServer,
    identity::{LoginRule, LoginTable},
};
use tracing_subscriber::EnvFilter;

pub(crate) use nodes::pool_of;
pub use nodes::{NoGpus, NodeSpec, Nodes};
pub use sky::Sky;
pub use table::{VARIABLES, Variable, help};

/// The account that the local identity service vouches for.
pub const LOCAL_ACCOUNT: &str = "000000000000";
/// The role that the local identity service vouches for.
pub const LOCAL_ROLE: &str = "SSOCloudDevGpuReservation";

/// Shorter secrets could be guessed.
const SHORTEST_SECRET: usize = 32;
/// What seals tenants' keys where the installation brings its own: the name is the reference's (row 000#10).
const VAULT_KEY: &str = "SKYPILOT_CREDENTIAL_ENCRYPTION_KEY";

/// Everything that an installation may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `PORT`: where the API listens; 0 takes any free port.
    pub port: u16,
    /// `SLIPWAY_DATA_DIR`: where everything is kept.
    pub data_dir: PathBuf,
    /// `SLIPWAY_NODES`: the machines with GPUs.
    pub nodes: Nodes,
    /// `ADMIN_API_TOKEN`, if it was set: else one is made and kept in the data directory.
    pub admin_token: Option<Secret>,
    /// `SKYPILOT_CREDENTIAL_ENCRYPTION_KEY`, if it was set: what tenants' keys are sealed with instead of the key in the data directory.
    pub vault_key: Option<Secret>,
    /// `GITHUB_URL`: where people's public keys are asked for, without a slash at its end.
    pub github_url: String,
    /// `JWT_SECRET`: what signs the sessions of admins; without it there are none.
    pub jwt_secret: Option<Secret>,
    /// What the provisioner is told: `SKYPILOT_...`.
    pub sky: Sky,
    /// `PROVIDER_URL_AWS`, `PROVIDER_URL_AZURE` and `PROVIDER_URL_GCP`: where clouds are asked about tenants' keys.
    pub providers: ProviderUrls,
    /// `LOG_LEVEL`: what is logged, as `tracing_subscriber::EnvFilter` reads it.
    pub log_level: String,
    /// `LOG_FORMAT`: how it is logged.
    pub log_format: LogFormat,
    /// `CORS_ORIGINS`: web pages from where may call the API.
    pub cors_origins: Vec<String>,
    /// `API_KEY_TTL_HOURS`: how long a key lives after a login.
    pub key_ttl_hours: u32,
    /// `SLIPWAY_LISTEN`: the address to listen on.
    pub listen: IpAddr,
    /// `SLIPWAY_HOSTS`: the names under which others reach it, without ports.
    pub hosts: Vec<String>,
    /// `SLIPWAY_IMAGES`: the folder of unpacked images.
    pub images: Option<PathBuf>,
    /// `SLIPWAY_SANDBOX`: what the agents run jobs in.
    pub sandbox: SandboxKind,
    /// `SLIPWAY_MODEL_SERVER` and `SLIPWAY_MODEL_GGUF`: what serves models.
    pub model_server: ModelServer,
    /// `LOGIN_TABLE`: which roles may log in.
    pub login: LoginTable,
    /// The executable that agents are started from; this one, unless a test says otherwise. No variable sets it.
    pub program: Option<PathBuf>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the agents run jobs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxKind {
    /// Bubblewrap where it can be had, else a plain process group.
    Auto,
    /// Bubblewrap; a job fails where it cannot be had.
    Bubblewrap,
    /// A plain process group, without isolation.
    ProcessGroup,
}

impl SandboxKind {
    /// The word in `SLIPWAY_SANDBOX`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bubblewrap => "bubblewrap",
            Self::ProcessGroup => "process-group",
        }
    }
}

/// A variable has a value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}: {right}")]
pub struct BadSetting {
    name: &'static str,
    problem: String,
    right: String,
}

impl BadSetting {
    /// `value` is shown, so it must not be a secret.
    fn value(name: &'static str, value: &str, right: impl Into<String>) -> Self {
        Self { name, problem: format!("is {value:?}"), right: right.into() }
    }

    fn other(name: &'static str, problem: &str, right: impl Into<String>) -> Self {
        Self { name, problem: problem.to_owned(), right: right.into() }
    }
}

impl Settings {
    /// Reads this process's environment.
    ///
    /// # Errors
    /// [`BadSetting`] for the first variable whose value cannot be used.
    pub fn from_env() -> Result<Self, BadSetting> {
        let mut set = BTreeMap::new();
        for variable in VARIABLES {
            match env::var(variable.name) {
                Ok(value) => drop(set.insert(variable.name, value)),
                Err(VarError::NotPresent) => {}
                Err(VarError::NotUnicode(_)) => {
                    return Err(BadSetting::other(variable.name, "is not UTF-8", "write it in UTF-8"));
                }
            }
        }
        Self::read(|name| set.get(name).cloned())
    }

    /// Reads variables from wherever they are. One that is empty counts as unset.
    ///
    /// # Errors
    /// [`BadSetting`] for the first variable whose value cannot be used.
    pub fn read(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Self, BadSetting> {
        let from = Reader { lookup: |name| lookup(name).filter(|value| !value.is_empty()) };
        let settings = Self {
            port: from.parsed("PORT", 8000, "it must be a port number from 0 (any free port) to 65535")?,
            data_dir: from.text("SLIPWAY_DATA_DIR").map_or_else(|| ".slipway".into(), PathBuf::from),
            nodes: from.read("SLIPWAY_NODES", Nodes::DEFAULT, Nodes::parse)?,
            admin_token: long_secret("ADMIN_API_TOKEN", from.text("ADMIN_API_TOKEN"))?,
            vault_key: long_secret(VAULT_KEY, from.text(VAULT_KEY))?,
            github_url: from.read("GITHUB_URL", "https://github.com", base_url)?,
            jwt_secret: long_secret("JWT_SECRET", from.text("JWT_SECRET"))?,
            sky: Sky::read(&from)?,
            providers: providers(&from)?,
            log_level: from.read("LOG_LEVEL", "info", log_level)?,
            log_format: from.read("LOG_FORMAT", "text", log_format)?,
            cors_origins: from.read("CORS_ORIGINS", "", |text| list(text).map(origin).collect())?,
            key_ttl_hours: from.read("API_KEY_TTL_HOURS", "2", key_ttl_hours)?,
            listen: from.parsed("SLIPWAY_LISTEN", Ipv4Addr::LOCALHOST.into(), LISTEN)?,
            hosts: from.read("SLIPWAY_HOSTS", "", |text| list(text).map(host).collect())?,
            images: from.text("SLIPWAY_IMAGES").map(PathBuf::from),
            sandbox: from.read("SLIPWAY_SANDBOX", "auto", sandbox)?,
            model_server: models::model_server(
                &from.text("SLIPWAY_MODEL_SERVER").unwrap_or_else(|| models::DEFAULT.to_owned()),
                from.text("SLIPWAY_MODEL_GGUF"),
            )?,
            login: from.text("LOGIN_TABLE").map_or_else(|| Ok(default_login()), |text| login_table(&text))?,
            program: None,
        };
        settings.checked_together()
    }

    /// Whether others than this machine's own programs can reach it: it listens wider, or answers to a name that a proxy forwards.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        !self.listen.is_loopback() || !self.hosts.is_empty()
    }

    /// The host by which users reach what listens where we do.
    #[must_use]
    pub fn public_host(&self) -> String {
        match self.hosts.first() {
            Some(name) if self.listen.is_unspecified() => name.clone(),
            _ => self.listen.to_string(),
        }
    }

    /// What only several variables together can get wrong.
    fn checked_together(self) -> Result<Self, BadSetting> {
        if !self.listen.is_loopback() && self.hosts.is_empty() {
            let right = "a web page could otherwise reach it under a name of its own: list the names that users write, as in \
                         SLIPWAY_HOSTS=gpu-box,gpu-box.example.com";
            return Err(BadSetting::other("SLIPWAY_HOSTS", "is unset, but SLIPWAY_LISTEN is not loopback", right));
        }
        if self.is_wide() && self.admin_token.is_none() {
            let right = "others can reach it, so choose a token of at least 32 characters yourself, as in \
                         ADMIN_API_TOKEN=$(openssl rand -hex 32)";
            return Err(BadSetting::other("ADMIN_API_TOKEN", "is unset", right));
        }
        Ok(self)
    }
}

const LISTEN: &str =
    "it must be an IP address of this machine, such as 127.0.0.1, 0.0.0.0 or ::; the port goes into PORT";

/// Where variables come from.
struct Reader<F> {
    lookup: F,
}

impl<F: Fn(&'static str) -> Option<String>> Reader<F> {
    fn text(&self, name: &'static str) -> Option<String> {
        (self.lookup)(name)
    }

    /// A value that `FromStr` reads; `right` says what is right.
    fn parsed<T: FromStr>(&self, name: &'static str, default: T, right: &str) -> Result<T, BadSetting> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.trim().parse().map_err(|_unreadable| BadSetting::value(name, &text, right))
    }

    /// A value, or the default's text, that `read` reads; its error says what is right.
    fn read<T>(
        &self,
        name: &'static str,
        default: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, BadSetting> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        read(text.trim()).map_err(|right| BadSetting::value(name, &text, right))
    }
}

/// The parts of a comma list.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A secret that is long enough not to be guessed.
fn long_secret(name: &'static str, text: Option<String>) -> Result<Option<Secret>, BadSetting> {
    let Some(text) = text else { return Ok(None) };
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    if text.len() < SHORTEST_SECRET || !printable {
        let right = "it must have at least 32 printable characters and no spaces, as `openssl rand -hex 32` makes them";
        return Err(BadSetting::other(name, "cannot be used", right));
    }
    Ok(Some(Secret::new(text)))
}

/// The clouds themselves, or whatever stands in the place of each.
fn providers<F: Fn(&'static str) -> Option<String>>(from: &Reader<F>) -> Result<ProviderUrls, BadSetting> {
    let clouds = ProviderUrls::default();
    let aws = from.text("PROVIDER_URL_AWS").map(|_| from.read("PROVIDER_URL_AWS", "", base_url)).transpose()?;
    Ok(ProviderUrls {
        aws,
        azure: from.read("PROVIDER_URL_AZURE", &clouds.azure, base_url)?,
        gcp: from.read("PROVIDER_URL_GCP", &clouds.gcp, base_url)?,
    })
}

fn base_url(text: &str) -> Result<String, String> {
    let right = || "it must begin with https:// or http:// and name a host, as in https://github.com".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_unreadable| right())?;
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.password().is_none() && url.username().is_empty();
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() || !plain {
        return Err(right());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// An origin as browsers write it: scheme, host and port, and nothing more.
fn origin(text: &str) -> Result<String, String> {
    let right = || "each entry must be a scheme, a host and perhaps a port, as in https://example.com".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_unreadable| right())?;
    if !["http", "https"].contains(&url.scheme()) || url.origin().ascii_serialization() != text {
        return Err(right());
    }
    Ok(text.to_owned())
}

/// A host name or address; a port is dropped, because names are compared without.
fn host(text: &str) -> Result<String, String> {
    let right = || "each entry must be a host name or address, as in gpu-box.example.com".to_owned();
    let url = reqwest::Url::parse(&format!("http://{text}")).map_err(|_unreadable| right())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !text.contains(['/', '@']);
    let name = url.host_str().filter(|_| bare).ok_or_else(right)?;
    Ok(name.trim_start_matches('[').trim_end_matches(']').to_owned())
}

fn log_level(text: &str) -> Result<String, String> {
    let right = "it must be error, warn, info, debug or trace, or a list such as info,slipway=debug";
    EnvFilter::try_new(text).map(|_filter| text.to_owned()).map_err(|_unreadable| right.to_owned())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it must be text or json".to_owned()),
    }
}

fn key_ttl_hours(text: &str) -> Result<u32, String> {
    let hours = text.parse().ok().filter(|hours| (1..=168).contains(hours));
    hours.ok_or_else(|| "it must be a whole number from 1 to 168".to_owned())
}

fn sandbox(text: &str) -> Result<SandboxKind, String> {
    let kinds = [SandboxKind::Auto, SandboxKind::Bubblewrap, SandboxKind::ProcessGroup];
    let found = kinds.into_iter().find(|kind| kind.word() == text);
    found.ok_or_else(|| "it must be auto, bubblewrap or process-group".to_owned())
}

/// Whoever the local identity service vouches for, in one tenant.
fn default_login() -> LoginTable {
    LoginTable(vec![LoginRule {
        account: LOCAL_ACCOUNT.to_owned(),
        role: LOCAL_ROLE.to_owned(),
        tenant: TenantId::new("default"),
        sessions_are_people: true,
    }])
}

fn login_table(text: &str) -> Result<LoginTable, BadSetting> {
    let right = |error: String| {
        let example = format!(
            r#"[{{"account":"{LOCAL_ACCOUNT}","role":"{LOCAL_ROLE}","tenant":"research","sessions_are_people":true}}]"#
        );
        BadSetting::value("LOGIN_TABLE", text, format!("{error}; it must be a list such as {example}"))
    };
    let table: LoginTable = serde_json::from_str(text).map_err(|error| right(error.to_string()))?;
    let digits = |account: &str| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let named = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    for rule in &table.0 {
        if !digits(&rule.account) {
            return Err(right(format!("account {:?} has not twelve digits", rule.account)));
        }
        if !named(&rule.role) || !named(rule.tenant.as_str()) {
            return Err(right("a role or tenant is empty, or has spaces or #".to_owned()));
        }
    }
    if !table.0.iter().any(|rule| rule.account == LOCAL_ACCOUNT && rule.role == LOCAL_ROLE) {
        let only = format!("here everybody comes from account {LOCAL_ACCOUNT} with role {LOCAL_ROLE}");
        return Err(right(format!("nobody could log in: {only}, and no rule is for that")));
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
