//! slipway

pub mod machine;
