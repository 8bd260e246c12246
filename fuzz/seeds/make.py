#!/usr/bin/env python3
"""Makes the seeds: small inputs in the form that each target reads, so that fuzzing starts behind the first checks.

Run it after a change; the same bytes come out each time. To add a target's seeds, add a line to SEEDS.
"""
import gzip
import json
import pathlib
import struct
import zlib

FOLDER = pathlib.Path(__file__).parent


def script(*steps):
    """Operations as oisp_decode::fuzz::connection reads them: b'>' sent, b'<' received, an int is a gap in what is received."""
    out = bytearray()
    for step in steps:
        if isinstance(step, int):
            out.append(0xC0 | step)
            continue
        direction, data = (0x80 if step[:1] == b"<" else 0), step[1:]
        for start in range(0, len(data), 63):
            piece = data[start : start + 63]
            out.append(direction | len(piece))
            out += piece
    return bytes(out)


def packed(data):
    return gzip.compress(data, mtime=0)


def coded(codings, data, length=7):
    """As oisp_decode::fuzz::encoding reads it: the length of a piece, the number of the codings, the coded bytes."""
    return bytes([length, codings]) + data


def zstd_block(data):
    """A zstd frame with one block, which is not compressed (RFC 8878 section 3.1.1)."""
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + (len(data) << 3 | 1).to_bytes(3, "little") + data


def frame(kind, flags, stream, payload=b""):
    """An HTTP/2 frame (RFC 9113 section 4.1)."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def blocks(*steps):
    """Header blocks as oisp_decode::fuzz::header_blocks reads them: b'>' sent, b'<' received."""
    return b"".join(bytes([(0x80 if step[:1] == b"<" else 0) | 0x40 | len(step) - 1]) + step[1:] for step in steps)


def chunked(*chunks):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


def in_pieces(data, length=7):
    return bytes([length]) + data


def lossy(data, length):
    """Bytes are lost behind the first piece."""
    return in_pieces(data, 0x80 | length)


def record(kind, rest):
    return struct.pack("=HHIQII", kind, 0, 0, 7_000_000_001, 41, 42) + rest


def event(headers, payload):
    """A message of an AWS event stream."""
    message = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message += struct.pack(">I", zlib.crc32(message)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def elf(symbols):
    """A shared object with the exported functions named."""
    names = b"\0" + b"".join(name + b"\0" for name in symbols)
    table, at = bytes(24), 1
    for index, name in enumerate(symbols):
        table += struct.pack("<IBBHQQ", at, 0x12, 0, 1, 0x40 + index, 1)
        at += len(name) + 1
    strings_at = 64 + 2 * 56
    dynamic = struct.pack("<8Q", 5, strings_at, 10, len(names), 1, 1, 0, 0)
    table_at = strings_at + len(names)
    dynamic_at = table_at + len(table)
    sections_at = dynamic_at + len(dynamic)

    def section(kind, offset, size, link, entry):
        return struct.pack("<IIQQQQIIQQ", 0, kind, 2, offset, offset, size, link, 1, 1, entry)

    sections = bytes(64) + section(3, strings_at, len(names), 0, 0) + section(11, table_at, len(table), 1, 24)
    size = sections_at + len(sections)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, sections_at, 0, 64, 56, 2, 64, 3, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    entries = struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, 0, len(dynamic), len(dynamic), 8)
    return header + load + entries + names + table + dynamic + sections


# `ERR_put_error(16, 0, 66, file, 931)` and a return, in x86 machine code.
ERROR_REPORT = bytes.fromhex("bf10000000 31f6 ba42000000 488d0dedf1ffff 41b8a3030000 e8e2ffffff c3")


def recording(*frames):
    """A raw recording with frames of records, packed as zstd packs what does not shrink."""

    def frame(kind, first, plain):
        block = struct.pack("<I", len(plain) << 3 | 1)[:3] + plain
        packed = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(plain)) + block if plain else b""
        head = struct.pack("<IQII", kind, first, len(plain), len(packed))
        return head + struct.pack("<I", zlib.crc32(head + packed)) + packed

    out = b"\x8bOISP\r\n\x1a" + struct.pack("<I", 1)
    header = {"sensor_version": "0.1.0", "host": {"os": "linux"}, "wall_minus_monotonic_ns": 1, "started": 2}
    out += frame(1, 0, json.dumps(header).encode())
    first = 0
    for records in frames:
        out += frame(2, first, plain(records))
        first += len(records)
    return out + frame(3, first, b"")


def plain(records):
    return b"".join(struct.pack("<I", len(record)) + record for record in records)


EVENTS = (FOLDER / "../../crates/oisp-capture/tests/recordings/version-1.txt").read_text().split()
EVENTS = [bytes.fromhex(event) for event in EVENTS]
ANSWERS = [b"\1\0\7\0", b"\1\0\7\1\1\1\1\2/a\1\1a\0\1\0\0\1\1b", b"\1\1\0\1\4root", b"\1\1\1\0"]

CHAT = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
ANSWER = json.dumps({"choices": [{"message": {"role": "assistant", "content": "Hello."}}]}).encode()
SSE = b'event: delta\r\ndata: {"text":"a"}\r\n\r\nid: 1\nretry: 5\n: note\ndata: b\ndata\n\ndata: [DONE]\n\n'
POST = b">POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(CHAT), CHAT)
OK = b"<HTTP/1.1 200 OK\r\n"
# An answer in brotli and in zstd with a compressed block, which Python's library does not write.
BROTLI = bytes.fromhex("1b5300202c0eccf3da45632308ce233b0fb5c81edad6ec93eb2a169d004911b637a71c38844114504bf2cb3dc69e65cb51fa38953b2ed2331f25c3c218ad61e5816b7c8600")
ZSTD = bytes.fromhex("28b52ffd04681d020092840e12a0bb0141099048269511412e3b7a9cfd6f408fbcf78010ac522a8ef966da6ccd11bc59694ecce59857b5ed0ef37a0ab3aebb817956931699bb010083f01205289d70aa")
EVENT_HEADERS = b"\x0d:message-type\7\0\5event\x0b:event-type\7\0\5chunk"
# Every type of header value, in the order of their numbers.
EACH_TYPE = b"".join(b"\1%c" % (97 + kind) + bytes([kind]) + value for kind, value in enumerate(
    [b"", b"", b"\1", bytes(2), bytes(4), bytes(8), b"\0\1b", b"\0\1t", bytes(8), bytes(16)]))

def exchange(choice, request, answer):
    """A request and its answer for the target `interpret`, whose first bytes choose path and media types."""
    return bytes(choice) + request + b"\0" + answer


CHAT_ASK = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true}'
CHAT_SAID = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
FORM = b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--X\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nabc\r\n--X--\r\n'
MESSAGES_SAID = b'data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}\n\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}\n\ndata: {"type":"message_stop"}\n\n'
RESPONSES_SAID = b'data: {"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"function_call","call_id":"c","name":"f","arguments":""}}\n\ndata: {"type":"response.completed","sequence_number":2,"response":{"id":"r","status":"completed","output":[],"usage":{"input_tokens":1}}}\n\n'
GEMINI_SAID = b'[{"candidates":[{"content":{"parts":[{"text":"a"},{"functionCall":{"name":"f","args":{}}}]},"index":0}]}\n,\n{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}]'

SEEDS = {
    "assemble": {"order": bytes([0, 8, 2, 8, 4, 8]), "gap-and-overlap": bytes([0, 4, 3, 20, 1, 9, 255, 255])},
    "connection": {
        "length": script(POST, OK + b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)),
        "chunked": script(POST, OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"data: 1\n\n", b"data: 2\n\n")),
        "gzip": script(POST, OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(packed(ANSWER)), packed(ANSWER))),
        "until-close": script(b">GET / HTTP/1.0\r\n\r\n", OK + b"\r\nrest"),
        "continue": script(b">PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"<HTTP/1.1 100 Continue\r\n\r\n", b">ab", OK + b"Content-Length: 0\r\n\r\n"),
        "pipelined": script(b">GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\n", b"<HTTP/1.1 304 N\r\n\r\nHTTP/1.1 200 O\r\nContent-Length: 9\r\n\r\n"),
        "upgrade": script(b">GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"<HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"),
        "gap": script(POST, OK + b"Content-Length: 60\r\n\r\nab", 56, b"<cd", POST, OK + b"Content-Length: 0\r\n\r\n"),
        "http2-preface": script(b">PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"<\0\0\0\4\0\0\0\0\0"),
    },
    "elf": {"openssl": elf([b"SSL_read", b"SSL_write", b"SSL_read_ex", b"SSL_write_ex", b"SSL_free"]), "empty": elf([])},
    "elf_code": {
        "x86": b"\0" + ERROR_REPORT * 3,
        "x86-fixed": b"\2\xb9\0\2\x40\0" + ERROR_REPORT,
        "arm": b"\1\3\0\0\x90\x63\0\x08\x91\0\2\x80\x52\x42\x08\x80\x52\0\0\0\x94\xc0\3\x5f\xd6",
    },
    "encoding": {"json": in_pieces(packed(ANSWER)), "two-members": in_pieces(packed(b"one") + packed(b"two"), 200)},
    "raw": {
        "whole": b"\0" + recording(EVENTS[:2], EVENTS[2:] + ANSWERS),
        "records": b"\1" + plain(EVENTS),
        "answers": b"\1" + plain(ANSWERS),
        "packed": b"\2\x05\0\0\0\x28\xb5\x2f\xfd\x20\x05\x2b\0\0\1\0",
    },
    "encoding": {
        "gzip": coded(0, packed(ANSWER)),
        "two-members": coded(0, packed(b"one") + packed(b"two"), 200),
        "deflate": coded(1, zlib.compress(ANSWER)),
        "raw-deflate": coded(1, zlib.compress(ANSWER)[2:-4]),
        "br": coded(2, BROTLI),
        "zstd": coded(3, ZSTD),
        "zstd-frames": coded(3, zstd_block(b"one") + zstd_block(b"two"), 200),
        "gzip-in-zstd": coded(5, packed(zstd_block(ANSWER))),
    },
    "event_stream": {
        "made": b"\6" + bytes([len(EVENT_HEADERS), 9]) + EVENT_HEADERS + b'{"a": 1}\n' + b"\0\2{}",
        "each-type": b"\2" + bytes([len(EACH_TYPE), 0]) + EACH_TYPE,
        "whole": b"\7" + event(EVENT_HEADERS, b"{}") + event(b"", b""),
        "lossy": lossy(event(EVENT_HEADERS, b"{}") + event(b"", b"[]"), 31),
    },
    "grpc": {"messages": in_pieces(b"\0\0\0\0\5hello\x80\0\0\0\1x"), "long": in_pieces(b"\1\0\0\0\x80" + bytes(128), 50), "lossy": lossy(b"\0\0\0\0\x09hello " + b"\0\0\0\0\1x", 10)},
    "header_blocks": {
        "tables": blocks(b">\x83\x87\x41\x01a\x44\x02/b\x40\x01x\x81\x07", b"<\x88\x5f\x03a/b", b">\x83\x87\xc0\xbf\xbe", b"<\x88\xbe"),
        "resized": blocks(b">\x20\x3f\xe1\x1f\x82\x86\x84\x0f\x2b\x01v", b"<\x20\x88\x10\x01n\x01v", b"<\x3f\x45\x48\x82\x64\x02"),
    },
    "http2": {
        "exchange": script(
            b">" + frame(1, 4, 1, b"\x83\x87\x84\x41\x01a") + frame(0, 1, 1, CHAT),
            b"<" + frame(4, 1, 0) + frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"Hel") + frame(0, 9, 1, b"\2lo\0\0"),
        ),
        "continued": script(b">" + frame(1, 1, 1, b"\x82") + frame(9, 0, 1, b"\x87") + frame(9, 4, 1, b"\x84"), b"<" + frame(1, 5, 1, b"\x89")),
        "control": script(b">" + frame(6, 0, 0, bytes(8)) + frame(8, 0, 0, b"\0\0\1\0") + frame(1, 0x25, 1, b"\0\0\0\0\7\x82\x87\x84"), b"<" + frame(3, 0, 1, bytes(4)) + frame(7, 0, 0, bytes(8))),
        "promise": script(b">" + frame(1, 5, 1, b"\x82\x87\x84"), b"<" + frame(5, 4, 1, b"\0\0\0\2\x82\x87\x85") + frame(1, 5, 2, b"\x88") + frame(1, 4, 1, b"\x88") + frame(1, 5, 1, b"\x0f\x0d\x01t")),
        "gap": script(b">" + frame(1, 5, 1, b"\x82\x87\x84"), b"<" + frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"abcdef")[:12], 3, b"<" + frame(0, 1, 1, b"g")),
    },
    "interpret": {
        "chat": exchange([0, 0, 1], CHAT_ASK, CHAT_SAID),
        "responses": exchange([1, 0, 1], b'{"model":"m","input":[{"role":"user","content":"hi"}]}', RESPONSES_SAID),
        "embeddings": exchange([3, 0, 0], b'{"model":"m","input":["a","b"]}', b'{"data":[{"embedding":[0.5,-1,2e3]}],"usage":{"prompt_tokens":1}}'),
        "form": exchange([5, 1, 0], FORM, b'{"text":"said"}'),
        "anthropic": exchange([6, 0, 1], b'{"model":"c","max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}]}', MESSAGES_SAID),
        "gemini": exchange([8, 0, 0], b'{"contents":[{"parts":[{"text":"p"}]}]}', GEMINI_SAID),
        "cohere": exchange([15, 0, 2], b'{"message":"hi"}', b'{"event_type":"text-generation","text":"a"}\n{"event_type":"stream-end","finish_reason":"COMPLETE","response":{"text":"a"}}\n'),
        "ollama": exchange([16, 0, 2], b'{"model":"m","messages":[{"role":"user","content":"hi"}]}', b'{"message":{"content":"a"},"done":false}\n{"done":true,"eval_count":2}\n'),
        "generate": exchange([18, 0, 1], b'{"inputs":"hi"}', b'data:{"token":{"text":"a"},"generated_text":"a","details":{"generated_tokens":1}}\n\n'),
    },
    "json_array": {
        "elements": in_pieces(b'[{"a":"]\\"}"},\n [1,[2]], 3, "x", null]'),
        "long": in_pieces(b"[" + ANSWER + b", []]  ", 100),
        "broken": in_pieces(b'[1,{]', 1),
        "lossy": lossy(b'[{\n  "a": 1\n},\n{\n  "b": 2\n},\n{\n  "c": 3\n}]', 20),
    },
    "json_rpc": {
        "request": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"a":[1]}}',
        "response": b'{"id":"a\\u00e9","jsonrpc":"2.0","result":null}',
        "batch": b'[{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":null,"error":{}},["2.0",7,"m"]]',
    },
    "ndjson": {"lines": in_pieces(b'{"jsonrpc":"2.0","id":1,"method":"x"}\n{"a":[1,"]"]}\r\n\n \r\n[2]'), "long": in_pieces(b"x" * 64 + b"\r\n" + b"y" * 65 + b"\n", 30), "lossy": lossy(b'{"a":1}\n{"b":2}\n{"c":3}\n', 11)},
    "record": {
        "tls": record(1, struct.pack("=QQQIIBB6x", 1, 2, 3, 5, 5, 1, 3) + b"hello"),
        "close": record(2, struct.pack("=QQQQII", 1, 2, 3, 4, 0, 0)),
        "exec": record(3, bytes(1024)),
        "exit": record(4, bytes(16)),
        "fork": record(5, bytes(16)),
    },
    "redact": {
        "header": b"\0Authorization: Bearer abcdef\0{\"api_key\": \"x\"}",
        "url": b"\1https://user:pw@host/path?token=1\0password=hunter2",
        "marker": b"\2[REDACTED:api_key:10:0123abcd]\0-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
    },
    "websocket": {
        "text": b"\0" + script(b">\x81\x85\x01\x02\x03\x04igoh" + b"n", b"<\x81\x05hello"),
        "deflate": b"\3" + script(b"<" + b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", b"<\xc1\x05\xf2\x00\x11\x00\x00"),
        "fragments": b"\1" + script(b"<\x01\x02he", b"<\x80\x03llo", b"<\x88\x02\x03\xe8"),
    },
    "sse": {"openai": in_pieces(SSE), "byte-by-byte": in_pieces(b"\xef\xbb\xbf" + SSE.replace(b"\n\n", b"\r\r"), 1), "lossy": lossy(SSE, 20)},
}

for target, seeds in SEEDS.items():
    folder = FOLDER / target
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, seed in seeds.items():
        (folder / name).write_bytes(seed)
