//! Runs tasks on one thread, in an order that the seed chooses.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use domain::Timestamp;

use super::{
    rng::Rng,
    world::{TaskId, World},
};

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on, or waits.
    Unfinished,
    /// It came to its end; [`Executor::take`] gives its result, once.
    Finished,
    /// It died at a fault, or was killed.
    Crashed,
}

/// Tasks go on and on without time passing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after {steps} steps at one instant these still run: {tasks:?}")]
pub struct Livelock {
    /// How many steps were taken.
    pub steps: u64,
    /// The names of the tasks that could still go on.
    pub tasks: Vec<String>,
}

type Work = Pin<Box<dyn Future<Output = Box<dyn Any>>>>;

enum Progress {
    Unfinished(Work),
    Finished(Box<dyn Any>),
    Taken,
    Crashed,
}

struct Task {
    name: String,
    progress: Progress,
    waker: Waker,
}

/// Who can go on. Its own lock, since a waker may be called from anywhere, even under the world's.
#[derive(Default)]
struct Runnable(Mutex<BTreeSet<TaskId>>);

impl Runnable {
    fn tasks(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct WakeTask {
    id: TaskId,
    runnable: Arc<Runnable>,
}

impl Wake for WakeTask {
    fn wake(self: Arc<Self>) {
        self.runnable.tasks().insert(self.id);
    }
}

/// A single-threaded executor. Between two fault points a task is never interrupted; at each one, whoever can go on may be next.
///
/// It needs no runtime around it, and drives any future that waits through wakers: the ports, [`crate::Clock::sleep`], channels,
/// `futures::join!`. What waits for a real timer or a real socket never goes on here.
pub struct Executor {
    world: World,
    tasks: BTreeMap<TaskId, Task>,
    runnable: Arc<Runnable>,
    rng: Rng,
    most_steps: u64,
}

impl Executor {
    /// An executor in `world`; its choices follow from the world's seed.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let rng = Rng::stream(world.seed(), "executor");
        let (tasks, runnable) = (BTreeMap::new(), Arc::default());
        Self { world: world.clone(), tasks, runnable, rng, most_steps: 1_000_000 }
    }

    /// How many steps may be taken at one instant before it is a [`Livelock`]; a million unless it is set.
    #[must_use]
    pub fn with_most_steps(mut self, most_steps: u64) -> Self {
        self.most_steps = most_steps;
        self
    }

    /// The world that this executor's tasks live in.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Adds a task; nothing of it happens before [`Executor::step`]. The name is for messages.
    pub fn spawn<T: 'static>(&mut self, name: impl Into<String>, work: impl Future<Output = T> + 'static) -> TaskId {
        let id = self.world.new_task();
        let work = Box::pin(async move { Box::new(work.await) as Box<dyn Any> });
        let waker = Waker::from(Arc::new(WakeTask { id, runnable: self.runnable.clone() }));
        self.tasks.insert(id, Task { name: name.into(), progress: Progress::Unfinished(work), waker });
        self.runnable.tasks().insert(id);
        id
    }

    /// Lets one of those that can go on do so, up to its next fault point or until it waits; `None` when nobody can.
    pub fn step(&mut self) -> Option<TaskId> {
        let id = self.choose()?;
        // A waker may outlive its task, so that whoever is chosen may have nothing to do.
        let Some(task) = self.tasks.get_mut(&id) else { return Some(id) };
        let Progress::Unfinished(work) = &mut task.progress else { return Some(id) };
        self.world.enter_task(id);
        let polled = work.as_mut().poll(&mut Context::from_waker(&task.waker));
        // Whatever it still returned, a task that died at a fault point has no result.
        if self.world.leave_task(id) {
            task.progress = Progress::Crashed;
        } else if let Poll::Ready(result) = polled {
            task.progress = Progress::Finished(result);
        }
        Some(id)
    }

    /// Steps until everybody has ended or waits for something: a time, a message, a completion.
    ///
    /// # Errors
    /// When that does not come to pass: somebody repeats something without waiting in between.
    pub fn run_until_stalled(&mut self) -> Result<(), Livelock> {
        let mut steps = 0;
        while self.step().is_some() {
            steps += 1;
            if steps >= self.most_steps && !self.runnable.tasks().is_empty() {
                let runnable = self.runnable.tasks().clone();
                let tasks = runnable.iter().filter_map(|id| self.tasks.get(id)).map(|task| task.name.clone());
                return Err(Livelock { steps, tasks: tasks.collect() });
            }
        }
        Ok(())
    }

    /// Lets time pass until `to`: everybody goes on as far as they can, the first sleeper wakes, and so on.
    ///
    /// # Errors
    /// When somebody goes on without end at one instant.
    pub fn advance(&mut self, to: Timestamp) -> Result<(), Livelock> {
        self.run_until_stalled()?;
        while let Some(at) = self.world.next_timer().filter(|at| *at <= to) {
            self.world.move_to(at);
            self.run_until_stalled()?;
        }
        self.world.move_to(to);
        self.run_until_stalled()
    }

    /// Runs one more task to its end and gives its result, while time passes as far as somebody sleeps; everybody else goes on as well.
    /// `None` when it died, or waits for what does not come by itself.
    ///
    /// # Errors
    /// When somebody goes on without end at one instant.
    pub fn run<T: 'static>(
        &mut self,
        name: impl Into<String>,
        work: impl Future<Output = T> + 'static,
    ) -> Result<Option<T>, Livelock> {
        let id = self.spawn(name, work);
        self.run_until_stalled()?;
        while self.outcome(id) == Some(Outcome::Unfinished) {
            let Some(at) = self.world.next_timer() else { break };
            self.world.move_to(at);
            self.run_until_stalled()?;
        }
        Ok(self.take(id))
    }

    /// Ends a task where it stands, as when a Lambda function runs out of time or its host dies. What has ended stays as it is.
    pub fn kill(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| matches!(task.progress, Progress::Unfinished(_))) {
            task.progress = Progress::Crashed;
        }
    }

    /// What became of a task; `None` when this executor never had it.
    #[must_use]
    pub fn outcome(&self, id: TaskId) -> Option<Outcome> {
        Some(match self.tasks.get(&id)?.progress {
            Progress::Unfinished(_) => Outcome::Unfinished,
            Progress::Finished(_) | Progress::Taken => Outcome::Finished,
            Progress::Crashed => Outcome::Crashed,
        })
    }

    /// The result of a task that has finished, once; `None` also when it is not a `T`.
    pub fn take<T: 'static>(&mut self, id: TaskId) -> Option<T> {
        let task = self.tasks.get_mut(&id)?;
        let Progress::Finished(result) = &task.progress else { return None };
        if !result.is::<T>() {
            return None;
        }
        match std::mem::replace(&mut task.progress, Progress::Taken) {
            Progress::Finished(result) => result.downcast().ok().map(|result| *result),
            Progress::Unfinished(_) | Progress::Taken | Progress::Crashed => None,
        }
    }

    /// The tasks that have neither finished nor died, with their names.
    #[must_use]
    pub fn unfinished(&self) -> Vec<(TaskId, &str)> {
        let unfinished = self.tasks.iter().filter(|(_, task)| matches!(task.progress, Progress::Unfinished(_)));
        unfinished.map(|(id, task)| (*id, task.name.as_str())).collect()
    }

    fn choose(&mut self) -> Option<TaskId> {
        let mut runnable = self.runnable.tasks();
        let chosen = runnable.iter().nth(self.rng.below(runnable.len())).copied()?;
        runnable.remove(&chosen);
        Some(chosen)
    }
}

impl World {
    fn new_task(&self) -> TaskId {
        let mut state = self.state();
        state.tasks += 1;
        TaskId(state.tasks)
    }

    fn enter_task(&self, id: TaskId) {
        self.state().current = Some(id);
    }

    /// Says whether the task died while it was polled.
    fn leave_task(&self, id: TaskId) -> bool {
        let mut state = self.state();
        state.current = None;
        state.crashed.contains(&id)
    }
}
