"""Calls an Anthropic-compatible provider with Anthropic's SDK and prints what it understood, one JSON object a
line.

The certificate is named by SSL_CERT_FILE, as a user would name it.
"""

import argparse
import json
import sys

import anthropic


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    arguments = parser.parse_args()
    client = anthropic.Anthropic(base_url=arguments.base, api_key="dummy", max_retries=0)
    for number in range(arguments.requests):
        print(json.dumps(call(client, arguments, number)), flush=True)


def call(client, arguments, number):
    question = {
        "model": arguments.model,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": message(number, arguments.bytes)}],
    }
    if arguments.stream:
        with client.messages.stream(**question) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**question)
    return {
        "id": answer.id,
        "text": "".join(block.text for block in answer.content if block.type == "text"),
        "usage": answer.usage.model_dump(exclude_none=True),
    }


def message(number, size):
    """Text of exactly `size` bytes, different for each request."""
    return (f"Request {number}. " + "Tell me what you see. " * (size // 20 + 1))[:size]


if __name__ == "__main__":
    sys.exit(main())
