//! The fleet: asks EC2, and understands what it says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_core::{
    Sdk,
    errors::{code, words},
    port_error,
    sdk::CONNECT_TIMEOUT,
};
use aws_sdk_ec2::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    error::SdkError,
    operation::run_instances::{RunInstancesError, RunInstancesOutput},
    types::{Filter, Instance},
};
use cloud::{Attempt, Clock, Fleet, FleetError, Nowhere, Order, PortError, Provisioned, Sighting, Tagged};
use domain::{InstanceId, PoolId, Secret, TenantId, Timestamp, credential::CloudKeys, workload::Address};

use crate::{
    accounts::{Accounts, Network},
    offers::{Offer, Shortage, offers},
    penalties::Penalties,
    request::{ATTEMPT, POOL, TENANT, WORKLOAD, in_states, instances, of_attempt, ours, run},
    settings::Settings,
    sightings::{Absences, Seen, Standing},
    user_data::{JUPYTER_PORT, MODEL_PORT, SSH_PORT, user_data},
};

/// How long EC2 may take for one answer: `RunInstances` takes several seconds when it is well.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// No further offer is begun after this long: the step that orders is given two minutes, and comes again.
const TRY_FOR: Duration = Duration::from_secs(60);
/// An instance has its public address some seconds after it was made.
const ADDRESS_LOOKS: u32 = 5;
const ADDRESS_PAUSE: Duration = Duration::from_secs(2);
/// How long an attempt that was ended is remembered as such: longer than an order may be under way.
const ENDED_FOR: Duration = Duration::from_secs(3_600);

/// What one process remembers. All of it may be lost: then it asks once more, or waits longer.
#[derive(Default)]
struct Memory {
    penalties: Penalties,
    absences: Absences,
    /// The offer that was asked for an attempt, where it is not clear what came of it.
    unclear: BTreeMap<Attempt, Offer>,
    /// Attempts that were told to end.
    ended: BTreeMap<Attempt, Timestamp>,
}

/// Machines of EC2, each for one attempt.
pub struct Ec2Fleet {
    sdk: Sdk,
    client: Client,
    network: Network,
    accounts: Accounts,
    settings: Settings,
    clock: Arc<dyn Clock>,
    memory: Mutex<Memory>,
}

/// What came of an offer.
enum Became {
    Made(Seen),
    Short(Shortage),
    /// It may have been made.
    Unclear(String),
}

/// What EC2's answer to an order means.
fn understand(answer: Result<RunInstancesOutput, SdkError<RunInstancesError>>) -> Result<Became, FleetError> {
    let error = match answer {
        Ok(made) => {
            let first = made.instances().first().map(seen);
            return Ok(first.map_or_else(|| Became::Unclear("an answer without an instance".into()), Became::Made));
        }
        Err(error) => error,
    };
    if let PortError::Throttled = port_error(&error) {
        return Err(PortError::Throttled.into());
    }
    let why = words(&error);
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (code(&error), status) {
        (Some("IdempotentInstanceTerminated"), _) => Err(ended()),
        // It was made from other settings, which have changed since: it is found by its tags.
        (Some("IdempotentParameterMismatch"), _) => Err(PortError::Unavailable(why).into()),
        (Some(code), status) => match Shortage::of(code) {
            Some(shortage) => Ok(Became::Short(shortage)),
            None if status.is_none_or(|status| status >= 500) => Ok(Became::Unclear(why)),
            None => {
                // The message may name what the job's owner need not know, and the reason of a refusal is told to them.
                tracing::error!(why, "fleet.refused");
                Err(FleetError::Refused(format!("EC2 refused the order ({code})")))
            }
        },
        (None, _) => Ok(Became::Unclear(why)),
    }
}

fn ended() -> FleetError {
    FleetError::Refused("this attempt was ended".into())
}

/// An instance, as far as it matters here.
fn seen(instance: &Instance) -> Seen {
    let state = instance.state().and_then(|state| state.name()).map_or("", |name| name.as_str());
    let launched = instance.launch_time().and_then(|at| at.to_millis().ok()).unwrap_or(0);
    let reason = instance.state_reason();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Seen {
        id: text(instance.instance_id()),
        standing: Standing::of(state),
        launched_at: Timestamp::from_millis(launched),
        private_ip: instance.private_ip_address().map(str::to_owned),
        public_ip: instance.public_ip_address().filter(|ip| !ip.is_empty()).map(str::to_owned),
        reason: reason.map(|reason| (text(reason.code()), text(reason.message()))),
        transition: text(instance.state_transition_reason()),
        tags: instance.tags().iter().map(|tag| (text(tag.key()), text(tag.value()))).collect(),
    }
}

/// What the sweep is told of an instance; `None` for tags that are not as ours are.
fn tagged(seen: &Seen) -> Option<Tagged> {
    Some(Tagged {
        instance: InstanceId::new(&*seen.id),
        attempt: Attempt {
            tenant: TenantId::new(seen.tags.get(TENANT)?),
            workload: seen.tags.get(WORKLOAD)?.parse().ok()?,
            number: seen.tags.get(ATTEMPT)?.parse().ok()?,
            pool: PoolId::new(seen.tags.get(POOL)?),
        },
    })
}

/// A client of EC2.
pub(crate) fn client(sdk: &Sdk) -> Client {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT);
    Client::from_conf(Builder::from(sdk.config()).timeout_config(timeouts.build()).build())
}

impl Ec2Fleet {
    /// The fleet of an installation. Nothing is asked yet.
    #[must_use]
    pub fn new(sdk: &Sdk, settings: Settings) -> Self {
        Self::over(sdk, settings, Network::Given)
    }

    /// The fleet in another account, which says itself where machines are put.
    pub(crate) fn elsewhere(sdk: &Sdk, settings: Settings) -> Self {
        Self::over(sdk, settings, Network::Found)
    }

    fn over(sdk: &Sdk, settings: Settings, network: Network) -> Self {
        let (client, clock) = (client(sdk), sdk.clock().clone());
        let (accounts, memory) = (Accounts::default(), Mutex::default());
        Self { sdk: sdk.clone(), client, network, accounts, settings, clock, memory }
    }

    /// What is remembered; what a panic left behind is whole.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, filters: Vec<Filter>) -> Result<Vec<Seen>, PortError> {
        Ok(instances(&self.client, filters).await?.iter().map(seen).collect())
    }

    async fn look_for(&self, attempt: &Attempt) -> Result<Vec<Seen>, PortError> {
        self.look(of_attempt(&self.settings.deployment, attempt)).await
    }

    /// The one instance that an attempt has. A second, which should not be, is ended.
    async fn present(&self, attempt: &Attempt) -> Result<Option<Seen>, FleetError> {
        let (mut live, over) =
            self.look_for(attempt).await?.into_iter().partition::<Vec<_>, _>(|one| one.standing == Standing::Live);
        live.sort_by(|one, other| (one.launched_at, &one.id).cmp(&(other.launched_at, &other.id)));
        let mut live = live.into_iter();
        let Some(first) = live.next() else {
            over.iter().for_each(say);
            // An attempt has one life: what comes after it is another attempt.
            return if over.is_empty() { Ok(None) } else { Err(ended()) };
        };
        for second in live {
            tracing::error!(kept = first.id, ended = second.id, "fleet.second_instance");
            self.end(&second.id).await?;
        }
        Ok(Some(first))
    }

    /// Asks for an offer, and once more if it is not clear what came of it: the same token again makes nothing new. Gives the instance, or
    /// why there is none.
    async fn ask(
        &self,
        order: &Order,
        offer: &Offer,
        (settings, user_data): (&Settings, &Secret),
    ) -> Result<Result<Seen, Shortage>, FleetError> {
        let attempt = order.of();
        let mut asked = understand(run(&self.client, (order, offer), settings, user_data).await)?;
        if let Became::Unclear(why) = &asked {
            tracing::warn!(workload = %order.workload, machine = offer.machine, zone = offer.zone, why, "fleet.unclear");
            self.memory().unclear.insert(attempt.clone(), offer.clone());
            if let Some(found) = self.present(&attempt).await? {
                self.memory().unclear.remove(&attempt);
                return Ok(Ok(found));
            }
            asked = understand(run(&self.client, (order, offer), settings, user_data).await)?;
        }
        let outcome = match asked {
            Became::Unclear(why) => return Err(PortError::Unavailable(why).into()),
            Became::Made(made) => Ok(made),
            // The first request may have been slow rather than lost, and made what the second was refused.
            Became::Short(shortage) if self.is_unclear(&attempt) => self.present(&attempt).await?.ok_or(shortage),
            Became::Short(shortage) => Err(shortage),
        };
        self.memory().unclear.remove(&attempt);
        Ok(outcome)
    }

    fn is_unclear(&self, attempt: &Attempt) -> bool {
        self.memory().unclear.contains_key(attempt)
    }

    /// The offers as they are to be tried: the one that is unclear first, and then the least refused.
    fn ranked(&self, order: &Order, settings: &Settings) -> Vec<Offer> {
        let memory = self.memory();
        let mut ranked = memory.penalties.rank(offers(order, settings), self.clock.now());
        if let Some(unclear) = memory.unclear.get(&order.of()) {
            ranked.sort_by_key(|offer| offer != unclear);
        }
        ranked
    }

    /// Tries the offers, one after another.
    async fn buy(&self, order: &Order, user_data: &Secret) -> Result<Seen, FleetError> {
        let (started, mut refused) = (self.clock.now(), Vec::<(Offer, Shortage)>::new());
        let settings = self.network.settle(&self.client, &self.settings).await?;
        for offer in self.ranked(order, &settings) {
            if refused.iter().any(|(other, shortage)| shortage.covers(other, &offer)) {
                continue;
            }
            if self.clock.now().since(started) > TRY_FOR {
                return Err(FleetError::Capacity(format!("{} offers were refused so far", refused.len())));
            }
            match self.ask(order, &offer, (&settings, user_data)).await? {
                Ok(made) => {
                    self.memory().penalties.had(&offer);
                    tracing::info!(workload = %order.workload, instance = made.id, ?offer, "fleet.made");
                    return Ok(made);
                }
                Err(shortage) => {
                    tracing::info!(workload = %order.workload, ?offer, ?shortage, "fleet.offer_refused");
                    self.memory().penalties.refused(&offer, shortage, self.clock.now());
                    refused.push((offer, shortage));
                }
            }
        }
        match refused.iter().all(|(_, shortage)| *shortage == Shortage::Unsupported) {
            true => Err(FleetError::Refused(format!("no machine here has {} {} GPUs", order.gpus, order.gpu))),
            false => Err(FleetError::Capacity(format!("all {} offers were refused", refused.len()))),
        }
    }

    /// How users reach an instance. A public address comes a moment after the instance.
    async fn reach(&self, order: &Order, mut made: Seen) -> Result<Provisioned, FleetError> {
        for look in 0..=ADDRESS_LOOKS {
            let host = if self.settings.public_addresses { &made.public_ip } else { &made.private_ip };
            if let Some(host) = host {
                let model_port = order.serves.then_some(MODEL_PORT);
                let address =
                    Address { host: host.clone(), ssh_port: SSH_PORT, jupyter_port: JUPYTER_PORT, model_port };
                return Ok(Provisioned { instance: InstanceId::new(made.id), address });
            }
            if look < ADDRESS_LOOKS {
                self.clock.sleep(ADDRESS_PAUSE).await;
                let found = self.look_for(&order.of()).await?;
                made = found.into_iter().find(|one| one.id == made.id).unwrap_or(made);
            }
        }
        Err(PortError::Unavailable(format!("{} has no address yet", made.id)).into())
    }

    /// Ends one instance: a list of them fails as a whole for one wrong id. That it is gone already is no error.
    async fn end(&self, id: &str) -> Result<(), PortError> {
        match self.client.terminate_instances().instance_ids(id).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some("InvalidInstanceID.NotFound") => Ok(()),
            Err(error) => Err(port_error(&error)),
        }
    }
}

/// Says in the log why an instance ended.
fn say(seen: &Seen) {
    let (code, message) = seen.reason.as_ref().map_or(("", ""), |(code, message)| (code, message));
    tracing::info!(instance = seen.id, event = seen.end(), code, message, transition = seen.transition, "fleet.ended");
}

#[async_trait]
impl Fleet for Ec2Fleet {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        let attempt = order.of();
        if self.memory().ended.contains_key(&attempt) {
            return Err(ended());
        }
        // Always first: this may be a repetition, also of an order that another process began.
        if let Some(found) = self.present(&attempt).await? {
            self.memory().unclear.remove(&attempt);
            return self.reach(order, found).await;
        }
        let user_data = user_data(order, &self.settings).map_err(|error| FleetError::Refused(error.to_string()))?;
        self.memory().absences.ordered(&attempt);
        let made = self.buy(order, &user_data).await?;
        self.reach(order, made).await
    }

    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError> {
        let seen = self.look_for(attempt).await?;
        seen.iter().filter(|one| one.standing == Standing::Terminated).for_each(say);
        Ok(self.memory().absences.judge(attempt, &seen, self.clock.now()))
    }

    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError> {
        let now = self.clock.now();
        {
            let mut memory = self.memory();
            memory.ended.retain(|_, since| now.since(*since) < ENDED_FOR);
            memory.ended.insert(attempt.clone(), now);
            memory.unclear.remove(attempt);
        }
        let seen = self.look_for(attempt).await?;
        self.memory().absences.judge(attempt, &seen, now);
        let mut outcome = Ok(());
        for one in seen.iter().filter(|one| one.standing == Standing::Live) {
            // The others are ended even if one cannot be.
            outcome = self.end(&one.id).await.and(outcome);
        }
        outcome
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        let mut filters = ours(&self.settings);
        filters.push(in_states(&["pending", "running", "stopping", "stopped"]));
        let mut listed = Vec::new();
        for seen in self.look(filters).await? {
            match tagged(&seen) {
                Some(tagged) => listed.push(tagged),
                // Somebody changed its tags: nobody can be told whose it is.
                None => tracing::warn!(instance = seen.id, "fleet.strange_tags"),
            }
        }
        Ok(listed)
    }

    fn in_account(&self, keys: &CloudKeys) -> Arc<dyn Fleet> {
        match keys {
            CloudKeys::Aws(keys) => self.accounts.with(keys, (&self.sdk, &self.settings)),
            CloudKeys::Azure(_) | CloudKeys::Gcp(_) => Arc::new(Nowhere),
        }
    }
}
