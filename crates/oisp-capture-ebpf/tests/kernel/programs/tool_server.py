"""A tool server: answers each line of JSON-RPC on its standard input, the way the request says."""
import json
import os
import sys

for line in sys.stdin.buffer:
    request = json.loads(line)
    if "id" not in request:
        continue
    wish = request["params"]
    answer = {"jsonrpc": "2.0", "id": request["id"], "result": {"text": "y" * wish["length"]}}
    if "plain" in wish:
        answer = {"text": "y" * wish["length"]}
    data = json.dumps(answer).encode() + b"\n"
    if wish["how"] == "bytes":
        pieces = [data[at:at + 1] for at in range(len(data))]
    elif wish["how"] == "split":
        pieces = [data[:7], data[7:]]
    else:
        pieces = [data]
    if wish["how"] == "vector":
        sent = os.writev(1, [data[:1], b"", data[1:9], data[9:]])
        assert sent == len(data), sent
    else:
        for piece in pieces:
            while piece:
                piece = piece[os.write(1, piece):]
