// A client with the WebSocket of Node.js itself (undici); prints every message as websocket_peer.py does.

import { createHash } from "node:crypto";

const [base] = process.argv.slice(2);
const said = [
  "",
  "Hello!",
  "Grüße, 世界 🚀",
  JSON.stringify({ prompt: "Why is the sky blue? ".repeat(3400) }),
  Buffer.from("binary ".repeat(10_000)),
];

function tell(received, message) {
  const content = typeof message === "string" ? Buffer.from(message) : Buffer.from(message);
  const digest = createHash("sha256").update(content).digest("hex");
  console.log(
    JSON.stringify({ received, text: typeof message === "string", message: digest, bytes: content.length }),
  );
}

const socket = new WebSocket(`ws${base.slice("http".length)}/talk`);
socket.binaryType = "arraybuffer";
let due = 0;
socket.onerror = (event) => {
  throw event.error ?? new Error("the WebSocket failed");
};
socket.onopen = next;
socket.onmessage = (event) => {
  tell(true, event.data);
  due -= 1;
  if (due === 0) {
    next();
  }
};

function next() {
  const message = said.shift();
  if (message === undefined) {
    socket.close();
    return;
  }
  tell(false, message);
  due = 2;
  socket.send(message);
}
