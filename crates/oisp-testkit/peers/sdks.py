"""Calls an AI service through its own SDK, one call after the other; prints for each, as a line of JSON, what was asked
and what the SDK understood of the answer.

Takes the name of an SDK, the file of the authority to trust, and the server's URLs: of one that speaks HTTP/1.1, and of
one that speaks HTTP/2, which the SDKs that can are told to speak."""

import json
import os
import sys

import sdk_clients as sdks
from sdk_bedrock import Bedrock, BedrockInvoke, exchanges

NAME, AUTHORITY, *BASES = sys.argv[1:]
os.environ["SSL_CERT_FILE"] = AUTHORITY

SYSTEM = "Be kind – and brief."

SDKS = {
    "openai": [sdks.OpenAiChat, sdks.OpenAiResponses],
    "openai-async": [sdks.AsyncOpenAiChat, sdks.AsyncOpenAiResponses],
    "anthropic": [sdks.Anthropic],
    "google": [sdks.Google],
    "ollama": [sdks.Ollama, sdks.OllamaGenerate],
    "cohere": [sdks.Cohere],
    "mistral": [sdks.Mistral],
    "bedrock": [Bedrock, BedrockInvoke],
}


class Understood:
    """What is known of an answer so far."""

    def __init__(self):
        self.model = self.finish = self.usage = self.error = self.embedding = None
        self.text = self.thinking = ""
        self.calls = []


def note_exchanges():
    """Of all that goes through httpx, under either of its names."""
    import httpx
    import httpx2

    def noting(send):
        def noted(self, request, **more):
            response = send(self, request, **more)
            exchanges.append([str(request.url), response.http_version.removeprefix("HTTP/")])
            return response

        return noted

    def noting_later(send):
        async def noted(self, request, **more):
            response = await send(self, request, **more)
            exchanges.append([str(request.url), response.http_version.removeprefix("HTTP/")])
            return response

        return noted

    for module in (httpx, httpx2):
        module.Client.send = noting(module.Client.send)
        module.AsyncClient.send = noting_later(module.AsyncClient.send)


def say(sdk, kind, asked, into):
    [[url, version]] = exchanges
    exchanges.clear()
    about = {"sdk": type(sdk).__name__, "kind": kind, "speaks": sdk.speaks, "url": url, "http": version}
    about |= {"pid": os.getpid(), "exe": sys.executable}
    print(json.dumps({**about, "asked": asked, "understood": vars(into)}), flush=True)


def attempt(sdk, kind, turns, tools=False, stream=False):
    into = Understood()
    asked = {"model": sdk.model, "stream": stream, "tools": list(sdks.TOOLS) if tools else []}
    asked["messages"] = [[turn["role"], turn["text"]] for turn in turns]
    asked["results"] = [[turn["id"], turn["name"], turn["text"]] for turn in turns if turn["role"] == "tool"]
    try:
        sdk.ask(turns, tools, stream, into)
    except sdk.failures() as error:
        into.error = sdk.failure(error)
    say(sdk, kind, asked, into)
    return into


def converse(sdk):
    talk = lambda words: [{"role": "system", "text": SYSTEM}, {"role": "user", "text": words}]
    for stream in (False, True):
        how = "stream" if stream else "whole"
        attempt(sdk, how, talk("Sag »hallo« 👋" + (", think first" if sdk.can_think else "")), stream=stream)
        if sdk.can_call:
            turns = talk(f"Weather? ({how})")
            called = attempt(sdk, f"{how} tools", turns, tools=True, stream=stream).calls
            turns.append({"role": "assistant", "text": "", "calls": called})
            for id, name, _ in called:
                turns.append({"role": "tool", "id": id, "name": name, "text": f"sunny, says {name} {how} ☀"})
            attempt(sdk, f"{how} results", turns, tools=True, stream=stream)
        for status in (400, 401, 429):
            attempt(sdk, f"{how} {status}", talk(f"refuse {status}"), stream=stream)
    if sdk.can_break:
        attempt(sdk, "break", talk("break"), stream=True)
    if sdk.can_embed:
        into = Understood()
        sdk.embed(["a", "b"], into)
        say(sdk, "embedding", {"model": sdk.model}, into)


note_exchanges()
for number, base in enumerate(BASES):
    for kind in SDKS[NAME]:
        converse(kind(base, number == 1, AUTHORITY))
