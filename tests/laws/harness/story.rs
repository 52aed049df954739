//! What happened, for whoever looks into a broken law.

use futures::executor::block_on;

use super::Harness;

impl Harness {
    /// The calls, the requests and the timelines, for whoever looks into a broken law.
    pub(crate) fn story(&self) -> String {
        let mut lines = Vec::new();
        for call in self.world.log() {
            let name = call.task.and_then(|task| self.names.get(&task)).map_or("", String::as_str);
            lines.push((call.at, format!("{call}  ({name})")));
        }
        for one in &self.exchanges.all {
            let who = one.tenant.as_ref().map_or("", |tenant| tenant.as_str());
            lines.push((one.sent_at, format!("{} {who} {} {} -> {:?}", one.sent_at, one.method, one.path, one.answer)));
        }
        for one in &self.disks.asked {
            lines.push((one.asked_at, format!("{} {} {:?} -> {:?}", one.asked_at, one.owner, one.ask, one.said)));
        }
        for one in &self.disks.volumes {
            lines.push((one.made_at, format!("{} {one:?}", one.made_at)));
        }
        for one in &self.disks.snapshots {
            lines.push((one.begun_at, format!("{} {one:?}", one.begun_at)));
        }
        for row in self.rows.workloads.values() {
            let timeline = block_on(self.truth.timeline(&row.tenant, row.id, 0, 500)).unwrap_or_default();
            lines.extend(timeline.into_iter().map(|entry| {
                (
                    entry.at,
                    format!(
                        "{} {} v{} {} {} {}",
                        entry.at,
                        row.id,
                        entry.version,
                        entry.phase.name(),
                        entry.kind,
                        entry.message
                    ),
                )
            }));
        }
        for (agent, one) in self.agents.all.iter().zip(&self.instances) {
            lines.push((
                one.requested_at,
                format!(
                    "{} {:?} for {}: {} {:?}",
                    one.requested_at, agent.temper, agent.workload, one.running_at, one.stops_at
                ),
            ));
        }
        lines.sort_by_key(|(at, _)| *at);
        lines.into_iter().map(|(_, line)| line + "\n").collect()
    }
}
