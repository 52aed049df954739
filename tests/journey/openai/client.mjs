// OpenAI's own client for Node against the gateway, as client.py beside this. Its first argument is the folder that it is installed in.
import assert from "node:assert";
import { createRequire } from "node:module";

const [folder, baseURL, apiKey, model, embedding, ...more] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/`)("openai").OpenAI;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];

const listed = (await client.models.list()).data;
assert.strictEqual(listed.find((one) => one.id === model)?.ready, true);
assert.strictEqual((await client.models.retrieve(model)).id, model);

const answer = await client.chat.completions.create({ model, messages, max_tokens: 8 });
assert.ok(answer.choices[0].message.content !== null && answer.usage.completion_tokens >= 1);
for (const options of [{}, { stream_options: { include_usage: true } }]) {
  let last;
  const ends = [];
  for await (const event of await client.chat.completions.create({ model, messages, max_tokens: 8, stream: true, ...options })) {
    ends.push(...event.choices.map((choice) => choice.finish_reason));
    last = event;
  }
  assert.ok(["stop", "length"].includes(ends.at(-1)));
  assert.strictEqual(Boolean(last.usage), Boolean(options.stream_options));
}

const fails = async (kind, status, code, call) => {
  const error = await call().then(
    () => assert.fail(`${kind.name} was expected`),
    (error) => error,
  );
  assert.strictEqual(error.constructor, kind, String(error));
  assert.deepStrictEqual([error.status, error.code], [status, code]);
  return error;
};
const chat = (body, options) => client.chat.completions.create({ model, messages, ...body }, options);
await fails(OpenAI.NotFoundError, 404, "model_not_found", () => chat({ model: "nobody/nothing" }));
const bad = new OpenAI({ baseURL, apiKey: "clsk_live_nonsense", maxRetries: 0 });
await fails(OpenAI.AuthenticationError, 401, "invalid_api_key", () => bad.chat.completions.create({ model, messages }));
const wrong = await fails(OpenAI.BadRequestError, 400, null, () => chat({ max_tokens: -1 }));
assert.strictEqual(wrong.param, "max_tokens");

for (const encoding_format of [undefined, "float"]) {
  const vectors = await client.embeddings.create({ model: embedding, input: "The food was delicious", encoding_format });
  assert.ok(vectors.data[0].embedding.length > 1 && vectors.usage.prompt_tokens >= 4);
}
const misused = await fails(OpenAI.BadRequestError, 400, null, () => client.embeddings.create({ model, input: "x" }));
assert.strictEqual(misused.param, "model");

if (more.length) {
  const [idle, limited] = more;
  await fails(OpenAI.InternalServerError, 503, "model_not_ready", () => chat({ model: idle }));
  const few = new OpenAI({ baseURL, apiKey: limited, maxRetries: 0 });
  await few.chat.completions.create({ model, messages });
  await fails(OpenAI.RateLimitError, 429, "rate_limit_exceeded", () => few.chat.completions.create({ model, messages }));
}
console.log("well");
