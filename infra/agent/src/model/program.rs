//! With which arguments a model's server is started.
//!
//! Each is a word of its own, and no shell sees any of them. What a caller may have chosen is checked first: it can be no option.

use domain::{
    agent::{ModelServer, Serve},
    model::ModelKind,
};

use crate::link::Model;

/// The longest name of a model, in bytes: Hugging Face has shorter ones.
const LONGEST_NAME: usize = 200;
/// The longest context, in tokens, and the most GPUs of one server: more than there is.
const LONGEST_CONTEXT: u32 = 16 * 1024 * 1024;
const MOST_GPUS: u32 = 64;

/// Refuses what is no model.
///
/// # Errors
/// With what is wrong, in words: a name that could be taken for an option, or is no name; a context or a number of GPUs that no server has.
pub(crate) fn checked(serve: &Serve) -> Result<(), String> {
    for (what, name) in [("name", &serve.served_name), ("source", &serve.source)] {
        let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"._/-:@+".contains(&letter);
        let good = !name.is_empty()
            && name.len() <= LONGEST_NAME
            && !name.starts_with(['-', '/', '.'])
            && !name.contains("..")
            && name.bytes().all(plain);
        if !good {
            return Err(format!("{name:?} is no {what} of a model"));
        }
    }
    if !(1..=LONGEST_CONTEXT).contains(&serve.context_length) {
        return Err(format!("a context of {} tokens cannot be served", serve.context_length));
    }
    if serve.gpus > MOST_GPUS {
        return Err(format!("{} GPUs cannot serve one model", serve.gpus));
    }
    Ok(())
}

/// The server's arguments, for a model that was [`checked`].
pub(super) fn arguments(model: &Model, port: u16) -> Vec<String> {
    let Serve { served_name, source, kind, context_length, gpus } = &model.serve;
    let embeds = *kind == ModelKind::Embedding;
    match &model.server {
        ModelServer::Vllm => [
            "serve",
            source,
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--served-model-name",
            served_name,
            "--max-model-len",
            &context_length.to_string(),
            "--tensor-parallel-size",
            &(*gpus).max(1).to_string(),
        ]
        .into_iter()
        .chain(embeds.then_some(["--runner", "pooling"]).into_iter().flatten())
        .map(str::to_owned)
        .collect(),
        ModelServer::LlamaCpp { gguf } => [
            format!("--port={port}"),
            format!("--name={served_name}"),
            format!("--context-length={context_length}"),
            match gguf {
                Some(gguf) => format!("--gguf={gguf}"),
                None => format!("--source={source}"),
            },
        ]
        .into_iter()
        .chain(embeds.then(|| "--embeds".to_owned()))
        .collect(),
        ModelServer::Command { argv } => {
            let values = [
                ("{port}", port.to_string()),
                ("{model}", served_name.clone()),
                ("{context_length}", context_length.to_string()),
            ];
            argv.iter().skip(1).map(|word| filled(word, &values)).collect()
        }
    }
}

/// `word` with each placeholder replaced by its value. A value is data: what looks like a placeholder in it stays as it is.
fn filled(word: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = values.iter().find_map(|(name, value)| Some((value.as_str(), rest.strip_prefix(name)?)));
        let (text, behind) = found.unwrap_or(("{", &rest[1..]));
        filled.push_str(text);
        rest = behind;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(served_name: &str, source: &str) -> Serve {
        let (served_name, source) = (served_name.to_owned(), source.to_owned());
        Serve { served_name, source, kind: ModelKind::Chat, context_length: 8192, gpus: 2 }
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let long = "m".repeat(LONGEST_NAME + 1);
        for (name, good) in [
            ("meta-llama/Llama-3.1-8B-Instruct", true),
            ("gpt2", true),
            ("org/model:q4_K_M", true),
            ("org/model@main", true),
            ("--trust-remote-code", false),
            ("-x", false),
            ("/etc/passwd", false),
            ("../secret", false),
            ("org/../../x", false),
            ("a b", false),
            ("a\nb", false),
            ("a\0b", false),
            ("{port}", false),
            ("$(reboot)", false),
            ("modèle", false),
            ("", false),
            (&long, false),
        ] {
            assert_eq!(checked(&serve(name, "org/model")).is_ok(), good, "{name:?} as a name");
            assert_eq!(checked(&serve("org/model", name)).is_ok(), good, "{name:?} as a source");
        }
        for (context_length, gpus, good) in
            [(1, 0, true), (131_072, 8, true), (0, 1, false), (u32::MAX, 1, false), (1, u32::MAX, false)]
        {
            let serve = Serve { context_length, gpus, ..serve("m", "org/m") };
            assert_eq!(checked(&serve).is_ok(), good, "{context_length} {gpus}");
        }
    }

    #[test]
    fn arguments_are_words_of_their_own() {
        let command =
            |words: &[&str]| ModelServer::Command { argv: words.iter().map(|word| (*word).to_owned()).collect() };
        for (server, gpus, words) in [
            (
                ModelServer::Vllm,
                2,
                "serve|org/m|--host|127.0.0.1|--port|7|--served-model-name|name|--max-model-len|8192|--tensor-parallel-size|2",
            ),
            (
                ModelServer::Vllm,
                0,
                "serve|org/m|--host|127.0.0.1|--port|7|--served-model-name|name|--max-model-len|8192|--tensor-parallel-size|1",
            ),
            (
                ModelServer::LlamaCpp { gguf: Some("/m odel.gguf".into()) },
                0,
                "--port=7|--name=name|--context-length=8192|--gguf=/m odel.gguf",
            ),
            (ModelServer::LlamaCpp { gguf: None }, 0, "--port=7|--name=name|--context-length=8192|--source=org/m"),
            (
                command(&["server", "--port={port}", "{model}", "{{context_length}", "{x} {", "$(reboot)", ""]),
                0,
                "--port=7|name|{8192|{x} {|$(reboot)|",
            ),
            (command(&["server"]), 0, ""),
        ] {
            let model = Model { serve: Serve { gpus, ..serve("name", "org/m") }, server };
            assert_eq!(arguments(&model, 7).join("|"), words, "{:?}", model.server);
            let model = Model { serve: Serve { kind: ModelKind::Embedding, ..model.serve }, server: model.server };
            let more = match model.server {
                ModelServer::Vllm => "|--runner|pooling",
                ModelServer::LlamaCpp { .. } => "|--embeds",
                ModelServer::Command { .. } => "",
            };
            assert_eq!(arguments(&model, 7).join("|"), format!("{words}{more}"), "{:?} of vectors", model.server);
        }
    }

    #[test]
    fn a_value_is_not_read_again() {
        let values = [("{port}", "{model}".to_owned()), ("{model}", "{port}".to_owned())];
        assert_eq!(filled("{port}{model}é{port", &values), "{model}{port}é{port");
    }
}
