"""The lane's front door: what CloudFront does, on loopback."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

# What speaks of one connection, and so is not handed on.
OF_ONE_CONNECTION = {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}
LARGEST = 2 * 1024 * 1024
# Between the head of a streamed answer, which is JSON, and its body.
BODY_FOLLOWS = b"\0" * 8


def without_a_head(status: int, headers: dict[str, str], said: bytes) -> tuple[int, dict[str, str], bytes]:
    """What API Gateway makes of a streamed answer. The emulator hands it on as it came from the function (see `without_streams`)."""
    head, found, body = said.partition(BODY_FOLLOWS)
    if not found:
        return status, headers, said
    given = json.loads(head)
    return given["statusCode"], given.get("headers", {}), body


class Edge:
    """Hands requests on to the API, with the headers that the distribution adds."""

    def __init__(self) -> None:
        self.origin = ("127.0.0.1", 0)
        self.path = ""
        self.secret = ""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def open(self, port: int, api: str, secret: str) -> None:
        """From now on requests go to this API of the emulator's."""
        self.origin = ("127.0.0.1", port)
        self.path = f"/_aws/execute-api/{api}/prod"
        self.secret = secret

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        edge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def hand_on(self) -> None:
                length = int(self.headers.get("content-length", 0))
                if length > LARGEST:
                    self.send_error(413)
                    return
                body = self.rfile.read(length)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_ONE_CONNECTION}
                headers |= {"x-slipway-origin": edge.secret, "x-slipway-viewer": self.client_address[0]}
                origin = HTTPConnection(*edge.origin, timeout=60)
                try:
                    origin.request(self.command, edge.path + self.path, body, headers)
                    answer = origin.getresponse()
                    said = answer.read()
                except OSError as error:
                    self.send_error(502, str(error))
                    return
                finally:
                    origin.close()
                status, given, said = without_a_head(answer.status, dict(answer.getheaders()), said)
                self.send_response(status)
                for name, value in given.items():
                    if name.lower() not in OF_ONE_CONNECTION:
                        self.send_header(name, value)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                try:
                    self.wfile.write(said)
                except BrokenPipeError:
                    # Whoever asked has gone: an agent that was ended, say.
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = hand_on

            def log_message(self, format: str, *args: object) -> None:
                """The functions write a line for each request; this would be a second."""

        return Handler
