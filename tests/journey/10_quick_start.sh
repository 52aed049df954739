# The reference's quick start script, from the first start of the plane to a job that is active by itself.
# shellcheck shell=bash

start_plane
check 'the plane answers within a second' eventually 1 answers

CREDENTIALS='export AWS_ACCESS_KEY_ID=ASIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIexamplekey AWS_SESSION_TOKEN=local:jschmidt'
export CREDENTIALS
quick_start() { bash tests/journey/quick_start.sh >"$work/quick_start" && cat "$work/quick_start" && grep -q '"status": "\(queued\|preparing\|active\)"' "$work/quick_start"; }
check 'the script runs to its end' quick_start
log_in jschmidt
job=$(sed -n 's/^Job ID: //p' "$work/quick_start")
check 'its job is active within ten seconds' eventually 10 has "$job" status active
api POST "/v1/jobs/$job/cancel" | jq -r .message
check 'its GPUs are free again' eventually 30 all_free
check 'nothing of it is left' none_left "$job"
