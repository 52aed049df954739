//! Fetching the keys of people who are to be let in.

use std::time::Duration;

use cloud::PeopleError;
use domain::{Workload, job::Fetch, lifecycle::State, names::GithubName, ssh::PublicKey};
use futures::future::join_all;
use store::{Plane, WorkError, workloads::Write};

/// How often the directory is asked before its silence is told to the job's owner.
const TRIES: u32 = 3;

/// Fetches every key that is wanted: the directory is asked for all of them at once.
pub(crate) async fn fetch(plane: &Plane, workload: &Workload) -> Result<(), WorkError> {
    let people = plane.store.people(&workload.tenant, workload.id).await?;
    let asked = people.wanted().map(|name| async move { (name, ask(plane, name).await) });
    for (name, (fetched, message)) in join_all(asked).await {
        keep(plane, workload, name, &fetched, &message).await?;
    }
    Ok(())
}

/// What the directory says, asked again while it is silent, with the words for the timeline.
async fn ask(plane: &Plane, name: &GithubName) -> (Answer, String) {
    let mut answer = plane.ports.people.keys_of(name).await;
    for _ in 1..TRIES {
        if !matches!(answer, Err(PeopleError::Unavailable(_))) {
            break;
        }
        plane.ports.clock.sleep(Duration::from_secs(1)).await;
        answer = plane.ports.people.keys_of(name).await;
    }
    let shown = name.as_str();
    let error = match answer {
        Ok(keys) if !keys.is_empty() => {
            let message = format!("{} key(s) of GitHub user '{shown}' may come in", keys.len());
            return (Answer::Keys(keys), message);
        }
        Ok(_) => "has published no SSH keys at GitHub",
        Err(PeopleError::Unknown) => "is unknown at GitHub",
        Err(PeopleError::Unavailable(_)) => {
            let error = "could not be asked for: GitHub does not answer; add the user again later";
            return (Answer::Silence(error), format!("GitHub user '{shown}' {error}"));
        }
    };
    (Answer::Nothing(error), format!("GitHub user '{shown}' {error}"))
}

/// What the directory said.
enum Answer {
    Keys(Vec<PublicKey>),
    /// There are no keys, for this reason.
    Nothing(&'static str),
    /// Nobody answered.
    Silence(&'static str),
}

impl Answer {
    /// What is so from now on. Silence throws nobody out who is in.
    fn upon(&self, before: &Fetch) -> Fetch {
        match (self, before) {
            (Self::Keys(keys), _) | (Self::Silence(_), Fetch::Again { keys }) => Fetch::Fetched { keys: keys.clone() },
            (Self::Nothing(error) | Self::Silence(error), _) => Fetch::Failed { error: (*error).to_owned() },
        }
    }
}

/// Writes what came of it, unless the person is no longer wanted.
async fn keep(
    plane: &Plane,
    workload: &Workload,
    name: &GithubName,
    fetched: &Answer,
    message: &str,
) -> Result<(), WorkError> {
    plane
        .decide((&workload.tenant, workload.id), |held, now| async move {
            // The directory may have been slow, and the workload over meanwhile: nothing is written about it any more.
            let Some(held) = held.filter(|held| held.state != State::Ended) else { return Ok((None, ())) };
            let mut people = plane.store.people(&held.tenant, held.id).await?;
            let Some(fetch) = people.github.get_mut(name).filter(|fetch| fetch.is_wanted()) else {
                return Ok((None, ()));
            };
            *fetch = fetched.upon(fetch);
            if people.is_too_large() {
                people.github.insert(name.clone(), Fetch::Failed { error: TOO_MANY.to_owned() });
            }
            let change = held.keys_fetched(message.to_owned(), now);
            Ok((Some(Write { people: Some(people), ..Write::of(change) }), ()))
        })
        .await
}

/// Keys beyond what one job's row holds.
const TOO_MANY: &str = "the people of this job have too many keys in all: remove somebody first";
