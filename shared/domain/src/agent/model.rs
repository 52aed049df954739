//! What the agent is told about a model that it serves, and with which program.

use serde::{Deserialize, Serialize};

use crate::model::ModelKind;

/// A model that a workload serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serve {
    /// The name under which it answers, such as `meta-llama/Llama-3.1-8B-Instruct`.
    pub served_name: String,
    /// Where its weights come from: its id at Hugging Face.
    pub source: String,
    /// What it is for: a model of vectors is served as such, and by nothing else.
    #[serde(default)]
    pub kind: ModelKind,
    /// The most tokens of a request and its answer together.
    pub context_length: u32,
    /// How many GPUs it is spread over; 0 where there is none, as on a processor alone.
    pub gpus: u32,
}

/// The version of vLLM that serves models, from PyPI and as an image alike: the one that the agent's arguments are known to fit.
pub const VLLM_VERSION: &str = "0.33.0";

/// A program that serves a model by `OpenAI`'s API. Which it is belongs to the fleet and its node, and never to a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelServer {
    /// `vllm serve`, which the image brings.
    #[default]
    Vllm,
    /// llama.cpp's server from `PyPI`'s `xllamacpp`, in a virtual environment that is made while the workload is installing.
    LlamaCpp {
        /// The file with the weights, on the node; `None` takes them from Hugging Face by [`Serve::source`].
        gguf: Option<String>,
    },
    /// Any other: a program and its arguments, none of which a shell reads. Inside an argument `{port}`, `{model}` and
    /// `{context_length}` stand for where it must listen on loopback, [`Serve::served_name`] and [`Serve::context_length`].
    Command {
        /// The program, and its arguments.
        argv: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Boot, Enrolled, Note, Report, Room};

    #[test]
    fn servers_are_written_as_settings_and_orders_have_them() {
        for (server, written) in [
            (ModelServer::Vllm, r#""vllm""#),
            (ModelServer::LlamaCpp { gguf: None }, r#"{"llama_cpp":{"gguf":null}}"#),
            (ModelServer::LlamaCpp { gguf: Some("/m.gguf".into()) }, r#"{"llama_cpp":{"gguf":"/m.gguf"}}"#),
            (
                ModelServer::Command { argv: vec!["server".into(), "--port={port}".into()] },
                r#"{"command":{"argv":["server","--port={port}"]}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&server).unwrap(), written);
            assert_eq!(serde_json::from_str::<ModelServer>(written).unwrap(), server);
        }
    }

    #[test]
    fn what_was_written_before_there_were_models_is_still_read() {
        let boot = r#"{"plane": "http://127.0.0.1:1", "workload": "00000000-0000-4000-8000-000000000000", "room": "sandbox",
            "token": "t", "listen": "127.0.0.1", "ssh_port": 1, "jupyter_port": 2, "work_dir": "/w", "host_key": "/k", "hidden": [],
            "image_root": null, "image": "i", "gpus": [], "gpus_simulated": false}"#;
        let boot: Boot = serde_json::from_str(boot).unwrap();
        assert_eq!((boot.room, boot.model_port, boot.model_server), (Room::Sandbox, None, None));
        let report = r#"{"applied": 0, "progress": "ready", "main": {"state": "absent"}, "jupyter": {"state": "off"},
            "notes": [{"number": 1, "text": "a fact"}], "next_session": null}"#;
        let report: Report = serde_json::from_str(report).unwrap();
        assert_eq!(report.idle_seconds, None);
        assert_eq!(report.notes, [Note { number: 1, text: "a fact".into(), percent: None }]);
        let enrolled = r#"{"command": null, "env": {}, "synced": {"version": 1, "desired": null, "next_sync_ms": 1}}"#;
        assert_eq!(serde_json::from_str::<Enrolled>(enrolled).unwrap().serve, None);
    }
}
