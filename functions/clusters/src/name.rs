//! Clusters' names in paths and queries. What is malformed is unknown.

use std::str::FromStr;

use domain::ids::NotAnId;
use serde::{Deserialize, Deserializer, de::Error as _};
use web::Identified;

/// What is said of a cluster that is not there.
pub(crate) const UNKNOWN: &str = "cluster not found";

/// A cluster's name: `cl-` and twelve hexadecimal digits.
#[derive(Clone, Debug)]
pub(crate) struct ClusterName(pub(crate) String);

impl FromStr for ClusterName {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let digits = text.strip_prefix("cl-").filter(|digits| digits.len() == 12 && digits.bytes().all(is_digit));
        digits.map(|_| Self(text.to_owned())).ok_or(NotAnId)
    }
}

impl Identified for ClusterName {
    const PARAMETER: &'static str = "cluster_name";
    const UNKNOWN: &'static str = UNKNOWN;
}

impl<'de> Deserialize<'de> for ClusterName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wrong = |_| D::Error::custom("after is a cluster's name, as in cl-3e1a5b7c9d11");
        String::deserialize(from)?.parse().map_err(wrong)
    }
}
