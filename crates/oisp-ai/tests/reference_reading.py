"""Reads recorded exchanges of OpenAI's, Anthropic's, Google's, AWS Bedrock's and Cohere's interfaces in the plainest way
there is, so that a test can compare. Takes the path of exchanges.jsonl; prints a JSON object a line."""

import base64
import gzip
import json
import re
import struct
import sys
from urllib.parse import unquote, urlsplit


def raw_body(exchange, side):
    text = exchange.get(side + "_body")
    if text is not None:
        return text.encode("utf-8")
    raw = base64.b64decode(exchange.get(side + "_body_base64") or "")
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def body(exchange, side):
    return raw_body(exchange, side).decode("utf-8")


def aws_frames(raw):
    """(event type, payload) of each message; the checksums are not looked at."""
    while raw:
        total, header_length = struct.unpack(">II", raw[:8])
        headers, payload, raw = raw[12 : 12 + header_length], raw[12 + header_length : total - 4], raw[total:]
        names = {}
        while headers:
            name_end = 1 + headers[0]
            assert headers[name_end] == 7, "all recorded headers are texts"
            (length,) = struct.unpack(">H", headers[name_end + 1 : name_end + 3])
            value_end = name_end + 3 + length
            names[headers[1:name_end].decode()] = headers[name_end + 3 : value_end].decode()
            headers = headers[value_end:]
        yield names[":event-type"], json.loads(payload)


def invoked_response(exchange):
    """What Claude answers on Bedrock: streamed, each frame holds an event in base64; as events of an SSE body it
    is the same."""
    raw = raw_body(exchange, "response")
    if raw[:1] == b"{":
        return anthropic_response(raw.decode("utf-8"))
    events = [base64.b64decode(payload["bytes"]).decode("utf-8") for kind, payload in aws_frames(raw) if kind == "chunk"]
    return anthropic_response("".join("data: " + event + "\n\n" for event in events))


def converse_blocks(blocks):
    """Converse's blocks as the other readings expect them."""
    out = []
    for block in blocks:
        ((kind, inner),) = block.items()
        if kind == "text":
            out.append({"type": "text", "text": inner})
        elif kind == "guardContent":
            out.append({"type": "text", "text": inner["text"]["text"]})
        elif kind == "json":
            out.append({"type": "text", "text": json.dumps(inner, separators=(",", ":"), ensure_ascii=False)})
        elif kind == "toolUse":
            out.append({"type": "tool_use", "id": inner["toolUseId"], "name": inner["name"], "input": inner["input"]})
        elif kind == "toolResult":
            content = converse_blocks(inner["content"])
            out.append({"type": "tool_result", "tool_use_id": inner["toolUseId"], "content": content})
        elif kind == "reasoningContent":
            out.append({"type": "thinking", "thinking": inner.get("reasoningText", {}).get("text", "")})
        elif kind == "citationsContent":
            out.append({"type": "text", "text": "".join(c["text"] for c in inner["content"])})
        else:
            out.append({"type": kind})
    return out


def converse_request(request):
    return {
        "system": converse_blocks(b for b in request.get("system") or [] if "text" in b),
        "messages": [{"role": m["role"], "content": converse_blocks(m["content"])} for m in request["messages"]],
    }


def converse_response(exchange):
    raw = raw_body(exchange, "response")
    if raw[:1] == b"{":
        answer = json.loads(raw)
        blocks = converse_blocks(answer["output"]["message"]["content"])
        stop, usage = answer["stopReason"], answer["usage"]
    else:
        found, stop, usage = {}, None, None
        for kind, event in aws_frames(raw):
            block = found.setdefault(event.get("contentBlockIndex"), {"said": "", "thought": "", "input": "", "call": None})
            if kind == "contentBlockStart":
                block["call"] = event["start"].get("toolUse")
            elif kind == "contentBlockDelta":
                delta = event["delta"]
                block["said"] += delta.get("text", "")
                block["thought"] += delta.get("reasoningContent", {}).get("text", "")
                block["input"] += delta.get("toolUse", {}).get("input", "")
            elif kind == "messageStop":
                stop = event["stopReason"]
            elif kind == "metadata":
                usage = event["usage"]
        blocks = []
        for block in (found[index] for index in sorted(i for i in found if i is not None)):
            if block["call"]:
                call = block["call"]
                blocks.append({"type": "tool_use", "id": call["toolUseId"], "name": call["name"], "json": block["input"]})
            elif block["thought"]:
                blocks.append({"type": "thinking", "thinking": block["thought"]})
            elif block["said"]:
                blocks.append({"type": "text", "text": block["said"]})
    read = usage.get("cacheReadInputTokens")
    total = usage["inputTokens"] + (read or 0) + (usage.get("cacheWriteInputTokens") or 0)
    return {
        "model": None,
        "text": texts(blocks),
        "reasoning": "\n".join(b["thinking"] for b in blocks if b["type"] == "thinking" and b["thinking"]),
        "calls": [
            [b["id"], b["name"], b["json"] if "json" in b else json.dumps(b["input"])] for b in blocks if b["type"] == "tool_use"
        ],
        "usage": [total, usage["outputTokens"], total + usage["outputTokens"], read, None],
        "finish": stop,
    }


def cohere_response(text):
    if text.lstrip().startswith("{"):
        answer = json.loads(text)
        message = answer["message"]
        parts, calls, plan = message.get("content") or [], message.get("tool_calls") or [], message.get("tool_plan")
        stop, usage = answer["finish_reason"], answer["usage"]
    else:
        parts, calls, plan, stop, usage = [], [], "", None, None
        for event in sse(text):
            kind, delta = event["type"], event.get("delta") or {}
            message = delta.get("message") or {}
            if kind == "content-start":
                parts.append(dict({"text": "", "thinking": ""}, **message["content"]))
            elif kind == "content-delta":
                for key, piece in message["content"].items():
                    if key in ("text", "thinking"):
                        parts[event["index"]][key] += piece
            elif kind == "tool-plan-delta":
                plan += message["tool_plan"]
            elif kind == "tool-call-start":
                calls.append(message["tool_calls"])
            elif kind == "tool-call-delta":
                calls[event["index"]]["function"]["arguments"] += message["tool_calls"]["function"]["arguments"]
            elif kind == "message-end":
                stop, usage = delta["finish_reason"], delta["usage"]
    counts = usage.get("tokens") or usage["billed_units"]
    total = counts["input_tokens"] + counts["output_tokens"]
    thoughts = [p["thinking"] for p in parts if p["type"] == "thinking"] + [plan or ""]
    return {
        "model": None,
        "text": texts(parts),
        "reasoning": "\n".join(t for t in thoughts if t),
        "calls": [[c["id"], c["function"]["name"], c["function"]["arguments"]] for c in calls],
        "usage": [counts["input_tokens"], counts["output_tokens"], total, usage.get("cached_tokens"), None],
        "finish": stop,
    }


def sse(text):
    """Blocks are separated by an empty line; only `data:` lines matter here."""
    for block in re.split(r"(?:\r\n|\n|\r){2}", text):
        lines = [line[5:].removeprefix(" ") for line in re.split(r"\r\n|\n|\r", block) if line.startswith("data:")]
        data = "\n".join(lines)
        if data and data != "[DONE]":
            yield json.loads(data)


def texts(content):
    if content is None:
        return None
    if isinstance(content, str):
        return content
    # Some leave the type out.
    found = [part["text"] if "text" in part else part["content"] for part in content if part.get("type", "text") == "text"]
    return "\n".join(found) if found else None


def chat_request(request):
    roles = {"developer": "system"}
    return [[roles.get(m["role"], m["role"]), texts(m.get("content")), m.get("tool_call_id")] for m in request["messages"]]


def anthropic_request(request):
    out = []
    if request.get("system"):
        out.append(["system", texts(request["system"]), None])
    for message in request["messages"]:
        content = message["content"]
        if isinstance(content, str):
            out.append([message["role"], content, None])
            continue
        run = []
        any_result = False
        for part in content + [None]:
            if part is None or part["type"] == "tool_result":
                shown = [p for p in run if not p["type"].endswith("tool_use")]
                if shown or (part is None and not any_result):
                    out.append([message["role"], texts(shown), None])
                run = []
            if part is not None and part["type"] == "tool_result":
                any_result = True
                out.append(["tool", texts(part.get("content")), part["tool_use_id"]])
            elif part is not None:
                run.append(part)
    return out


def chat_usage(usage, xai):
    if not usage:
        return None
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    completion = usage["completion_tokens"] + (reasoning or 0 if xai else 0)
    # Together has it beside the others.
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", usage.get("cached_tokens"))
    return [usage["prompt_tokens"], completion, usage["total_tokens"], cached, reasoning]


def chat_calls(message):
    calls = [[c["id"], c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls") or []]
    old = message.get("function_call")
    return calls + ([[None, old["name"], old["arguments"]]] if old else [])


def written(content):
    """Cloudflare gives JSON as such."""
    return json.dumps(content, separators=(",", ":"), sort_keys=True) if isinstance(content, dict) else content


def chat_response(text, xai):
    if "data:" not in text[:200] and text.lstrip().startswith("{"):
        answer = json.loads(text)
        if "choices" not in answer:
            return None
        choice = answer["choices"][0]
        message = choice.get("message") or {}
        return {
            "model": answer["model"],
            "text": written(message.get("content")),
            "reasoning": message.get("reasoning_content") or message.get("reasoning") or "",
            "calls": chat_calls(message),
            "usage": chat_usage(answer.get("usage"), xai),
            "finish": choice.get("finish_reason"),
        }
    model = finish = usage = None
    said, thought, calls = "", "", {}
    for chunk in sse(text):
        model = chunk.get("model") or model
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or usage
        for choice in chunk["choices"]:
            if choice.get("index", 0) != 0:
                continue
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or {}
            said += written(delta.get("content")) or ""
            thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
            old = delta.get("function_call")
            for call in (delta.get("tool_calls") or []) + ([{"index": "old", "function": old}] if old else []):
                # Who numbers no calls sends each whole.
                known = calls.setdefault(call.get("index", len(calls)), [None, "", ""])
                known[0] = known[0] or call.get("id")
                known[1] = known[1] or call["function"].get("name") or ""
                known[2] += call["function"].get("arguments") or ""
    return {
        "model": model,
        "text": said,
        "reasoning": thought,
        "calls": list(calls.values()),
        "usage": chat_usage(usage, xai),
        "finish": finish,
    }


def anthropic_usage(usage):
    read = usage.get("cache_read_input_tokens")
    total = usage["input_tokens"] + (read or 0) + (usage.get("cache_creation_input_tokens") or 0)
    thinking = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    return [total, usage["output_tokens"], total + usage["output_tokens"], read, thinking]


def anthropic_response(text):
    if text.lstrip().startswith("{"):
        answer = json.loads(text)
        blocks, usage, stop, model = answer["content"], answer["usage"], answer["stop_reason"], answer["model"]
    else:
        blocks, usage, stop, model = [], {}, None, None
        for event in sse(text):
            if event["type"] == "message_start":
                model = event["message"]["model"]
                usage.update(event["message"]["usage"])
            elif event["type"] == "content_block_start":
                blocks.append(dict(event["content_block"], json=""))
            elif event["type"] == "content_block_delta":
                block, delta = blocks[event["index"]], event["delta"]
                for kind in ("text", "thinking"):
                    if delta["type"] == kind + "_delta":
                        block[kind] += delta[kind]
                if delta["type"] == "input_json_delta":
                    block["json"] += delta["partial_json"]
            elif event["type"] == "message_delta":
                stop = event["delta"]["stop_reason"]
                usage.update({k: v for k, v in event["usage"].items() if v is not None})
    return {
        "model": model,
        "text": texts(blocks),
        "reasoning": "\n".join(b["thinking"] for b in blocks if b["type"] == "thinking" and b["thinking"]),
        "calls": [
            [b["id"], b["name"], b.get("json") or json.dumps(b["input"])]
            for b in blocks
            if b["type"] in ("tool_use", "server_tool_use", "mcp_tool_use")
        ],
        "usage": anthropic_usage(usage),
        "finish": stop,
    }


def either(value, camel, default=None):
    """Google takes keys in both spellings."""
    snake = re.sub("([A-Z])", lambda found: "_" + found[1].lower(), camel)
    return value.get(camel, value.get(snake, default))


def gemini_result(response):
    if len(response) == 1:
        (key, value), = response.items()
        if key in ("output", "result", "error"):
            return value if isinstance(value, str) else compact(value)
    return compact(response)


def compact(value):
    """In the order of their names, which is that of every object in an event."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def gemini_request(request):
    out = []
    system = either(request, "systemInstruction")
    if system:
        out.append(["system", texts_of_parts(system["parts"]), None])
    for content in request["contents"]:
        role = {"model": "assistant"}.get(content.get("role", "user"), content.get("role", "user"))
        results = [either(part, "functionResponse") for part in content["parts"]]
        if not any(results):
            out.append([role, texts_of_parts(content["parts"]), None])
        for result in results:
            if result:
                out.append(["tool", gemini_result(result["response"]), result.get("id")])
    return out


def texts_of_parts(parts):
    found = [part["text"] for part in parts if "text" in part and not part.get("thought")]
    return "\n".join(found) if found else None


def gemini_usage(usage):
    counts = [usage[key] for key in ("promptTokenCount", "toolUsePromptTokenCount") if key in usage]
    prompt = sum(counts) if counts else None
    thoughts = usage.get("thoughtsTokenCount")
    # Google's total is the sum of all, which the parts must give as well.
    said = usage.get("candidatesTokenCount")
    output = said + (thoughts or 0) if said is not None else thoughts
    total = usage.get("totalTokenCount")
    # Gemma counts no output; one of Vertex's totals is one less than its parts.
    assert total is None or output is None or total + 1 >= prompt + output >= total
    return [prompt, output, total, usage.get("cachedContentTokenCount"), thoughts]


def gemini_response(text):
    if text.startswith("data:"):
        chunks = list(sse(text))
    else:
        chunks = json.loads(text)
        chunks = chunks if isinstance(chunks, list) else [chunks]
    parts = [
        part
        for chunk in chunks
        for candidate in chunk.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    ]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    finishes = [c["finishReason"] for chunk in chunks for c in chunk.get("candidates", []) if "finishReason" in c]
    # Where enumerations are asked for as numbers.
    finishes = [{1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY"}.get(finish, finish) for finish in finishes]
    return {
        "model": chunks[-1]["modelVersion"],
        "text": "".join(part.get("text", "") for part in parts if not part.get("thought")),
        "reasoning": "".join(part.get("text", "") for part in parts if part.get("thought")),
        "calls": [[c.get("id"), c["name"], json.dumps(c["args"])] for c in calls],
        "usage": gemini_usage(chunks[-1]["usageMetadata"]) if "usageMetadata" in chunks[-1] else None,
        "finish": finishes[-1] if finishes else None,
    }


def google(exchange, url):
    """An exchange with one of Google's hosts, or None if it is no call."""
    found = re.search(r"/models/([^/:]+):(\w+)$", url.path)
    if not found or exchange["status"] >= 400:
        return None
    request, response = json.loads(body(exchange, "request")), body(exchange, "response")
    expected = {"id": exchange["id"], "model": found[1], "streaming": found[2].startswith("stream"), "tools": []}
    if found[2] in ("countTokens", "predict", "embedContent"):
        return None
    if found[2] == "batchEmbedContents":
        vectors = [embedding["values"] for embedding in json.loads(response)["embeddings"]]
        metadata = json.loads(response).get("usageMetadata", {})
        prompt = metadata.get("promptTokenCount")
        usage = None if prompt is None else [prompt, None, metadata.get("totalTokenCount"), None, None]
        return expected | {
            "messages": [["user", texts_of_parts(r["content"]["parts"]), None] for r in request["requests"]],
            "embedding": [len(vectors), len(vectors[0])],
            "response": {"model": None, "text": "", "reasoning": "", "calls": [], "usage": usage, "finish": None},
        }
    if "/publishers/anthropic/" in url.path:
        return expected | {
            "messages": anthropic_request(request),
            "tools": [tool["name"] for tool in request.get("tools") or []],
            "response": anthropic_response(response),
        }
    tools = []
    for tool in request.get("tools") or []:
        tools += [function["name"] for function in either(tool, "functionDeclarations", [])]
        # Tools of Google's own have no name but their kind.
        tools += [None for kind in tool if kind.replace("_", "").lower() != "functiondeclarations"]
    return expected | {
        "messages": gemini_request(request),
        "tools": tools,
        "response": gemini_response(response),
    }


def client_call(item):
    """A call that the client is to execute, as id, name and arguments; None for any other item."""
    kind = item["type"]
    if kind == "function_call":
        return [item["call_id"], item["name"], item["arguments"]]
    if kind == "custom_tool_call":
        return [item["call_id"], item["name"], item["input"]]
    if kind == "apply_patch_call":
        return [item["call_id"], "apply_patch", json.dumps(item["operation"])]
    if kind == "tool_search_call" and item["execution"] == "client":
        return [item["call_id"], "tool_search", json.dumps(item["arguments"])]
    return None


def responses_request(request):
    messages, calling = [], False
    if request.get("instructions"):
        messages.append(["system", request["instructions"], None])
    items = request["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    for item in items:
        if client_call({"type": None} | item):
            if not calling:
                messages.append(["assistant", None, None])
            calling = True
            continue
        if item.get("type") == "tool_search_output" and item["execution"] == "client":
            calling = False
            messages.append(["tool", None, item["call_id"]])
        if item.get("type") == "reasoning" or not ("content" in item or "call_id" in item and "output" in item):
            continue
        calling = False
        content = item["output"] if "output" in item else item["content"]
        if not isinstance(content, str):
            said = [part["text"] for part in content if "text" in part]
            content = "\n".join(said) if said else None
        if "output" in item:
            messages.append(["tool", content, item["call_id"]])
        else:
            messages.append([{"developer": "system"}.get(item["role"], item["role"]), content, None])
    return messages


def responses_response(text):
    """A stream is read from its deltas alone, so that nothing is taken from the summary at its end but what is only
    there."""
    if text.lstrip().startswith("{"):
        answer = json.loads(text)
        said = [p["text"] for i in answer["output"] if i["type"] == "message" for p in i["content"] if "text" in p]
        thought = [s["text"] for i in answer["output"] if i["type"] == "reasoning" for s in i["summary"]]
        calls = [client_call(item) for item in answer["output"] if client_call(item)]
    else:
        said, thought, calls = {}, {}, {}
        for event in sse(text):
            kind = event["type"]
            if kind == "response.output_text.delta":
                key = (event["output_index"], event["content_index"])
                said[key] = said.get(key, "") + event["delta"]
            elif kind == "response.reasoning_summary_text.delta":
                key = (event["output_index"], event["summary_index"])
                thought[key] = thought.get(key, "") + event["delta"]
            elif kind == "response.output_item.added" and event["item"]["type"] in ("function_call", "custom_tool_call"):
                calls[event["output_index"]] = [event["item"]["call_id"], event["item"]["name"], ""]
            elif kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
                calls[event["output_index"]][2] += event["delta"]
            elif kind in ("response.completed", "response.incomplete"):
                answer = event["response"]
        said, thought, calls = ([part for _, part in sorted(parts.items())] for parts in (said, thought, calls))
    usage = answer["usage"]
    return {
        "model": answer["model"],
        "text": "\n".join(said),
        "reasoning": "\n".join(thought),
        "calls": calls,
        "usage": [
            usage["input_tokens"],
            usage["output_tokens"],
            usage["total_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
        ],
        "finish": (answer["incomplete_details"] or {}).get("reason") or answer["status"],
    }


def completion(request, text):
    """OpenAI's text completions."""
    prompts = request["prompt"] if isinstance(request["prompt"], list) else [request["prompt"]]
    chunks = [json.loads(text)] if text.lstrip().startswith("{") else list(sse(text))
    said, model, finish, usage = "", None, None, None
    for chunk in chunks:
        said += chunk.get("value", "")
        model, usage = chunk.get("model") or model, chunk.get("usage") or usage
        for choice in chunk.get("choices", []):
            if choice.get("index", 0) == 0:
                said += choice.get("text") or (choice.get("message") or {}).get("content") or ""
                finish = choice.get("finish_reason") or finish
    return {
        "messages": [["user", prompt, None] for prompt in prompts],
        "response": {
            "model": model,
            "text": said,
            "reasoning": "",
            "calls": [],
            "usage": chat_usage(usage, False),
            "finish": finish,
        },
    }


def vector_length(vector):
    """In base64 they are floats of four bytes."""
    return len(base64.b64decode(vector)) // 4 if isinstance(vector, str) else len(vector)


def embeddings(request, text):
    given = request["input"] if isinstance(request["input"], list) else [request["input"]]
    given = [given] if isinstance(given[0], int) else given
    answer = json.loads(text)
    usage = answer.get("usage")
    counts = usage and [usage.get("prompt_tokens"), usage.get("completion_tokens"), usage["total_tokens"], None, None]
    return {
        "messages": [["user", one if isinstance(one, str) else None, None] for one in given],
        "embedding": [len(answer["data"]), vector_length(answer["data"][0]["embedding"])],
        "response": {"model": answer["model"], "text": "", "reasoning": "", "calls": [], "usage": counts, "finish": None},
    }


def ollama(request, text):
    if "messages" in request:
        messages = [[m["role"], m.get("content"), m.get("tool_call_id")] for m in request["messages"]]
    else:
        messages = [[role, request[key], None] for role, key in (("system", "system"), ("user", "prompt")) if request.get(key)]
    said, thought, calls = "", "", []
    for line in text.splitlines():
        event = json.loads(line)
        message = event.get("message") or {"content": event.get("response"), "thinking": event.get("thinking")}
        said += message.get("content") or ""
        thought += message.get("thinking") or ""
        called = [call["function"] for call in message.get("tool_calls") or []]
        calls += [[None, function["name"], json.dumps(function["arguments"])] for function in called]
    counts = [event.get("prompt_eval_count"), event.get("eval_count")]
    total = None if None in counts else sum(counts)
    return {
        "messages": messages,
        "streaming": request.get("stream", True),
        "response": {
            "model": event["model"],
            "text": said,
            "reasoning": thought,
            "calls": calls,
            "usage": None if counts == [None, None] else [*counts, total, None, None],
            "finish": event.get("done_reason"),
        },
    }


def reading(exchange):
    """What one exchange says; None where it is of another interface."""
    url = urlsplit(exchange["url"])
    if url.hostname.endswith(".googleapis.com"):
        return google(exchange, url)
    path = url.path
    invoked = re.fullmatch(r"/model/(.+)/(invoke|converse)(-stream|-with-response-stream)?", path)
    known = ("/chat/completions", "/v1/messages", "/responses", "/v2/chat", "/completions", "/v1/embeddings")
    ends = [end for end in known + ("/api/chat", "/api/generate") if path.endswith(end)][:1]
    if exchange["status"] >= 400 or not (ends or invoked):
        return None
    request = json.loads(body(exchange, "request"))
    if invoked and invoked[2] == "invoke" and "anthropic_version" not in request:
        return None
    out = {"id": exchange["id"], "model": request.get("model"), "streaming": request.get("stream", False)}
    tools = (request.get("tools") or []) + (request.get("functions") or [])
    if invoked:
        out.update(model=unquote(invoked[1]), streaming=invoked[3] is not None)
    if invoked and invoked[2] == "converse":
        specs = (request.get("toolConfig") or {}).get("tools") or []
        tools = [inner for tool in specs for kind, inner in tool.items() if kind != "cachePoint"]
        out.update(messages=anthropic_request(converse_request(request)), response=converse_response(exchange))
    elif invoked:
        out.update(messages=anthropic_request(request), response=invoked_response(exchange))
    elif ends == ["/chat/completions"]:
        xai = url.hostname == "api.x.ai"
        out.update(messages=chat_request(request), response=chat_response(body(exchange, "response"), xai))
    elif ends == ["/responses"]:
        out.update(messages=responses_request(request), response=responses_response(body(exchange, "response")))
    elif ends == ["/completions"]:
        out.update(completion(request, body(exchange, "response")))
    elif ends == ["/v1/embeddings"]:
        out.update(embeddings(request, body(exchange, "response")))
    elif ends in (["/api/chat"], ["/api/generate"]):
        out.update(ollama(request, body(exchange, "response")))
    elif ends == ["/v2/chat"]:
        out.update(messages=chat_request(request), response=cohere_response(body(exchange, "response")))
    else:
        out.update(messages=anthropic_request(request), response=anthropic_response(body(exchange, "response")))
    # Errors are in some answers of 200.
    if not out["response"]:
        return None
    out["tools"] = [(t.get("function") or t.get("custom") or t).get("name") or t.get("server_label") for t in tools]
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            found = reading(json.loads(line))
            if found:
                print(json.dumps(found))


main()
