# Inference: OpenAI's own clients for Python and Node, unmodified, against a shared node; and against a llama.cpp server.
# shellcheck shell=bash

need node nodejs
need npm npm
openai="$HOME/.cache/slipway/openai-3.54.0"
if ! "$openai/bin/python" -c 'import openai' 2>/dev/null; then
  python3 -m venv "$openai"
  "$openai/bin/pip" install --quiet --disable-pip-version-check openai==3.54.0
fi
openai_node="$HOME/.cache/slipway/openai-node-7.57.0"
[ -d "$openai_node/node_modules/openai" ] || npm install --silent --no-audit --no-fund --prefix "$openai_node" openai@7.57.0 >"$work/npm" 2>&1
python_client() { "$openai/bin/python" tests/journey/openai/client.py "${through:-$API_URL}/v1" "$@"; }
node_client() { command node tests/journey/openai/client.mjs "$openai_node" "${through:-$API_URL}/v1" "$@"; }
# What both clients ask and are answered, for the test that asks it again without them: SLIPWAY_RECORD=tests/surfaces/inference/openai.json
record() {
  local few_python few_node through recorder
  few_python=$(limited_key) few_node=$(limited_key)
  rm -f "$SLIPWAY_RECORD"
  python3 tests/journey/openai/record.py "$API_URL" "$SLIPWAY_RECORD" "all=$API_KEY" "few=$few_python" "few_too=$few_node" >"$work/recorder" &
  recorder=$!
  eventually 10 test -s "$work/recorder"
  through=$(cat "$work/recorder")
  python_client "$API_KEY" "$model" "$embedding" gpt2 "$few_python" && node_client "$API_KEY" "$model" "$embedding" gpt2 "$few_node"
  kill "$recorder"
}

register() { # register NAME KIND
  admin POST /admin/models "{\"name\": \"$1\", \"family\": \"f\", \"size\": \"1M\", \"type\": \"$2\", \"context_length\": 512, \"vram_required_gb\": 1,
    \"price_input_per_million\": 1000, \"price_output_per_million\": 2000}"
}
limited_key() { # a key for one request in an hour
  admin POST /admin/api-keys "{\"tenant_id\": \"$tenant\", \"name\": \"few\", \"limits\": {\"requests_per_hour\": 1}}" | jq -r .key
}
a_tenant() {
  tenant=$(admin POST /admin/tenants '{"name": "Askers", "email": "askers@example.com"}' | jq -r .id)
  API_KEY=$(admin POST /admin/api-keys "{\"tenant_id\": \"$tenant\", \"name\": \"all\"}" | jq -r .key)
}

export SLIPWAY_MODEL_SERVER="command:[\"python3\",\"$PWD/tests/models/server.py\",\"--port\",\"{port}\",\"--model\",\"{model}\"]"
start_serving inference
a_tenant
embedding=BAAI/bge-m3
check 'models are registered' says eval "register $model chat; register $embedding embedding; register gpt2 completion" '.name'
check 'a model that nobody serves says so' says api POST /v1/chat/completions "{\"model\": \"$model\"}" '.error.code == "model_not_ready"'
chat_node=$(launch_node "$model" 30)
embedding_node=$(launch_node "$embedding" 30)
check 'a node for chats is active' eventually 60 node_is "$chat_node" active
check 'a node for vectors is active' eventually 60 node_is "$embedding_node" active
ready() { [ "$(api GET /v1/models | jq -r '[.data[] | select(.ready)] | length')" = 2 ]; }
check 'both are listed as ready' eventually 5 ready
check "the guide's request is answered" says api POST /v1/chat/completions "{\"model\": \"$model\", \"messages\":
  [{\"role\": \"user\", \"content\": \"What is the capital of France?\"}], \"max_tokens\": 100}" '.choices[0].message.content | startswith("Paris")'
direct() { curl -sN "$(node "$chat_node" endpoint)/v1/chat/completions" -H 'Content-Type: application/json' -d "$1"; }
streamed='{"model": "'$model'", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
same() { sed -E 's/"(id|created)": ?("[^"]*"|[0-9]+)/"\1": 0/g'; }
check 'a stream is what its server says, to the byte' cmp <(direct "$streamed" | same) <(api POST /v1/chat/completions "$streamed" | same)
check "OpenAI's client for Python" python_client "$API_KEY" "$model" "$embedding" gpt2 "$(limited_key)"
check "OpenAI's client for Node" node_client "$API_KEY" "$model" "$embedding" gpt2 "$(limited_key)"
[ -z "${SLIPWAY_RECORD:-}" ] || check 'what they ask is written down' record
metered() { says api GET '/v1/usage?by=model' '.total.requests >= 14 and .total.cost_usd > 0 and .total.input_tokens > 0 and (.parts | length) == 2'; }
check 'what they asked is metered' eventually 5 metered
curl -sN --max-time 1 -X POST "$API_URL/v1/chat/completions" -H "Authorization: Bearer $API_KEY" -H 'Content-Type: application/json' -d "$streamed" >"$work/streamed" || true
check 'a node that is terminated is asked no more' says admin POST "/admin/nodes/$chat_node/terminate?purge=true" '.message'
not_ready() { says api POST /v1/chat/completions "$streamed" '.error.code == "model_not_ready"'; }
check 'and its model is not ready then' eventually 5 not_ready

export SLIPWAY_MODEL_SERVER=llama.cpp SLIPWAY_MODEL_GGUF="$work/tiny.gguf"
start_serving inference-llama
a_tenant
register tiny chat >"$work/model"
register tiny-vectors embedding >"$work/model"
chat_node=$(launch_node tiny 30)
embedding_node=$(launch_node tiny-vectors 30)
check 'a llama.cpp server is active' eventually 300 node_is "$chat_node" active
check 'and one for vectors' eventually 300 node_is "$embedding_node" active
check "OpenAI's client for Python, against llama.cpp" python_client "$API_KEY" tiny tiny-vectors
check "OpenAI's client for Node, against llama.cpp" node_client "$API_KEY" tiny tiny-vectors
unset SLIPWAY_MODEL_SERVER SLIPWAY_MODEL_GGUF ADMIN_API_TOKEN SKYPILOT_SERVICE_ACCOUNT_TOKEN
unset PROVIDER_URL_AWS PROVIDER_URL_AZURE PROVIDER_URL_GCP
