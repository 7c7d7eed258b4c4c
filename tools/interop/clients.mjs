// The JavaScript client of OpenAI against a server that runs:
//   npm install openai
//   node tools/interop/clients.mjs http://127.0.0.1:8080 base [KEY]
import assert from "node:assert";
import OpenAI from "openai";

const [url, model, apiKey = "none"] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url.replace(/\/$/, "")}/v1`, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Name three colours." }];
const how = { model, messages, max_tokens: 16, temperature: 0 };

const whole = (await client.chat.completions.create(how)).choices[0].message.content;
let text = "";
for await (const chunk of await client.chat.completions.create({ ...how, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, whole);

const parameters = { type: "object", properties: { city: { enum: ["Oslo", "Lima"] } }, required: ["city"], additionalProperties: false };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const forced = { model, messages, tools, tool_choice: "required", parallel_tool_calls: false, max_tokens: 64 };
const called = await client.chat.completions.stream(forced).finalChatCompletion();
assert.ok(["Oslo", "Lima"].includes(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments).city));

const first = await client.responses.create({ model, input: "Name three colours.", max_output_tokens: 16, temperature: 0 });
let streamed = "";
for await (const event of await client.responses.create({
  model, input: "Name three colours.", max_output_tokens: 16, temperature: 0, stream: true,
})) {
  if (event.type === "response.output_text.delta") streamed += event.delta;
}
assert.equal(streamed, first.output_text);
await client.responses.create({ model, input: "Again.", previous_response_id: first.id, max_output_tokens: 8 });
await assert.rejects(client.chat.completions.create({ ...how, model: "nobody" }), OpenAI.NotFoundError);

// who stops listening ends the request
const stream = await client.chat.completions.create({ ...how, max_tokens: 400, stream: true });
stream.controller.abort();
console.log("ok: openai (JavaScript)");
