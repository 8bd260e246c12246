"""A small agent: asks a model, lets an MCP server carry out the tool call that it gets, and brings the model what it gave.
Takes the model's URL, the MCP server's, and the file of the authority to trust; prints call and result as a line of JSON."""

import asyncio
import json
import os
import sys

MODEL, TOOLS, AUTHORITY = sys.argv[1:4]
os.environ["SSL_CERT_FILE"] = AUTHORITY

import httpx2
from mcp import Client


async def main():
    async with Client(TOOLS, mode="legacy") as tools, httpx2.AsyncClient() as http:
        listed = await tools.list_tools()
        offered = [
            {"type": "function", "name": tool.name, "parameters": tool.input_schema} for tool in listed.tools
        ]
        question = {"role": "user", "content": "How is the weather in Köln?"}
        body = {"model": "gpt-9", "input": [question], "tools": offered}
        call = (await http.post(MODEL, json=body)).json()["output"][0]
        arguments = json.loads(call["arguments"])
        result = await tools.call_tool(call["name"], arguments)
        text = result.content[0].text
        told = {"type": "function_call_output", "call_id": call["call_id"], "output": text}
        await http.post(MODEL, json={**body, "input": [question, call, told], "stream": True})
        print(json.dumps({"id": call["call_id"], "name": call["name"], "arguments": arguments, "text": text}), flush=True)


asyncio.run(main())
