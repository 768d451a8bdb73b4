// OpenAI's own Node client against the server at BASE_URL.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const model = (await client.models.list()).data[0].id;
const question = { model, messages: [{ role: "user", content: "Name a fruit from Node." }], temperature: 0, max_tokens: 8 };

const first = await client.chat.completions.create(question).withResponse();
assert.equal(first.data.choices[0].finish_reason, "length");
assert.match(first.response.headers.get("cache-status"), /fwd=miss/);

const again = await client.chat.completions.create(question).withResponse();
assert.match(again.response.headers.get("cache-status"), /hit; detail=answer/);
assert.equal(again.data.choices[0].message.content, first.data.choices[0].message.content);

let text = "", usage = null;
for await (const chunk of await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, first.data.choices[0].message.content);
assert.equal(usage.completion_tokens, 8);

const completion = await client.completions.create({ model, prompt: "The capital of France is", temperature: 0, max_tokens: 3 });
assert.ok(completion.choices[0].text.startsWith(" Paris"));

await assert.rejects(client.chat.completions.create({ ...question, n: 2 }), (error) => error instanceof OpenAI.BadRequestError && error.param === "n");
console.log("ok");
