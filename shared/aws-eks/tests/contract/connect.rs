//! The client: over a real socket, with a token that is always good.

use std::collections::VecDeque;

use aws_eks::{Cluster, ConnectError, Token, Tokens, connect};

use super::*;

/// Tokens as they are set out.
struct Supply {
    clock: Arc<Time>,
    lives: Mutex<VecDeque<Duration>>,
    given: Mutex<u32>,
}

#[async_trait]
impl Tokens for Supply {
    async fn token(&self) -> Result<Token, PortError> {
        let life =
            self.lives.lock().unwrap().pop_front().ok_or_else(|| PortError::Unavailable("no more".to_owned()))?;
        let mut given = self.given.lock().unwrap();
        *given += 1;
        Ok(Token { bearer: Secret::new(format!("bearer-{given}")), expires_at: self.clock.now().plus(life) })
    }
}

struct Connected {
    clock: Arc<Time>,
    fake: Fake,
    supply: Arc<Supply>,
    fleet: EksFleet,
}

async fn connected(lives: &[u64]) -> Connected {
    let clock = Time::new();
    let fake = Fake::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let lives = Mutex::new(lives.iter().map(|minutes| Duration::from_secs(minutes * 60)).collect());
    let supply = Arc::new(Supply { clock: Arc::clone(&clock), lives, given: Mutex::new(0) });
    let cluster = Cluster { endpoint: format!("http://{}", fake.listen().await), authority: None };
    let tokens = Arc::clone(&supply) as Arc<dyn Tokens>;
    let client = connect(&cluster, "jobs", tokens, Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    let fleet = EksFleet::new(&client, settings(), Arc::clone(&clock) as Arc<dyn Clock>);
    Connected { clock, fake, supply, fleet }
}

impl Connected {
    /// What the server was sent last.
    fn last(&self) -> String {
        self.fake.state().asked.last().map(|(bearer, _, _)| bearer.clone()).unwrap_or_default()
    }
}

#[tokio::test]
async fn a_token_is_used_while_it_is_good_and_no_longer() {
    let world = connected(&[14, 14, 0, 14]).await;
    world.fleet.provision(&order(1, 1)).await.unwrap();
    assert_eq!((world.last().as_str(), *world.supply.given.lock().unwrap()), ("bearer-1", 1), "one for many requests");
    world.clock.pass(Duration::from_secs(12 * 60));
    assert!(world.fleet.list().await.is_ok());
    assert_eq!(world.last(), "bearer-1");
    world.clock.pass(Duration::from_secs(70));
    assert!(world.fleet.list().await.is_ok());
    assert_eq!(world.last(), "bearer-2", "it would end within a minute");
    // The server does not know it any more, whatever it says itself.
    world.fake.state().bearers = ["bearer-4".to_owned()].into();
    assert!(world.fleet.list().await.is_err());
    assert!(world.fleet.list().await.is_err(), "the next one had ended before it was used");
    assert!(world.fleet.list().await.is_ok());
    assert_eq!(world.last(), "bearer-4");
    world.clock.pass(HOUR);
    assert_eq!(world.fleet.list().await, Err(PortError::Unavailable("no more".to_owned())));
}

#[tokio::test]
async fn a_token_is_sent_only_where_nobody_else_reads_it() {
    let clock = Time::new();
    let authority = Some("bm90IGEgY2VydGlmaWNhdGU=".to_owned());
    for (endpoint, authority, private) in [
        ("https://x.eks.amazonaws.com", None, Some(true)),
        ("https://x.eks.amazonaws.com", authority, None),
        ("http://127.0.0.1:1", None, Some(true)),
        ("http://x.eks.amazonaws.com", None, Some(false)),
        ("http://127.0.0.1.example.com", None, Some(false)),
        ("x", None, Some(false)),
    ] {
        let supply = Supply { clock: Arc::clone(&clock), lives: Mutex::default(), given: Mutex::new(0) };
        let cluster = Cluster { endpoint: endpoint.to_owned(), authority: authority.clone() };
        let client = connect(&cluster, "jobs", Arc::new(supply), Arc::clone(&clock) as Arc<dyn Clock>).await;
        let found = match client {
            Ok(_) => Some(true),
            Err(ConnectError::NotPrivate(_)) => Some(false),
            Err(_) => None,
        };
        assert_eq!(found, private, "{endpoint} {authority:?}");
    }
}
