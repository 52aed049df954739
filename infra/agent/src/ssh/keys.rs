//! Who may come in, and who is in.
//!
//! The two are under one lock, so that a connection that is let in while its key is being removed is put out all the same.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use domain::agent::User;
use russh::keys::{PublicKey, ssh_key::public::KeyData};
use tokio::sync::{Semaphore, watch};

/// How many sessions and forwarded connections one connection may have, begun or not.
pub(crate) const MOST_SESSIONS: u16 = 128;

/// A connection that has been let in, with what is needed to end it.
pub(crate) struct Guest {
    pub(crate) key: KeyData,
    /// The value of the mark that all its processes carry.
    pub(crate) mark: String,
    /// Set to put it out; its receiver is gone when the connection has ended.
    pub(crate) out: watch::Sender<bool>,
    /// Each of its sessions holds one of these [`MOST_SESSIONS`] places to its very end.
    pub(crate) places: Arc<Semaphore>,
}

/// Who may come in, and who is in.
#[derive(Default)]
pub(crate) struct Access {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    keys: BTreeSet<KeyData>,
    guests: HashMap<String, Guest>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Whether this key's owner may come in.
    pub(crate) fn allows(&self, key: &KeyData) -> bool {
        self.lock().keys.contains(key)
    }

    /// Lets a connection in; false if its key has been removed meanwhile.
    pub(crate) fn enter(&self, guest: Guest) -> bool {
        let mut inside = self.lock();
        let allowed = inside.keys.contains(&guest.key);
        if allowed {
            inside.guests.insert(guest.mark.clone(), guest);
        }
        allowed
    }

    /// Whether this connection may still ask for something: it was let in, and has been neither put out nor ended.
    pub(crate) fn is_in(&self, mark: &str) -> bool {
        self.lock().guests.contains_key(mark)
    }

    /// How many sessions and forwarded connections are open.
    pub(crate) fn sessions(&self) -> usize {
        let open = |guest: &Guest| usize::from(MOST_SESSIONS).saturating_sub(guest.places.available_permits());
        self.lock().guests.values().map(open).sum()
    }

    /// A connection has ended.
    pub(crate) fn leave(&self, mark: &str) {
        self.lock().guests.remove(mark);
    }

    /// From now on these users' keys are the ones; answers the connections that are to be ended because theirs is not among them.
    pub(crate) fn replace(&self, users: &[User]) -> Vec<Guest> {
        let keys = read(users);
        let mut inside = self.lock();
        inside.keys = keys;
        let Inside { keys, guests } = &mut *inside;
        let out: Vec<String> = guests
            .iter()
            .filter(|(_mark, guest)| !keys.contains(&guest.key))
            .map(|(mark, _guest)| mark.clone())
            .collect();
        out.iter().filter_map(|mark| guests.remove(mark)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of all users. A line that is no key lets nobody in, and does not keep the others out.
fn read(users: &[User]) -> BTreeSet<KeyData> {
    let mut keys = BTreeSet::new();
    for user in users {
        for line in &user.keys {
            match PublicKey::from_openssh(line) {
                Ok(key) => {
                    keys.insert(key.key_data().clone());
                }
                Err(error) => tracing::warn!(user = user.name, %error, "a key can not be read"),
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use russh::keys::{Algorithm, PrivateKey, key::safe_rng};

    use super::*;

    fn key() -> (KeyData, String) {
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        (key.public_key().key_data().clone(), key.public_key().to_openssh().unwrap())
    }

    #[test]
    fn who_is_in_is_in_until_the_key_goes_or_the_connection_does() {
        let access = Access::default();
        let ((ada, ada_line), (ben, _)) = (key(), key());
        let guest = |key: &KeyData, mark: &str| Guest {
            key: key.clone(),
            mark: mark.into(),
            out: watch::Sender::new(false),
            places: Arc::new(Semaphore::new(MOST_SESSIONS.into())),
        };
        access.replace(&[User { name: "ada".into(), keys: vec![ada_line] }]);
        assert!(access.enter(guest(&ada, "a")) && access.enter(guest(&ada, "b")) && !access.enter(guest(&ben, "c")));
        assert_eq!(access.sessions(), 0, "who is in need not have a session");
        let sessions = ["a", "b"].map(|mark| {
            let places = Arc::clone(&access.lock().guests[mark].places);
            places.try_acquire_many_owned(2).unwrap()
        });
        assert_eq!(access.sessions(), 4);
        access.leave("b");
        assert_eq!(access.sessions(), 2);
        drop(sessions);
        assert_eq!(access.sessions(), 0);
        assert_eq!(["a", "b", "c"].map(|mark| access.is_in(mark)), [true, false, false]);
        assert_eq!(access.replace(&[]).iter().map(|guest| guest.mark.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(!access.is_in("a"));
    }

    #[test]
    fn the_last_set_of_keys_counts() {
        let access = Access::default();
        let ((ada, ada_line), (ben, ben_line)) = (key(), key());
        let user =
            |name: &str, keys: &[&str]| User { name: name.into(), keys: keys.iter().map(|k| (*k).into()).collect() };
        for (users, in_for_ada, in_for_ben) in [
            (vec![], false, false),
            (vec![user("ada", &[&ada_line])], true, false),
            (vec![user("ada", &[&ada_line, "ssh-ed25519 nonsense"]), user("ben", &[&ben_line])], true, true),
            (vec![user("ada", &[]), user("ben", &[&ben_line])], false, true),
            (vec![user("ben", &[&format!("{ben_line} ben@laptop")])], false, true),
            (vec![], false, false),
        ] {
            access.replace(&users);
            assert_eq!((access.allows(&ada), access.allows(&ben)), (in_for_ada, in_for_ben), "{users:?}");
        }
    }
}
