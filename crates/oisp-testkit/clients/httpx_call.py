"""Calls a provider with httpx over HTTP/2 and prints what it understood, one JSON object a line.

All calls go out at once on one connection, so their streams interleave. Without TLS httpx speaks HTTP/1.1 unless
it is told that the server knows HTTP/2.
"""

import asyncio
import json
import ssl
import sys

import httpx

from urllib_call import PATHS, from_body, from_events, parse_arguments, question


async def main():
    arguments = parse_arguments()
    context = ssl.create_default_context(cafile=arguments.ca)
    plain = arguments.base.startswith("http:")
    async with httpx.AsyncClient(
        http1=not plain, http2=True, verify=context, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=1)
    ) as client:
        calls = (call(client, arguments, number) for number in range(arguments.requests))
        for answer in await asyncio.gather(*calls):
            print(json.dumps(answer), flush=True)


async def call(client, arguments, number):
    headers, body = question(arguments, number)
    url = arguments.base + PATHS[arguments.provider]
    async with client.stream("POST", url, content=body, headers=headers) as response:
        response.raise_for_status()
        if response.http_version != "HTTP/2":
            raise SystemExit(f"the provider speaks {response.http_version}")
        content = await response.aread()
    if not arguments.stream:
        return from_body(arguments.provider, json.loads(content))
    return from_events(arguments.provider, content.splitlines(keepends=True))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
