# Nodes and instances: the reference's guide from a tenant to its end, over a model's server; and a llama.cpp server that idles away.
# shellcheck shell=bash

admin_token="an_admin_token_that_is_long_enough_for_a_journey"
service_token="a_service_token_that_is_long_enough_for_a_journey"
model="meta-llama/Llama-3.1-8B-Instruct"
admin() {
  local method=$1 path=$2
  shift 2
  curl -s -X "$method" "$API_URL$path" -H "X-Admin-Token: $admin_token" -H 'Content-Type: application/json' ${1:+-d "$1"}
}
node() { admin GET "/admin/nodes/$1" | jq -r ".$2"; }
node_is() { [ "$(node "$1" status)" = "$2" ]; }
# launch_node MODEL IDLE_MINUTES
launch_node() {
  admin POST /admin/nodes/launch "{\"provider\": \"aws\", \"region\": \"us-west-2\", \"gpu\": \"A10G\", \"gpu_count\": 1,
    \"model\": \"$1\", \"idle_minutes_to_autostop\": $2}" | jq -r .id
}
# is FILTER: what comes in as JSON is so.
is() { jq -e "$@" >"$work/jq"; }
# says COMMAND... -- FILTER: what the command prints is so.
says() { "${@:1:$#-1}" | is "${@: -1}"; }

start_serving() { # start_serving FOLDER: a plane of its own, with what serves models in SLIPWAY_MODEL_SERVER
  kill_plane TERM
  export ADMIN_API_TOKEN=$admin_token SKYPILOT_SERVICE_ACCOUNT_TOKEN=$service_token SLIPWAY_DATA_DIR="$work/$1"
  # Nobody is asked about keys: nothing listens there.
  export PROVIDER_URL_AWS=http://127.0.0.1:9 PROVIDER_URL_AZURE=http://127.0.0.1:9 PROVIDER_URL_GCP=http://127.0.0.1:9
  start_plane
  eventually 10 answers
}

export SLIPWAY_MODEL_SERVER="command:[\"python3\",\"$PWD/tests/models/server.py\",\"--port\",\"{port}\",\"--model\",\"{model}\"]"
start_serving nodes
check 'the provisioner is well' says curl -s "$API_URL/api/health" '.status == "healthy"'
admin POST /admin/tenants '{"name": "Test Organization", "email": "test@example.com", "tier": "pro"}' >"$work/tenant"
tenant=$(jq -r .id "$work/tenant")
check 'a tenant is made' is '.status == "active" and .tier == "pro"' "$work/tenant"
credential() { # credential PROVIDER NAME KEYS
  admin POST /admin/credentials "{\"tenant_id\": \"$tenant\", \"provider\": \"$1\", \"name\": \"$2\", \"is_default\": true, \"credentials\": $3}"
}
credential aws 'AWS Production' '{"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  "region": "us-west-2"}' >"$work/aws"
credential azure 'Azure Production' '{"subscription_id": "12345678-1234-1234-1234-123456789012", "client_secret": "your_client_secret",
  "tenant_id": "87654321-4321-4321-4321-210987654321", "client_id": "11111111-2222-3333-4444-555555555555"}' >"$work/azure"
credential gcp 'GCP Production' '{"type": "service_account", "project_id": "my-gcp-project", "private_key_id": "key123",
  "private_key": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
  "client_email": "service-account@my-gcp-project.iam.gserviceaccount.com"}' >"$work/gcp"
for provider in aws azure gcp; do
  check "a credential for $provider is kept" is --arg of "$provider" '.provider == $of and .is_default and .is_valid == null and (.id | startswith("cred-"))' "$work/$provider"
  id=$(jq -r .id "$work/$provider")
  check "and validate says that $provider cannot be asked" says admin POST "/admin/credentials/$id/validate?tenant_id=$tenant" 'has("is_valid") or has("valid")'
done
check 'no secret is shown' refused grep -qE 'wJalrXUtn|your_client_secret|BEGIN PRIVATE' "$work/aws" "$work/azure" "$work/gcp"
admin POST /admin/models "{\"name\": \"$model\", \"family\": \"llama\", \"size\": \"8B\", \"type\": \"chat\", \"context_length\": 8192,
  \"vram_required_gb\": 16, \"price_input_per_million\": 0.15, \"price_output_per_million\": 0.60, \"huggingface_id\": \"$model\"}" >"$work/model"
check 'a model is registered' is --arg of "$model" '.name == $of' "$work/model"

id=$(launch_node "$model" 30)
stream="$API_URL/admin/nodes/$id/logs/stream"
curl -sN --max-time 60 -H "X-Admin-Token: $admin_token" "$stream?follow=true&tail=50" >"$work/stream" &
reader=$!
# A second reader is cut off after every second event, and goes on with the last one's id.
last='' cuts=0
: >"$work/pieces"
until grep -q '^event: done' "$work/pieces" || [ "$cuts" = 200 ]; do
  curl -sN --max-time 60 -H "X-Admin-Token: $admin_token" ${last:+-H "Last-Event-ID: $last"} "$stream?follow=true" 2>>"$work/curl" |
    awk '/^(event|id|data): /; /^id: /{ids++} /^$/ && ids == 2 {exit}' >>"$work/pieces" || true
  last=$(sed -n 's/^id: //p' "$work/pieces" | tail -1)
  cuts=$((cuts + 1))
done
wait "$reader"
check 'the stream of its launch is told to the end' grep -q '^data: {"status":"active","endpoint":"http://.*","message":"Node ready"}' "$work/stream"
phases() { sed -n 's/^data: //p' "$1" | jq -r 'select(.phase).phase' | uniq | tr '\n' ' '; }
check 'it shows the phases as they come' grep -qE '^(queued )?(placed )?provisioning .*installing .*model_loading .*health_check active $' <(phases "$work/stream")
percents() { sed -n 's/^data: //p' "$1" | jq -r 'select(.progress).progress'; }
check 'and percents that only rise' sort -nc <(percents "$work/stream")
# What is told is the same, but for estimates, which are of their moment, and the end, which says so. A reader who comes back when the node is
# active is told what its server says since, as the history is.
told() { sed -n 's/^data: //p' "$1" | jq -c 'select(.status | not) | del(.estimated_seconds_left)'; }
told "$work/stream" >"$work/whole"
told "$work/pieces" >"$work/cut"
check "a stream that was cut $cuts times is the same" cmp "$work/whole" <(head -n "$(wc -l <"$work/whole")" "$work/cut")
check 'it was cut ten times' test "$cuts" -ge 10
admin GET "/admin/nodes/$id/logs?tail=1000" | jq -r '.logs[].message' >"$work/history"
check 'and it is the history' cmp <(jq -r .message "$work/cut") <(head -n "$(wc -l <"$work/cut")" "$work/history")
check 'the node is active' node_is "$id" active
endpoint=$(node "$id" endpoint)
check 'its model answers' says curl -s "$endpoint/v1/models" ".data[0].id == \"$model\""
name=$(node "$id" cluster_name)
clusters() { curl -s -H "Authorization: Bearer $service_token" "$API_URL/api/v1/clusters$1"; }
check "operators' tools see its cluster" says clusters "/$name" '.status == "UP"'
check 'and list it' says clusters '' 'length == 1'
check 'but nobody without their token' says curl -s -H 'Authorization: Bearer nobody' "$API_URL/api/v1/clusters" '.error.type == "authentication_error"'

API_KEY=$(admin POST /admin/api-keys "{\"tenant_id\": \"$tenant\", \"name\": \"test-key\"}" | jq -r .key)
check "a tenant's key begins with clsk_live_" grep -q '^clsk_live_' <<<"$API_KEY"
check 'it lists its credentials' says api GET /v1/credentials '.data | length == 3'
instance=$(api POST /v1/instances "{\"model\": \"$model\", \"provider\": \"aws\", \"region\": \"us-west-2\", \"gpu\": \"A10G\", \"gpu_count\": 1,
  \"idle_minutes_to_autostop\": 30, \"use_spot\": true}" | jq -r .id)
check 'its instance is launched, as its stream says' grep -q 'Instance ready' <(api GET "/v1/instances/$instance/logs/stream?follow=true")
check 'a credential that it runs with cannot be deleted' says api DELETE "/v1/credentials/$(jq -r .id "$work/aws")" '.error.type == "conflict_error" or .error.code == "conflict"'
check 'the instance is ended' says api DELETE "/v1/instances/$instance?purge=true" '.status == "terminating"'
instance_over() { [ "$(api GET "/v1/instances/$instance" | jq -r .status)" = terminated ]; }
check 'and is gone' eventually 20 instance_over
check 'what it used is what its parts used, to the cent' says api GET '/v1/usage?by=workload' \
  '.total.gpu_seconds > 0 and ([.parts[].gpu_seconds] | add) == .total.gpu_seconds and (([.parts[].cost_usd] | add) - .total.cost_usd | fabs) < 0.000001'
check 'its credential can go now' says api DELETE "/v1/credentials/$(jq -r .id "$work/aws")" '.error | not'
check 'the node is terminated' says admin POST "/admin/nodes/$id/terminate" '.message == "Node termination initiated"'
check 'and its end is seen' eventually 20 node_is "$id" terminated
check 'the tenant is deleted' says admin DELETE "/admin/tenants/$tenant" '.error | not'

# A real server: llama.cpp's, which the agent installs from PyPI, with tiny weights that are made here.
gguf="$HOME/.cache/slipway/gguf-0.19.0"
if ! "$gguf/bin/python" -c 'import gguf' 2>/dev/null; then
  python3 -m venv "$gguf"
  "$gguf/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0
fi
"$gguf/bin/python" tests/models/tiny.py "$work/tiny.gguf" >"$work/tiny.log"
export SLIPWAY_MODEL_SERVER=llama.cpp SLIPWAY_MODEL_GGUF="$work/tiny.gguf"
start_serving llama
admin POST /admin/models '{"name": "tiny", "family": "llama", "size": "1M", "type": "chat", "context_length": 512, "vram_required_gb": 1,
  "price_input_per_million": 0, "price_output_per_million": 0}' >"$work/model"
id=$(launch_node tiny 1)
check 'a llama.cpp server is installed and becomes active' eventually 300 node_is "$id" active
endpoint=$(node "$id" endpoint)
check 'it completes a text' says curl -s "$endpoint/v1/completions" -H 'Content-Type: application/json' \
  -d '{"model": "tiny", "prompt": "one", "max_tokens": 4}' '.choices | length == 1'
check 'and idles away after its minute' eventually 120 node_is "$id" terminated
check 'which it says' test "$(node "$id" error)" = 'idle for 1 minutes'
unset SLIPWAY_MODEL_SERVER SLIPWAY_MODEL_GGUF ADMIN_API_TOKEN SKYPILOT_SERVICE_ACCOUNT_TOKEN
unset PROVIDER_URL_AWS PROVIDER_URL_AZURE PROVIDER_URL_GCP
