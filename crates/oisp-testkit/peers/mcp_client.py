"""Uses an MCP server through the protocol's own SDK for Python; prints, as lines of JSON, what the SDK understood. Takes the
URL, the file of the authority to trust, and the way: `legacy` or a version without sessions, over one endpoint, or `sse`; or
`stdio` and the command that starts the server."""

import asyncio
import json
import os
import sys

if sys.argv[1] == "stdio":
    WAY, *COMMAND = sys.argv[1:]
else:
    URL, AUTHORITY, WAY = sys.argv[1:4]
    os.environ["SSL_CERT_FILE"] = AUTHORITY

from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import Implementation


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    if WAY == "stdio":
        transport, mode = stdio_client(StdioServerParameters(command=COMMAND[0], args=COMMAND[1:])), "legacy"
    else:
        transport, mode = (sse_client(URL), "legacy") if WAY == "sse" else (URL, WAY)
    info = Implementation(name="oisp-client", version="4.5")
    async with Client(transport, mode=mode, client_info=info) as client:
        listed = await client.list_tools()
        say(tools=[tool.name for tool in listed.tools])
        for name, arguments in [
            ("add", {"a": 19, "b": 23}),
            ("fail", {"why": "no luck"}),
            ("picture", {}),
            ("get_weather", {"city": "Köln"}),
        ]:
            result = await client.call_tool(name, arguments)
            texts = [part.text for part in result.content if part.type == "text"]
            media = [part.mime_type for part in result.content if part.type == "image"]
            say(call=name, arguments=arguments, text="\n".join(texts), media=media, failed=bool(result.is_error))
        resources = await client.list_resources()
        read = await client.read_resource(str(resources.resources[0].uri))
        say(resource=str(resources.resources[0].uri), text=read.contents[0].text)
        prompts = await client.list_prompts()
        prompt = await client.get_prompt(prompts.prompts[0].name, {"name": "Ada"})
        say(prompt=prompts.prompts[0].name, text=prompt.messages[0].content.text)
        say(server=client.server_info.name if client.server_info else None, version=client.protocol_version)


asyncio.run(main())
