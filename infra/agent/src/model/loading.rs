//! How far a server has come with loading, by what it says.

use domain::agent::ModelServer;

/// The least growth that is told: each one is an entry in the timeline.
const LEAST: u8 = 5;
/// How much of the loading vLLM's files are; what follows is told by its steps.
const FILES: u8 = 70;

/// What vLLM says when a step after its files is done. It is one program under one version or another, and so no line is counted on.
const VLLM: [(&str, u8); 5] = [
    ("Loading weights took", 70),
    ("Model loading took", 75),
    ("GPU KV cache size", 85),
    ("Graph capturing finished", 95),
    ("Application startup complete", 100),
];
/// The same of llama.cpp's server.
const LLAMA_CPP: [(&str, u8); 4] =
    [("initializing ...", 5), ("loading model", 10), ("initializing, n_slots", 80), ("model loaded", 100)];

/// How far it has come.
#[derive(Debug)]
pub(super) struct Loading {
    steps: &'static [(&'static str, u8)],
    /// Whether what it says of its files is only the first part of loading.
    files_are_part: bool,
    percent: u8,
    told: u8,
}

impl Loading {
    pub(super) fn of(server: &ModelServer) -> Self {
        let (steps, files_are_part): (&'static [_], _) = match server {
            ModelServer::Vllm => (&VLLM, true),
            ModelServer::LlamaCpp { .. } => (&LLAMA_CPP, false),
            ModelServer::Command { .. } => (&[], false),
        };
        Self { steps, files_are_part, percent: 0, told: 0 }
    }

    /// Reads a line of its output; true when it has come far enough since the last time for that to be told.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let step = self.steps.iter().find(|(words, _percent)| line.contains(words)).map(|(_words, percent)| *percent);
        let files = files(line).map(|percent| {
            if self.files_are_part {
                u8::try_from(u16::from(percent) * u16::from(FILES) / 100).unwrap_or(FILES)
            } else {
                percent
            }
        });
        self.percent = self.percent.max(step.or(files).unwrap_or(0));
        let news = self.percent >= self.told.saturating_add(LEAST);
        if news {
            self.told = self.percent;
        }
        news
    }

    /// From 0 to 100.
    pub(super) fn percent(&self) -> u8 {
        self.percent
    }
}

/// The percentage in a line that is about loading, as progress bars write it: `Loading safetensors checkpoint shards:  50% Completed`.
fn files(line: &str) -> Option<u8> {
    let before = line.split_once('%')?.0;
    if !before.to_ascii_lowercase().contains("load") {
        return None;
    }
    let digits = before.rfind(|last: char| !last.is_ascii_digit()).map_or(0, |at| at + 1);
    before[digits..].parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_while_they_load() {
        let command = ModelServer::Command { argv: Vec::new() };
        let llama_cpp = ModelServer::LlamaCpp { gguf: None };
        for (server, lines) in [
            (
                &ModelServer::Vllm,
                vec![
                    ("INFO Starting to load model meta-llama/Llama-3.1-8B-Instruct...", None),
                    ("Loading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]", None),
                    ("Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:00<00:01,  1.6it/s]", Some(17)),
                    ("Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:02<00:00,  1.4it/s]", Some(70)),
                    ("INFO Loading weights took 2.81 seconds", None),
                    ("INFO Model loading took 14.99 GiB and 3.9 seconds", Some(75)),
                    ("INFO GPU KV cache size: 388,416 tokens, 20% of 80%", Some(85)),
                    ("Loading safetensors checkpoint shards:  25% Completed | 1/4", None),
                    ("INFO Graph capturing finished in 20 secs", Some(95)),
                    ("INFO:     Application startup complete.", Some(100)),
                ],
            ),
            (
                &llama_cpp,
                vec![
                    ("0.00.000.346 I srv          init: initializing ...", Some(5)),
                    ("0.00.006.666 I srv    load_model: loading model 'tiny.gguf'", Some(10)),
                    ("0.00.272.318 I srv    load_model: initializing, n_slots = 1, n_ctx_slot = 2048", Some(80)),
                    ("0.00.273.657 I srv          init: model loaded", Some(100)),
                ],
            ),
            (
                &command,
                vec![
                    ("loading: 50%", Some(50)),
                    ("loading: 53%", None),
                    ("loading: 400%", None),
                    ("loading: %", None),
                    ("usage is 90%", None),
                    ("model loaded", None),
                    ("Loaded 100% of é", Some(100)),
                ],
            ),
        ] {
            let mut loading = Loading::of(server);
            for (line, percent) in lines {
                let news = loading.line(line).then(|| loading.percent());
                assert_eq!(news, percent, "{line}");
            }
        }
    }
}
