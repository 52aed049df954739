#!/usr/bin/env python3
"""A model's server without a model, for tests: OpenAI's API over the standard library, on loopback.

It loads for a moment and says how far it is, answers 503 until it has loaded, and then says the same words again and again:

    tests/models/server.py --port 8081 --model meta-llama/Llama-3.1-8B-Instruct

Tokens are words here, so that what is counted can be counted by hand.
"""

import argparse
import base64
import json
import os
import signal
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = "Paris is the capital of France, and this server knows nothing else.".split()
# How long each word of a stream takes, in seconds.
PACE = 0.01
LARGEST_BODY = 16 * 1024 * 1024


class Refusal(Exception):
    """What a request gets that cannot be answered."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """One connection. A connection may ask many times."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        pages = {"/health": {"status": "ok"}, "/v1/models": models(self.server.options)}
        self.answered(lambda: self.json(200, pages[self.path]) if self.path in pages else unknown())

    def do_POST(self):
        answers = {
            "/v1/chat/completions": (chat_prompt, "chat.completion"),
            "/v1/completions": (lambda body: str(body.get("prompt", "")), "text_completion"),
            "/v1/embeddings": (lambda body: " ".join(texts(body)), "list"),
        }
        self.answered(lambda: self.completed(*answers[self.path]) if self.path in answers else unknown())

    def answered(self, answer):
        """Answers with `answer`, once the model has loaded."""
        try:
            body = self.body()
            if not self.server.loaded.is_set():
                raise Refusal(503, "Loading model")
            self.asked = body
            answer()
        except Refusal as refusal:
            kind = "unavailable_error" if refusal.status == 503 else "invalid_request_error"
            self.json(refusal.status, {"error": {"message": str(refusal), "type": kind, "code": refusal.status}})

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_BODY:
            self.close_connection = True
            raise Refusal(413, "the body is too large")
        return self.rfile.read(length)

    def completed(self, prompt_of, kind):
        try:
            asked = json.loads(self.asked)
            prompt = prompt_of(asked)
        except (ValueError, TypeError, AttributeError, KeyError):
            raise Refusal(400, "the body is not a request") from None
        model, prompt_tokens = self.server.options.model, len(prompt.split())
        if asked.get("model", model) != model:
            raise Refusal(404, f"the model {asked['model']!r} does not exist")
        if kind == "list":
            usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
            data = [
                {"object": "embedding", "index": index, "embedding": vector(text, asked.get("encoding_format"))}
                for index, text in enumerate(texts(asked))
            ]
            return self.json(200, {"object": "list", "model": model, "data": data, "usage": usage})
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens") or len(WORDS)
        words = WORDS[: max(1, int(limit))]
        reason = "stop" if len(words) == len(WORDS) else "length"
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(words),
            "total_tokens": prompt_tokens + len(words),
        }
        if asked.get("stream"):
            return self.streamed(kind, words, reason, usage, (asked.get("stream_options") or {}).get("include_usage"))
        choice = {"index": 0, "finish_reason": reason, **said(kind, " ".join(words), "message")}
        self.json(200, {**self.head(kind), "choices": [choice], "usage": usage})

    def streamed(self, kind, words, reason, usage, with_usage):
        """Words one by one, as server-sent events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head = self.head("chat.completion.chunk" if kind == "chat.completion" else kind)
        for number, word in enumerate(words):
            last = number + 1 == len(words)
            text = word if last else word + " "
            choice = {"index": 0, "finish_reason": reason if last else None, **said(kind, text, "delta")}
            self.event(json.dumps({**head, "choices": [choice]}))
            time.sleep(PACE)
        if with_usage:
            self.event(json.dumps({**head, "choices": [], "usage": usage}))
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, data):
        part = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def head(self, kind):
        made = int(time.time())
        return {"id": f"cmpl-{made}", "object": kind, "created": made, "model": self.server.options.model}

    def json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *words):
        # What was asked is nobody's to read in a log; that something was is enough.
        print(f"{self.command} {self.path}", file=sys.stderr, flush=True)


def texts(body):
    """What is to be turned into vectors."""
    given = body.get("input", "")
    return given if isinstance(given, list) else [str(given)]


def vector(text, encoding_format):
    """A text's vector: how many words it has. OpenAI's clients ask for it packed."""
    values = [float(len(text.split())), 0.0, 1.0]
    return base64.b64encode(struct.pack("<3f", *values)).decode() if encoding_format == "base64" else values


def unknown():
    raise Refusal(404, "no such page")


def models(options):
    """The list of the one model that is served."""
    return {
        "object": "list",
        "data": [{"id": options.model, "object": "model", "owned_by": "tests", "max_model_len": options.context_length}],
    }


def chat_prompt(asked):
    """All that was said in a chat, as one text."""
    return " ".join(str(message["content"]) for message in asked["messages"])


def said(kind, text, chat_field):
    """The part of a choice that has its words."""
    if kind == "chat.completion":
        return {chat_field: {"role": "assistant", "content": text}}
    return {"text": text}


def load(server, options):
    """Takes its time, tells how far it is, and fails where it is told to."""
    for percent in range(0, 100, 20):
        print(f"loading weights: {percent}%", flush=True)
        if options.fails and percent == 60:
            print(options.fails, file=sys.stderr, flush=True)
            os._exit(3)
        time.sleep(options.loads / 5)
    print("loading weights: 100%", flush=True)
    server.loaded.set()


def main():
    parser = argparse.ArgumentParser(description="A model's server without a model.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="the name under which it answers")
    parser.add_argument("--context-length", type=int, default=8192)
    parser.add_argument("--loads", type=float, default=0.5, help="for how many seconds it loads")
    parser.add_argument("--fails", help="what it says before it ends while it loads; without this it does not")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: os._exit(0))
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.options, server.loaded = options, threading.Event()
    print(f"serves {options.model} as process {os.getpid()}", flush=True)
    threading.Thread(target=load, args=(server, options), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
