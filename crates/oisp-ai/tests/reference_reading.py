"""Reads recorded exchanges of chat completions, responses and Anthropic messages in the plainest way there is, so
that a test can compare. Takes the path of exchanges.jsonl; prints a JSON object a line."""

import base64
import gzip
import json
import re
import sys
from urllib.parse import urlsplit


def body(exchange, side):
    text = exchange.get(side + "_body")
    if text is not None:
        return text
    raw = base64.b64decode(exchange.get(side + "_body_base64") or "")
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    return raw.decode("utf-8")


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
    found = [part["text"] for part in content if part.get("type") == "text"]
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
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return [usage["prompt_tokens"], completion, usage["total_tokens"], cached, reasoning]


def chat_response(text, xai):
    if "data:" not in text[:200] and text.lstrip().startswith("{"):
        answer = json.loads(text)
        choice = answer["choices"][0]
        message = choice["message"]
        calls = [[c["id"], c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls") or []]
        return {
            "model": answer["model"],
            "text": message.get("content"),
            "reasoning": message.get("reasoning_content") or message.get("reasoning") or "",
            "calls": calls,
            "usage": chat_usage(answer.get("usage"), xai),
            "finish": choice["finish_reason"],
        }
    model = finish = usage = None
    said, thought, calls = "", "", {}
    for chunk in sse(text):
        model = chunk.get("model") or model
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or usage
        for choice in chunk["choices"]:
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or {}
            said += delta.get("content") or ""
            thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or []:
                known = calls.setdefault(call["index"], ["", "", ""])
                known[0] = known[0] or call.get("id") or ""
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


def responses_request(request):
    messages, calling = [], False
    if request.get("instructions"):
        messages.append(["system", request["instructions"], None])
    items = request["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    for item in items:
        if item.get("type") == "function_call":
            if not calling:
                messages.append(["assistant", None, None])
            calling = True
            continue
        if item.get("type") == "reasoning":
            continue
        calling = False
        if item.get("type") == "function_call_output":
            messages.append(["tool", item["output"], item["call_id"]])
        else:
            content = item["content"]
            if not isinstance(content, str):
                content = "\n".join(part["text"] for part in content if "text" in part)
            messages.append([{"developer": "system"}.get(item["role"], item["role"]), content, None])
    return messages


def responses_response(text):
    """A stream is read from its deltas alone, so that nothing is taken from the summary at its end but what is only
    there."""
    if text.lstrip().startswith("{"):
        answer = json.loads(text)
        said = [p["text"] for i in answer["output"] if i["type"] == "message" for p in i["content"]]
        thought = [s["text"] for i in answer["output"] if i["type"] == "reasoning" for s in i["summary"]]
        calls = [[i["call_id"], i["name"], i["arguments"]] for i in answer["output"] if i["type"] == "function_call"]
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
            elif kind == "response.output_item.added" and event["item"]["type"] == "function_call":
                calls[event["output_index"]] = [event["item"]["call_id"], event["item"]["name"], ""]
            elif kind == "response.function_call_arguments.delta":
                calls[event["output_index"]][2] += event["delta"]
            elif kind == "response.completed":
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


READINGS = {
    "/chat/completions": (chat_request, chat_response),
    "/v1/messages": (anthropic_request, anthropic_response),
    "/responses": (responses_request, responses_response),
}


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            exchange = json.loads(line)
            url = urlsplit(exchange["url"])
            reading = next((READINGS[end] for end in READINGS if url.path.endswith(end)), None)
            if not reading or exchange["status"] >= 400:
                continue
            asked, answered = reading
            request, response = json.loads(body(exchange, "request")), body(exchange, "response")
            # Its counts of chat completions are its own.
            said = [response, url.hostname == "api.x.ai"] if answered == chat_response else [response]
            print(
                json.dumps(
                    {
                        "id": exchange["id"],
                        "model": request["model"],
                        "streaming": request.get("stream", False),
                        "messages": asked(request),
                        "tools": [
                            (t.get("function") or t.get("custom") or t).get("name") for t in request.get("tools") or []
                        ],
                        "response": answered(*said),
                    }
                )
            )


main()
