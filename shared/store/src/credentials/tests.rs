use std::collections::BTreeSet;

use cloud::sim::World;
use domain::{
    SecretHash,
    credential::{Asked, Update, Verdict},
    names::Label,
};
use futures::future::join_all;

use super::*;
use crate::embedded::Embedded;

async fn store() -> (Store, World) {
    let world = World::new(1);
    let ports = world.ports();
    let store = Store::new(Embedded::in_memory().unwrap().client(), "", ports.clock, ports.ids);
    store.create_tables().await.unwrap();
    (store, world)
}

fn tenant() -> TenantId {
    TenantId::new("t")
}

fn asked(world: &World, provider: Provider, is_default: bool) -> CredentialChange {
    let id = world.ports().ids.credential(world.now());
    let name = Label::parse("name").unwrap();
    Asked { id, tenant: tenant(), provider, name, is_default }.create(world.now())
}

async fn create(store: &Store, world: &World, provider: Provider, is_default: bool) -> CredentialId {
    let change = asked(world, provider, is_default);
    store.write_credential(&change, Some("sealed"), None).await.unwrap();
    change.credential.id
}

async fn count(store: &Store, id: CredentialId, add: bool) -> Result<(), StoreError> {
    let mut transaction = store.transaction();
    if add {
        add_use(&mut transaction, &tenant(), id)?;
    } else {
        drop_use(&mut transaction, &tenant(), id)?;
    }
    transaction.commit().await?.written()
}

/// Which of the tenant's credentials are defaults, by both ways to read them.
async fn defaults(store: &Store) -> BTreeSet<CredentialId> {
    let listed = store.credentials(&tenant()).await.unwrap();
    for credential in &listed {
        assert_eq!(store.credential(&tenant(), credential.id).await.unwrap().as_ref(), Some(credential));
    }
    let found = listed.iter().filter(|credential| credential.is_default).map(|it| it.id).collect::<BTreeSet<_>>();
    let mut named = BTreeSet::new();
    for provider in Provider::ALL {
        named.extend(store.default_credential(&tenant(), provider).await.unwrap());
    }
    assert_eq!(found, named);
    found
}

#[tokio::test]
async fn each_provider_has_one_default() {
    let (store, world) = store().await;
    let first = create(&store, &world, Provider::Aws, true).await;
    assert_eq!(defaults(&store).await, BTreeSet::from([first]));
    let second = create(&store, &world, Provider::Aws, true).await;
    let azure = create(&store, &world, Provider::Azure, true).await;
    let plain = create(&store, &world, Provider::Aws, false).await;
    assert_eq!(defaults(&store).await, BTreeSet::from([second, azure]));

    let read = async |id| store.credential(&tenant(), id).await.unwrap().unwrap();
    store.write_credential(&read(first).await.make_default(world.now()), None, None).await.unwrap();
    assert_eq!(defaults(&store).await, BTreeSet::from([first, azure]));
    // Whoever deletes it as the default while another becomes it, decides anew.
    let stale = read(first).await;
    store.write_credential(&read(plain).await.make_default(world.now()), None, None).await.unwrap();
    assert!(matches!(store.delete_credential(&stale, None).await, Err(StoreError::Moved)));
    assert_eq!(defaults(&store).await, BTreeSet::from([azure, plain]));
    let update = Update { is_default: Some(false), ..Update::default() };
    store.write_credential(&read(plain).await.update(update, world.now()), None, None).await.unwrap();
    assert_eq!(defaults(&store).await, BTreeSet::from([azure]));
    store.delete_credential(&read(azure).await, None).await.unwrap();
    assert_eq!(defaults(&store).await, BTreeSet::from([]));
}

#[tokio::test]
async fn what_is_used_stays() {
    let (store, world) = store().await;
    let id = create(&store, &world, Provider::Aws, false).await;
    let read = async || store.credential(&tenant(), id).await.unwrap();
    let unused = read().await.unwrap();
    count(&store, id, true).await.unwrap();
    count(&store, id, true).await.unwrap();
    // The launch came between the look and the deletion.
    assert!(matches!(store.delete_credential(&unused, None).await, Err(StoreError::Moved)));
    let used = read().await.unwrap();
    assert_eq!((used.uses, used.version), (2, 3));
    assert!(matches!(store.delete_credential(&used, None).await, Err(StoreError::Moved)));
    // An owner's change that was decided before a launch does not undo its count.
    let stale = used.update(Update::default(), world.now());
    count(&store, id, false).await.unwrap();
    assert!(matches!(store.write_credential(&stale, None, None).await, Err(StoreError::Moved)));
    assert!(!store.forget_credentials(&tenant()).await.unwrap(), "something runs with it");
    count(&store, id, false).await.unwrap();
    assert!(store.forget_credentials(&tenant()).await.unwrap() && store.forget_credentials(&tenant()).await.unwrap());
    assert_eq!((read().await, store.sealed_keys(&tenant(), id).await.unwrap()), (None, None));
    assert!(matches!(count(&store, id, true).await, Err(StoreError::Moved)), "nothing is launched with what is gone");
    // A workload ends even so, and what that leaves is nobody's credential.
    count(&store, id, false).await.unwrap();
    assert_eq!((read().await, store.credentials(&tenant()).await.unwrap()), (None, Vec::new()));
}

#[tokio::test]
async fn keys_are_written_with_the_change_that_has_them() {
    let (store, world) = store().await;
    let change = asked(&world, Provider::Gcp, false);
    let id = change.credential.id;
    assert!(matches!(store.write_credential(&change, None, None).await, Err(StoreError::Broken(_))));
    store.write_credential(&change, Some("one"), None).await.unwrap();
    assert!(matches!(store.write_credential(&change, Some("two"), None).await, Err(StoreError::Moved)), "it is there");
    let sealed = async || store.sealed_keys(&tenant(), id).await.unwrap();
    let verdict = Verdict::Valid { account: "p".into() };
    let validated = change.credential.validated(1, &verdict, world.now()).unwrap();
    store.write_credential(&validated, Some("ignored"), None).await.unwrap();
    assert_eq!(sealed().await.as_deref(), Some("one"));
    let replaced = validated.credential.update(Update { new_keys: true, ..Update::default() }, world.now());
    store.write_credential(&replaced, Some("two"), None).await.unwrap();
    assert_eq!(sealed().await.as_deref(), Some("two"));
    assert!(matches!(store.write_credential(&validated, None, None).await, Err(StoreError::Moved)));

    // Another tenant has none of it.
    let other = TenantId::new("u");
    assert_eq!(store.credential(&other, id).await.unwrap(), None);
    assert_eq!(store.sealed_keys(&other, id).await.unwrap(), None);
    assert_eq!(store.credentials(&other).await.unwrap(), Vec::new());
    assert_ne!(sealed_with(&other, id), sealed_with(&tenant(), id));
}

#[tokio::test]
async fn a_tenant_has_so_many_and_no_more() {
    let (store, world) = store().await;
    let all = join_all((0..=MOST_CREDENTIALS).map(|_| {
        let (store, change) = (store.clone(), asked(&world, Provider::Aws, false));
        async move { store.write_credential(&change, Some("sealed"), None).await }
    }));
    let (made, refused): (Vec<_>, Vec<_>) = all.await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (100, 1));
    assert!(matches!(refused[..], [Err(StoreError::TooManyCredentials)]));
    let listed = store.credentials(&tenant()).await.unwrap();
    assert!(listed.len() == 100 && listed.is_sorted_by_key(|credential| credential.id));
    store.delete_credential(&listed[0], None).await.unwrap();
    create(&store, &world, Provider::Aws, false).await;
}

#[tokio::test]
async fn a_claim_goes_with_its_change() {
    let (store, world) = store().await;
    let claim = Claim {
        tenant: tenant(),
        key: SecretHash::of(b"key"),
        request: SecretHash::of(b"request"),
        answer: Some("{}".to_owned()),
        made: true,
        resource: "it".to_owned(),
        at: world.now(),
    };
    let write = async |claim| {
        let change = asked(&world, Provider::Aws, false);
        store.write_credential(&change, Some("sealed"), Some(claim)).await.map(|()| change.credential)
    };
    let made = write(&claim).await.unwrap();
    assert!(matches!(write(&claim).await, Err(StoreError::Claimed(_))));
    let other = Claim { request: SecretHash::of(b"other"), ..claim.clone() };
    assert!(matches!(write(&other).await, Err(StoreError::ClaimedOtherwise)));
    assert!(matches!(store.delete_credential(&made, Some(&claim)).await, Err(StoreError::Claimed(_))));
    assert_eq!(store.credentials(&tenant()).await.unwrap().len(), 1);
}
