"""An agent that starts tool servers whose standard input and output are unix sockets, and talks JSON-RPC with them.

Arguments: server program, `pairs`, `one` or `pipes` (a socket pair for each direction, one for both, or pipes), number of servers, and for
each exchange HOW:QUESTION:ANSWER (how it is written, bytes of padding). Prints what went over each connection.
"""
import hashlib
import json
import os
import socket
import subprocess
import sys

program, pairs, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
exchanges = [(how, int(asked), int(answered)) for how, asked, answered in (text.split(":") for text in sys.argv[4:])]


class Server:
    def __init__(self):
        self.sent, self.received, self.rest = b"", b"", b""
        if pairs == "pipes":
            self.process = subprocess.Popen(
                [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            self.to, self.back = self.process.stdin, self.process.stdout
            return
        own, theirs = socket.socketpair()
        self.to, self.back = own, own
        back = theirs
        if pairs == "pairs":
            self.back, back = socket.socketpair()
        self.process = subprocess.Popen([sys.executable, program], stdin=theirs, stdout=back)
        theirs.close()
        back.close()

    def ask(self, number, how, asked, answered):
        message = {
            "method": "tools/call",
            "params": {"padding": "x" * asked, "how": how, "length": answered},
            "jsonrpc": "2.0",
            "id": number,
        }
        if how == "plain":
            del message["jsonrpc"]
            message["params"]["plain"] = True
        data = json.dumps(message).encode() + b"\n"
        if how == "bytes":
            for at in range(len(data)):
                os.write(self.to.fileno(), data[at:at + 1])
        elif how == "split":
            self.write(data[:1])
            self.write(data[1:40])
            self.write(data[40:])
        elif how == "vector":
            rest = [data[:3], data[3:len(data) // 2], data[len(data) // 2:]]
            assert os.writev(self.to.fileno(), rest) == len(data)
        elif how == "message":
            assert self.to.sendmsg([data[:5], b"", data[5:]]) == len(data)
        else:
            self.write(data)
        self.sent += data

    def write(self, data):
        if pairs != "pipes":
            return self.to.sendall(data)
        while data:
            data = data[os.write(self.to.fileno(), data):]

    def answer(self):
        while b"\n" not in self.rest:
            more = os.read(self.back.fileno(), 65536)
            assert more, "the server has ended"
            self.rest += more
            self.received += more
        _, self.rest = self.rest.split(b"\n", 1)

    def end(self):
        if pairs == "pipes":
            self.to.close()
            assert self.back.read() == b""
            assert self.process.wait() == 0
            return
        if self.to is not self.back:
            self.back.shutdown(socket.SHUT_WR)
        self.to.shutdown(socket.SHUT_WR)
        assert self.process.wait() == 0

    def truth(self):
        def of(data):
            return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

        return {"pid": os.getpid(), "server": self.process.pid, "sent": of(self.sent), "received": of(self.received)}


servers = [Server() for _ in range(count)]
for number, (how, asked, answered) in enumerate(exchanges):
    for server in servers:
        server.ask(number, how, asked, answered)
    for server in servers:
        server.answer()
for server in servers:
    server.end()
for server in servers:
    print(json.dumps(server.truth()), flush=True)
