// A client and a server with the encoders of Node.js: its HTTP/1.1, nghttp2, and zlib with brotli.
// How they are asked and what they print is told in ../src/peers/mod.rs.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import zlib from "node:zlib";

const [role, ...rest] = process.argv.slice(2);
await (role === "server" ? serve(...rest) : call(...rest));

function tell(what) {
  console.log(JSON.stringify(what));
}

function digest(data) {
  return createHash("sha256").update(data).digest("hex");
}

function serve(certificate, key) {
  process.on("SIGTERM", () => process.exit(0));
  const options = { cert: readFileSync(certificate), key: readFileSync(key), allowHTTP1: true };
  http2.createSecureServer(options, answer).listen({ fd: 0 });
}

function answer(request, response) {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const asked = Buffer.concat(parts);
    const query = new URL(request.url, "https://localhost").searchParams;
    const chunks = Number(query.get("chunks") ?? 0);
    const content = text(digest(asked), Number(query.get("size")));
    const pieces = chunks > 0 ? events(content, chunks) : [content];
    const whole = pieces.join("");
    tell({
      path: request.url,
      request: digest(asked),
      request_bytes: asked.length,
      response: digest(whole),
      response_bytes: whole.length,
    });
    respond(response, query.get("encoding"), chunks > 0, pieces, digest(whole));
  });
}

function respond(response, encoding, streamed, pieces, wholeDigest) {
  response.setHeader("content-type", streamed ? "text/event-stream" : "application/json");
  if (streamed) {
    response.writeEarlyHints?.({ link: "</hint>; rel=preload" });
    response.setHeader("trailer", "x-digest");
  }
  const encoder = {
    gzip: () => zlib.createGzip(),
    deflate: () => zlib.createDeflate(),
    br: () => zlib.createBrotliCompress(),
  }[encoding]?.();
  if (encoder) {
    response.setHeader("content-encoding", encoding);
    encoder.on("data", (coded) => response.write(coded));
    encoder.on("end", () => end(response, streamed, wholeDigest));
    for (const piece of pieces) {
      encoder.write(piece);
      encoder.flush();
    }
    encoder.end();
  } else if (streamed) {
    for (const piece of pieces) {
      response.write(piece);
    }
    end(response, streamed, wholeDigest);
  } else {
    response.setHeader("content-length", pieces[0].length);
    response.end(pieces[0]);
  }
}

function end(response, streamed, wholeDigest) {
  if (streamed) {
    response.addTrailers({ "x-digest": wholeDigest });
  }
  response.end();
}

// Text that no encoder makes small.
function text(seed, size) {
  let made = "";
  for (let number = 0; made.length < size; number++) {
    made += digest(`${seed}${number}`) + " ";
  }
  return made.slice(0, size);
}

function events(content, count) {
  const at = (number) => Math.floor((number * content.length) / count);
  return [...Array(count).keys()].map(
    (number) => `data: {"delta":"${content.slice(at(number), at(number + 1))}"}\n\n`,
  );
}

// Over HTTP/2 all calls go out at once on one connection, else one after the other on one.
async function call(version, base, authority, ...asked) {
  const ca = readFileSync(authority);
  const pairs = [...Array(asked.length / 2).keys()].map((number) => asked.slice(2 * number, 2 * number + 2));
  if (version === "http2") {
    const session = http2.connect(base, { ca });
    await Promise.all(pairs.map(([path, file]) => withSession(session, path, readFileSync(file))));
    session.close();
    return;
  }
  const agent = new https.Agent({ ca, keepAlive: true, maxSockets: 1 });
  for (const [path, file] of pairs) {
    await withModule(agent, base + path, path, readFileSync(file));
  }
  agent.destroy();
}

function headers(path, body) {
  const all = {
    "content-type": "application/json",
    authorization: "Bearer dummy",
    "accept-encoding": "gzip",
    "content-length": body.length,
  };
  if (path.includes("length=unknown")) {
    delete all["content-length"];
  }
  return all;
}

function send(request, body) {
  const middle = body.length >> 1;
  request.write(body.subarray(0, middle));
  request.end(body.subarray(middle));
}

function withSession(session, path, body) {
  return new Promise((resolve, reject) => {
    session.on("error", reject);
    const stream = session.request({ ":method": "POST", ":path": path, ...headers(path, body) });
    stream.on("response", (head) => tell({ path, status: head[":status"], http2: true }));
    stream.on("error", reject);
    stream.on("end", resolve);
    stream.resume();
    send(stream, body);
  });
}

function withModule(agent, url, path, body) {
  return new Promise((resolve, reject) => {
    const options = { agent, method: "POST", headers: headers(path, body) };
    const request = https.request(url, options, (response) => {
      tell({ path, status: response.statusCode, http2: false });
      response.on("error", reject);
      response.on("end", resolve);
      response.resume();
    });
    request.on("error", reject);
    send(request, body);
  });
}
