//! Limits of inference on the wire: the same for tenants, keys and models.

use domain::{
    limits::{Limits, Meter},
    price::Price,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Error;

/// What may be asked of models. What is left out has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Limits, example = json!({"requests_per_minute": 60, "tokens_per_day": 1000000, "budget_usd_per_month": 25.0}))]
pub struct LimitsBody {
    /// A burst.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_second: Option<u64>,
    /// Of the calendar's minutes, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u64>,
    /// Of the calendar's hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_hour: Option<u64>,
    /// Tokens that are read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<u64>,
    /// Tokens that are read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_hour: Option<u64>,
    /// Tokens that are read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_day: Option<u64>,
    /// Requests that are being answered at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrent_requests: Option<u64>,
    /// Dollars in a month, at the prices in the registry of models.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000000)]
    budget_usd_per_month: Option<f64>,
}

/// The highest limit that is believed.
const HIGHEST: u64 = 1_000_000_000_000;

impl LimitsBody {
    const fn of(&self, meter: Meter) -> Option<u64> {
        match meter {
            Meter::RequestsPerSecond => self.requests_per_second,
            Meter::RequestsPerMinute => self.requests_per_minute,
            Meter::RequestsPerHour => self.requests_per_hour,
            Meter::TokensPerMinute => self.tokens_per_minute,
            Meter::TokensPerHour => self.tokens_per_hour,
            Meter::TokensPerDay => self.tokens_per_day,
            Meter::ConcurrentRequests => self.concurrent_requests,
            Meter::BudgetPerMonth => None,
        }
    }

    /// The limits.
    ///
    /// # Errors
    /// When one is no number that makes sense.
    pub fn read(&self) -> Result<Limits, Error> {
        let bad = |words: String| Error::field("limits", words, None);
        let mut limits = Limits::default();
        for meter in Meter::ALL {
            if let Some(limit) = self.of(meter) {
                if limit > HIGHEST {
                    return Err(bad(format!("{} are from 0 to {HIGHEST}", meter.words())));
                }
                limits = limits.with(meter, limit);
            }
        }
        let Some(dollars) = self.budget_usd_per_month else { return Ok(limits) };
        let rule = || bad("a budget is from 0 to 1000000 dollars, with at most six decimals".to_owned());
        let budget = Price::from_dollars(dollars).ok_or_else(rule)?;
        Ok(limits.with(Meter::BudgetPerMonth, budget.micros()))
    }

    /// As they are shown; `None` where there are none.
    #[must_use]
    pub fn shown(limits: &Limits) -> Option<Self> {
        (!limits.is_empty()).then(|| Self {
            requests_per_second: limits.of(Meter::RequestsPerSecond),
            requests_per_minute: limits.of(Meter::RequestsPerMinute),
            requests_per_hour: limits.of(Meter::RequestsPerHour),
            tokens_per_minute: limits.of(Meter::TokensPerMinute),
            tokens_per_hour: limits.of(Meter::TokensPerHour),
            tokens_per_day: limits.of(Meter::TokensPerDay),
            concurrent_requests: limits.of(Meter::ConcurrentRequests),
            budget_usd_per_month: limits.of(Meter::BudgetPerMonth).map(|micros| Price::from_micros(micros).dollars()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown() {
        for (text, shown) in [
            ("{}", Some("null")),
            (r#"{"requests_per_minute":0}"#, Some(r#"{"requests_per_minute":0}"#)),
            (
                r#"{"tokens_per_day":7,"concurrent_requests":2,"budget_usd_per_month":0.25}"#,
                Some(r#"{"tokens_per_day":7,"concurrent_requests":2,"budget_usd_per_month":0.25}"#),
            ),
            (r#"{"tokens_per_day":-1}"#, None),
            (r#"{"tokens_per_day":1000000000001}"#, None),
            (r#"{"tokens_per_week":1}"#, None),
            (r#"{"budget_usd_per_month":1e-7}"#, None),
        ] {
            let read = serde_json::from_str::<LimitsBody>(text).ok().and_then(|body| body.read().ok());
            let found = read.map(|limits| serde_json::to_string(&LimitsBody::shown(&limits)).unwrap());
            assert_eq!(found.as_deref(), shown, "{text}");
        }
    }
}
