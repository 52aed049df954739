//! The two ports, and how they close.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use runtime::{ConfigError, StartError};
use store::Plane;
use tokio::{net::TcpListener, signal::unix::SignalKind, sync::oneshot};
use web::{
    Surface,
    serve::{Front, Hosts},
};

use crate::{ServerError, probes};

/// How long answers may take that are under way when it stops. ECS and Kubernetes wait for 30 seconds unless they are told otherwise.
const LAST_ANSWERS: Duration = Duration::from_secs(25);

/// Where it listens, on every address of its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// The API: `PORT`, else 8000.
    pub(crate) api: u16,
    /// The probes: `PROBES_PORT`, else 8001. No load balancer should lead there.
    pub(crate) probes: u16,
}

impl Ports {
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ServerError> {
        let port = |name: &'static str, usual: u16| match variable(name).filter(|text| !text.is_empty()) {
            None => Ok(usual),
            Some(text) => text
                .parse()
                .map_err(|_not_one| StartError::from(ConfigError::Wrong(name, format!("{text:?} is not a port")))),
        };
        Ok(Self { api: port("PORT", 8000)?, probes: port("PROBES_PORT", 8001)? })
    }
}

/// Every surface, in the order of the API document.
pub(crate) fn surfaces() -> Vec<Surface> {
    vec![
        meta::surface(),
        auth::surface(),
        keys::surface(),
        jobs::surface(),
        disks::surface(),
        credentials::surface(),
        cluster::surface(),
        tenants::surface(),
        models::surface(),
        usage::surface(),
        clusters::surface(),
        nodes::surface(),
        instances::surface(),
        inference::surface(),
        agent_api::surface(),
    ]
}

/// Both ports, taken.
pub(crate) struct Server {
    api: (TcpListener, Router),
    probes: (TcpListener, Router),
    ready: Arc<AtomicBool>,
    plane: Plane,
}

impl Server {
    pub(crate) async fn bind(plane: Plane, cors_origins: Vec<String>, ports: Ports) -> Result<Self, ServerError> {
        let ready = Arc::new(AtomicBool::new(true));
        let probes = probes::router(plane.clone(), Arc::clone(&ready));
        let routes = web::serve::mount(plane.settings.version, surfaces());
        let api = web::serve::router(plane.clone(), routes, Front { hosts: Hosts::Edge, cors_origins });
        Ok(Self { api: (listen(ports.api).await?, api), probes: (listen(ports.probes).await?, probes), ready, plane })
    }

    /// Where the API and the probes are.
    pub(crate) fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.api.0.local_addr()?, self.probes.0.local_addr()?))
    }

    /// Answers until `stop`, and then gives the answers that are under way.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let (api, probes) = self.addresses()?;
        tracing::info!(%api, %probes, "server.answers");
        let (close, closing) = oneshot::channel::<()>();
        let (listener, router) = self.api;
        // A sender that is gone means the same as one that has spoken.
        let until = async move { drop(closing.await) };
        let answering = tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(until).await });
        // Probes are answered to the very end, so that whoever asks hears that it is not ready.
        let (listener, router) = self.probes;
        let probing = tokio::spawn(async move { axum::serve(listener, router).await });
        let keeping = tokio::spawn({
            let plane = self.plane.clone();
            async move { plane.keep_memory().await }
        });
        stop.await;
        tracing::info!("server.stops");
        self.ready.store(false, Ordering::Relaxed);
        drop(close);
        if tokio::time::timeout(LAST_ANSWERS, answering).await.is_err() {
            tracing::warn!("answers are cut off: somebody follows a stream");
        }
        keeping.abort();
        self.plane.leave_memory().await;
        probing.abort();
        Ok(())
    }
}

async fn listen(port: u16) -> Result<TcpListener, ServerError> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    TcpListener::bind(address).await.map_err(|error| ServerError::Listen(address, error))
}

/// Ends when the process is told to stop: by SIGTERM, as ECS and Kubernetes do, or by Ctrl-C.
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
