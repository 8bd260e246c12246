"""A server that answers as several AI services do, each by its own interface, with canned answers: what their SDKs
understand of them is the truth that a recording is compared with.

Takes the files of a certificate and its key; prints the port; ends with its standard input.
"""

import base64
import http.server
import json
import ssl
import struct
import sys
import threading
import zlib


def aws_event(name, payload):
    headers = b""
    for key, value in ((":event-type", name), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def sse(events, named=False, end="\n\n", done=False):
    for event in events:
        yield (f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}{end}"
    if done:
        yield f"data: [DONE]{end}"


CALL = {"city": "Köln"}


def gemini(parts, **more):
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, **more}],
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 3,
            "thoughtsTokenCount": 5,
            "totalTokenCount": 15,
        },
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "r1",
    }


def google(path, request):
    if path.endswith(":generateContent"):
        return gemini([{"text": "Hallo "}, {"text": "Welt"}], finishReason="STOP")
    call = {"functionCall": {"name": "get_weather", "args": CALL}}
    return "text/event-stream", sse(
        [gemini([{"text": "Hal"}]), gemini([{"text": "lo"}, call], finishReason="STOP")], end="\r\n\r\n"
    )


def bedrock(path, request):
    usage = {"inputTokens": 10, "outputTokens": 4, "totalTokens": 14}
    if path.endswith("/converse"):
        use = {"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": CALL}}
        message = {"role": "assistant", "content": [{"text": "asks"}, use]}
        return {"output": {"message": message}, "stopReason": "tool_use", "usage": usage, "metrics": {"latencyMs": 2}}
    delta = lambda text: aws_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})
    return "application/vnd.amazon.eventstream", [
        aws_event("messageStart", {"role": "assistant"}),
        delta("in "),
        delta("pieces"),
        aws_event("contentBlockStop", {"contentBlockIndex": 0}),
        aws_event("messageStop", {"stopReason": "end_turn"}),
        aws_event("metadata", {"usage": usage, "metrics": {"latencyMs": 2}}),
    ]


def ollama(path, request):
    if path.endswith("/embed"):
        return {"model": request["model"], "embeddings": [[0.5, 1, 2] for _ in request["input"]], "prompt_eval_count": 4}
    line = lambda text, **more: json.dumps(
        {"model": "llama3", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}, **more}
    ) + "\n"
    last = line("", done=True, done_reason="stop", prompt_eval_count=9, eval_count=2)
    return "application/x-ndjson", [line("Ol", done=False), line("lama", done=False), last]


def cohere(path, request):
    usage = {"billed_units": {"input_tokens": 3, "output_tokens": 1}, "tokens": {"input_tokens": 60, "output_tokens": 2}}
    if not request.get("stream"):
        content = [{"type": "text", "text": "whole"}]
        message = {"role": "assistant", "content": content}
        return {"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": usage}
    piece = lambda kind, content: {"type": kind, "index": 0, "delta": {"message": {"content": content}}}
    return "text/event-stream", sse(
        [
            {"type": "message-start", "id": "c2", "delta": {"message": {"role": "assistant"}}},
            piece("content-start", {"type": "text", "text": ""}),
            piece("content-delta", {"text": "str"}),
            piece("content-delta", {"text": "eamed"}),
            {"type": "content-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
        ],
        named=True,
    )


def responses(path, request):
    text = {"type": "output_text", "text": "streamed", "annotations": []}
    said = {"type": "message", "id": "m1", "status": "completed", "role": "assistant", "content": [text]}
    asked = {"type": "function_call", "id": "f1", "call_id": "call_9", "name": "get_weather", "status": "completed"}
    asked["arguments"] = json.dumps(CALL)
    answer = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-5-2025-08-07",
        "output": [said if request.get("stream") else asked],
        "usage": {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 14,
        },
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if not request.get("stream"):
        return answer
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    delta = {"type": "response.output_text.delta", "item_id": "m1", "output_index": 0, "content_index": 0, "logprobs": []}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**said, "content": []}},
        {**delta, "delta": "stre"},
        {**delta, "delta": "amed"},
        {"type": "response.completed", "response": answer},
    ]
    return "text/event-stream", sse([{**e, "sequence_number": n} for n, e in enumerate(events)], named=True)


def embeddings(path, request):
    vector = base64.b64encode(struct.pack("<4f", 1, 2, 3, 4)).decode()
    data = [{"object": "embedding", "index": n, "embedding": vector} for n, _ in enumerate(request["input"])]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "model": request["model"], "data": data, "usage": usage}


def chat(path, request):
    chunk = lambda delta, **more: {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": request["model"],
        "choices": [{"index": 0, "delta": delta, **more}],
    }
    last = chunk({"content": "tral"}, finish_reason="stop")
    last["usage"] = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    first = chunk({"role": "assistant", "content": "mis"}, finish_reason=None)
    return "text/event-stream", sse([first, last], done=True)


INTERFACES = {
    ":generateContent": google,
    ":streamGenerateContent": google,
    "/converse": bedrock,
    "/converse-stream": bedrock,
    "/api/chat": ollama,
    "/api/embed": ollama,
    "/v2/chat": cohere,
    "/responses": responses,
    "/embeddings": embeddings,
    "/chat/completions": chat,
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.split("?")[0]
        found = next((answer for end, answer in INTERFACES.items() if path.endswith(end)), None)
        if found is None:
            return self.answer(404, "application/json", [json.dumps({"error": {"message": "no such path"}})])
        if "refuse" in json.dumps(request):
            error = {"message": "too many", "type": "rate_limit_error", "param": None, "code": "rate_limit"}
            return self.answer(429, "application/json", [json.dumps({"error": error})])
        answer = found(path, request)
        if isinstance(answer, dict):
            answer = "application/json", [json.dumps(answer)]
        self.answer(200, *answer)

    def answer(self, status, media_type, pieces):
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            piece = piece.encode() if isinstance(piece, str) else piece
            self.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


main()
