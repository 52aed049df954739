//! The variables in words: what `slipway --help` prints, and the README copies.

use super::nodes::Nodes;

/// A variable in words.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is unset.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable that is read.
pub const VARIABLES: &[Variable] = &[
    variable("PORT", "8000", "Where the API listens; 0 takes any free port."),
    variable("SLIPWAY_DATA_DIR", ".slipway", "The folder for everything that is kept."),
    variable(
        "SLIPWAY_NODES",
        Nodes::DEFAULT,
        "Nodes as GPUxCOUNT, comma-separated: simulated GPUs. `auto` takes this machine's own, through NVML.",
    ),
    variable(
        "ADMIN_API_TOKEN",
        "made, and printed once",
        "The admin's token, at least 32 characters. A made one is kept in the data folder.",
    ),
    variable(
        "SKYPILOT_CREDENTIAL_ENCRYPTION_KEY",
        "made, and kept",
        "What tenants' cloud credentials and jobs' secrets are sealed with, at least 32 characters. Without it a key is made and kept in the \
         data folder. It cannot be changed later.",
    ),
    variable(
        "SKYPILOT_SERVICE_ACCOUNT_TOKEN",
        "none",
        "Opens the list of clusters to operators' tools, at least 32 characters; without it nothing does.",
    ),
    variable(
        "SKYPILOT_USE_API_SERVER",
        "false",
        "true or false. No fleet of an API server is built in yet: with true the start says so, and machines come from the nodes here.",
    ),
    variable("SKYPILOT_API_SERVER_URL", "none", "Where that API server is. It is never asked."),
    variable(
        "PROVIDER_URL_AWS",
        "AWS's own",
        "Where AWS is asked about tenants' keys, in the place of every region's STS.",
    ),
    variable("PROVIDER_URL_AZURE", "https://login.microsoftonline.com", "Where Azure is asked about tenants' keys."),
    variable("PROVIDER_URL_GCP", "https://oauth2.googleapis.com", "Where Google is asked about tenants' keys."),
    variable("GITHUB_URL", "https://github.com", "Where people's public keys are asked for, as URL/NAME.keys."),
    variable("JWT_SECRET", "none", "Signs the sessions of admins, at least 32 characters; without it there are none."),
    variable("API_KEY_TTL_HOURS", "2", "How long a key lives after a login, 1 to 168 hours."),
    variable("CORS_ORIGINS", "none", "Web pages that may call the API, comma-separated: https://example.com"),
    variable(
        "SLIPWAY_LISTEN",
        "127.0.0.1",
        "The address to listen on. One that is not loopback needs ADMIN_API_TOKEN and SLIPWAY_HOSTS, and turns off the login \
         with any AWS keys; there is no other way to give out keys yet, so that only keys that are live already open anything.",
    ),
    variable(
        "SLIPWAY_HOSTS",
        "loopback names",
        "The host names that it answers to besides loopback ones, comma-separated. With it the rules for listening wider hold.",
    ),
    variable(
        "SLIPWAY_IMAGES",
        "none",
        "A folder of unpacked images: pytorch/pytorch:2.1 is at pytorch/pytorch:2.1 or pytorch_pytorch_2.1.",
    ),
    variable(
        "SLIPWAY_SANDBOX",
        "auto",
        "What jobs run in: bubblewrap, process-group (no isolation), or auto for the first that works.",
    ),
    variable(
        "SLIPWAY_MODEL_SERVER",
        super::models::DEFAULT,
        "What serves models: llama.cpp (from PyPI, in a virtual environment), vllm, or command: and a JSON list of a program's path and \
         its arguments, in which {port}, {model} and {context_length} stand for what it must use.",
    ),
    variable(
        "SLIPWAY_MODEL_GGUF",
        "none",
        "The path of a GGUF file that llama.cpp serves, whatever the model is called; without it the weights come from Hugging Face.",
    ),
    variable(
        "LOGIN_TABLE",
        "anybody on this machine",
        "Which AWS roles may log in, and to which tenant: a JSON list of {account, role, tenant, sessions_are_people}. On one machine \
         everybody comes from account 000000000000 with role SSOCloudDevGpuReservation, so one rule must be for that.",
    ),
    variable("LOG_LEVEL", "info", "error, warn, info, debug or trace, or a list such as info,slipway=debug."),
    variable("LOG_FORMAT", "text", "text or json."),
];

/// What `slipway --help` prints.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Slipway: a GPU cloud, here on one machine.\n\n\
         Usage: slipway             serve the API\n       \
         slipway --help      this text\n       \
         slipway --version   the version\n\n\
         Settings are environment variables:\n\n",
    );
    for Variable { name, default, meaning } in VARIABLES {
        text.push_str(&format!("  {name}  (default: {default})\n      {meaning}\n"));
    }
    text
}
