# Two hundred submits at once for eight GPUs.
# shellcheck shell=bash

kill_plane TERM
export SLIPWAY_NODES=h100x8 SLIPWAY_DATA_DIR="$work/crowd"
start_plane
eventually 10 answers
log_in crowd
crowd() {
  seq 200 | API_KEY=$API_KEY xargs -P 50 -I{} curl -s -o "$work/crowd-{}" -X POST "$API_URL/v1/jobs/submit" \
    -H "Authorization: Bearer $API_KEY" -H 'Content-Type: application/json' \
    -d '{"image": "a", "instance_type": "p5.48xlarge", "gpu_count": 1, "duration_hours": 1, "name": "j{}"}'
  [ "$(cat "$work"/crowd-* | jq -r 'select(.status == "queued") | .job_id' | sort -u | wc -l)" = 200 ]
}
check 'two hundred submits are acknowledged' crowd
eight() { [ "$(in_use)" = 8 ] && [ "$(api GET '/v1/jobs?status=active' | jq .total)" = 8 ]; }
check 'exactly eight GPUs are in use' eventually 60 eight
check 'the rest are queued' [ "$(api GET '/v1/jobs?status=queued' | jq .total)" = 192 ]
in_order() {
  # Those that run were submitted before those that wait.
  api GET '/v1/jobs?limit=500' | jq -e '[.jobs[] | select(.status == "queued") | .job_id] as $waiting
    | [.jobs[] | select(.status == "active") | .job_id] as $running | ($running | max) < ($waiting | min)'
}
check 'in order' in_order
first=$(api GET '/v1/jobs?status=active&limit=1' | jq -r '.jobs[0].job_id')
next=$(api GET '/v1/jobs?status=queued&limit=500' | jq -r '[.jobs[].job_id] | min')
api POST "/v1/jobs/$first/cancel" >"$work/answer"
check 'when one ends the next one gets its GPU' eventually 60 has "$next" status active
