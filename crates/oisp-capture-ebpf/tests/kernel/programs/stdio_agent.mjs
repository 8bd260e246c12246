// The same in Node.js, whose children have unix sockets as standard input and output.
// Arguments: interpreter of the server, server program, exchanges as QUESTION:ANSWER.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";

const [interpreter, program, ...exchanges] = process.argv.slice(2);
const child = spawn(interpreter, [program], { stdio: ["pipe", "pipe", "inherit"] });
const sent = [];
const received = [];
let rest = Buffer.alloc(0);
let wake;

child.stdout.on("data", (data) => {
  received.push(data);
  rest = Buffer.concat([rest, data]);
  wake?.();
});

async function answer() {
  while (!rest.includes(10)) {
    await new Promise((resolve) => (wake = resolve));
  }
  rest = rest.subarray(rest.indexOf(10) + 1);
}

let id = 0;
for (const exchange of exchanges) {
  const [asked, answered] = exchange.split(":").map(Number);
  const params = { padding: "x".repeat(asked), how: "whole", length: answered };
  const data = Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: id++, method: "tools/call", params }) + "\n");
  const notice = Buffer.from(JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress" }) + "\n");
  // Written together.
  child.stdin.cork();
  child.stdin.write(data);
  child.stdin.write(notice);
  child.stdin.uncork();
  sent.push(data, notice);
  await answer();
}
child.stdin.end();
await new Promise((resolve) => child.on("close", resolve));

const of = (pieces) => {
  const data = Buffer.concat(pieces);
  return { bytes: data.length, sha256: createHash("sha256").update(data).digest("hex") };
};
console.log(JSON.stringify({ pid: process.pid, server: child.pid, sent: of(sent), received: of(received) }));
