"""A client with httpx (h11, h2) and an HTTP/2 server with hyper's h2, both over Python's ssl module.

How they are asked and what they print is told in ../src/peers/mod.rs.
"""

import asyncio
import hashlib
import json
import os
import signal
import socket
import ssl
import sys
import threading
import zlib
from urllib.parse import parse_qs, urlsplit


def main():
    role, *rest = sys.argv[1:]
    if role == "server":
        serve(*rest)
    else:
        asyncio.run(call(*rest))


def tell(what):
    # In one write: threads print too.
    os.write(1, (json.dumps(what) + "\n").encode())


def digest(data):
    return hashlib.sha256(data).hexdigest()


def serve(certificate, key):
    # For `sigwait`, in all threads.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    acceptor = threading.Thread(target=accept, args=(context, socket.socket(fileno=0)), daemon=True)
    acceptor.start()
    signal.sigwait([signal.SIGTERM])
    # The clients are gone, so these end; a write that is still to return is to be seen to return.
    for thread in threading.enumerate():
        if thread not in (threading.main_thread(), acceptor):
            thread.join()
    os._exit(0)


def accept(context, listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(context, connection), daemon=True).start()


def converse(context, connection):
    try:
        with context.wrap_socket(connection, server_side=True) as tls:
            Conversation(tls).run()
    except (ConnectionError, ssl.SSLError) as error:
        print(f"a connection ended: {error}", file=sys.stderr)


class Conversation:
    """One connection. Streams that have something to say take turns."""

    def __init__(self, tls):
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self.tls = tls
        self.connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.paths = {}
        self.asked = {}
        # By stream: pieces that wait for their turn and for the window, and the trailers.
        self.waiting = {}

    def run(self):
        from h2 import events

        self.connection.initiate_connection()
        self.flush()
        while received := self.tls.recv(1 << 16):
            for event in self.connection.receive_data(received):
                if isinstance(event, events.RequestReceived):
                    headers = dict(event.headers)
                    self.paths[event.stream_id] = headers[":path"]
                    self.asked[event.stream_id] = []
                    if headers.get("expect") == "100-continue":
                        self.connection.send_headers(event.stream_id, [(":status", "100")])
                elif isinstance(event, events.DataReceived):
                    self.asked[event.stream_id].append(event.data)
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, events.StreamEnded):
                    self.answer(event.stream_id)
            self.flush()
            self.speak()

    def flush(self):
        if data := self.connection.data_to_send():
            self.tls.sendall(data)

    def answer(self, stream):
        path = self.paths.pop(stream)
        asked = b"".join(self.asked.pop(stream))
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        chunks = int(query.get("chunks", 0))
        content = text(digest(asked), int(query["size"]))
        pieces = events_of(content, chunks) if chunks else [content]
        whole = b"".join(pieces)
        tell(
            {
                "path": path,
                "request": digest(asked),
                "request_bytes": len(asked),
                "response": digest(whole),
                "response_bytes": len(whole),
            }
        )
        headers = [(":status", "200"), ("content-type", "text/event-stream" if chunks else "application/json")]
        if encoding := query.get("encoding"):
            headers.append(("content-encoding", encoding))
            pieces = coded(encoding, pieces)
        if chunks:
            self.connection.send_headers(stream, [(":status", "103"), ("link", "</hint>; rel=preload")])
        else:
            headers.append(("content-length", str(sum(map(len, pieces)))))
        self.connection.send_headers(stream, headers)
        self.waiting[stream] = (pieces, [("x-digest", digest(whole))] if chunks else None)

    def speak(self):
        moved = True
        while moved:
            moved = False
            for stream, (pieces, trailers) in list(self.waiting.items()):
                room = min(
                    self.connection.local_flow_control_window(stream), self.connection.max_outbound_frame_size
                )
                if pieces and room > 0:
                    self.connection.send_data(stream, pieces[0][:room])
                    pieces[0] = pieces[0][room:]
                    if not pieces[0]:
                        pieces.pop(0)
                    moved = True
                if not pieces:
                    del self.waiting[stream]
                    if trailers:
                        self.connection.send_headers(stream, trailers, end_stream=True)
                    else:
                        self.connection.end_stream(stream)
                self.flush()


def coded(encoding, pieces):
    encoder = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    flushed = [encoder.compress(piece) + encoder.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*flushed, encoder.flush()]


def text(seed, size):
    """Text that no encoder makes small."""
    made = ""
    number = 0
    while len(made) < size:
        made += digest(f"{seed}{number}".encode()) + " "
        number += 1
    return made[:size].encode()


def events_of(content, count):
    ends = [number * len(content) // count for number in range(count + 1)]
    return [b'data: {"delta":"%s"}\n\n' % content[start:end] for start, end in zip(ends, ends[1:])]


async def call(version, base, authority, *asked):
    """Over HTTP/2 all calls go out at once on one connection, else one after the other on one."""
    import httpx

    context = ssl.create_default_context(cafile=authority)
    http2 = version == "http2"
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(http2=http2, verify=context, timeout=60, trust_env=False, limits=limits) as client:
        calls = [post(client, base, path, file) for path, file in zip(asked[::2], asked[1::2])]
        if http2:
            await asyncio.gather(*calls)
        else:
            for one in calls:
                await one


async def post(client, base, path, file):
    with open(file, "rb") as opened:
        body = opened.read()

    async def piecewise():
        yield body[: len(body) // 2]
        yield body[len(body) // 2 :]

    headers = {"content-type": "application/json", "authorization": "Bearer dummy", "accept-encoding": "gzip"}
    content = piecewise() if "length=unknown" in path else body
    async with client.stream("POST", base + path, content=content, headers=headers) as response:
        async for _ in response.aiter_raw():
            pass
    tell({"path": path, "status": response.status_code, "http2": response.http_version == "HTTP/2"})


if __name__ == "__main__":
    main()
