"""Calls an OpenAI-compatible provider with OpenAI's SDK and prints what it understood, one JSON object a line.

The certificate is named by SSL_CERT_FILE, as a user would name it.
"""

import argparse
import json
import sys

import openai


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    arguments = parser.parse_args()
    client = openai.OpenAI(base_url=arguments.base + "/v1", api_key="dummy", max_retries=0)
    for number in range(arguments.requests):
        print(json.dumps(call(client, arguments, number)), flush=True)


def call(client, arguments, number):
    question = {
        "model": arguments.model,
        "messages": [{"role": "user", "content": message(number, arguments.bytes)}],
    }
    if not arguments.stream:
        completion = client.chat.completions.create(**question)
        return {
            "id": completion.id,
            "text": completion.choices[0].message.content,
            "usage": completion.usage.model_dump(exclude_none=True),
        }
    answer = {"id": None, "text": "", "usage": {}}
    stream = client.chat.completions.create(
        **question, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        answer["id"] = chunk.id
        for choice in chunk.choices:
            answer["text"] += choice.delta.content or ""
        if chunk.usage:
            answer["usage"] = chunk.usage.model_dump(exclude_none=True)
    return answer


def message(number, size):
    """Text of exactly `size` bytes, different for each request."""
    return (f"Request {number}. " + "Tell me what you see. " * (size // 20 + 1))[:size]


if __name__ == "__main__":
    sys.exit(main())
