//! Answers that are lost, and answers that say no.

use cloud::{Fleet as _, FleetError, PortError, Sighting};
use serde_json::json;

use super::*;
use crate::fake::Fault;

/// A refusal of the creation of a kind, and what it means.
type Case = (&'static str, u16, &'static str, &'static str, fn(&FleetError) -> bool);

#[tokio::test]
async fn a_lost_answer_is_made_good_by_asking_again() {
    let ordering = [
        ("create", "pods"),
        ("get", "configmaps"),
        ("create", "secrets"),
        ("create", "services"),
        ("patch", "pods"),
        ("get", "pods"),
        ("get", "services"),
    ];
    for (verb, what) in ordering {
        for fault in [Fault::LoseAnswer, Fault::Refuse(503, "ServiceUnavailable", "not now".to_owned())] {
            let world = World::new();
            world.fake.fault(verb, what, fault.clone());
            let lost = world.fleet.provision(&order(1, 1)).await;
            assert!(matches!(lost, Err(FleetError::Port(_))), "{verb} {what} {fault:?}: {lost:?}");
            assert_eq!(world.see(1, 1).await, Sighting::Running);
            world.fleet.provision(&order(1, 1)).await.unwrap();
            for plural in ["pods", "secrets", "services"] {
                assert_eq!(world.fake.names(plural), [name(1, 1)], "{verb} {what} {fault:?}");
            }
            assert_eq!(world.fake.bound(), 1);
        }
    }
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_is_made_good_by_asking_again() {
    let ending =
        [("create", "configmaps"), ("get", "pods"), ("delete", "pods"), ("patch", "configmaps"), ("patch", "pods")];
    for (verb, what) in ending {
        for fault in [Fault::LoseAnswer, Fault::Refuse(429, "TooManyRequests", "slowly".to_owned())] {
            let world = World::new();
            world.fleet.provision(&order(1, 1)).await.unwrap();
            let stopped_at = Some(world.finish(1, 1));
            world.fake.fault(verb, what, fault.clone());
            assert!(world.end(1, 1).await.is_err(), "{verb} {what} {fault:?}");
            assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at }, "{verb} {what} {fault:?}");
            world.end(1, 1).await.unwrap();
            assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at }, "{verb} {what} {fault:?}");
            assert_eq!((world.fake.names("pods").len(), world.fake.names("secrets").len()), (0, 0));
        }
    }
}

#[tokio::test]
async fn each_refusal_has_its_meaning() {
    let refused: fn(&FleetError) -> bool = |error| matches!(error, FleetError::Refused(_));
    let throttled: fn(&FleetError) -> bool = |error| *error == FleetError::Port(PortError::Throttled);
    let unavailable: fn(&FleetError) -> bool = |error| matches!(error, FleetError::Port(PortError::Unavailable(_)));
    let security = r#"pods "sw-1" is forbidden: violates PodSecurity "restricted:latest""#;
    let rights =
        r#"pods is forbidden: User "slipway" cannot create resource "pods" in API group "" in the namespace "jobs""#;
    let cases: [Case; 6] = [
        ("pods", 403, "Forbidden", security, refused),
        ("pods", 403, "Forbidden", rights, unavailable),
        ("pods", 422, "Invalid", "Pod is invalid", refused),
        ("services", 429, "TooManyRequests", "slowly", throttled),
        ("secrets", 500, "InternalError", "failed calling webhook", unavailable),
        ("pods", 401, "Unauthorized", "Unauthorized", unavailable),
    ];
    for (what, code, reason, message, is) in cases {
        let world = World::new();
        let what = crate::fake::resource(what).plural;
        world.fake.fault("create", what, Fault::Refuse(code, reason, message.to_owned()));
        let error = world.fleet.provision(&order(1, 1)).await.unwrap_err();
        assert!(is(&error), "{code} {message}: {error:?}");
        assert_eq!(world.fake.bound(), 0, "nothing runs without what it needs");
        assert!(world.fleet.provision(&order(1, 1)).await.is_ok(), "the cluster has changed its mind");
    }
}

#[tokio::test]
async fn an_image_that_can_never_be_pulled_is_refused() {
    for (reason, never) in [("InvalidImageName", true), ("ImagePullBackOff", false), ("ContainerCreating", false)] {
        let world = World::new();
        world.fleet.provision(&order(1, 1)).await.unwrap();
        let waiting = json!({"waiting": {"reason": reason, "message": "couldn't parse image name"}});
        let status = json!({"containerStatuses": [{
            "name": "job", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": waiting,
        }]});
        let key = ("pods", "jobs".to_owned(), name(1, 1));
        world.fake.act(|state| drop(state.store.patch(&key, &json!({"status": status})).unwrap()));
        let again = world.fleet.provision(&order(1, 1)).await;
        assert_eq!(matches!(again, Err(FleetError::Refused(_))), never, "{reason}: {again:?}");
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_had_in_full_is_an_error() {
    for what in ["pods", "configmaps"] {
        let world = World::new();
        world.fake.fault(
            "list",
            what,
            Fault::Refuse(410, "Expired", "The provided continue parameter is too old".into()),
        );
        assert!(world.fleet.list().await.is_err(), "{what}");
    }
    // Cleaning up is not what was asked for.
    let world = World::new();
    world.fleet.provision(&order(1, 1)).await.unwrap();
    world.end(1, 1).await.unwrap();
    world.finish(1, 1);
    world.fake.fault("patch", "pods", Fault::Refuse(503, "ServiceUnavailable", "not now".to_owned()));
    assert_eq!((world.listed().await, world.fake.names("pods").len()), (0, 1));
    assert_eq!((world.listed().await, world.fake.names("pods").len()), (0, 0));
}
