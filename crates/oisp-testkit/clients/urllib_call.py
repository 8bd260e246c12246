"""Calls a provider with Python's own HTTP client and prints what it understood, one JSON object a line.

Nothing but the standard library: the TLS calls are CPython's, which are SSL_read_ex and SSL_write_ex.
"""

import argparse
import json
import ssl
import sys
import urllib.request

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--provider", choices=sorted(PATHS), required=True)
    parser.add_argument("--ca")
    parser.add_argument("--model", default="fake")
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    context = ssl.create_default_context(cafile=arguments.ca)
    for number in range(arguments.requests):
        print(json.dumps(call(arguments, context, number)), flush=True)


def question(arguments, number):
    """Headers and body of a call."""
    body = {
        "model": arguments.model,
        "messages": [{"role": "user", "content": message(number, arguments.bytes)}],
        "stream": arguments.stream,
    }
    headers = {"Content-Type": "application/json"}
    if arguments.provider == "openai":
        headers["Authorization"] = "Bearer dummy"
        if arguments.stream:
            body["stream_options"] = {"include_usage": True}
    else:
        headers["x-api-key"] = "dummy"
        headers["anthropic-version"] = "2023-06-01"
        body["max_tokens"] = 4096
    return headers, json.dumps(body).encode()


def call(arguments, context, number):
    headers, body = question(arguments, number)
    request = urllib.request.Request(arguments.base + PATHS[arguments.provider], body, headers)
    with urllib.request.urlopen(request, context=context) as response:
        if not arguments.stream:
            return from_body(arguments.provider, json.load(response))
        return from_events(arguments.provider, response)


def message(number, size):
    """Text of exactly `size` bytes, different for each request."""
    return (f"Request {number}. " + "Tell me what you see. " * (size // 20 + 1))[:size]


def from_body(provider, body):
    if provider == "openai":
        text = body["choices"][0]["message"]["content"]
    else:
        text = "".join(block.get("text", "") for block in body["content"])
    return {"id": body["id"], "text": text, "usage": body["usage"]}


def from_events(provider, lines):
    answer = {"id": None, "text": "", "usage": {}}
    for line in lines:
        if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
            continue
        event = json.loads(line[6:])
        if provider == "openai":
            answer["id"] = event["id"]
            for choice in event["choices"]:
                answer["text"] += choice["delta"].get("content") or ""
            answer["usage"] = event.get("usage") or answer["usage"]
        elif event["type"] == "message_start":
            answer["id"] = event["message"]["id"]
            answer["usage"] = event["message"]["usage"]
        elif event["type"] == "content_block_delta":
            answer["text"] += event["delta"].get("text", "")
        elif event["type"] == "message_delta":
            answer["usage"].update(event["usage"])
    return answer


if __name__ == "__main__":
    sys.exit(main())
