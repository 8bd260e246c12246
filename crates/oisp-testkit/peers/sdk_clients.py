"""The AI services' SDKs, one class for an interface: `ask` says something, and fills in what the SDK understood."""

import asyncio
import contextlib
import json

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "zone": {"type": "string"}}}
TOOLS = {"get_weather": "The weather", "get_time": "The time"}
FUNCTIONS = [
    {"type": "function", "function": {"name": name, "description": about, "parameters": SCHEMA}}
    for name, about in TOOLS.items()
]

class Sdk:
    """What is asked is a conversation of turns; what is understood is filled in piece by piece. What the SDK raises is
    raised."""

    # Who speaks as this service does.
    speaks = "openai_compatible"
    can_call = can_think = can_break = True
    can_embed = False

    def run(self, answer):
        return answer

    def each(self, stream):
        return iter(stream)


class Asynchronous:
    """The same SDK's client for asyncio."""

    def __init__(self, *arguments):
        self.loop = asyncio.new_event_loop()
        super().__init__(*arguments)

    def run(self, answer):
        return self.loop.run_until_complete(answer)

    def each(self, stream):
        events = aiter(stream)
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self.run(anext(events))


def functions_called(calls):
    return [
        {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for id, name, given in calls
    ]


def chat_messages(turns):
    """As OpenAI has them, and others after it."""
    messages = []
    for turn in turns:
        message = {"role": turn["role"], "content": turn["text"]}
        if turn.get("calls"):
            message |= {"content": turn["text"] or None, "tool_calls": functions_called(turn["calls"])}
        if turn["role"] == "tool":
            message["tool_call_id"] = turn["id"]
        messages.append(message)
    return messages


class OpenAi(Sdk):
    model = "gpt-5"

    def __init__(self, base, http2, authority):
        import openai

        more = {"http_client": self.transport(openai)(http2=True)} if http2 else {}
        self.client = self.kind(openai)(api_key="sk-proj-" + "x" * 40, base_url=f"{base}/v1", max_retries=0, **more)

    def kind(self, openai):
        return openai.OpenAI

    def transport(self, openai):
        return openai.DefaultHttpxClient

    def failures(self):
        import openai

        return openai.APIError

    def failure(self, error):
        # Raised in the middle of a stream, it has no status.
        return [error.body["type"], error.body["message"], getattr(error, "status_code", None)]


class OpenAiChat(OpenAi):
    can_think = False

    def ask(self, turns, tools, stream, into):
        more = {"tools": FUNCTIONS} if tools else {}
        if stream:
            more |= {"stream": True, "stream_options": {"include_usage": True}}
        create = self.client.chat.completions.create
        answer = self.run(create(model=self.model, messages=chat_messages(turns), **more))
        calls = {}
        for chunk in self.each(answer) if stream else [answer]:
            into.model = chunk.model
            if chunk.usage:
                into.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
            for choice in chunk.choices:
                said = choice.delta if stream else choice.message
                into.text += said.content or ""
                into.finish = choice.finish_reason or into.finish
                for number, call in enumerate(said.tool_calls or []):
                    index = call.index if stream else number
                    known = calls.setdefault(index, [call.id, call.function.name, ""])
                    known[2] += call.function.arguments
        into.calls = [[id, name, json.loads(given)] for id, name, given in calls.values()]


class OpenAiResponses(OpenAi):
    can_embed = True

    def ask(self, turns, tools, stream, into):
        given = []
        for turn in turns[1:]:
            for id, name, arguments in turn.get("calls", []):
                call = {"type": "function_call", "call_id": id, "name": name, "arguments": json.dumps(arguments)}
                given.append(call)
            if turn["role"] == "tool":
                given.append({"type": "function_call_output", "call_id": turn["id"], "output": turn["text"]})
            elif not turn.get("calls"):
                given.append({"role": turn["role"], "content": turn["text"]})
        more = {"tools": [{"type": "function", **tool["function"]} for tool in FUNCTIONS]} if tools else {}
        create = self.client.responses.create
        more |= {"stream": True} if stream else {}
        answer = self.run(create(model=self.model, instructions=turns[0]["text"], input=given, **more))
        if stream:
            for event in self.each(answer):
                if event.type == "response.output_text.delta":
                    into.text += event.delta
                if event.type == "response.reasoning_summary_text.delta":
                    into.thinking += event.delta
                if event.type == "response.completed":
                    answer = event.response
                # It is no exception to this SDK.
                if event.type == "error":
                    into.error = [None, event.message, None]
                if event.type == "response.created":
                    into.model = event.response.model
            if into.error:
                return
        else:
            into.text = answer.output_text
            for item in answer.output:
                into.thinking += "".join(part.text for part in item.summary) if item.type == "reasoning" else ""
        into.model, into.finish = answer.model, answer.status
        into.usage = [answer.usage.input_tokens, answer.usage.output_tokens]
        called = [item for item in answer.output if item.type == "function_call"]
        into.calls = [[call.call_id, call.name, json.loads(call.arguments)] for call in called]

    def embed(self, texts, into):
        self.model = "text-embedding-3-small"
        answer = self.run(self.client.embeddings.create(model=self.model, input=texts))
        into.model, into.usage = answer.model, [answer.usage.prompt_tokens, None]
        into.embedding = [len(answer.data), len(answer.data[0].embedding)]


class AsyncOpenAiChat(Asynchronous, OpenAiChat):
    def kind(self, openai):
        return openai.AsyncOpenAI

    def transport(self, openai):
        return openai.DefaultAsyncHttpxClient


class AsyncOpenAiResponses(Asynchronous, OpenAiResponses):
    kind, transport = AsyncOpenAiChat.kind, AsyncOpenAiChat.transport


def anthropic_messages(turns):
    messages = []
    for turn in turns:
        if turn["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": turn["id"], "content": turn["text"]}
            if messages[-1]["role"] == "assistant":
                messages.append({"role": "user", "content": []})
            messages[-1]["content"].append(result)
        elif turn.get("calls"):
            use = lambda id, name, given: {"type": "tool_use", "id": id, "name": name, "input": given}
            messages.append({"role": "assistant", "content": [use(*call) for call in turn["calls"]]})
        else:
            messages.append({"role": turn["role"], "content": turn["text"]})
    return messages


ANTHROPIC_TOOLS = [{"name": name, "description": about, "input_schema": SCHEMA} for name, about in TOOLS.items()]


def anthropic_usage(usage):
    written, read = usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]
    return [usage["input_tokens"] + written + read, usage["output_tokens"]]


class Anthropic(Sdk):
    speaks = "anthropic_compatible"
    model = "claude-opus-4-5"

    def __init__(self, base, http2, authority):
        import anthropic

        more = {"http_client": anthropic.DefaultHttpxClient(http2=True)} if http2 else {}
        self.client = anthropic.Anthropic(api_key="sk-ant-" + "x" * 40, base_url=base, max_retries=0, **more)

    def ask(self, turns, tools, stream, into):
        more = {"tools": ANTHROPIC_TOOLS} if tools else {}
        if "think" in turns[1]["text"]:
            more["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        more |= {"model": self.model, "max_tokens": 2048, "system": turns[0]["text"]}
        more["messages"] = anthropic_messages(turns[1:])
        if stream:
            with self.client.messages.stream(**more) as events:
                for event in events:
                    into.text += event.text if event.type == "text" else ""
                    into.thinking += event.thinking if event.type == "thinking" else ""
                    if event.type == "message_start":
                        into.model = event.message.model
                        into.usage = anthropic_usage(event.message.usage.model_dump())
                answer = events.get_final_message()
        else:
            answer = self.client.messages.create(**more)
            into.text = "".join(block.text for block in answer.content if block.type == "text")
            into.thinking = "".join(block.thinking for block in answer.content if block.type == "thinking")
        into.model, into.finish = answer.model, answer.stop_reason
        into.usage = anthropic_usage(answer.usage.model_dump())
        into.calls = [[block.id, block.name, block.input] for block in answer.content if block.type == "tool_use"]

    def failures(self):
        import anthropic

        return anthropic.APIStatusError

    def failure(self, error):
        said = error.body["error"]
        # In a stream, the answer's status was 200.
        return [said["type"], said["message"], error.status_code]


class Google(Sdk):
    speaks = "gemini_compatible"
    model = "gemini-2.5-flash"

    def __init__(self, base, http2, authority):
        from google import genai
        from google.genai import types

        more = {"client_args": {"http2": True}} if http2 else {}
        options = types.HttpOptions(base_url=base, **more)
        self.client = genai.Client(api_key="AIza" + "x" * 35, http_options=options)

    def ask(self, turns, tools, stream, into):
        contents = []
        for turn in turns[1:]:
            parts = [{"text": turn["text"]}] if turn["text"] and turn["role"] != "tool" else []
            for id, name, given in turn.get("calls", []):
                parts.append({"function_call": {"id": id, "name": name, "args": given}})
            if turn["role"] == "tool":
                result = {"id": turn["id"], "name": turn["name"], "response": {"output": turn["text"]}}
                parts.append({"function_response": result})
            contents.append({"role": "model" if turn["role"] == "assistant" else "user", "parts": parts})
        config = {"system_instruction": turns[0]["text"]}
        if tools:
            declared = [{"name": name, "description": about, "parameters": SCHEMA} for name, about in TOOLS.items()]
            config["tools"] = [{"function_declarations": declared}]
        models = self.client.models
        call = models.generate_content_stream if stream else models.generate_content
        answer = call(model=self.model, contents=contents, config=config)
        for chunk in answer if stream else [answer]:
            candidate = chunk.candidates[0]
            into.model = chunk.model_version
            into.finish = candidate.finish_reason.value if candidate.finish_reason else into.finish
            usage = chunk.usage_metadata
            into.usage = [usage.prompt_token_count, usage.candidates_token_count + usage.thoughts_token_count]
            for part in candidate.content.parts:
                if part.thought:
                    into.thinking += part.text
                elif part.function_call:
                    into.calls.append([part.function_call.id, part.function_call.name, part.function_call.args])
                else:
                    into.text += part.text

    def failures(self):
        from google.genai import errors

        return errors.APIError

    def failure(self, error):
        return [error.status, error.message, error.code]


class Ollama(Sdk):
    speaks = "ollama"
    model = "llama3"
    can_embed = True

    def __init__(self, base, http2, authority):
        import ollama

        self.client = ollama.Client(host=base, verify=authority, **({"http2": True} if http2 else {}))

    def request(self, turns, tools, stream):
        messages = []
        for turn in turns:
            calls = [{"function": {"name": name, "arguments": given}} for _, name, given in turn.get("calls", [])]
            named = {"tool_name": turn["name"]} if turn["role"] == "tool" else {}
            called = {"tool_calls": calls} if calls else {}
            messages.append({"role": turn["role"], "content": turn["text"], **called, **named})
        more = {"tools": FUNCTIONS} if tools else {}
        return self.client.chat(model=self.model, messages=messages, stream=stream, **more)

    def ask(self, turns, tools, stream, into):
        answer = self.request(turns, tools, stream)
        for piece in answer if stream else [answer]:
            said = piece if hasattr(piece, "response") else piece.message
            into.model, into.finish = piece.model, piece.done_reason
            into.text += (said.response if said is piece else said.content) or ""
            into.thinking += said.thinking or ""
            for call in getattr(said, "tool_calls", None) or []:
                into.calls.append([None, call.function.name, dict(call.function.arguments)])
            if piece.done:
                into.usage = [piece.prompt_eval_count, piece.eval_count]

    def embed(self, texts, into):
        self.model = "nomic"
        answer = self.client.embed(model=self.model, input=texts)
        into.model, into.usage = answer.model, [answer.prompt_eval_count, None]
        into.embedding = [len(answer.embeddings), len(answer.embeddings[0])]

    def failures(self):
        import ollama

        return ollama.ResponseError

    def failure(self, error):
        # As above.
        return [None, error.error, error.status_code if error.status_code > 0 else None]


class OllamaGenerate(Ollama):
    can_call = can_embed = False

    def request(self, turns, tools, stream):
        system, user = turns
        return self.client.generate(model=self.model, system=system["text"], prompt=user["text"], stream=stream)


class Cohere(Sdk):
    speaks = "cohere_compatible"
    model = "command-a-03-2025"

    def __init__(self, base, http2, authority):
        import cohere
        import httpx

        more = {"httpx_client": httpx.Client(http2=True)} if http2 else {}
        self.client = cohere.ClientV2(api_key="x" * 40, base_url=base, max_retries=0, **more)

    def ask(self, turns, tools, stream, into):
        more = {"tools": FUNCTIONS} if tools else {}
        more |= {"model": self.model, "messages": chat_messages(turns)}
        count = lambda usage: [int(usage.tokens.input_tokens), int(usage.tokens.output_tokens)]
        called = []
        if not stream:
            answer = self.client.chat(**more)
            for part in answer.message.content or []:
                into.text += part.text if part.type == "text" else ""
                into.thinking += part.thinking if part.type == "thinking" else ""
            for call in answer.message.tool_calls or []:
                called.append([call.id, call.function.name, call.function.arguments])
            into.finish, into.usage = answer.finish_reason, count(answer.usage)
        else:
            for event in self.client.chat_stream(**more):
                said = getattr(getattr(event, "delta", None), "message", None)
                if event.type == "content-delta":
                    into.text += said.content.text or ""
                    into.thinking += said.content.thinking or ""
                if event.type == "tool-call-start":
                    call = said.tool_calls
                    called.append([call.id, call.function.name, call.function.arguments])
                if event.type == "tool-call-delta":
                    called[-1][2] += said.tool_calls.function.arguments
                if event.type == "message-end":
                    into.finish = event.delta.finish_reason
                    into.usage = count(event.delta.usage) if event.delta.usage else None
                    # It is no exception to this SDK.
                    into.error = [None, event.delta.error, None] if event.delta.error else None
        into.calls = [[id, name, json.loads(given)] for id, name, given in called]

    def failures(self):
        from cohere.core.api_error import ApiError

        return ApiError

    def failure(self, error):
        return [None, error.body["message"], error.status_code]


class Mistral(Sdk):
    model = "mistral-large-latest"
    # Its interface has no error in the middle of a stream.
    can_break = False

    def __init__(self, base, http2, authority):
        import httpx2
        from mistralai.client import Mistral as Client

        more = {"client": httpx2.Client(http2=True, follow_redirects=True)} if http2 else {}
        self.client = Client(api_key="x" * 32, server_url=base, **more)

    def ask(self, turns, tools, stream, into):
        more = {"tools": FUNCTIONS} if tools else {}
        ask = self.client.chat.stream if stream else self.client.chat.complete
        answer = ask(model=self.model, messages=chat_messages(turns), **more)
        for chunk in (event.data for event in answer) if stream else [answer]:
            into.model, choice = chunk.model, chunk.choices[0]
            said = choice.delta if stream else choice.message
            for part in [said.content] if isinstance(said.content, str) else said.content or []:
                if isinstance(part, str):
                    into.text += part
                elif part.type == "thinking":
                    into.thinking += "".join(thought.text for thought in part.thinking)
                else:
                    into.text += part.text
            for call in said.tool_calls or []:
                into.calls.append([call.id, call.function.name, json.loads(call.function.arguments)])
            into.finish = choice.finish_reason
            if chunk.usage:
                into.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]

    def failures(self):
        from mistralai.client.errors import MistralError

        return MistralError

    def failure(self, error):
        body = json.loads(error.body)
        return [body["type"], body["message"], error.status_code]
