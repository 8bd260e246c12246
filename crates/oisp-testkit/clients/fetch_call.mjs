// Calls a provider with fetch, the https or the http2 module and prints what it understood, one JSON object a line.
// With http2 all calls go out at once on one connection, so their streams interleave; with --parallel they go out at
// once as well, each on a connection of its own. Node.js, Bun and Deno run it.
// The certificate is named by NODE_EXTRA_CA_CERTS, as a user would name it.

import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import { parseArgs } from "node:util";

const PATHS = { openai: "/v1/chat/completions", anthropic: "/v1/messages" };

const { values: options } = parseArgs({
  options: {
    base: { type: "string" },
    provider: { type: "string" },
    module: { type: "string", default: "fetch" },
    model: { type: "string", default: "fake" },
    bytes: { type: "string", default: "200" },
    requests: { type: "string", default: "1" },
    stream: { type: "boolean", default: false },
    parallel: { type: "boolean", default: false },
    "first-alone": { type: "boolean", default: false },
  },
});

const session = options.module === "http2" ? http2.connect(options.base) : null;
const numbers = [...Array(Number(options.requests)).keys()];
const early = session
  ? numbers.map((number) => withSession(question(number)))
  : options.parallel
    ? await withoutWaiting()
    : [];
for (const number of numbers) {
  const reply = await (early[number] ?? call(question(number)));
  if (reply.status !== 200) {
    throw new Error(`status ${reply.status}: ${reply.text}`);
  }
  console.log(JSON.stringify(options.stream ? fromEvents(reply.text) : fromBody(JSON.parse(reply.text))));
}
session?.close();

// With --first-alone the others find its connection, and share it where the protocol lets them.
async function withoutWaiting() {
  const first = call(question(0));
  if (options["first-alone"]) {
    await first;
  }
  return [first, ...numbers.slice(1).map((number) => call(question(number)))];
}

function call({ headers, body }) {
  const url = options.base + PATHS[options.provider];
  return options.module === "fetch" ? withFetch(url, headers, body) : withModule(url, headers, body);
}

function question(number) {
  const size = Number(options.bytes);
  const content = (`Request ${number}. ` + "Tell me what you see. ".repeat(size / 20 + 1)).slice(0, size);
  const body = { model: options.model, messages: [{ role: "user", content }], stream: options.stream };
  const headers = { "content-type": "application/json" };
  if (options.provider === "openai") {
    headers.authorization = "Bearer dummy";
    if (options.stream) {
      body.stream_options = { include_usage: true };
    }
  } else {
    headers["x-api-key"] = "dummy";
    headers["anthropic-version"] = "2023-06-01";
    body.max_tokens = 4096;
  }
  return { headers, body: JSON.stringify(body) };
}

async function withFetch(url, headers, body) {
  const response = await fetch(url, { method: "POST", headers, body });
  return { status: response.status, text: await response.text() };
}

function withModule(url, headers, body) {
  const module = url.startsWith("https:") ? https : http;
  return new Promise((resolve, reject) => {
    const request = module.request(url, { method: "POST", headers }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, text: Buffer.concat(parts).toString() }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

function withSession({ headers, body }) {
  return new Promise((resolve, reject) => {
    session.on("error", reject);
    const stream = session.request({ ":method": "POST", ":path": PATHS[options.provider], ...headers });
    const parts = [];
    let status = 0;
    stream.on("response", (head) => (status = head[":status"]));
    stream.on("data", (part) => parts.push(part));
    stream.on("error", reject);
    stream.on("end", () => resolve({ status, text: Buffer.concat(parts).toString() }));
    stream.end(body);
  });
}

function fromBody(body) {
  const text =
    options.provider === "openai"
      ? body.choices[0].message.content
      : body.content.map((block) => block.text ?? "").join("");
  return { id: body.id, text, usage: body.usage };
}

function fromEvents(text) {
  const answer = { id: null, text: "", usage: {} };
  for (const line of text.split("\n")) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") {
      continue;
    }
    const event = JSON.parse(line.slice(6));
    if (options.provider === "openai") {
      answer.id = event.id;
      answer.text += event.choices[0]?.delta.content ?? "";
      answer.usage = event.usage ?? answer.usage;
    } else if (event.type === "message_start") {
      answer.id = event.message.id;
      answer.usage = event.message.usage;
    } else if (event.type === "content_block_delta") {
      answer.text += event.delta.text ?? "";
    } else if (event.type === "message_delta") {
      Object.assign(answer.usage, event.usage);
    }
  }
  return answer;
}
