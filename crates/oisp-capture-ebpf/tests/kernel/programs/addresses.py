"""Connections that say their own addresses: both ends send "LOCAL_IP LOCAL_PORT REMOTE_IP REMOTE_PORT." as they see them.

addresses.py MODE HOST CERTIFICATE KEY VERSION CONNECTIONS: the server (a thread for each connection, TLS on the socket) and
the clients (`asyncio`: one thread, TLS in memory; `sockets`: one thread, TLS on the socket) are in this process.
"""

import asyncio
import socket
import ssl
import sys
import threading

MODE, HOST, CERTIFICATE, KEY, VERSION, COUNT = sys.argv[1:6] + [int(sys.argv[6])]
LENGTH = 80
ROUNDS = 3


def said(local, remote):
    return f"{local[0]} {local[1]} {remote[0]} {remote[1]}.".ljust(LENGTH).encode()


def context(server):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if server:
        made.load_cert_chain(CERTIFICATE, KEY)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    made.minimum_version = made.maximum_version = ssl.TLSVersion[VERSION]
    return made


def serve(listener, tls):
    def one(connection):
        with tls.wrap_socket(connection, server_side=True) as stream:
            answer = said(stream.getsockname(), stream.getpeername())
            for _ in range(ROUNDS):
                whole = b""
                while len(whole) < LENGTH:
                    part = stream.recv(LENGTH - len(whole))
                    if not part:
                        return
                    whole += part
                stream.sendall(answer)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


async def in_memory(address, tls):
    streams = await asyncio.gather(
        *(asyncio.open_connection(*address, ssl=tls) for _ in range(COUNT)))
    for _ in range(ROUNDS):
        # All write before any reads.
        for _, writer in streams:
            writer.write(said(writer.get_extra_info("sockname"), writer.get_extra_info("peername")))
        for reader, _ in reversed(streams):
            await reader.readexactly(LENGTH)
    for _, writer in streams:
        writer.close()
    for _, writer in streams:
        try:
            await writer.wait_closed()
        except (ssl.SSLError, OSError):
            pass


def on_sockets(address, tls):
    # In two generations: descriptors, objects and structures of the kernel are used again.
    for _ in range(2):
        streams = [tls.wrap_socket(socket.create_connection(address)) for _ in range(COUNT)]
        for _ in range(ROUNDS):
            for stream in streams:
                stream.sendall(said(stream.getsockname(), stream.getpeername()))
            for stream in reversed(streams):
                whole = b""
                while len(whole) < LENGTH:
                    whole += stream.recv(LENGTH - len(whole))
        for stream in streams:
            stream.close()


listener = socket.create_server(
    (HOST, 0), family=socket.AF_INET6 if ":" in HOST else socket.AF_INET, backlog=64)
threading.Thread(target=serve, args=(listener, context(True)), daemon=True).start()
target = listener.getsockname()[:2]
if MODE == "asyncio":
    asyncio.run(in_memory(target, context(False)))
else:
    on_sockets(target, context(False))
