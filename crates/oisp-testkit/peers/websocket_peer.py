"""A client and a server with Python's websockets: fragments, binary messages and compression.

Both print every message that they send or receive; how is told in ../src/peers/mod.rs.
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

SAID = [
    "",
    "Hello!",
    "Grüße, 世界 🚀",
    json.dumps({"prompt": "Why is the sky blue? " * 3400}),
    # Once more: compressed, it refers to the one before.
    json.dumps({"prompt": "Why is the sky blue? " * 3400}),
    b"",
    b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200)) * 8,
    # In fragments.
    ["data: ", '{"delta":"one"}', "", '{"delta":"two"}' * 2000],
    [b"\x00\xff" * 300, b"\x01" * 70000],
]


def main():
    role, *rest = sys.argv[1:]
    if role == "server":
        serve(*rest)
    elif role == "client":
        asyncio.run(call(*rest))
    else:
        call_with_threads(*rest)


def tell(received, message):
    if isinstance(message, list):
        message = type(message[0])().join(message)
    content = message.encode() if isinstance(message, str) else message
    line = {
        "received": received,
        "text": isinstance(message, str),
        "message": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    os.write(1, (json.dumps(line) + "\n").encode())


def serve(certificate, key):
    from websockets.sync.server import serve as serve_websocket

    # For `sigwait`, in all threads.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.socket(fileno=0)
    server = serve_websocket(answer, sock=listener, ssl=context, max_size=None)
    acceptor = threading.Thread(target=server.serve_forever, daemon=True)
    acceptor.start()
    signal.sigwait([signal.SIGTERM])
    # The clients are gone, so these end; a write that is still to return is to be seen to return.
    for thread in threading.enumerate():
        if thread not in (threading.main_thread(), acceptor):
            thread.join()
    os._exit(0)


def answer(connection):
    for message in connection:
        tell(True, message)
        # What was asked, then half of it in fragments, and a ping between them.
        half = message[: len(message) // 2]
        for reply in [message, [half, half]]:
            tell(False, reply)
            connection.send(reply)
            connection.ping()


def opening(base, authority):
    return {
        "uri": "ws" + base.removeprefix("http") + "/talk",
        "ssl": ssl.create_default_context(cafile=authority),
        "proxy": None,
        "max_size": None,
    }


def check(connection):
    if "permessage-deflate" not in connection.response.headers.get("Sec-WebSocket-Extensions", ""):
        raise SystemExit("the server does not compress")


async def call(base, authority):
    from websockets.asyncio.client import connect

    async with connect(**opening(base, authority)) as connection:
        check(connection)
        for message in SAID:
            tell(False, message)
            await connection.send(message)
            for _ in range(2):
                tell(True, await connection.recv())


def call_with_threads(base, authority):
    """One thread reads while another writes: the answer may be read before the writer knows that it has asked."""
    from websockets.sync.client import connect

    with connect(**opening(base, authority)) as connection:
        check(connection)
        for message in SAID:
            tell(False, message)
            connection.send(message)
            for _ in range(2):
                tell(True, connection.recv())


if __name__ == "__main__":
    main()
