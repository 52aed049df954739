//! The plane as a program, for tests that start and kill it.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway::main()
}
