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


def chunked(*chunks):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


def in_pieces(data, length=7):
    return bytes([length]) + data


def record(kind, rest):
    return struct.pack("=HHIQII", kind, 0, 0, 7_000_000_001, 41, 42) + rest


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
    "encoding": {"json": in_pieces(packed(ANSWER)), "two-members": in_pieces(packed(b"one") + packed(b"two"), 200)},
    "raw": {
        "whole": b"\0" + recording(EVENTS[:2], EVENTS[2:] + ANSWERS),
        "records": b"\1" + plain(EVENTS),
        "answers": b"\1" + plain(ANSWERS),
        "packed": b"\2\x05\0\0\0\x28\xb5\x2f\xfd\x20\x05\x2b\0\0\1\0",
    },
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
        "fragments": b"\1" + script(b"<\x01\x02he", b"<\x80\x03llo", b"<\x88\x02\x03\xe8"),
    },
    "bodies": {
        "lines": in_pieces(b'{"jsonrpc":"2.0","id":1,"method":"x"}\n{"a":[1,"]"]}\r\n'),
        "array": in_pieces(b'[{"a":"]"},\n [1,2], 3]'),
        "grpc": in_pieces(b"\0\0\0\0\5hello\x80\0\0\0\1x"),
    },
    "sse": {"openai": in_pieces(SSE), "byte-by-byte": in_pieces(b"\xef\xbb\xbf" + SSE.replace(b"\n\n", b"\r\r"), 1)},
}

for target, seeds in SEEDS.items():
    folder = FOLDER / target
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, seed in seeds.items():
        (folder / name).write_bytes(seed)
