# What the journeys share: a plane of their own, a caller, and checks that are counted.
# shellcheck shell=bash

passed=0
failed=0

# check NAME COMMAND...: counts whether the command succeeds; what it prints is shown when it does not.
check() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then
    passed=$((passed + 1))
    printf 'ok      %s\n' "$name"
  else
    failed=$((failed + 1))
    printf 'FAILED  %s\n%s\n' "$name" "$out" | sed '2,$s/^/        /'
  fi
}

# refused COMMAND...: succeeds when the command does not.
refused() { if "$@"; then return 1; fi; }

# eventually SECONDS COMMAND...: succeeds as soon as the command does, within so many seconds.
eventually() {
  local limit=$1 end
  shift
  end=$((SECONDS + limit))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# start_plane: starts the plane on its data folder. Not within `check`, whose subshell would keep its process id to itself.
start_plane() {
  "$slipway" >>"$work/plane.log" 2>&1 &
  plane=$!
}
answers() { curl -sf -o "$work/health" "$API_URL/health"; }

# kill_plane SIGNAL
kill_plane() {
  kill "-$1" "$plane"
  wait "$plane" 2>>"$work/plane.log" || true
}

# api METHOD PATH [BODY]: calls with the present key, and prints the body.
api() {
  local method=$1 path=$2
  shift 2
  curl -s -X "$method" "$API_URL$path" -H "Authorization: Bearer $API_KEY" -H 'Content-Type: application/json' ${1:+-d "$1"}
}

# log_in SESSION: a fresh key for this person.
log_in() {
  local body="{\"aws_access_key_id\":\"ASIAIOSFODNN7EXAMPLE\",\"aws_secret_access_key\":\"wJalrXUtnFEMIexamplekey\",\"aws_session_token\":\"local:$1\"}"
  API_KEY=$(curl -s "$API_URL/v1/auth/aws-login" -H 'Content-Type: application/json' -d "$body" | jq -r .api_key)
}

# submit BODY: prints the job's id.
submit() { api POST /v1/jobs/submit "$1" | jq -r .job_id; }

field() { api GET "/v1/jobs/$1" | jq -r ".$2"; }
has() { [ "$(field "$1" "$2")" = "$3" ]; }
in_use() { api GET /v1/gpu/availability | jq -r '[.availability[].in_use] | add'; }
all_free() { [ "$(in_use)" = 0 ]; }

# A process of this job that is left over: the mark that the plane puts into the environment of all of them.
processes_of() { grep -lsz "SLIPWAY_WORKLOAD=$1" /proc/[0-9]*/environ; }
none_left() { [ -z "$(processes_of "$1")" ]; }
# A process with this argument, whatever its environment says. The brackets keep the pattern from finding itself.
runs_with() { grep -qsxz "[${1:0:1}]${1:1}" /proc/[0-9]*/cmdline; }
