use std::time::Duration;

use super::{
    estimate::{Sample, Usual},
    *,
};
use crate::agent::LogLine;

fn entry(version: u64, phase: State, kind: &str) -> Entry {
    let at = Timestamp::from_seconds(1_000 + u32::try_from(version).unwrap());
    let message = format!("entry {version}");
    Entry { version, at, kind: kind.into(), phase, progress: phase.progress(), message, by: "slipway".into() }
}

fn line(stream: Stream, text: &str) -> LogLine {
    LogLine { at: Timestamp::from_seconds(2_000), stream, text: text.into() }
}

#[test]
fn phases_and_percents() {
    let check = |entries: &[(State, &str)], expected: &[(&str, Option<u8>, bool, &str)]| {
        let entries =
            entries.iter().zip(1..).map(|((phase, kind), version)| entry(version, *phase, kind)).collect::<Vec<_>>();
        let told = merge(&Position::default(), Readable { entries, ..Readable::default() });
        let found = told
            .iter()
            .map(|told| {
                let stand = told.place.stand;
                (stand.phase().name(), stand.progress(), told.is_status, told.level.name())
            })
            .collect::<Vec<_>>();
        assert_eq!(found, expected);
    };
    use State as S;
    check(
        &[
            (S::Queued, "submitted"),
            (S::Queued, "waiting"),
            (S::Placed, "placed"),
            (S::Provisioning, "provisioning"),
            (S::Provisioning, "provisioned"),
            (S::Provisioning, "keys"),
            (S::Provisioning, "provisioning"),
            (S::InstanceReady, "instance_ready"),
            (S::Installing, "installing"),
            (S::Installing, "note"),
            (S::ModelLoading, "model_loading"),
            (S::HealthCheck, "health_check"),
            (S::Active, "active"),
            (S::Active, "warning"),
            (S::Draining, "expired"),
            (S::Ended, "ended"),
        ],
        &[
            ("queued", Some(0), true, "info"),
            ("queued", Some(0), false, "warning"),
            ("provisioning", Some(10), true, "info"),
            ("provisioning", Some(20), true, "info"),
            ("provisioning", Some(30), true, "info"),
            ("provisioning", Some(30), false, "info"),
            ("provisioning", Some(30), false, "info"),
            ("instance_ready", Some(35), true, "info"),
            ("installing", Some(40), true, "info"),
            ("installing", Some(40), false, "info"),
            ("model_loading", Some(65), true, "info"),
            ("health_check", Some(90), true, "info"),
            ("active", Some(100), true, "info"),
            ("active", Some(100), false, "warning"),
            ("active", Some(100), false, "info"),
            ("active", Some(100), false, "info"),
        ],
    );
    let failed = |kind, level| {
        check(
            &[(S::Queued, "submitted"), (S::Placed, "placed"), (S::Draining, kind), (S::Ended, "ended")],
            &[
                ("queued", Some(0), true, "info"),
                ("provisioning", Some(10), true, "info"),
                ("failed", None, true, level),
                ("failed", None, false, "info"),
            ],
        );
    };
    failed("failed", "error");
    failed("left", "error");
    failed("cancelled", "info");
    check(
        &[(S::Queued, "submitted"), (S::Ended, "cancelled")],
        &[("queued", Some(0), true, "info"), ("failed", None, true, "info")],
    );
}

/// Whoever writes an entry may know how far its phase has come, and is believed within the phase.
#[test]
fn percents_within_a_phase() {
    let check = |state: State, percents: &[u8], expected: &[u8]| {
        let mut stand = Stand::Unknown;
        for (percent, expected) in percents.iter().zip(expected) {
            stand = stand.after(&Entry { progress: *percent, ..entry(1, state, "note") });
            assert_eq!(stand.progress(), Some(*expected), "{state:?} {percent}");
        }
    };
    check(State::Installing, &[40, 45, 43, 60, 61, 99], &[40, 45, 45, 60, 60, 60]);
    check(State::ModelLoading, &[0, 70, 100], &[65, 70, 85]);
    check(State::Provisioning, &[20, 25, 10, 35], &[20, 25, 25, 30]);
    check(State::HealthCheck, &[0, 100], &[90, 90]);
}

#[test]
fn levels_of_lines() {
    for (stream, text, level) in [
        (Stream::Stdout, "epoch 1", "info"),
        (Stream::Stdout, "", "info"),
        (Stream::Stderr, "Downloading 10%", "warning"),
        (Stream::Stderr, "INFO 01-20 18:00:05 api_server.py:1 Started", "info"),
        (Stream::Stderr, "[2026-01-20 18:00:05,250] WARNING: slow", "warning"),
        (Stream::Stdout, "ERROR no such file", "error"),
        (Stream::Stderr, "Traceback (most recent call last):", "error"),
        (Stream::Stdout, "an error like any other", "info"),
    ] {
        assert_eq!(Level::of_line(&line(stream, text)).name(), level, "{text}");
    }
    let far = format!("{} ERROR", "\u{e9}".repeat(40));
    assert_eq!(Level::of_line(&line(Stream::Stdout, &far)), Level::Info, "only the beginning is looked at");
}

#[test]
fn positions_are_words() {
    let logs = [(1, (3, 0)), (2, (1, 17))].into();
    for (position, text) in [
        (Position::default(), "0u"),
        (Position { version: 7, stand: Stand::Launched(35), logs }, "7p35.1-3-0.2-1-17"),
        (Position { version: 9, stand: Stand::Failed, ..Position::default() }, "9f"),
    ] {
        assert_eq!(position.to_string(), text);
        assert_eq!(text.parse(), Ok(position));
    }
    let many = (1..=65).map(|attempt| format!(".{attempt}-1-0")).collect::<String>();
    for other in [
        "",
        "7",
        "p1",
        "7p",
        "7p101",
        "7p035",
        "07p35",
        "7x",
        "7ff",
        "7p35.",
        "7p35.1",
        "7p35.1-2",
        "7p35.1-2-3-4",
        "7p35.1-2-3.1-2-3",
        "7p35.2-1-0.1-1-0",
        "7p35.1-2--3",
        "-7p1",
        "7p35 ",
        "99999999999999999999p1",
        "7\u{e9}",
        &format!("1p0{many}"),
    ] {
        assert_eq!(other.parse::<Position>(), Err(NotAPosition), "{other}");
    }
}

#[test]
fn what_is_unread() {
    let check = |logs: &[(u32, (u64, usize))], expected: &[((u32, u64), Option<u32>)]| {
        let position = Position { logs: logs.iter().copied().collect(), ..Position::default() };
        assert_eq!(position.unread(), expected);
    };
    check(&[], &[((0, 0), None)]);
    check(&[(1, (1, 0))], &[((1, 1), None)]);
    check(&[(1, (4, 2))], &[((1, 4), None)]);
    check(&[(1, (1, 0)), (2, (1, 0)), (3, (2, 0))], &[((1, 1), Some(3)), ((3, 2), None)]);
    check(&[(2, (3, 0)), (3, (1, 1)), (4, (1, 0))], &[((2, 3), Some(3)), ((3, 1), None)]);
}

#[test]
fn what_is_left_of_a_launch() {
    let sample = |text: &str| text.parse::<Sample>().unwrap();
    for text in ["", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,-6", "a"] {
        assert!(text.parse::<Sample>().is_err(), "{text}");
    }
    assert_eq!(sample("1,2,3,4,5,6").to_string(), "1,2,3,4,5,6");
    let some = ["1,60,1,30,0,5", "2,50,1,20,0,4", "3,900,1,40,0,6", "1,70,1,25,0,5"].map(sample);
    assert_eq!(Usual::of(&some[..2]), None, "two are too few");
    let usual = Usual::of(&some).unwrap();
    for (state, stayed, left) in [
        (State::Queued, 0, None),
        (State::Placed, 0, Some(1 + 60 + 1 + 25 + 5)),
        (State::Provisioning, 20, Some(40 + 1 + 25 + 5)),
        (State::Provisioning, 600, Some(1 + 25 + 5)),
        (State::ModelLoading, 3, Some(5)),
        (State::HealthCheck, 9, Some(0)),
        (State::Active, 0, None),
        (State::Draining, 0, None),
    ] {
        assert_eq!(usual.left(state, Duration::from_secs(stayed)), left, "{state:?} {stayed}");
    }
    let life = [(1, State::Queued), (4, State::Placed), (5, State::Provisioning), (6, State::Provisioning)];
    let life = life.into_iter().chain([(30, State::InstanceReady), (31, State::HealthCheck), (36, State::Active)]);
    let timeline = life.map(|(second, state)| entry(second, state, "x")).collect::<Vec<_>>();
    assert_eq!(Sample::of(&timeline).unwrap().to_string(), "1,25,1,0,0,5");
    assert_eq!(Sample::of(&timeline[..6]), None, "it is not active");
}

/// A world in which a workload's story is written, one step after the other, while somebody reads it.
struct Story {
    random: u64,
    entries: Vec<Entry>,
    batches: Vec<Batch>,
    /// Everything in the order in which it was written.
    written: Vec<String>,
    /// Batches come late: they were under way when the workload moved on.
    late: bool,
    lines: u32,
    /// Nothing is written any more.
    over: bool,
}

impl Story {
    fn new(seed: u64, late: bool) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut story =
            Self { random, entries: Vec::new(), batches: Vec::new(), written: Vec::new(), late, lines: 0, over: false };
        story.change();
        story
    }

    /// A number below `below`, by xorshift (Marsaglia, 2003).
    fn below(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn version(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The workload changes. Each fifth change is another attempt.
    fn change(&mut self) {
        let entry = entry(self.version() + 1, State::Provisioning, "note");
        self.written.push(entry.message.clone());
        self.entries.push(entry);
    }

    fn attempt(&self) -> u32 {
        u32::try_from(self.version() / 5 + 1).unwrap()
    }

    fn keep(&mut self) {
        let (mut attempt, mut after) = (self.attempt(), self.version());
        if self.late {
            attempt -= u32::try_from(self.below(2)).unwrap().min(attempt - 1);
            after -= self.below(4).min(after - 1);
        }
        let sequence = 1 + self.batches.iter().filter(|batch| batch.attempt == attempt).count() as u64;
        let lines = (0..=self.below(3)).map(|_| {
            self.lines += 1;
            format!("line {} of {attempt}", self.lines)
        });
        let lines = lines.collect::<Vec<_>>();
        self.written.extend(lines.iter().cloned());
        let lines = lines.iter().map(|text| line(Stream::Stdout, text)).collect();
        self.batches.push(Batch { attempt, sequence, after, lines });
    }

    fn go_on(&mut self) {
        if self.over {
            return;
        }
        if self.below(3) == 0 { self.change() } else { self.keep() }
    }

    /// What a reader reads who is at `from`: pages of what is there, and the world goes on between the two.
    fn read(&mut self, from: &Position) -> Readable {
        let most = usize::try_from(1 + self.below(4)).unwrap();
        let entries = self.entries.iter().filter(|entry| entry.version > from.version).take(most).cloned().collect();
        for _ in 0..self.below(3) {
            self.go_on();
        }
        let mut batches = Vec::new();
        for (begin, end) in from.unread() {
            let there = self
                .batches
                .iter()
                .filter(|batch| (batch.attempt, batch.sequence) >= begin && end.is_none_or(|end| batch.attempt < end));
            batches.extend(there.cloned());
        }
        batches.sort_by_key(|batch| (batch.attempt, batch.sequence));
        let most = usize::try_from(1 + self.below(3)).unwrap();
        let more = batches.len() > most;
        batches.truncate(most);
        Readable { entries, batches, more }
    }

    /// Reads to the end, while the world goes on for `steps` steps, and is cut after every `cut`th event.
    fn told(mut self, steps: u32, cut: usize) -> (Vec<String>, Self) {
        let mut place = Position::default();
        let mut told = Vec::new();
        for _ in 0..steps {
            self.go_on();
            place = self.tell(place, cut, &mut told);
        }
        // Nothing is written any more, and whoever reads often enough comes to the end.
        self.over = true;
        for _ in 0..400 {
            place = self.tell(place, cut, &mut told);
        }
        (told, self)
    }

    fn tell(&mut self, place: Position, cut: usize, told: &mut Vec<String>) -> Position {
        let readable = self.read(&place);
        let mut place = place;
        for event in merge(&place, readable).into_iter().take(cut) {
            told.push(event.message);
            // What whoever comes back brings is the id alone.
            place = event.place.to_string().parse().expect("our own word");
        }
        place
    }
}

/// Whoever reads, whenever and however often cut off, is told everything in the one order in which it was written.
#[test]
fn a_history_has_one_order() {
    for seed in 1..=2_000 {
        let cut = usize::try_from(seed % 5).unwrap() + 1;
        let (told, story) = Story::new(seed, false).told(20, cut);
        assert_eq!(told, story.written, "seed {seed}");
    }
}

/// What comes late is told late, but once; and each source keeps its own order.
#[test]
fn what_is_late_is_neither_lost_nor_repeated() {
    for seed in 1..=2_000 {
        let cut = usize::try_from(seed % 5).unwrap() + 1;
        let (told, story) = Story::new(seed, true).told(20, cut);
        let (mut once, mut all) = (told.clone(), story.written.clone());
        once.sort();
        all.sort();
        assert_eq!(once, all, "seed {seed}");
        let of = |source: &str, list: &[String]| {
            list.iter().filter(|text| text.starts_with("entry") == (source == "entry")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(of("entry", &told), of("entry", &story.written), "seed {seed}");
        for attempt in 1..=story.attempt() {
            let of = |list: &[String]| {
                let end = format!(" of {attempt}");
                list.iter().filter(|text| text.ends_with(&end)).cloned().collect::<Vec<_>>()
            };
            assert_eq!(of(&told), of(&story.written), "seed {seed}, attempt {attempt}");
        }
    }
}
