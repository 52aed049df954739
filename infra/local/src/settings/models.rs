//! What serves models on this machine.

use domain::agent::ModelServer;

use super::BadSetting;

/// What there is when nothing is said.
pub(super) const DEFAULT: &str = "llama.cpp";

/// Before the arguments of a server of somebody's own.
const COMMAND: &str = "command:";

/// What is right.
const RIGHT: &str = "it must be llama.cpp, vllm, or command: and a JSON list of the program and its arguments, as in \
                     command:[\"/opt/server\",\"--port\",\"{port}\",\"--model\",\"{model}\"]";

/// Reads `SLIPWAY_MODEL_SERVER` and, for llama.cpp alone, `SLIPWAY_MODEL_GGUF`.
pub(super) fn model_server(server: &str, gguf: Option<String>) -> Result<ModelServer, BadSetting> {
    let wrong = || BadSetting::value("SLIPWAY_MODEL_SERVER", server, RIGHT);
    if let Some(path) = gguf.as_ref().filter(|path| !path.starts_with('/')) {
        let right = "it must be a whole path, such as /models/tiny.gguf";
        return Err(BadSetting::value("SLIPWAY_MODEL_GGUF", path, right));
    }
    match (server.trim(), gguf) {
        ("llama.cpp", gguf) => Ok(ModelServer::LlamaCpp { gguf }),
        (_, Some(path)) => {
            let right = "it is for SLIPWAY_MODEL_SERVER=llama.cpp alone: unset it";
            Err(BadSetting::value("SLIPWAY_MODEL_GGUF", &path, right))
        }
        ("vllm", None) => Ok(ModelServer::Vllm),
        (other, None) => {
            let argv = other.strip_prefix(COMMAND).ok_or_else(wrong)?;
            let argv: Vec<String> = serde_json::from_str(argv).map_err(|_unreadable| wrong())?;
            let named = argv.first().is_some_and(|program| !program.is_empty());
            let plain = argv.iter().all(|argument| !argument.contains('\0'));
            if named && plain { Ok(ModelServer::Command { argv }) } else { Err(wrong()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check((server, gguf): (&str, Option<&str>), expected: Result<ModelServer, &str>) {
        let read = model_server(server, gguf.map(str::to_owned));
        let told = read.map_err(|error| error.to_string());
        match (&told, expected) {
            (Ok(read), Ok(expected)) => assert_eq!(*read, expected, "{server}"),
            (Err(words), Err(part)) => assert!(words.contains(part), "{words} should say {part}"),
            (told, expected) => panic!("{server}: {told:?}, and not {expected:?}"),
        }
    }

    #[test]
    fn servers() {
        let gguf = Some("/models/tiny.gguf");
        check(("llama.cpp", None), Ok(ModelServer::LlamaCpp { gguf: None }));
        check(("llama.cpp", gguf), Ok(ModelServer::LlamaCpp { gguf: gguf.map(str::to_owned) }));
        check(("vllm", None), Ok(ModelServer::Vllm));
        let argv = vec!["/opt/s p/serve".to_owned(), "--port={port}".to_owned()];
        check((r#"command:["/opt/s p/serve","--port={port}"]"#, None), Ok(ModelServer::Command { argv }));
        for wrong in
            ["ollama", "", "command:", "command:[]", "command:serve --port 1", r#"command:[""]"#, "command:[1]"]
        {
            check((wrong, None), Err("SLIPWAY_MODEL_SERVER is"));
        }
        check(("vllm", gguf), Err("llama.cpp alone"));
        check(("llama.cpp", Some("tiny.gguf")), Err("a whole path"));
    }
}
