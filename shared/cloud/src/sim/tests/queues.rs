use std::collections::BTreeSet;

use domain::message::QueueName;
use futures::executor::block_on;

use super::*;

fn send(world: &World, messages: &[Message]) {
    for message in messages {
        block_on(world.ports().queue.send(message)).unwrap();
    }
}

#[test]
fn a_group_is_worked_on_one_at_a_time_and_in_order() {
    let world = World::new(2);
    send(&world, &[doorbell("a"), doorbell("a"), doorbell("b")]);
    let receive = || world.receive(QueueName::Doorbells);
    let (one, two) = (receive().unwrap(), receive().unwrap());
    assert_ne!(one.message, two.message, "the first of each group");
    assert_eq!(receive(), None, "both groups are being worked on");
    let of_a = if one.message == doorbell("a") { &one } else { &two };
    assert!(world.acknowledge(of_a));
    assert_eq!(receive().map(|third| third.message), Some(doorbell("a")));
    assert_eq!(world.messages(QueueName::Doorbells).len(), 2);
}

#[test]
fn what_is_not_acknowledged_comes_back_and_at_last_is_put_aside() {
    for message in [doorbell("a"), reconcile(1)] {
        let (world, queue) = (World::new(2), message.queue());
        send(&world, std::slice::from_ref(&message));
        let first = world.receive(queue).unwrap();
        for receives in 2..=5 {
            assert_eq!(world.receive(queue), None);
            world.move_to(later(&world, 179));
            assert_eq!(world.receive(queue), None);
            world.move_to(later(&world, 1));
            assert_eq!(world.receive(queue).map(|again| again.receives), Some(receives));
        }
        assert!(!world.acknowledge(&first), "an old receipt is worth nothing");
        world.move_to(later(&world, 180));
        assert_eq!(world.receive(queue), None);
        assert_eq!(world.messages(queue), []);
        assert_eq!(world.dead_letters().into_iter().map(|dead| dead.message).collect::<Vec<_>>(), [message]);
    }
}

#[test]
fn a_standard_queue_reorders_and_repeats() {
    let first = |seed| {
        let world = World::new(seed);
        send(&world, &[reconcile(1), reconcile(2), reconcile(3)]);
        world.receive(QueueName::Reconciles).map(|delivery| format!("{:?}", delivery.message))
    };
    assert_eq!((0..40).map(first).collect::<BTreeSet<_>>().len(), 3, "any of them may come first");

    let world = World::new(2);
    world.set(|settings| settings.duplicates = 1_000);
    send(&world, &[reconcile(1)]);
    let (one, two) = (world.receive(QueueName::Reconciles).unwrap(), world.receive(QueueName::Reconciles).unwrap());
    assert_eq!(one.message, two.message, "two consumers at once");
    assert!(!world.acknowledge(&one) && world.acknowledge(&two));
    assert_eq!(world.next_delivery(), None);
}

#[test]
fn what_is_handed_back_comes_again_at_once() {
    let world = World::new(2);
    send(&world, &[doorbell("a")]);
    let delivery = world.receive(QueueName::Doorbells).unwrap();
    assert_eq!(world.next_delivery(), Some(later(&world, 180)));
    assert!(world.hand_back(&delivery));
    assert_eq!(world.receive(QueueName::Doorbells).map(|again| again.receives), Some(2));
}
