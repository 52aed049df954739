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
    /// Disks with their snapshots and operations.
    Disks,
    /// What is offered: models.
    Catalogue,
    /// What was used, for reports of it.
    Usage,
    /// What is left of the limits of keys, tenants and models.
    Limits,
    /// What managed services keep on AWS and the local plane keeps here: queued messages and running launches.
    Local,
}

/// The attribute in which a row says when it is garbage, in seconds since 1970: the TTL of every table.
pub const TTL: &str = "ttl";
/// The attributes of every table's key, both of them texts: the hash and the range.
pub const KEY: (&str, &str) = ("pk", "sk");

/// The sparse index of what the sweep has to look at, by time.
pub(crate) const DUE: &str = "due";
/// The one partition of a due index. Its writes are as many as there are changes of what is due, so that one partition's thousand a
/// second is far away; beyond that it would be sharded.
pub(crate) const DUE_NOW: &str = "due";
/// The index that lists an owner's workloads, and tenants, by time.
pub(crate) const LISTING: &str = "listing";

/// An index of a table, as the template and the embedded store make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The attribute of its hash key, a text.
    pub hash: &'static str,
    /// The attribute of its range key.
    pub range: &'static str,
    /// What the range key is: a text or a number.
    pub range_type: ScalarAttributeType,
    /// What of a row is in it.
    pub projection: ProjectionType,
}

const BY_DUE: Index = Index {
    name: DUE,
    hash: "due_pk",
    range: "due_at",
    range_type: ScalarAttributeType::N,
    projection: ProjectionType::KeysOnly,
};
const BY_OWNER: Index = Index {
    name: LISTING,
    hash: "list_pk",
    range: "list_sk",
    range_type: ScalarAttributeType::S,
    projection: ProjectionType::All,
};

impl Table {
    /// Every table.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Workloads,
        Self::Capacity,
        Self::Disks,
        Self::Catalogue,
        Self::Usage,
        Self::Limits,
        Self::Local,
    ];

    /// The name, after the deployment's prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Workloads => "workloads",
            Self::Capacity => "capacity",
            Self::Disks => "disks",
            Self::Catalogue => "catalogue",
            Self::Usage => "usage",
            Self::Limits => "limits",
            Self::Local => "local",
        }
    }

    /// Its indexes.
    #[must_use]
    pub const fn indexes(self) -> &'static [Index] {
        match self {
            Self::Workloads | Self::Identity => &[BY_DUE, BY_OWNER],
            Self::Capacity | Self::Disks | Self::Usage | Self::Limits => &[BY_DUE],
            Self::Catalogue | Self::Local => &[],
        }
    }

    /// Whether it is there on AWS, where the template makes it.
    #[must_use]
    pub const fn is_on_aws(self) -> bool {
        match self {
            Self::Identity
            | Self::Workloads
            | Self::Capacity
            | Self::Disks
            | Self::Catalogue
            | Self::Usage
            | Self::Limits => true,
            Self::Local => false,
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
            .attribute_definitions(attribute(KEY.0, ScalarAttributeType::S)?)
            .attribute_definitions(attribute(KEY.1, ScalarAttributeType::S)?)
            .key_schema(key(KEY.0, KeyType::Hash)?)
            .key_schema(key(KEY.1, KeyType::Range)?);
        for index in table.indexes() {
            let projection = Projection::builder().projection_type(index.projection.clone()).build();
            let made = GlobalSecondaryIndex::builder()
                .index_name(index.name)
                .key_schema(key(index.hash, KeyType::Hash)?)
                .key_schema(key(index.range, KeyType::Range)?)
                .projection(projection);
            request = request
                .attribute_definitions(attribute(index.hash, ScalarAttributeType::S)?)
                .attribute_definitions(attribute(index.range, index.range_type.clone())?)
                .global_secondary_indexes(made.build().map_err(|error| error.to_string())?);
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
