"""OpenAI's own Python client against the gateway: what it is told works, and each error is the class that its users catch.

    client.py URL KEY MODEL EMBEDDING_MODEL [IDLE_MODEL LIMITED_KEY]
"""

import sys

import openai

url, key, model, embedding, *more = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
asked = [{"role": "user", "content": "What is the capital of France?"}]

listed = {one.id: one for one in client.models.list()}
assert listed[model].ready is True, listed
assert client.models.retrieve(model).id == model

answer = client.chat.completions.create(model=model, messages=asked, max_tokens=8)
assert answer.choices[0].message.content is not None and answer.usage.completion_tokens >= 1, answer
assert client.completions.create(model=model, prompt="one", max_tokens=4).choices[0].text is not None

for options in ({}, {"stream_options": {"include_usage": True}}):
    events = list(client.chat.completions.create(model=model, messages=asked, max_tokens=8, stream=True, **options))
    ends = [event.choices[0].finish_reason for event in events if event.choices]
    assert ends[-1] in ("stop", "length"), events
    assert bool(options) == (events[-1].usage is not None), events[-1]

# Whoever goes away in the middle of a stream leaves nothing behind.
with client.chat.completions.create(model=model, messages=asked, stream=True, max_tokens=8) as stream:
    next(iter(stream))


def fails(kind, status, code, call):
    try:
        call()
    except openai.APIStatusError as error:
        assert type(error) is kind and error.status_code == status and error.code == code, (type(error), error.status_code, error.code)
        return error
    raise AssertionError(f"{kind} was expected")


chat = client.chat.completions.create
fails(openai.NotFoundError, 404, "model_not_found", lambda: chat(model="nobody/nothing", messages=asked))
bad = client.with_options(api_key="clsk_live_nonsense")
fails(openai.AuthenticationError, 401, "invalid_api_key", lambda: bad.chat.completions.create(model=model, messages=asked))
wrong = {"stream": "perhaps"}
assert fails(openai.BadRequestError, 400, None, lambda: chat(model=model, messages=asked, extra_body=wrong)).param == "stream"

vectors = client.embeddings.create(model=embedding, input=["The food was delicious", "and cold"])
assert [len(vector.embedding) > 1 for vector in vectors.data] == [True, True] and vectors.usage.prompt_tokens >= 4, vectors
error = fails(openai.BadRequestError, 400, None, lambda: client.embeddings.create(model=model, input="x"))
assert error.param == "model", error

if more:
    idle, limited = more
    error = fails(openai.InternalServerError, 503, "model_not_ready", lambda: chat(model=idle, messages=asked))
    assert int(error.response.headers["retry-after"]) >= 1
    few = client.with_options(api_key=limited)
    first = few.chat.completions.with_raw_response.create(model=model, messages=asked)
    assert first.headers["x-ratelimit-limit"] == "1" and first.headers["x-ratelimit-remaining"] == "0", first.headers
    again = lambda: few.chat.completions.create(model=model, messages=asked)
    error = fails(openai.RateLimitError, 429, "rate_limit_exceeded", again)
    assert "requests per hour" in error.message and int(error.response.headers["retry-after"]) >= 1, error
print("well")
