//! The ledger's nodes, kept as they are configured.

use domain::gpu::Gpu;
use store::{Store, StoreError};

use crate::settings::{NodeSpec, pool_of};

/// Enters the configured nodes, and takes out those that are not configured any more ([`Store::keep_nodes`]).
pub(crate) async fn keep(store: &Store, nodes: &[NodeSpec]) -> Result<(), StoreError> {
    for gpu in Gpu::ALL {
        let pool = pool_of(*gpu);
        let wanted = nodes.iter().filter(|node| node.pool == pool).map(|node| (node.id.clone(), node.count()));
        store.keep_nodes(&pool, &wanted.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cloud::{Clock, Ids, OsIds, SystemClock};
    use domain::{
        NodeId, PoolId, TenantId, UserName,
        job::{Hours, Spec},
        names::ImageName,
        workload::{Submission, Workload},
    };
    use store::{embedded::Embedded, workloads::Write};

    use super::*;
    use crate::settings::Settings;

    fn configured(nodes: &str) -> Vec<NodeSpec> {
        let read = Settings::read(|name| (name == "SLIPWAY_NODES").then(|| nodes.to_owned()));
        read.unwrap().nodes.named(Vec::new).unwrap()
    }

    /// The pool's nodes as `name free/total`, with a `!` where nothing new may come.
    async fn look(store: &Store) -> Vec<String> {
        let nodes = store.pool(&PoolId::new("local/h100")).await.unwrap().nodes;
        let cordon = |cordoned| if cordoned { "!" } else { "" };
        nodes.iter().map(|node| format!("{} {}/{}{}", node.id, node.free, node.total, cordon(node.cordoned))).collect()
    }

    #[tokio::test]
    async fn the_ledger_follows_the_configuration() {
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(OsIds));
        let store = Store::new(Embedded::in_memory().unwrap().client(), "", clock, ids);
        store.create_tables().await.unwrap();
        keep(&store, &configured("h100x8,h100x4,l4x1")).await.unwrap();
        assert_eq!(look(&store).await, ["local-h100-1 8/8", "local-h100-2 4/4"]);
        let held = hold(&store, "local-h100-2", 1).await.unwrap();
        for _ in 0..2 {
            keep(&store, &configured("h100x2")).await.unwrap();
            assert_eq!(look(&store).await, ["local-h100-1 2/2", "local-h100-2 3/4!"]);
        }
        keep(&store, &configured("h100x2,h100x4")).await.unwrap();
        assert_eq!(look(&store).await, ["local-h100-1 2/2", "local-h100-2 3/4!"]);
        release(&store, held).await;
        keep(&store, &configured("h100x2,h100x4")).await.unwrap();
        assert_eq!(look(&store).await, ["local-h100-1 2/2", "local-h100-2 4/4"]);
        keep(&store, &configured("l4x1")).await.unwrap();
        assert_eq!(look(&store).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_node_that_changes_its_size_is_entered_anew_once_it_is_idle() {
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(OsIds));
        for (size, idle) in [(2, "2/2"), (8, "8/8")] {
            let store = Store::new(Embedded::in_memory().unwrap().client(), "", clock.clone(), ids.clone());
            store.create_tables().await.unwrap();
            keep(&store, &configured("h100x4")).await.unwrap();
            let held = hold(&store, "local-h100-1", 3).await.unwrap();
            for _ in 0..2 {
                keep(&store, &configured(&format!("h100x{size}"))).await.unwrap();
                assert_eq!(look(&store).await, ["local-h100-1 1/4!"], "{size}");
            }
            assert!(hold(&store, "local-h100-1", 1).await.is_err(), "{size}: it takes nothing new");
            release(&store, held).await;
            keep(&store, &configured(&format!("h100x{size}"))).await.unwrap();
            assert_eq!(look(&store).await, [format!("local-h100-1 {idle}")]);
            hold(&store, "local-h100-1", 2).await.unwrap();
        }
    }

    /// A workload that holds GPUs of a node, if there is room.
    async fn hold(store: &Store, node: &str, gpus: u32) -> Result<Workload, StoreError> {
        let now = SystemClock.now();
        let spec = Spec {
            image: ImageName::parse("pytorch").unwrap(),
            instance_type: "p5.4xlarge".to_owned(),
            gpu: Gpu::H100,
            gpu_count: gpus,
            pool: PoolId::new("local/h100"),
            name: None,
            github_user: None,
            priority: 50,
            gpu_hour: domain::price::Price::default(),
            end_on_exit: false,
            disk: None,
            serve: None,
        };
        let submission = Submission {
            id: OsIds.workload(now),
            tenant: TenantId::new("t"),
            owner: UserName::new("ana"),
            spec,
            duration: Some(Hours::whole(1)),
            sealed_jupyter_token: None,
        };
        let submitted = Workload::submit(submission, now);
        store.write(&Write { most_live: Some(9), ..Write::of(submitted.clone()) }).await.unwrap();
        let placed = submitted.workload.place(&NodeId::new(node), now).unwrap();
        store.write(&Write::of(placed.clone())).await?;
        Ok(placed.workload)
    }

    async fn release(store: &Store, workload: Workload) {
        let now = SystemClock.now();
        let failed = workload.fail("test", now).unwrap();
        store.write(&Write::of(failed.clone())).await.unwrap();
        let ended = failed.workload.end(None, now).unwrap();
        store.write(&Write::of(ended.clone())).await.unwrap();
    }
}
