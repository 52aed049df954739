//! Fetching the keys of people who are to be let in.

use std::time::Duration;

use cloud::PeopleError;
use domain::{Workload, job::Fetch, lifecycle::State, names::GithubName};
use store::{Plane, StoreError, WorkError, workloads::Write};

/// How often the directory is asked before its silence is told to the job's owner.
const TRIES: u32 = 3;

/// Fetches every key that is wanted, one person at a time.
pub(crate) async fn fetch(plane: &Plane, workload: &Workload) -> Result<(), WorkError> {
    let wanted = plane.store.people(&workload.tenant, workload.id).await?.wanted().cloned().collect::<Vec<_>>();
    for name in wanted {
        let (fetched, message) = ask(plane, &name).await;
        keep(plane, workload, &name, &fetched, &message).await?;
    }
    Ok(())
}

/// What the directory says, asked again while it is silent, with the words for the timeline.
async fn ask(plane: &Plane, name: &GithubName) -> (Fetch, String) {
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
            return (Fetch::Fetched { keys }, message);
        }
        Ok(_) => "has published no SSH keys at GitHub",
        Err(PeopleError::Unknown) => "is unknown at GitHub",
        Err(PeopleError::Unavailable(_)) => "could not be asked for: GitHub does not answer; add the user again later",
    };
    (Fetch::Failed { error: error.to_owned() }, format!("GitHub user '{shown}' {error}"))
}

/// Writes what came of it, unless the person is no longer wanted.
async fn keep(
    plane: &Plane,
    workload: &Workload,
    name: &GithubName,
    fetched: &Fetch,
    message: &str,
) -> Result<(), WorkError> {
    for _ in 0..crate::ATTEMPTS {
        let Some(held) = plane.store.workload(&workload.tenant, workload.id).await? else { return Ok(()) };
        // The directory may have been slow, and the workload over meanwhile: nothing is written about it any more.
        if held.state == State::Ended {
            return Ok(());
        }
        let mut people = plane.store.people(&held.tenant, held.id).await?;
        match people.github.get_mut(name) {
            Some(fetch) if *fetch == Fetch::Wanted => *fetch = fetched.clone(),
            _ => return Ok(()),
        }
        let changes = [held.keys_fetched(message.to_owned(), plane.ports.clock.now())];
        match plane.commit(&Write { people: Some(&people), ..Write::of(&changes) }).await {
            Ok(()) => return Ok(()),
            Err(StoreError::Moved) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contended.into())
}
