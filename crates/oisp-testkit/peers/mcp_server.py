"""Serves tools by MCP over HTTPS in three ways: answers as events, answers as JSON, and the old transport with a stream and a
place to post to. Takes certificate and key; prints the three URLs as a line of JSON, and for each call of a tool a line with
what it was asked. Ends with its standard input.

With `stdio` and a file: speaks over standard input and output, and appends to the file what it was asked."""

import asyncio
import json
import logging
import socket
import sys
from contextlib import nullcontext

import uvicorn
from mcp.server.mcpserver import Image, MCPServer


def said(tool, **arguments):
    with open(sys.argv[2], "a") if sys.argv[1] == "stdio" else nullcontext(sys.stdout) as told:
        print(json.dumps({"tool": tool, "arguments": arguments}), file=told, flush=True)


def tools():
    server = MCPServer("oisp-tools", version="1.2.3", instructions="Adds numbers.")

    @server.tool(description="Adds two numbers.")
    def add(a: int, b: int) -> int:
        said("add", a=a, b=b)
        return a + b

    @server.tool(description="Says what the weather is.", structured_output=False)
    def get_weather(city: str) -> str:
        said("get_weather", city=city)
        return f"sunny in {city}"

    @server.tool()
    def fail(why: str) -> str:
        said("fail", why=why)
        raise ValueError(why)

    @server.tool(structured_output=False)
    def picture() -> Image:
        said("picture")
        return Image(data=b"not really a picture", format="png")

    @server.resource("notes://today")
    def notes() -> str:
        return "buy milk"

    @server.prompt()
    def greet(name: str) -> str:
        return f"Say hello to {name}."

    return server


async def main():
    certificate, key = sys.argv[1:3]
    ways = {
        "events": lambda: (tools().streamable_http_app(), "/mcp"),
        "json": lambda: (tools().streamable_http_app(json_response=True), "/mcp"),
        "old": lambda: (tools().sse_app(), "/sse"),
    }
    urls, serving = {}, []
    for name, way in ways.items():
        app, path = way()
        config = uvicorn.Config(app, ssl_certfile=certificate, ssl_keyfile=key, log_level="error")
        listener = socket.create_server(("127.0.0.1", 0))
        urls[name] = f"https://localhost:{listener.getsockname()[1]}{path}"
        server = uvicorn.Server(config)
        serving.append((server, asyncio.create_task(server.serve(sockets=[listener]))))
    print(json.dumps(urls), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server, _ in serving:
        server.should_exit = server.force_exit = True
    await asyncio.gather(*(served for _, served in serving))


# A tool that fails is told with its whole stack.
logging.disable(logging.ERROR)
if sys.argv[1] == "stdio":
    tools().run("stdio")
else:
    asyncio.run(main())
