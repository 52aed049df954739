//! Reports of what was used: the same for a tenant and for admins.

use std::collections::BTreeMap;

use domain::{
    TenantId,
    policy::USAGE_DAYS,
    price::Price,
    usage::{self, By, Day, Period, Sum},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::Plane;
use utoipa::{IntoParams, ToSchema};

use crate::{Error, Problem};

/// Which report is wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// The parts that are shown: by `model`, `key`, `day` or `workload`.
    #[param(inline)]
    by: Option<ByWord>,
    /// The first day, in UTC; the first of the last day's month when left out.
    #[param(format = Date)]
    from: Option<String>,
    /// The last day, in UTC; today when left out.
    #[param(format = Date)]
    to: Option<String>,
}

/// What a report is grouped by.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ByWord {
    Model,
    Key,
    Day,
    Workload,
}

impl From<ByWord> for By {
    fn from(word: ByWord) -> Self {
        match word {
            ByWord::Model => Self::Model,
            ByWord::Key => Self::Key,
            ByWord::Day => Self::Day,
            ByWord::Workload => Self::Workload,
        }
    }
}

/// What was used, and what it cost.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = UsageAmount, example = json!({"gpu_seconds": 7200, "requests": 2, "input_tokens": 120, "cached_input_tokens": 0, "output_tokens": 64, "cost_usd": 4.072}))]
pub struct Amount {
    /// GPUs times seconds.
    gpu_seconds: u64,
    /// Requests to models.
    requests: u64,
    /// Tokens that were read.
    input_tokens: u64,
    /// Of those, that a model's server knew from an earlier request.
    cached_input_tokens: u64,
    /// Tokens that were written.
    output_tokens: u64,
    /// In dollars, with at most six decimals.
    cost_usd: f64,
}

impl From<Sum> for Amount {
    fn from(sum: Sum) -> Self {
        Self {
            gpu_seconds: sum.gpu_seconds,
            requests: sum.requests,
            input_tokens: sum.input_tokens,
            cached_input_tokens: sum.cached_tokens,
            output_tokens: sum.output_tokens,
            cost_usd: Price::from_micros(sum.cost_micros).dollars(),
        }
    }
}

/// A report of a tenant's usage.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Usage, example = json!({
    "tenant_id": "550e8400-e29b-41d4-a716-446655440000", "from": "2026-01-01", "to": "2026-01-20",
    "total": {"gpu_seconds": 7200, "requests": 2, "input_tokens": 120, "cached_input_tokens": 0, "output_tokens": 64, "cost_usd": 4.072},
    "by": "day",
    "parts": {"2026-01-20": {"gpu_seconds": 7200, "requests": 2, "input_tokens": 120, "cached_input_tokens": 0, "output_tokens": 64, "cost_usd": 4.072}}
}))]
pub struct Report {
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// The first day, in UTC.
    #[schema(format = Date)]
    from: String,
    /// The last day, in UTC; of today, what was used until now.
    #[schema(format = Date)]
    to: String,
    /// To the last digit the sum of its parts.
    total: Amount,
    /// What the parts are, where they were asked for.
    #[schema(value_type = Option<String>)]
    by: Option<By>,
    /// Each part, by its name.
    parts: Option<BTreeMap<String, Amount>>,
}

/// The report of a tenant's usage.
///
/// # Errors
/// What of the query makes no sense.
pub async fn report(plane: &Plane, tenant: &TenantId, wanted: &UsageQuery) -> Result<Report, Error> {
    let period = period(plane, wanted)?;
    let by = wanted.by.map(By::from);
    let since = period.first.begin();
    let used = plane.used(tenant, since).await?;
    let served = plane.store.served(tenant, since).await?;
    let (total, groups) = usage::report((&used, &served), period, by);
    Ok(Report {
        tenant_id: tenant.clone(),
        from: period.first.to_string(),
        to: period.last.to_string(),
        total: total.into(),
        by,
        parts: by.map(|_| groups.into_iter().map(|(name, sum)| (name, sum.into())).collect()),
    })
}

fn period(plane: &Plane, wanted: &UsageQuery) -> Result<Period, Error> {
    let refused = |name: &'static str, msg: String, input: &Option<String>| {
        let loc = vec!["query".into(), name.into()];
        Error::Invalid(vec![Problem { kind: "value_error", loc, msg, input: input.as_ref().map(|text| json!(text)) }])
    };
    let day = |name: &'static str, given: &Option<String>| match given {
        None => Ok(None),
        Some(text) => match Day::parse(text) {
            Some(day) => Ok(Some(day)),
            None => Err(refused(name, "a day is written as in 2026-01-20".to_owned(), given)),
        },
    };
    let (first, last) = (day("from", &wanted.from)?, day("to", &wanted.to)?);
    let rule = || refused("from", format!("a report has 1 to {USAGE_DAYS} days"), &wanted.from);
    Period::new(first, last, plane.ports.clock.now()).ok_or_else(rule)
}
