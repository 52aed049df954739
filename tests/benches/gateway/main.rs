//! What the gateway costs, beside a bare reverse proxy, in one run:
//!
//! ```text
//! cargo bench -p tests --bench gateway
//! ```
//!
//! The gateway is the whole plane as people start it, with a node whose model server is the one in [`server`], a key and its tenant and
//! model with every limit there is, and metering. The
//! proxy ([`proxy`]) is made of the same parts and does nothing but pass things on. Both are processes of their own, asked in turn, so that a machine
//! that becomes slower meanwhile slows both; CPU is the kernel's count of a process's time, user and system. Figures are medians of the rounds.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]

mod load;
mod plane;
mod process;
mod proxy;
mod server;
mod table;

use std::io::{self, Write};

use load::{Load, Way};
use table::Row;

/// How often each is asked in turn.
const ROUNDS: usize = 5;

fn main() {
    let words = std::env::args().skip(1).collect::<Vec<_>>();
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    // `cargo bench` says `--bench`; this program starts itself with the rest.
    match words.as_slice() {
        ["serve", port] => run(server::serve(port.parse().unwrap())),
        ["proxy", to] => run(proxy::serve((*to).to_owned())),
        ["--bench"] => run(measure()),
        _ => {
            say("cargo bench -p tests --bench gateway");
            std::process::exit(2);
        }
    }
}

fn run(program: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(program);
}

/// What a person reads: the table on standard output, and how far it is on standard error.
#[expect(clippy::print_stderr, reason = "a program on a terminal")]
fn say(words: &str) {
    eprintln!("{words}");
}

async fn measure() {
    say("starting the plane, a node and its model server");
    let plane = plane::Plane::start().await;
    let proxy = process::Process::start(["proxy", &plane.server]);
    let gateway = Way { url: plane.url.clone(), key: plane.key.clone() };
    let proxied = Way { url: proxy.url.clone(), key: String::new() };
    let direct = Way { url: plane.server.clone(), key: String::new() };
    let load = Load::new(&plane.model);
    let mut rows = [
        Row::new("Slipway: key, limits, metering", Some(plane.process())),
        Row::new("a bare reverse proxy", Some(proxy.id())),
        Row::new("neither", None),
    ];
    for round in 0..=ROUNDS {
        for (row, way) in rows.iter_mut().zip([&gateway, &proxied, &direct]) {
            let figures = load.round(way, row.process).await;
            // The first warms everything up.
            if round > 0 {
                row.add(figures);
            }
        }
        say(&format!("round {round} of {ROUNDS}"));
    }
    // What is fast and forgets to count is of no use.
    assert_eq!(plane.metered().await, Load::asked(ROUNDS + 1), "every request is metered once");
    io::stdout().write_all(table::of(&rows).as_bytes()).unwrap();
}
