//! The tables: one per bounded context, each with `pk` and `sk`, and what their indexes are made of.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType,
};

use crate::{Store, StoreError};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Keys, users, answers of idempotent requests.
    Identity,
    /// Workloads with their timelines, logs and cold parts; their owners' counts.
    Workloads,
    /// Nodes, queues and counts of each pool.
    Capacity,
    /// What managed services keep on AWS and the local plane keeps here: queued messages and running launches.
    Local,
}

/// The sparse index of what the sweep has to look at, by time.
pub(crate) const DUE: &str = "due";
/// The one partition of a due index. Its writes are as many as there are changes of what is due, so that one partition's thousand a
/// second is far away; beyond that it would be sharded.
pub(crate) const DUE_NOW: &str = "due";
/// The index that lists an owner's workloads, newest first.
pub(crate) const LISTING: &str = "listing";

impl Table {
    /// Every table.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Workloads, Self::Capacity, Self::Local];

    /// The name, after the deployment's prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Workloads => "workloads",
            Self::Capacity => "capacity",
            Self::Local => "local",
        }
    }

    /// Its indexes: name, hash key, range key with its type, and what is projected.
    const fn indexes(
        self,
    ) -> &'static [(&'static str, &'static str, (&'static str, ScalarAttributeType), ProjectionType)] {
        match self {
            Self::Workloads => &[
                (DUE, "due_pk", ("due_at", ScalarAttributeType::N), ProjectionType::KeysOnly),
                (LISTING, "list_pk", ("list_sk", ScalarAttributeType::S), ProjectionType::All),
            ],
            Self::Capacity => &[(DUE, "due_pk", ("due_at", ScalarAttributeType::N), ProjectionType::KeysOnly)],
            Self::Identity | Self::Local => &[],
        }
    }
}

impl Store {
    /// Makes the tables that are missing. On AWS the template makes them; this is for the embedded store.
    ///
    /// # Errors
    /// When a table cannot be made.
    pub async fn create_tables(&self) -> Result<(), StoreError> {
        for table in Table::ALL {
            if let Err(error) = self.create(table).await {
                let exists = error.contains("ResourceInUseException");
                if !exists {
                    return Err(StoreError::Broken(error));
                }
            }
        }
        Ok(())
    }

    async fn create(&self, table: Table) -> Result<(), String> {
        let mut request = self
            .client
            .create_table()
            .table_name(self.name(table))
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("pk", ScalarAttributeType::S)?)
            .attribute_definitions(attribute("sk", ScalarAttributeType::S)?)
            .key_schema(key("pk", KeyType::Hash)?)
            .key_schema(key("sk", KeyType::Range)?);
        for (name, hash, (range, kind), projection) in table.indexes() {
            let index = GlobalSecondaryIndex::builder()
                .index_name(*name)
                .key_schema(key(hash, KeyType::Hash)?)
                .key_schema(key(range, KeyType::Range)?)
                .projection(Projection::builder().projection_type(projection.clone()).build());
            request = request
                .attribute_definitions(attribute(hash, ScalarAttributeType::S)?)
                .attribute_definitions(attribute(range, kind.clone())?)
                .global_secondary_indexes(index.build().map_err(|error| error.to_string())?);
        }
        request.send().await.map(drop).map_err(|error| format!("{error:?}"))
    }
}

fn attribute(name: &str, kind: ScalarAttributeType) -> Result<AttributeDefinition, String> {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().map_err(|error| error.to_string())
}

fn key(name: &str, kind: KeyType) -> Result<KeySchemaElement, String> {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().map_err(|error| error.to_string())
}
