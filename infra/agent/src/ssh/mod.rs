//! The SSH server: shells, commands, file transfer and forwarding of ports, for those who may come in.

mod forward;
pub(crate) mod keys;
mod relay;
pub(crate) mod server;
mod session;
mod sftp;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_stalled;
