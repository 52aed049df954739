#!/bin/sh
# Fetches the agent, unless it is there, and becomes it. Where it is and what it must be are files: no value is ever part of this text.
set -eu
# Another folder is given by tests alone.
etc=${1:-/etc/slipway}
agent=/usr/local/bin/slipway-agent
mkdir -p /var/lib/slipway/work

if ! sha256sum --check --status "$etc/agent.sha256" 2> /dev/null; then
    curl --fail --silent --show-error --location --proto '=https' --retry 5 --retry-all-errors --connect-timeout 10 --max-time 300 \
        --output "$agent" -- "$(cat "$etc/agent-url")"
    # What is not the pinned program is not run: the unit fails, tries again, and the machine's limits end it.
    sha256sum --check --status "$etc/agent.sha256"
fi
chmod 0755 "$agent"
# Its orders are a file, beside which it says that it has enrolled; by the variable it finds its own processes.
SLIPWAY_WORKLOAD=$(cat "$etc/workload")
export SLIPWAY_WORKLOAD
exec "$agent" outer --boot "$etc/boot.json"
