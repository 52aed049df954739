# Jobs that hide their processes and speak last: nothing of them stays, and nothing they said is lost.
# shellcheck shell=bash

for sandbox in process-group auto; do
  kill_plane TERM
  unset SLIPWAY_NODES
  export SLIPWAY_SANDBOX=$sandbox SLIPWAY_DATA_DIR="$work/end-$sandbox"
  start_plane
  eventually 10 answers
  log_in "end-$sandbox"
  # The first sleeper has lost the mark, the group and the session, the second one its parent too.
  long=$((900000 + PORT)) longer=$((1900000 + PORT))
  job=$(submit "$(jq -n --arg command "env -i setsid sleep $long & env -i setsid sh -c 'sleep $longer & exit'
    trap 'echo last words; exit 9' TERM; echo begun; while :; do sleep 0.1; done" \
    '{image: "a", instance_type: "g5.xlarge", duration_hours: 1, command: $command}')")
  check "a job is active ($sandbox)" eventually 20 has "$job" status active
  check 'a process of it runs without a mark' eventually 10 runs_with "$long"
  check 'and one without a parent' eventually 10 runs_with "$longer"
  said() { api GET "/v1/jobs/$job/logs" | jq -r '.lines[].text' | grep -qx "$1"; }
  check 'it has begun' eventually 10 said begun
  api POST "/v1/jobs/$job/cancel" >"$work/answer"
  check 'it ends when it is cancelled' eventually 40 has "$job" status cancelled
  check 'its last words are in the log' eventually 5 said 'last words'
  check 'its exit code is known' eventually 5 has "$job" exit_code 9
  check 'the process without a mark is gone' eventually 5 refused runs_with "$long"
  check 'the one without a parent is gone' eventually 5 refused runs_with "$longer"
  check 'nothing of it is left' eventually 5 none_left "$job"
done
unset SLIPWAY_SANDBOX
