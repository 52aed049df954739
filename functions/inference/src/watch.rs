//! What is noticed of an answer while it passes: how many tokens it took. Nothing is held back but the one event that was asked for in the
//! caller's place.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};

/// What a model server says that an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    /// Tokens that were read.
    #[serde(default, rename = "prompt_tokens")]
    pub(crate) input: u64,
    /// Tokens that were written.
    #[serde(default, rename = "completion_tokens")]
    pub(crate) output: u64,
    #[serde(default, rename = "prompt_tokens_details")]
    details: Option<Details>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Usage {
    /// Of the tokens that were read, those that were known already.
    pub(crate) fn cached(&self) -> u64 {
        self.details.and_then(|details| details.cached_tokens).unwrap_or(0).min(self.input)
    }
}

#[derive(Deserialize)]
struct Part {
    usage: Option<Usage>,
    choices: Option<Vec<IgnoredAny>>,
}

/// An answer in one piece that is longer is not looked through for what it took.
const LONGEST_LOOKED_AT: usize = 32 * 1024 * 1024;

/// Notices what an answer took.
#[derive(Debug)]
pub(crate) enum Watch {
    /// An answer in one piece, whose bytes are kept until it is whole: they are shared with what passes, not copied.
    Whole { parts: Vec<Bytes>, length: usize, announced: Option<usize>, usage: Option<Usage> },
    /// Events.
    Events(Events),
}

/// A stream of events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The event that says what was used is not the caller's.
    swallows: bool,
    /// The beginning of an event whose end has not come.
    begun: BytesMut,
    /// Events with a part of an answer.
    deltas: u64,
    is_done: bool,
    usage: Option<Usage>,
}

impl Watch {
    /// Of events, or of one piece whose length may have been announced.
    pub(crate) fn new(is_events: bool, swallows: bool, announced: Option<usize>) -> Self {
        if is_events {
            Self::Events(Events { swallows, ..Events::default() })
        } else {
            Self::Whole { parts: Vec::new(), length: 0, announced, usage: None }
        }
    }

    /// What is passed on of some bytes that came.
    pub(crate) fn pass(&mut self, bytes: Bytes) -> Bytes {
        match self {
            Self::Whole { parts, length, .. } => {
                *length += bytes.len();
                if *length <= LONGEST_LOOKED_AT {
                    parts.push(bytes.clone());
                }
                bytes
            }
            Self::Events(events) => events.pass(bytes),
        }
    }

    /// The answer is whole; gives what was held back.
    pub(crate) fn end(&mut self) -> Bytes {
        match self {
            Self::Whole { parts, length, usage, .. } => {
                if *length <= LONGEST_LOOKED_AT {
                    let whole = match parts.as_slice() {
                        [one] => one.clone(),
                        parts => parts.concat().into(),
                    };
                    *usage = serde_json::from_slice::<Part>(&whole).ok().and_then(|part| part.usage);
                }
                parts.clear();
                Bytes::new()
            }
            Self::Events(events) => {
                let begun = events.begun.split().freeze();
                events.look_at(&begun);
                if events.swallows { begun } else { Bytes::new() }
            }
        }
    }

    /// Whether all of it has come, as far as can be told before its end.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Whole { length, announced, .. } => *announced == Some(*length),
            Self::Events(events) => events.is_done,
        }
    }

    /// What the answer took, as the server said, so far as it has.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Whole { usage, .. } => *usage,
            Self::Events(events) => events.usage,
        }
    }

    /// How many tokens were written at least, where the server does not say.
    pub(crate) fn guess(&self) -> u64 {
        match self {
            Self::Whole { length, .. } => u64::try_from(length / 4).unwrap_or(u64::MAX),
            Self::Events(events) => events.deltas,
        }
    }
}

impl Events {
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        let data = if self.begun.is_empty() {
            bytes.clone()
        } else {
            self.begun.extend_from_slice(&bytes);
            self.begun.split().freeze()
        };
        let mut own = Vec::new();
        let mut from = 0;
        while let Some(length) = event_length(&data[from..]) {
            let event = from..from + length;
            from = event.end;
            if self.look_at(&data[event.clone()]) {
                own.push(event);
            }
        }
        self.begun.extend_from_slice(&data[from..]);
        if !self.swallows {
            return bytes;
        }
        // What is not a whole event yet waits for its end: it may be the one that is not the caller's.
        let mut passed = BytesMut::new();
        let mut begin = 0;
        if own.is_empty() {
            return data.slice(..from);
        }
        for event in own {
            passed.extend_from_slice(&data[begin..event.start]);
            begin = event.end;
        }
        passed.extend_from_slice(&data[begin..from]);
        passed.freeze()
    }

    /// Notices what an event says; true when it says nothing but what was used.
    fn look_at(&mut self, event: &[u8]) -> bool {
        let mut is_own = false;
        for line in event.split(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            if data.trim_ascii() == b"[DONE]" {
                self.is_done = true;
                continue;
            }
            // One that was cut off carries nothing.
            if !data.trim_ascii_end().ends_with(b"}") {
                continue;
            }
            self.deltas += 1;
            if memmem::find(data, b"\"usage\"").is_none() {
                continue;
            }
            let Ok(Part { usage: Some(usage), choices }) = serde_json::from_slice::<Part>(data) else { continue };
            self.usage = Some(usage);
            if choices.is_none_or(|choices| choices.is_empty()) {
                self.deltas -= 1;
                is_own = true;
            }
        }
        is_own
    }
}

/// The length of the first event, the empty line at its end included.
fn event_length(data: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = from + memchr::memchr(b'\n', &data[from..])? + 1;
        match data.get(end..) {
            Some([b'\n', ..]) => return Some(end + 1),
            Some([b'\r', b'\n', ..]) => return Some(end + 2),
            _ => from = end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"the \\\"usage\\\"\"}}]}\n\n",
        ": ping\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}],\"usage\":null}\r\n\r\n",
    );
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn check(swallows: bool, cut: usize, whole: &str, expected: &str) {
        let mut watch = Watch::new(true, swallows, None);
        let mut passed = Vec::new();
        for bytes in whole.as_bytes().chunks(cut) {
            passed.extend_from_slice(&watch.pass(Bytes::copy_from_slice(bytes)));
        }
        passed.extend_from_slice(&watch.end());
        assert_eq!(String::from_utf8(passed).unwrap(), expected, "in pieces of {cut}");
        let usage = watch.usage().unwrap();
        assert_eq!((usage.input, usage.output, usage.cached(), watch.guess()), (9, 2, 4, 2), "in pieces of {cut}");
    }

    #[test]
    fn every_event_passes_but_the_one_that_we_asked_for() {
        let whole = format!("{EVENTS}{USAGE}{DONE}");
        for cut in (1..80).chain([whole.len()]) {
            check(false, cut, &whole, &whole);
            check(true, cut, &whole, &format!("{EVENTS}{DONE}"));
        }
        // A stream that ends in the middle of an event is passed on as it is.
        check(true, 7, &format!("{USAGE}{EVENTS}data: {{"), &format!("{EVENTS}data: {{"));
    }

    #[test]
    fn an_answer_in_one_piece_says_what_it_took_wherever_that_stands() {
        for (text, expected) in [
            (r#"{"usage":{"prompt_tokens":3,"total_tokens":3},"data":[{"embedding":[0.1]}]}"#, Some((3, 0))),
            (
                r#"{"choices":[{"message":{"content":"\"usage\""}}],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#,
                Some((3, 5)),
            ),
            (r#"{"choices":[]}"#, None),
            (r#"{"usage":"#, None),
            ("", None),
        ] {
            for cut in [1, 5, 1_000] {
                let mut watch = Watch::new(false, false, Some(text.len()));
                let passed = text.as_bytes().chunks(cut).flat_map(|bytes| watch.pass(Bytes::copy_from_slice(bytes)));
                assert_eq!(passed.collect::<Vec<_>>(), text.as_bytes());
                assert!(watch.is_whole() && watch.end().is_empty());
                assert_eq!(watch.usage().map(|usage| (usage.input, usage.output)), expected, "{text} by {cut}");
            }
        }
    }
}
