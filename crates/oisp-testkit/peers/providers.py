"""A server that answers as several AI services do, each by its own interface, with answers that are made up: what their
SDKs understand of them is the truth that a recording is compared with.

Takes the files of a certificate and its key; prints the port; ends with its standard input.
"""

import http.server
import json
import ssl
import sys
import threading

from interfaces import respond


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Each piece of an answer by itself, at once.
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def body(self):
        """A proxy in between may not know how long it is."""
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        pieces = b""
        while size := int(self.rfile.readline(), 16):
            pieces += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return pieces

    def do_POST(self):
        request = json.loads(self.body())
        status, headers, media_type, pieces = respond(self.path.split("?")[0], request)
        self.send_response(status)
        for name, value in {**headers, "content-type": media_type, "transfer-encoding": "chunked"}.items():
            self.send_header(name, value)
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
