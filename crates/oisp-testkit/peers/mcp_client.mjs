// Uses an MCP server through the protocol's own SDK for JavaScript; prints, as lines of JSON, what the SDK understood. Takes
// the folder that the SDK is installed in and the URL (the authority to trust is in NODE_EXTRA_CA_CERTS), or the command
// that starts the server, which is spoken to over its standard input and output.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, ...place] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const sdk = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${path}`)));
const { Client } = await sdk("client/index.js");
const { StreamableHTTPClientTransport } = await sdk("client/streamableHttp.js");
const { StdioClientTransport } = await sdk("client/stdio.js");
const say = (what) => console.log(JSON.stringify(what));

const client = new Client({ name: "oisp-client", version: "4.5" });
const overHttp = place[0].startsWith("https:");
const transport = overHttp
  ? new StreamableHTTPClientTransport(new URL(place[0]))
  : new StdioClientTransport({ command: place[0], args: place.slice(1) });
let version;
const setVersion = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (agreed) => {
  version = agreed;
  setVersion?.(agreed);
};
await client.connect(transport);
say({ tools: (await client.listTools()).tools.map((tool) => tool.name) });
for (const [name, args] of [
  ["add", { a: 19, b: 23 }],
  ["fail", { why: "no luck" }],
  ["picture", {}],
  ["get_weather", { city: "Köln" }],
]) {
  const result = await client.callTool({ name, arguments: args });
  const text = result.content.filter((part) => part.type === "text").map((part) => part.text).join("\n");
  const media = result.content.filter((part) => part.type === "image").map((part) => part.mimeType);
  say({ call: name, arguments: args, text, media, failed: Boolean(result.isError) });
}
const { resources } = await client.listResources();
const read = await client.readResource({ uri: resources[0].uri });
say({ resource: resources[0].uri, text: read.contents[0].text });
const { prompts } = await client.listPrompts();
const prompt = await client.getPrompt({ name: prompts[0].name, arguments: { name: "Ada" } });
say({ prompt: prompts[0].name, text: prompt.messages[0].content.text });
say({ server: client.getServerVersion().name, version });
if (overHttp) await transport.terminateSession();
await client.close();
