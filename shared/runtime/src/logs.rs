//! Logs as one JSON object a line, which CloudWatch Logs Insights reads by field.

use tracing_subscriber::EnvFilter;

/// Sends everything that is traced to standard output. `LOG_LEVEL` as everywhere; the SDK below a warning says nothing.
pub fn start() {
    let level = std::env::var("LOG_LEVEL").ok();
    let asked = level.as_deref().and_then(|level| EnvFilter::try_new(level).ok());
    let filter = asked.unwrap_or_else(|| EnvFilter::new("info,aws=warn,hyper=warn,rustls=warn"));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        // CloudWatch knows when a line came.
        .without_time()
        .with_target(true);
    if subscriber.try_init().is_err() {
        tracing::debug!("somebody listens already");
    }
}
