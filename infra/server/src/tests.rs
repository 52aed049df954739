//! The server over the simulated cloud, through its real ports.

use std::collections::BTreeSet;

use cloud::sim::World;
use serde_json::Value;
use store::embedded::{
    Embedded,
    simulated::{self, ORIGIN},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

use crate::server::{Ports, Server, surfaces};

/// The status of a GET.
async fn get(port: u16, path: &str, header: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn it_answers_by_the_front_door_until_it_is_told_to_stop() {
    let world = World::new(1);
    let database = Embedded::in_memory().unwrap();
    let plane = simulated::plane(&world, simulated::store(&world, &database));
    plane.store.create_tables().await.unwrap();
    let server = Server::bind(plane, Vec::new(), Ports { api: 0, probes: 0 }).await.unwrap();
    let (api, probes) = server.addresses().map(|(api, probes)| (api.port(), probes.port())).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async move { drop(stopped.await) }));
    let edge = format!("x-slipway-origin: {ORIGIN}\r\n");
    for (path, header, expected) in
        [("/health", edge.as_str(), 200), ("/health", "", 403), ("/v1/jobs", &edge, 401), ("/live", &edge, 404)]
    {
        assert_eq!(get(api, path, header).await, expected, "{path}");
    }
    assert_eq!((get(probes, "/live", "").await, get(probes, "/ready", "").await), (200, 200));
    world.set_outage("queue", true);
    assert_eq!((get(probes, "/live", "").await, get(probes, "/ready", "").await), (200, 503));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", api)).await.is_err(), "nobody answers any more");
}

#[test]
fn it_answers_every_operation() {
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let methods = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let documented = methods.filter_map(|operation| operation["operationId"].as_str()).map(str::to_owned);
    let answered =
        surfaces().iter().flat_map(|surface| surface.operation_ids()).map(|id| id.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(documented.collect::<BTreeSet<_>>(), answered);
}

#[test]
fn ports_are_numbers() {
    let read = |value: &str| Ports::read(|name| (name == "PORT").then(|| value.to_owned()));
    assert_eq!(read("").unwrap(), Ports { api: 8000, probes: 8001 });
    assert_eq!(read("80").unwrap().api, 80);
    for wrong in ["http", "-1", "70000"] {
        assert!(read(wrong).unwrap_err().to_string().contains("PORT"), "{wrong}");
    }
}
