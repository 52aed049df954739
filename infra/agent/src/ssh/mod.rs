//! The SSH server: shells, commands, file transfer and forwarding of ports, for those who may come in.

pub(crate) mod keys;
mod relay;
pub(crate) mod server;
mod session;
mod sftp;
#[cfg(test)]
mod tests;
