# A job one works in: shell, files and forwarded ports by OpenSSH's own clients, with keys that come and go.
# shellcheck shell=bash

job=$(submit "$(jq -n --arg key "$(cat "$work/owner.pub")" '{image: "pytorch/pytorch", instance_type: "g5.xlarge", duration_hours: 1,
  ssh_public_keys: [$key], env_vars: {EXPERIMENT: "journey"}, jupyter_enabled: true, command: "echo begun; sleep 2; echo done; exit 3"}')")
check 'it is active within ten seconds' eventually 10 has "$job" status active
# The command that the API gives, as it is: only the key and the host key's question are added.
ssh_command=$(field "$job" ssh_command)
options=(-o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=$work/known_hosts" -o BatchMode=yes -o IdentitiesOnly=yes)
as() { # as WHO ARGUMENT...
  local who=$1
  shift
  # shellcheck disable=SC2086
  $ssh_command "${options[@]}" -i "$work/$who" "$@"
}
exit_code() { local code=0; as owner "exit 7" || code=$?; [ "$code" = 7 ]; }
environment() { [ "$(as owner 'echo $EXPERIMENT $SLIPWAY_GPUS')" = 'journey 1' ]; }
pty() { as owner -tt 'stty size; tty' </dev/null | grep -q /dev/pts; }
check 'ssh runs a command' environment
check 'ssh brings its exit code back' exit_code
check 'ssh gives a terminal' pty
files() {
  head -c 3000000 /dev/urandom >"$work/sent"
  read -r _ _ ssh_port at <<<"$ssh_command"
  sftp -q "${options[@]}" -i "$work/owner" -P "$ssh_port" -b - "$at" <<<"put $work/sent there
get there $work/back
ls -l" && cmp "$work/sent" "$work/back"
}
check 'sftp brings files there and back' files
check 'a stranger does not come in' refused as friend true
if api GET "/v1/jobs/$job/events" | grep -q 'bubblewrap sandbox'; then
  hidden() {
    [ -s "$SLIPWAY_DATA_DIR/vault.key" ] && refused as owner "cat '$SLIPWAY_DATA_DIR/vault.key'" &&
      [ -z "$(as owner "ls -A '$SLIPWAY_DATA_DIR'")" ]
  }
  check "the plane's data cannot be seen from a job" hidden
  # The agent beside the job's programs runs as their own user.
  closed() { as owner 'cd $(grep -ls "^slipway$" /proc/[0-9]*/comm | head -1 | xargs dirname) && [ -r stat ] && ! cat maps >/dev/null'; }
  check "the agent's memory cannot be read from a job" closed
fi

check 'JupyterLab answers within a minute' eventually 60 has "$job" 'jupyter_url != null' true
through_a_tunnel() {
  local url token inside outside tunnel answer wrong
  url=$(field "$job" jupyter_url) token=$(field "$job" jupyter_token)
  inside=$(sed 's|http://127.0.0.1:\([0-9]*\)/.*|\1|' <<<"$url") outside=$(port)
  # shellcheck disable=SC2086
  $ssh_command "${options[@]}" -i "$work/owner" -N -L "$outside:127.0.0.1:$inside" >"$work/tunnel.log" 2>&1 &
  tunnel=$!
  eventually 10 curl -sf -o "$work/api" "http://127.0.0.1:$outside/api"
  answer=$(curl -s -o "$work/status" -w '%{http_code}' "http://127.0.0.1:$outside/api/status?token=$token")
  wrong=$(curl -s -o "$work/status" -w '%{http_code}' "http://127.0.0.1:$outside/api/status?token=wrong")
  kill "$tunnel"
  wait "$tunnel" || true
  echo "with the token $answer, with another $wrong"
  [ "$answer" = 200 ] && [ "$wrong" = 403 ] && grep -q version "$work/api"
}
check 'JupyterLab works through ssh -L, with its token only' through_a_tunnel
api POST "/v1/jobs/$job/jupyter/disable" >"$work/answer"
check 'JupyterLab is switched off' eventually 20 has "$job" jupyter_enabled false

check 'the command ended with its exit code' eventually 10 has "$job" exit_code 3
logs() { [ "$(api GET "/v1/jobs/$job/logs?tail=2" | jq -r '[.lines[].text] | join(",")')" = 'begun,done' ]; }
check 'its output is the log' logs
follow() {
  # The stream goes on for as long as the job does: what came within two seconds is enough.
  timeout 2 curl -sN "$API_URL/v1/jobs/$job/logs?follow=true" -H "Authorization: Bearer $API_KEY" >"$work/stream" || true
  grep -q '^id: 1-1-0' "$work/stream" && grep -q '^event: log' "$work/stream"
}
check 'the log can be followed' follow
check 'the job is active all the same' has "$job" status active

api POST "/v1/jobs/$job/users" '{"github_username": "friend"}' >"$work/answer"
check 'an added user comes in' eventually 10 as friend true
# shellcheck disable=SC2086
$ssh_command "${options[@]}" -i "$work/friend" 'echo in; sleep 600' >"$work/session.log" 2>&1 &
session=$!
check 'a session of theirs begins' eventually 10 grep -q '^in$' "$work/session.log"
api DELETE "/v1/jobs/$job/users/friend" >"$work/answer"
session_ended() { ! kill -0 "$session" 2>/dev/null; }
check "a removed user's session ends" eventually 10 session_ended
check 'a removed user does not come in' refused as friend true
check 'the owner still comes in' as owner true

before=$(field "$job" expires_at)
api POST "/v1/jobs/$job/extend" '{"extension_hours": 2}' >"$work/answer"
later() { [ "$(field "$job" duration_hours)" = 3 ] && [ "$(field "$job" expires_at)" \> "$before" ]; }
check 'an extension moves its end' later
api POST "/v1/jobs/$job/cancel" >"$work/answer"
check 'a cancelled job ends' eventually 40 has "$job" status cancelled
check 'its key does not come in any more' refused as owner true
counted() { api GET "/v1/jobs/$job" | jq -e '(.gpu_seconds | type) == "number" and .gpu_seconds > 0'; }
check 'its GPU-seconds were counted' counted
check 'nothing of it is left' eventually 5 none_left "$job"
