"""Calls OpenAI's Responses interface over a WebSocket and prints what it understood, one JSON object a line.

All calls go over one connection, one after the other.
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect

from urllib_call import message, parse_arguments


async def main():
    arguments = parse_arguments()
    url = "ws" + arguments.base.removeprefix("http") + "/v1/responses"
    context = ssl.create_default_context(cafile=arguments.ca) if url.startswith("wss:") else None
    headers = {"Authorization": "Bearer dummy"}
    async with connect(url, ssl=context, additional_headers=headers, proxy=None, max_size=None) as socket:
        for number in range(arguments.requests):
            print(json.dumps(await call(socket, arguments, number)), flush=True)


async def call(socket, arguments, number):
    question = {
        "type": "response.create",
        "model": arguments.model,
        "input": message(number, arguments.bytes),
    }
    await socket.send(json.dumps(question))
    answer = {"id": None, "text": "", "usage": {}}
    async for text in socket:
        event = json.loads(text)
        if event["type"] == "error":
            raise SystemExit(text)
        if event["type"] == "response.output_text.delta":
            answer["text"] += event["delta"]
        if event["type"] == "response.completed":
            answer["id"] = event["response"]["id"]
            answer["usage"] = event["response"]["usage"]
            return answer
    raise SystemExit("the connection ended before the answer")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
