//! The registry of models: one partition, `models`, with a row for each, by its name.

use domain::{model::Model, names::ModelName};

use crate::{
    Store, StoreError, Table,
    identities::Claim,
    items::{number, row, value},
    requests::Range,
    transaction::Guard,
};

/// Models are the operators' own, so that there are few and one partition holds them all.
pub(crate) const MODELS: &str = "models";

impl Store {
    /// The model of this name, read strongly.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn model(&self, name: &ModelName) -> Result<Option<Model>, StoreError> {
        self.get_row(Table::Catalogue, (MODELS, name.as_str())).await?.map(value).transpose()
    }

    /// Every model, by name.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn models(&self) -> Result<Vec<Model>, StoreError> {
        let range = Range { hash: ("pk", MODELS), ..Range::default() };
        self.all(Table::Catalogue, &range).await?.into_iter().map(value).collect()
    }

    /// Writes a model: its first version where there is none of the name, any other upon the one before it. The request's claim goes with it.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] when there is one of the name already, [`StoreError::Moved`] when it was changed since, or
    /// [`StoreError::Claimed`].
    pub async fn write_model(&self, model: &Model, claim: Option<&Claim>) -> Result<(), StoreError> {
        let mut transaction = self.transaction();
        if let Some(claim) = claim {
            claim.add_to(&mut transaction)?;
        }
        let item = row((MODELS, model.name.as_str()), model)?;
        if model.version == 1 {
            let free = Some(("attribute_not_exists(pk)", &[][..]));
            transaction.put(Guard::Name, Table::Catalogue, item, free)?;
        } else {
            let values = [(":before", number(model.version - 1))];
            transaction.put(Guard::Version, Table::Catalogue, item, Some(("version = :before", &values)))?;
        }
        transaction.commit().await?.written().map_err(|error| Claim::judged(claim, error))
    }

    /// Takes a model out of the registry, if it is still as it was read. What serves it runs on.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when it was changed or taken out since.
    pub async fn delete_model(&self, model: &Model) -> Result<(), StoreError> {
        let mut transaction = self.transaction();
        let values = [(":seen", number(model.version))];
        let key = (MODELS, model.name.as_str());
        transaction.remove(Guard::Version, Table::Catalogue, key, "version = :seen", &values)?;
        transaction.commit().await?.written()
    }
}
