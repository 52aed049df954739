"""Passes what clients ask on to a plane, and writes down what was asked and what came back, for the test that asks it again.

    record.py PLANE FILE NAME=KEY...

It says where it answers, and appends to FILE until it is ended. Keys are written down by their names.
"""

import http.client
import http.server
import json
import os
import sys
import urllib.parse

plane, path, *keys = sys.argv[1:]
plane = urllib.parse.urlsplit(plane)
names = {key: name for name, key in (pair.split("=", 1) for pair in keys)}
# Of one connection, or secret.
DROPPED = {"authorization", "connection", "content-length", "host"}


class Recorder(http.server.BaseHTTPRequestHandler):
    """One connection, for one exchange after another."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = http.client.HTTPConnection(plane.hostname, plane.port)
        asked.request(self.command, self.path, body or None, {k: v for k, v in self.headers.items() if k.lower() not in {"connection", "host"}})
        answer = asked.getresponse()
        text = answer.read()
        key = self.headers["Authorization"].removeprefix("Bearer ")
        exchange = {
            "asked": f"{self.command} {self.path}",
            "key": names.get(key, key),
            "headers": {k.lower(): v for k, v in self.headers.items() if k.lower() not in DROPPED},
            "body": body.decode(),
            "status": answer.status,
            "content_type": answer.headers["Content-Type"],
            "answer": text.decode(),
        }
        known = json.load(open(path)) if os.path.exists(path) else []
        with open(path, "w") as file:
            json.dump([*known, exchange], file, indent=1)
            file.write("\n")
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *_):
        """Nothing: what there was is in the file."""


# One at a time: the file is in the order in which it was asked.
server = http.server.HTTPServer(("127.0.0.1", 0), Recorder)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
