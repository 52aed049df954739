//! API keys: 256 random bits with a prefix that says what kind they are and a checksum that catches slips of the hand.
//!
//! A key is `prefix` + 43 base62 digits of the random bits + 6 base62 digits of the CRC-32 of all that; a tenant's key has 32 digits (190
//! bits), as its reference says (checklist 000#20). The prefix lets secret
//! scanners find leaked keys (as GitHub's token format does), and the checksum lets a mistyped or made-up key be refused without
//! a look-up. Only [`SecretHash`]es of keys are stored.

use serde::{Deserialize, Serialize};

use crate::{Secret, SecretHash};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECKSUM: usize = 6;

/// What a key is for, which its prefix tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// A person's key, from a login.
    User,
    /// A tenant's key, from an admin or from the tenant itself.
    Tenant,
    /// A key that asks one model of a tenant's, and does nothing else.
    Model,
    /// A node's one-time token.
    Enroll,
    /// A node's session.
    Session,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::User, Self::Tenant, Self::Model, Self::Enroll, Self::Session];

    /// The key's first characters.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::User => "swk_",
            Self::Tenant => "clsk_live_",
            Self::Model => "pk_live_",
            Self::Enroll => "swe_",
            Self::Session => "sws_",
        }
    }

    /// How many random digits a key has.
    const fn digits(self) -> usize {
        match self {
            Self::User | Self::Enroll | Self::Session => 43,
            Self::Tenant | Self::Model => 32,
        }
    }
}

/// A new key of this kind from 256 random bits.
#[must_use]
pub fn mint(kind: KeyKind, random: &[u8; 32]) -> Secret {
    let mut text = kind.prefix().to_owned();
    push_base62(&mut text, random, kind.digits());
    let checksum = crc32fast::hash(text.as_bytes());
    push_base62(&mut text, &checksum.to_be_bytes(), CHECKSUM);
    Secret::new(text)
}

/// The prefix and four characters more, by which a person recognises a key.
#[must_use]
pub fn shown_prefix(kind: KeyKind, key: &Secret) -> String {
    key.reveal().chars().take(kind.prefix().len() + 4).collect()
}

/// The kind and hash of a well-formed key; `None` when its prefix, length, digits or checksum are wrong.
#[must_use]
pub fn read(text: &str) -> Option<(KeyKind, SecretHash)> {
    let kind = KeyKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
    let digits = text.strip_prefix(kind.prefix())?;
    if digits.len() != kind.digits() + CHECKSUM || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let (signed, checksum) = text.split_at(text.len() - CHECKSUM);
    let mut expected = String::new();
    push_base62(&mut expected, &crc32fast::hash(signed.as_bytes()).to_be_bytes(), CHECKSUM);
    (checksum == expected).then(|| (kind, SecretHash::of(text.as_bytes())))
}

/// Appends the big-endian number in `bytes` as exactly `width` base62 digits, most significant first.
fn push_base62(text: &mut String, bytes: &[u8], width: usize) {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let part = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(part / 62).unwrap_or(u8::MAX);
            remainder = part % 62;
        }
        *digit = usize::try_from(remainder).ok().and_then(|at| DIGITS.get(at)).copied().unwrap_or(b'0');
    }
    text.extend(digits.into_iter().map(char::from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_what_they_are() {
        for kind in KeyKind::ALL {
            for random in [[0; 32], [7; 32], [255; 32]] {
                let key = mint(kind, &random);
                assert_eq!(key.reveal().len(), kind.prefix().len() + kind.digits() + CHECKSUM);
                assert_eq!(read(key.reveal()), Some((kind, key.hash())));
                assert_eq!(shown_prefix(kind, &key).len(), kind.prefix().len() + 4);
            }
        }
    }

    #[test]
    fn base62_is_a_number() {
        for (bytes, digits) in [(&[0, 0][..], "000"), (&[0, 61], "00z"), (&[0, 62], "010"), (&[1, 0], "048")] {
            let mut text = String::new();
            push_base62(&mut text, bytes, 3);
            assert_eq!(text, digits);
        }
    }

    #[test]
    fn a_slip_of_the_hand_is_no_key() {
        for kind in KeyKind::ALL {
            slips(kind);
        }
    }

    fn slips(kind: KeyKind) {
        let key = mint(kind, &[9; 32]).reveal().to_owned();
        for at in 0..key.len() {
            let mut other = key.clone().into_bytes();
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(read(std::str::from_utf8(&other).unwrap()), None, "changed at {at}");
        }
        for other in ["", "swk_", "swk_é", &key[..key.len() - 1], &format!("{key}0"), &format!(" {key}")] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
