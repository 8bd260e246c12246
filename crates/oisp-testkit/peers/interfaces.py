"""What AI services answer, each by its own interface. An answer is decided upon whatever the interface, from what the
request says, and then written as the service writes it, whole or streamed.

The words of a request that decide: `refuse 429` has it refused with this status, `break` ends a stream with an error,
`think` has the model think, and tools are called unless a result (`sunny`) is there. No two answers are the same."""

import base64
import itertools
import json
import re
import struct
import zlib

NUMBERS = itertools.count(1)
TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


class Answer:
    def __init__(self, request):
        said = json.dumps(request, ensure_ascii=False)
        self.number = next(NUMBERS)
        refused = re.search(r"refuse (\d+)", said)
        self.status = int(refused[1]) if refused else 200
        self.failure = f"Nr. {self.number}: nein – „{self.status}“"
        self.breaks = "break" in said
        self.thinking = [f"Gedanke {self.number}", " – noch ", "einer"] if "think" in said else []
        self.pieces = [f"Antwort {self.number}: ", "Grüße", " aus\n\"Köln\" ", "🌦️ \u2028", "!"]
        calls = [("get_weather", {"city": "Köln", "days": self.number}), ("get_time", {"zone": "Europe/Berlin"})]
        asks = (request.get("tools") or request.get("toolConfig")) and "sunny" not in said
        self.calls = [(f"call_{self.number}_{n}", *call) for n, call in enumerate(calls)] if asks else []
        if self.calls:
            self.pieces = []
        self.input, self.output, self.cached, self.reasoned = 100 + self.number, 20 + self.number, 4, 2

    @property
    def text(self):
        return "".join(self.pieces)

    @property
    def thought(self):
        return "".join(self.thinking)


def halves(text):
    return text[: len(text) // 2], text[len(text) // 2 :]


def whole(body):
    return "application/json", [json.dumps(body)]


def sse(events, named=False, end="\n\n", done=False):
    """Server-sent events, the characters of some as they are and of some escaped."""
    texts = []
    for number, event in enumerate(events):
        name = f"event: {event['type']}\n" if named else ""
        texts.append(f"{name}data: {json.dumps(event, ensure_ascii=number % 2 == 0)}{end}")
    return "text/event-stream", texts + ([f"data: [DONE]{end}"] if done else [])


def openai_chat(answer, request, path):
    mistral = "mistral" in request["model"]
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for id, name, arguments in answer.calls
    ]
    usage = {
        "prompt_tokens": answer.input,
        "completion_tokens": answer.output,
        "total_tokens": answer.input + answer.output,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoned},
    }
    finish = "tool_calls" if calls else "stop"
    common = {"id": f"chatcmpl-{answer.number}", "created": 1, "model": f"{request['model']}-2026"}
    thought = lambda text: [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]
    if not request.get("stream"):
        content = answer.text or None
        if mistral and answer.thinking:
            content = [*thought(answer.thought), {"type": "text", "text": answer.text}]
        message = {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return whole({**common, "object": "chat.completion", "choices": [choice], "usage": usage})
    chunk = lambda delta, finish=None, **more: {
        **common,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    events = [chunk({"role": "assistant", "content": ""})]
    if mistral:
        events += [chunk({"content": thought(text)}) for text in answer.thinking]
    events += [chunk({"content": text}) for text in answer.pieces]
    if answer.breaks:
        error = {"message": answer.failure, "type": "server_error", "param": None, "code": "overloaded"}
        return sse([*events[:3], {"error": error}])
    for index, call in enumerate(calls):
        if mistral:
            events.append(chunk({"tool_calls": [{**call, "index": index}]}))
            continue
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        begun = {**call, "index": index, "function": {"name": name, "arguments": ""}}
        events.append(chunk({"tool_calls": [begun]}))
        for half in halves(arguments):
            events.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": half}}]}))
    if mistral:
        events.append(chunk({"content": ""}, finish, usage=usage))
    else:
        events.append(chunk({}, finish))
        if request.get("stream_options", {}).get("include_usage"):
            events.append({**chunk({}), "choices": [], "usage": usage})
    return sse(events, done=True)


def openai_responses(answer, request, path):
    items = []
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thought}]
        items.append({"type": "reasoning", "id": f"rs_{answer.number}", "summary": summary})
    for id, name, arguments in answer.calls:
        call = {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": name, "status": "completed"}
        items.append({**call, "arguments": json.dumps(arguments)})
    if answer.pieces:
        content = [{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}]
        message = {"type": "message", "id": f"msg_{answer.number}", "status": "completed", "role": "assistant"}
        items.append({**message, "content": content})
    response = {
        "id": f"resp_{answer.number}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": f"{request['model']}-2026",
        "output": items,
        "usage": {
            "input_tokens": answer.input,
            "input_tokens_details": {"cached_tokens": answer.cached},
            "output_tokens": answer.output,
            "output_tokens_details": {"reasoning_tokens": answer.reasoned},
            "total_tokens": answer.input + answer.output,
        },
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if not request.get("stream"):
        return whole(response)
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    events = [{"type": "response.created", "response": begun}]
    for place, item in enumerate(items):
        at = {"item_id": item["id"], "output_index": place}
        if item["type"] == "reasoning":
            begun = {**item, "summary": []}
            events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
            kind = "response.reasoning_summary_text.delta"
            events += [{"type": kind, **at, "summary_index": 0, "delta": text} for text in answer.thinking]
        elif item["type"] == "function_call":
            begun = {**item, "arguments": "", "status": "in_progress"}
            events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
            kind = "response.function_call_arguments"
            events += [{"type": f"{kind}.delta", **at, "delta": half} for half in halves(item["arguments"])]
            events.append({"type": f"{kind}.done", **at, "name": item["name"], "arguments": item["arguments"]})
        else:
            begun = {**item, "content": [], "status": "in_progress"}
            events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
            at = {**at, "content_index": 0, "logprobs": []}
            events += [{"type": "response.output_text.delta", **at, "delta": text} for text in answer.pieces]
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    if answer.breaks:
        error = {"type": "error", "code": "server_error", "message": answer.failure, "param": None}
        events = [*events[:4], error]
    else:
        events.append({"type": "response.completed", "response": response})
    return sse([{**event, "sequence_number": number} for number, event in enumerate(events)], named=True)


def anthropic_events(answer, model):
    """The whole message, and the events that it is streamed as."""
    blocks, events = [], []
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": answer.thought, "signature": f"sig{answer.number}"})
    if answer.pieces:
        blocks.append({"type": "text", "text": answer.text})
    blocks += [{"type": "tool_use", "id": id, "name": name, "input": given} for id, name, given in answer.calls]
    counts = {"cache_creation_input_tokens": 2, "cache_read_input_tokens": answer.cached}
    usage = {"input_tokens": answer.input, "output_tokens": answer.output, **counts}
    stop = "tool_use" if answer.calls else "end_turn"
    message = {"id": f"msg_{answer.number}", "type": "message", "role": "assistant", "model": f"{model}-2026"}
    message |= {"content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": usage}
    begun = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events += [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        delta = lambda **delta: {"type": "content_block_delta", "index": index, "delta": delta}
        empty = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}
        begun = {**block, **empty[block["type"]]}
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        if block["type"] == "thinking":
            events += [delta(type="thinking_delta", thinking=text) for text in answer.thinking]
            events.append(delta(type="signature_delta", signature=block["signature"]))
        elif block["type"] == "text":
            events += [delta(type="text_delta", text=text) for text in answer.pieces]
        else:
            pieces = halves(json.dumps(block["input"]))
            events += [delta(type="input_json_delta", partial_json=half) for half in pieces]
        events.append({"type": "content_block_stop", "index": index})
    counted = {"output_tokens": answer.output}
    events.append({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": counted})
    return message, [*events, {"type": "message_stop"}]


def anthropic(answer, request, path):
    message, events = anthropic_events(answer, request["model"])
    if not request.get("stream"):
        return whole(message)
    if answer.breaks:
        error = {"type": "overloaded_error", "message": answer.failure}
        events = [*events[:5], {"type": "error", "error": error, "request_id": None}]
    return sse(events, named=True)


def google(answer, request, path):
    model = re.search(r"models/([^/:]+):", path)[1]
    part = lambda text: {"text": text}
    thoughts = [{"text": text, "thought": True} for text in answer.thinking]
    # Before Gemini 3, calls had no ids.
    calls = [
        {"functionCall": {"name": name, "args": given, **({"id": id} if "stream" in path.lower() else {})}}
        for id, name, given in answer.calls
    ]
    usage = {
        "promptTokenCount": answer.input,
        "candidatesTokenCount": answer.output,
        "thoughtsTokenCount": answer.reasoned,
        "cachedContentTokenCount": answer.cached,
        "totalTokenCount": answer.input + answer.output + answer.reasoned,
    }
    chunk = lambda parts, **more: {
        "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **more}],
        "usageMetadata": usage,
        "modelVersion": f"{model}-2026",
        "responseId": f"r{answer.number}",
    }
    if path.endswith(":generateContent"):
        parts = [{"text": answer.thought, "thought": True}] if thoughts else []
        parts += [part(answer.text)] if answer.pieces else []
        return whole(chunk(parts + calls, finishReason="STOP"))
    parts = [*thoughts, *map(part, answer.pieces), *calls]
    events = [chunk([part]) for part in parts[:-1]] + [chunk([parts[-1]], finishReason="STOP")]
    if answer.breaks:
        events = [*events[:2], {"error": {"code": 503, "message": answer.failure, "status": "UNAVAILABLE"}}]
    return sse(events, end="\r\n\r\n")


def ollama(answer, request, path):
    is_chat = path.endswith("/chat")
    calls = [{"function": {"name": name, "arguments": given}} for _, name, given in answer.calls]
    counts = {"prompt_eval_count": answer.input, "eval_count": answer.output, "total_duration": 5}
    end = {"done": True, "done_reason": "stop", **counts}

    def line(text="", thinking="", **more):
        calls = more.pop("tool_calls", None)
        said = {"thinking": thinking} if thinking else {}
        if is_chat:
            called = {"tool_calls": calls} if calls else {}
            said = {"message": {"role": "assistant", "content": text, **said, **called}}
        else:
            said["response"] = text
        return {"model": f"{request['model']}", "created_at": "2026-01-01T00:00:00Z", **said, **more}

    if not request.get("stream", True):
        return whole(line(answer.text, answer.thought, tool_calls=calls, **end))
    lines = [line(thinking=text, done=False) for text in answer.thinking]
    lines += [line(text, done=False) for text in answer.pieces]
    lines += [line(tool_calls=[call], done=False) for call in calls]
    lines = [*lines[:3], {"error": answer.failure}] if answer.breaks else [*lines, line(**end)]
    return "application/x-ndjson", [json.dumps(line) + "\n" for line in lines]


def ollama_embed(answer, request, path):
    vectors = [[0.5, 1, answer.number] for _ in request["input"]]
    return whole({"model": request["model"], "embeddings": vectors, "prompt_eval_count": answer.input})


def openai_embeddings(answer, request, path):
    vector = base64.b64encode(struct.pack("<4f", 1, 2, 3, answer.number)).decode()
    data = [{"object": "embedding", "index": n, "embedding": vector} for n, _ in enumerate(request["input"])]
    usage = {"prompt_tokens": answer.input, "total_tokens": answer.input}
    return whole({"object": "list", "model": request["model"], "data": data, "usage": usage})


def cohere(answer, request, path):
    usage = {
        "billed_units": {"input_tokens": 3, "output_tokens": 1},
        "tokens": {"input_tokens": answer.input, "output_tokens": answer.output},
    }
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for id, name, given in answer.calls
    ]
    finish = "TOOL_CALL" if calls else "COMPLETE"
    if not request.get("stream"):
        content = [{"type": "thinking", "thinking": answer.thought}] if answer.thinking else []
        content += [{"type": "text", "text": answer.text}] if answer.pieces else []
        message = {"role": "assistant", **({"content": content} if content else {})}
        if calls:
            message |= {"tool_calls": calls}
        return whole({"id": f"c{answer.number}", "finish_reason": finish, "message": message, "usage": usage})
    piece = lambda kind, index, message: {"type": kind, "index": index, "delta": {"message": message}}
    events = [{"type": "message-start", "id": f"c{answer.number}", "delta": {"message": {"role": "assistant"}}}]
    index = 0
    for kind, pieces in (("thinking", answer.thinking), ("text", answer.pieces)):
        if pieces:
            events.append(piece("content-start", index, {"content": {"type": kind, kind: ""}}))
            events += [piece("content-delta", index, {"content": {kind: text}}) for text in pieces]
            events.append({"type": "content-end", "index": index})
            index += 1
    for index, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        begun = {**call, "function": {"name": name, "arguments": ""}}
        events.append(piece("tool-call-start", index, {"tool_calls": begun}))
        for half in halves(arguments):
            events.append(piece("tool-call-delta", index, {"tool_calls": {"function": {"arguments": half}}}))
        events.append({"type": "tool-call-end", "index": index})
    delta = {"finish_reason": finish, "usage": usage}
    if answer.breaks:
        events, delta = events[:4], {"finish_reason": "ERROR", "error": answer.failure}
    return sse([*events, {"type": "message-end", "delta": delta}], named=True, done=True)


def aws_event(name, payload, kind="event"):
    headers = b""
    about = {":event-type" if kind == "event" else ":exception-type": name}
    about |= {":content-type": "application/json", ":message-type": kind}
    for key, value in about.items():
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def converse(answer, request, path):
    usage = {"inputTokens": answer.input, "outputTokens": answer.output, "totalTokens": answer.input + answer.output}
    stop, metrics = "tool_use" if answer.calls else "end_turn", {"latencyMs": 2}
    thought = {"reasoningContent": {"reasoningText": {"text": answer.thought, "signature": "s"}}}
    blocks = [thought] if answer.thinking else []
    blocks += [{"text": answer.text}] if answer.pieces else []
    uses = [{"toolUseId": id, "name": name, "input": given} for id, name, given in answer.calls]
    if path.endswith("/converse"):
        message = {"role": "assistant", "content": blocks + [{"toolUse": use} for use in uses]}
        return whole({"output": {"message": message}, "stopReason": stop, "usage": usage, "metrics": metrics})
    events, index = [aws_event("messageStart", {"role": "assistant"})], 0
    delta = lambda given: aws_event("contentBlockDelta", {"contentBlockIndex": index, "delta": given, "p": "ab"})
    stopped = lambda: aws_event("contentBlockStop", {"contentBlockIndex": index})
    if answer.thinking:
        events += [delta({"reasoningContent": {"text": text}}) for text in answer.thinking]
        events += [delta({"reasoningContent": {"signature": "s"}}), stopped()]
        index += 1
    if answer.pieces:
        events += [*[delta({"text": text}) for text in answer.pieces], stopped()]
        index += 1
    for use in uses:
        start = {"toolUse": {key: use[key] for key in ("toolUseId", "name")}}
        events.append(aws_event("contentBlockStart", {"contentBlockIndex": index, "start": start}))
        events += [delta({"toolUse": {"input": half}}) for half in halves(json.dumps(use["input"]))]
        events.append(stopped())
        index += 1
    events.append(aws_event("messageStop", {"stopReason": stop}))
    events.append(aws_event("metadata", {"usage": usage, "metrics": metrics}))
    if answer.breaks:
        failure = {"message": answer.failure, "originalStatusCode": 500}
        events = [*events[:3], aws_event("modelStreamErrorException", failure, "exception")]
    return "application/vnd.amazon.eventstream", events


def invoke(answer, request, path):
    message, events = anthropic_events(answer, "claude")
    if path.endswith("/invoke"):
        return whole(message)
    encoded = [base64.b64encode(json.dumps(event).encode()).decode() for event in events]
    frames = [aws_event("chunk", {"bytes": event, "p": "abc"}) for event in encoded]
    if answer.breaks:
        frames = [*frames[:4], aws_event("throttlingException", {"message": answer.failure}, "exception")]
    return "application/vnd.amazon.eventstream", frames


def openai_error(answer, request):
    kind = TYPES[answer.status]
    if "mistral" in request.get("model", ""):
        return {"object": "error", "message": answer.failure, "type": kind, "param": None, "code": "1300"}
    return {"error": {"message": answer.failure, "type": kind, "param": None, "code": f"code_{answer.status}"}}


def anthropic_error(answer, request):
    error = {"type": TYPES[answer.status], "message": answer.failure}
    return {"type": "error", "error": error, "request_id": f"req_{answer.number}"}


def google_error(answer, request):
    status = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}[answer.status]
    return {"error": {"code": answer.status, "message": answer.failure, "status": status}}


BEDROCK_ERRORS = {400: "ValidationException", 401: "UnrecognizedClientException", 429: "ThrottlingException"}

# By the end of the path: what writes the answer, and what the refusal.
INTERFACES = {
    ":generateContent": (google, google_error),
    ":streamGenerateContent": (google, google_error),
    "/converse": (converse, lambda answer, request: {"message": answer.failure}),
    "/converse-stream": (converse, lambda answer, request: {"message": answer.failure}),
    "/invoke": (invoke, lambda answer, request: {"message": answer.failure}),
    "/invoke-with-response-stream": (invoke, lambda answer, request: {"message": answer.failure}),
    "/api/chat": (ollama, lambda answer, request: {"error": answer.failure}),
    "/api/generate": (ollama, lambda answer, request: {"error": answer.failure}),
    "/api/embed": (ollama_embed, lambda answer, request: {"error": answer.failure}),
    "/v2/chat": (cohere, lambda answer, request: {"id": f"c{answer.number}", "message": answer.failure}),
    "/v1/responses": (openai_responses, openai_error),
    "/v1/embeddings": (openai_embeddings, openai_error),
    "/v1/chat/completions": (openai_chat, openai_error),
    "/v1/messages": (anthropic, anthropic_error),
}


def respond(path, request):
    """Status, further headers, media type and the pieces of the body."""
    found = next((both for end, both in INTERFACES.items() if path.endswith(end)), None)
    if found is None:
        return 404, {}, *whole({"error": {"message": f"nothing at {path}"}})
    answer = Answer(request)
    if answer.status >= 400:
        headers = {"x-amzn-errortype": BEDROCK_ERRORS[answer.status]} if "/model/" in path else {}
        return answer.status, headers, *whole(found[1](answer, request))
    return 200, {}, *found[0](answer, request, path)
