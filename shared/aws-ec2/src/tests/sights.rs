//! Looking, ending and listing.

use std::time::Duration;

use aws_core::replay::Answer;
use cloud::{Fleet, PortError, Sighting, Tagged};
use domain::{InstanceId, Timestamp};

use super::{Bench, instance, nothing, order, page, refused, terminated};

async fn describe(bench: &Bench) -> Result<Sighting, PortError> {
    let order = order();
    bench.fleet.describe(&order.of()).await
}

async fn terminate(bench: &Bench) -> Result<(), PortError> {
    let order = order();
    bench.fleet.terminate(&order.of()).await
}

#[tokio::test]
async fn an_end_is_seen() {
    let reason = "<reason>User initiated (2026-01-20 18:45:00 GMT)</reason><stateReason><code>Client.UserInitiatedShutdown</code>\
                  <message>recorded</message></stateReason>";
    for (answer, expected) in [
        (page(&[instance("i-1", "running", "")], ""), Sighting::Running),
        (page(&[instance("i-1", "shutting-down", reason)], ""), Sighting::Running),
        (
            page(&[instance("i-1", "terminated", reason)], ""),
            Sighting::Gone { stopped_at: Timestamp::parse("2026-01-20T18:45:00Z") },
        ),
        (nothing(), Sighting::Running),
    ] {
        assert_eq!(describe(&Bench::new([answer])).await, Ok(expected));
    }
    let silent = PortError::Unavailable("no answer in time".into());
    assert_eq!(describe(&Bench::new([const { Answer::Timeout }; 3])).await, Err(silent));
}

#[tokio::test]
async fn what_was_never_made_is_gone_after_five_minutes() {
    let bench = Bench::new((0..4).map(|_| nothing()));
    terminate(&bench).await.unwrap();
    assert_eq!(describe(&bench).await, Ok(Sighting::Running), "an order may still be under way");
    bench.clock.pass(Duration::from_secs(299));
    assert_eq!(describe(&bench).await, Ok(Sighting::Running));
    bench.clock.pass(Duration::from_secs(1));
    assert_eq!(describe(&bench).await, Ok(Sighting::Gone { stopped_at: None }));
}

async fn check(answers: Vec<Answer>, expected: Result<(), PortError>, actions: &[&str]) {
    let bench = Bench::new(answers.clone());
    assert_eq!(terminate(&bench).await, expected, "{answers:?}");
    assert_eq!(bench.actions(), actions, "{answers:?}");
}

#[tokio::test]
async fn each_instance_is_ended_by_itself() {
    let (look, one, two) = ("DescribeInstances", "TerminateInstances i-1", "TerminateInstances i-2");
    let both = || page(&[instance("i-1", "running", ""), instance("i-2", "stopped", "")], "");
    check(vec![both(), terminated(), terminated()], Ok(()), &[look, one, two]).await;
    check(vec![both(), refused(400, "InvalidInstanceID.NotFound"), terminated()], Ok(()), &[look, one, two]).await;
    let denied = PortError::Unavailable("UnauthorizedOperation: recorded".into());
    check(vec![both(), refused(403, "UnauthorizedOperation"), terminated()], Err(denied), &[look, one, two]).await;
    let over = page(&[instance("i-1", "shutting-down", ""), instance("i-2", "terminated", "")], "");
    check(vec![over], Ok(()), &[look]).await;
    check(vec![nothing()], Ok(()), &[look]).await;
}

#[tokio::test]
async fn everything_of_ours_is_listed_through_all_pages() {
    let strange = instance("i-3", "running", "").replace("slipway:attempt", "slipway:other");
    let bench = Bench::new([
        page(&[instance("i-1", "running", ""), strange], "more"),
        page(&[instance("i-2", "pending", "")], ""),
    ]);
    let tagged = |id: &str| Tagged { instance: InstanceId::new(id), attempt: order().of() };
    assert_eq!(bench.fleet.list().await, Ok(vec![tagged("i-1"), tagged("i-2")]));
    let asked = bench.asked();
    assert_eq!(asked[0]["Filter.1.Name"], "tag:slipway:deployment");
    assert_eq!(asked[0]["Filter.1.Value.1"], "test");
    assert_eq!(
        (asked[0]["Filter.2.Name"].as_str(), asked[0]["Filter.2.Value.1"].as_str()),
        ("tag-key", "slipway:workload")
    );
    let states = (1..=4).map(|at| asked[0][&format!("Filter.3.Value.{at}")].as_str()).collect::<Vec<_>>();
    assert_eq!(states, ["pending", "running", "stopping", "stopped"]);
    assert_eq!((asked[0].get("NextToken"), asked[1]["NextToken"].as_str()), (None, "more"));
}
