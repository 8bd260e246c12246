// Calls a provider with Node's fetch or its https module and prints what it understood, one JSON object a line.
// The certificate is named by NODE_EXTRA_CA_CERTS, as a user would name it.

import http from "node:http";
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
  },
});

for (let number = 0; number < Number(options.requests); number += 1) {
  const { headers, body } = question(number);
  const url = options.base + PATHS[options.provider];
  const reply = options.module === "fetch" ? await withFetch(url, headers, body) : await withModule(url, headers, body);
  if (reply.status !== 200) {
    throw new Error(`status ${reply.status}: ${reply.text}`);
  }
  console.log(JSON.stringify(options.stream ? fromEvents(reply.text) : fromBody(JSON.parse(reply.text))));
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
