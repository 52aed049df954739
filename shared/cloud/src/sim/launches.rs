//! The launch state machine's front: starts come in, tokens are completed. What runs the machine itself, over the same file as the
//! deployed one, is the harness's.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    task::{Poll, Waker},
};

use async_trait::async_trait;
use domain::{SecretHash, Timestamp};

use super::world::{Port, State, World};
use crate::{Launches, PortError, TaskToken, launches::Launch};

/// A launch that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its input.
    pub launch: Launch,
    /// When it was started first.
    pub at: Timestamp,
    /// How many times it was started; the launch ran once.
    pub times: u32,
}

/// What a waiting step was completed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It is done.
    Done,
    /// It failed.
    Failed {
        /// The error's name, which a `Catch` may ask for.
        error: String,
        /// Why, in words.
        cause: String,
    },
}

#[derive(Default)]
enum Token {
    /// Somebody waits for it.
    #[default]
    Waited,
    Completed(Completion),
    /// Its step is over.
    Retired,
}

/// Every launch and every token.
#[derive(Default)]
pub(super) struct LaunchBook {
    started: Vec<Started>,
    taken: usize,
    tokens: BTreeMap<SecretHash, Token>,
    waiting: Vec<Waker>,
}

impl LaunchBook {
    fn start(&mut self, launch: &Launch, now: Timestamp) {
        // The name of an execution is the workload's id, so that a second start finds the first one.
        match self.started.iter_mut().find(|known| known.launch.workload == launch.workload) {
            Some(known) => known.times += 1,
            None => self.started.push(Started { launch: launch.clone(), at: now, times: 1 }),
        }
    }

    /// The first completion counts; what comes later, or for a step that is over, is no error and does nothing.
    fn settle(&mut self, token: &TaskToken, completion: Completion) {
        let known = self.tokens.entry(token.0.hash()).or_default();
        if matches!(known, Token::Waited) {
            *known = Token::Completed(completion);
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn completion(&self, token: &TaskToken) -> Option<Completion> {
        match self.tokens.get(&token.0.hash())? {
            Token::Completed(completion) => Some(completion.clone()),
            Token::Waited | Token::Retired => None,
        }
    }
}

#[async_trait]
impl Launches for Port {
    async fn start(&self, launch: &Launch) -> Result<(), PortError> {
        let effect = |state: &mut State, _when| {
            state.launches.start(launch, state.now);
            Ok(())
        };
        self.0.call("launches.start", effect).await
    }

    async fn complete(&self, token: &TaskToken) -> Result<(), PortError> {
        let effect = |state: &mut State, _when| {
            state.launches.settle(token, Completion::Done);
            Ok(())
        };
        self.0.call("launches.complete", effect).await
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError> {
        let effect = |state: &mut State, _when| {
            state.launches.settle(token, Completion::Failed { error: error.to_owned(), cause: cause.to_owned() });
            Ok(())
        };
        self.0.call("launches.fail", effect).await
    }
}

/// The other side of the launches, for whatever runs the state machine.
impl World {
    /// Every launch that was started, in that order.
    #[must_use]
    pub fn launches(&self) -> Vec<Started> {
        self.state().launches.started.clone()
    }

    /// The next launch that was started and not taken yet. Each comes once, however often it was started.
    #[must_use]
    pub fn take_launch(&self) -> Option<Launch> {
        let launches = &mut self.state().launches;
        let launch = launches.started.get(launches.taken)?.launch.clone();
        launches.taken += 1;
        Some(launch)
    }

    /// What the step that waits with `token` was completed with first, if it was.
    #[must_use]
    pub fn completion(&self, token: &TaskToken) -> Option<Completion> {
        self.state().launches.completion(token)
    }

    /// Waits until the step that waits with `token` is completed. It never comes back for a token that was retired before.
    pub fn completed(&self, token: &TaskToken) -> impl Future<Output = Completion> + Send + use<> {
        let (world, token) = (self.clone(), token.clone());
        poll_fn(move |context| {
            let launches = &mut world.state().launches;
            let completion = launches.completion(&token);
            if completion.is_none() {
                launches.waiting.push(context.waker().clone());
            }
            completion.map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// The step that waited with `token` is over, by a time-out for instance: completing it is no error and does nothing any more.
    pub fn retire(&self, token: &TaskToken) {
        self.state().launches.tokens.insert(token.0.hash(), Token::Retired);
    }
}
