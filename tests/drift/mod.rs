//! That the documents in the repository are those of the code, and that the house keeps its rules. `SLIPWAY_BLESS=1` writes what is
//! generated.

mod api;
pub(crate) mod events;
mod house;
mod readme;
