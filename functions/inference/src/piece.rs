//! What has come of an answer and is to go on.

use bytes::{Bytes, BytesMut};

/// Goes on as soon as there is so much of it.
const ENOUGH: usize = 16 * 1024;

/// Events that came at the same moment: each sent by itself would cost the kernel more than all that is done about it here.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// One alone is passed on as it is.
    one: Bytes,
    /// Or several, one behind the other.
    several: BytesMut,
}

impl Piece {
    /// Adds what comes next.
    pub(crate) fn add(&mut self, bytes: Bytes) {
        if self.is_empty() {
            self.one = bytes;
            return;
        }
        let one = std::mem::take(&mut self.one);
        self.several.extend_from_slice(&one);
        self.several.extend_from_slice(&bytes);
    }

    /// What has come, which is nothing from then on.
    pub(crate) fn take(&mut self) -> Bytes {
        if self.several.is_empty() { std::mem::take(&mut self.one) } else { self.several.split().freeze() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.one.is_empty() && self.several.is_empty()
    }

    /// Whether it is to go on whatever comes.
    pub(crate) fn is_enough(&self) -> bool {
        self.one.len() + self.several.len() >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_goes_on_in_its_order() {
        let large = "x".repeat(ENOUGH);
        for parts in [vec![], vec!["a"], vec!["a", "", "bc"], vec!["", "a", "b", "c"], vec![&large, "a"]] {
            let mut piece = Piece::default();
            for _ in 0..2 {
                parts.iter().for_each(|part| piece.add(Bytes::from((*part).to_owned())));
                assert_eq!(
                    (piece.is_empty(), piece.is_enough()),
                    (parts.concat().is_empty(), parts.contains(&&*large))
                );
                assert_eq!(piece.take(), parts.concat());
                assert!(piece.is_empty() && piece.take().is_empty());
            }
        }
    }
}
