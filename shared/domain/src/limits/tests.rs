use super::*;

/// 2026-01-31T23:59:00Z: a minute before the end of a minute, an hour, a day and a month.
const LATE: i64 = 1_769_903_940_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(LATE + millis)
}

fn demand(tokens: u64) -> Demand {
    Demand { requests: 1, tokens, micros: tokens * 3 }
}

/// Gateways over one row, and what they really let through.
struct Play {
    ledger: Ledger,
    limits: Limits,
    gateways: Vec<Gateway>,
    now: i64,
    random: u64,
    /// What requests took, by meter and window: those in flight as reserved, those over as used, those of the dead as reserved.
    taken: BTreeMap<(Meter, i64), u64>,
    exchanges: u32,
}

/// A request that is being answered, what it was reserved for, and the windows that it counts in.
type Flying = (Held, Demand, Vec<(Meter, i64)>);

struct Gateway {
    lease: Lease,
    /// How far its clock is off, in milliseconds.
    off: i64,
    flying: Vec<Flying>,
}

impl Play {
    fn new(seed: u64, gateways: usize, limits: Limits) -> Self {
        let mut play = Self {
            ledger: Ledger::default(),
            limits,
            gateways: Vec::new(),
            now: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            taken: BTreeMap::new(),
            exchanges: 0,
        };
        for _ in 0..gateways {
            let gateway = play.gateway();
            play.gateways.push(gateway);
        }
        play
    }

    fn gateway(&mut self) -> Gateway {
        let name = format!("g{}", self.roll(u64::MAX));
        let off = i64::try_from(self.roll(10_000)).unwrap() - 5_000;
        Gateway { lease: Lease::new(name), off, flying: Vec::new() }
    }

    /// A number below `below`.
    fn roll(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn clock(&self, who: usize) -> Timestamp {
        at(self.now + self.gateways[who].off)
    }

    /// Asks for room as a gateway does; true when the request was let through.
    fn ask(&mut self, who: usize, demand: Demand, waiting: Demand) -> bool {
        let now = self.clock(who);
        let held = match self.gateways[who].lease.reserve(&self.limits, &demand, now) {
            Some(held) => held,
            None => {
                let lease = &mut self.gateways[who].lease;
                let parts = {
                    lease.saw(self.ledger.clone(), now);
                    lease.wishes(&self.limits, &demand, &waiting, now)
                };
                let exchanged = lease.exchange(&self.ledger, &self.limits, &parts, now);
                if !lease.is_enough(&exchanged, &self.limits, &parts, &demand) {
                    return false;
                }
                self.exchanges += 1;
                self.ledger = exchanged.ledger.clone();
                lease.accept(exchanged, &self.limits, &parts, now);
                lease.reserve(&self.limits, &demand, now).expect("what was enough")
            }
        };
        let windows = held.windows().collect::<Vec<_>>();
        for (meter, window) in &windows {
            *self.taken.entry((*meter, *window)).or_default() += demand.on(*meter);
        }
        self.gateways[who].flying.push((held, demand, windows));
        true
    }

    fn settle(&mut self, who: usize, used: Option<Demand>) {
        let now = self.clock(who);
        let Some((held, demand, windows)) = self.gateways[who].flying.pop() else { return };
        let used = used.unwrap_or_default();
        for (meter, window) in windows {
            *self.taken.get_mut(&(meter, window)).unwrap() -= demand.on(meter) - used.used(meter).min(demand.on(meter));
        }
        self.gateways[who].lease.settle(held, &used, now);
    }

    fn give_back(&mut self, who: usize) {
        let (now, lease) = (self.clock(who), &mut self.gateways[who].lease);
        let parts = lease.farewell(&self.limits);
        let exchanged = lease.exchange(&self.ledger, &self.limits, &parts, now);
        self.ledger = exchanged.ledger.clone();
        lease.accept(exchanged, &self.limits, &parts, now);
    }

    /// Lets time pass, after which whoever is busy renews its lease.
    fn wait(&mut self, millis: i64) {
        self.now += millis;
        for who in 0..self.gateways.len() {
            let now = self.clock(who);
            let lease = &mut self.gateways[who].lease;
            if lease.is_to_be_renewed(now) {
                let parts = lease.wishes(&self.limits, &Demand::default(), &Demand::default(), now);
                let exchanged = lease.exchange(&self.ledger, &self.limits, &parts, now);
                self.ledger = exchanged.ledger.clone();
                lease.accept(exchanged, &self.limits, &parts, now);
            }
        }
    }

    fn die(&mut self, who: usize) {
        let next = self.gateway();
        let dead = std::mem::replace(&mut self.gateways[who], next);
        for (_, demand, windows) in dead.flying {
            for place in windows.into_iter().filter(|(meter, _)| meter.unit() == Unit::Places) {
                *self.taken.get_mut(&place).unwrap() -= demand.on(place.0);
            }
        }
    }

    fn check(&self, seed: u64) {
        for (meter, limit) in self.limits.iter() {
            let Some(count) = self.ledger.counts.get(&meter) else { continue };
            let held = self.ledger.held_by_others("nobody", meter);
            assert!(count.settled + held <= limit, "{seed}: {meter:?} {count:?} and {held} held of {limit}");
        }
        for ((meter, window), taken) in &self.taken {
            let limit = self.limits.of(*meter).unwrap();
            assert!(*taken <= limit, "{seed}: {taken} of {limit} {meter:?} in {window}");
        }
    }
}

fn every_limit() -> Limits {
    let limits = Limits::default().with(Meter::RequestsPerMinute, 40).with(Meter::TokensPerMinute, 3_000);
    let limits = limits.with(Meter::TokensPerDay, 20_000).with(Meter::ConcurrentRequests, 7);
    limits.with(Meter::BudgetPerMonth, 100_000).with(Meter::RequestsPerSecond, 9)
}

#[test]
fn no_window_is_ever_over_its_limit_whatever_happens() {
    let mut let_through = 0;
    for seed in 0..400 {
        let mut play = Play::new(seed, 3, every_limit());
        for _ in 0..150 {
            let who = usize::try_from(play.roll(3)).unwrap();
            match play.roll(20) {
                0..=8 => {
                    let demand = demand(1 + play.roll(200));
                    let waiting = if play.roll(2) == 0 { demand } else { demand.and(demand).and(demand) };
                    let_through += u32::from(play.ask(who, demand, waiting));
                }
                9..=14 => {
                    let (how, last) =
                        (play.roll(3), play.gateways[who].flying.last().map(|(_, reserved, _)| *reserved));
                    let used = match (last, how) {
                        (Some(reserved), 0) => Some(reserved),
                        (Some(reserved), 1) => Some(demand(reserved.tokens / 2)),
                        _ => None,
                    };
                    play.settle(who, used);
                }
                15 => play.give_back(who),
                16 => play.die(who),
                17 => (0..4).for_each(|_| play.wait(15_500)),
                _ => play.now += i64::try_from(play.roll(3_000)).unwrap(),
            }
            play.check(seed);
        }
    }
    assert!(let_through > 8_000, "sometimes requests pass: {let_through}");
}

#[test]
fn nearly_all_of_a_limit_is_used_by_many_gateways_and_few_exchanges_are_made() {
    for (gateways, dies) in [(1, false), (10, false), (10, true)] {
        let mut play = Play::new(7, gateways, Limits::default().with(Meter::TokensPerDay, 100_000));
        let mut passed = 0;
        for number in 0..1_000 {
            let waiting = Demand { requests: 50, tokens: 10_000, micros: 0 };
            passed += u64::from(play.ask(number % gateways, demand(200), waiting)) * 200;
            if dies && number == 300 {
                play.die(4);
            }
        }
        play.check(0);
        assert!((95_000..=100_000).contains(&passed), "{gateways} {dies}: {passed}");
        assert!(play.exchanges <= 160, "{gateways} {dies}: {} for 500 requests", play.exchanges);
    }
}

#[test]
fn a_steady_caller_needs_a_fraction_of_a_write_for_a_request_and_a_rare_one_leases_no_more_than_it_needs() {
    let limits = Limits::default().with(Meter::RequestsPerHour, 1_000_000);
    for (pause, most, held) in [(10, 60, 2_000), (30_000, 1_000, 1)] {
        let mut play = Play::new(1, 1, limits.clone());
        play.now = -1_000_000;
        for _ in 0..1_000 {
            assert!(play.ask(0, demand(1), demand(1)));
            play.settle(0, Some(demand(1)));
            play.now += pause;
        }
        assert!(play.exchanges <= most, "{} exchanges with a pause of {pause}", play.exchanges);
        assert!(play.ledger.held_by_others("", Meter::RequestsPerHour) <= held, "{pause}: {:?}", play.ledger);
    }
}

#[test]
fn what_was_used_beyond_a_reservation_is_owed() {
    let limits = Limits::default().with(Meter::TokensPerMinute, 100);
    let mut play = Play::new(1, 1, limits.clone());
    play.gateways[0].off = 0;
    assert!(play.ask(0, demand(60), demand(60)));
    let (held, ..) = play.gateways[0].flying.pop().unwrap();
    play.gateways[0].lease.settle(held, &demand(250), at(0));
    play.give_back(0);
    let count = |play: &Play| play.ledger.counts[&Meter::TokensPerMinute];
    assert_eq!((count(&play).settled, count(&play).owed), (100, 150));
    for (minute, settled, owed, room) in [(1, 100, 50, false), (2, 50, 0, true), (3, 0, 0, true)] {
        let ledger = play.ledger.settled_at(&limits, at(minute * 60_000));
        let found = ledger.counts[&Meter::TokensPerMinute];
        assert_eq!((found.settled, found.owed), (settled, owed), "{minute}");
        let mut later = Play { ledger, now: minute * 60_000, ..Play::new(2, 1, limits.clone()) };
        later.gateways[0].off = 0;
        assert_eq!(later.ask(0, demand(50), demand(50)), room, "{minute}");
    }
}

#[test]
fn a_lease_whose_time_is_over_counts_as_used_and_its_places_are_free() {
    let limits = Limits::default().with(Meter::TokensPerDay, 100).with(Meter::ConcurrentRequests, 1);
    let mut play = Play::new(1, 2, limits);
    play.now = -10_000_000;
    (play.gateways[0].off, play.gateways[1].off) = (0, 0);
    assert!(play.ask(0, demand(60), demand(60)));
    assert!(!play.ask(1, demand(10), demand(10)), "its one place is taken");
    play.now += 61_000;
    assert!(!play.ask(1, demand(50), demand(50)), "what it held counts as used");
    assert!(play.ask(1, demand(40), demand(40)), "and its place is free");
    // The first was only slow. What it says of a lease that was lost changes nothing.
    play.settle(1, Some(demand(40)));
    play.give_back(1);
    play.settle(0, Some(demand(1)));
    play.give_back(0);
    assert_eq!(play.ledger.counts[&Meter::TokensPerDay].settled, 100);
    assert_eq!(play.ledger.holders.len(), 0);
}

#[test]
fn windows_are_the_calendars() {
    for (meter, before, end) in [
        (Meter::RequestsPerSecond, 59_999, "2026-02-01T00:00:00Z"),
        (Meter::RequestsPerMinute, 0, "2026-02-01T00:00:00Z"),
        (Meter::TokensPerHour, 0, "2026-02-01T00:00:00Z"),
        (Meter::TokensPerDay, 0, "2026-02-01T00:00:00Z"),
        (Meter::BudgetPerMonth, 0, "2026-02-01T00:00:00Z"),
        (Meter::BudgetPerMonth, 60_000, "2026-03-01T00:00:00Z"),
        (Meter::TokensPerMinute, 60_000, "2026-02-01T00:01:00Z"),
    ] {
        let window = meter.window(at(before));
        assert_eq!(meter.end(window).unwrap().to_string(), end, "{meter:?}");
        assert_eq!(meter.window(meter.end(window).unwrap()), window + 1, "{meter:?}");
    }
    assert_eq!(Meter::ConcurrentRequests.end(0), None);
}

#[test]
fn a_row_is_small_and_is_read_back() {
    let mut play = Play::new(3, 2, every_limit());
    assert!(play.ask(0, demand(10), demand(10)) && play.ask(1, demand(10), demand(10)));
    let written = serde_json::to_string(&play.ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&written).unwrap(), play.ledger);
    assert!(written.len() < 900, "{} bytes: {written}", written.len());
    let limits = serde_json::to_string(&every_limit()).unwrap();
    assert!(limits.contains(r#""tokens_per_minute":3000"#), "{limits}");
}
