"""Serves one model with llama.cpp by OpenAI's API, on loopback, until it is ended."""

import argparse
import signal

import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--name", required=True)
parser.add_argument("--context-length", type=int, required=True)
parser.add_argument("--embeds", action="store_true", help="it turns texts into vectors, and says nothing")
weights = parser.add_mutually_exclusive_group(required=True)
weights.add_argument("--gguf")
weights.add_argument("--source")
options = parser.parse_args()

params = xllamacpp.CommonParams()
if options.gguf:
    params.model.path = options.gguf
else:
    params.model.hf_repo = options.source
params.model_alias = {options.name}
params.hostnames = ["127.0.0.1"]
params.port = options.port
params.n_ctx = options.context_length
# How the vectors of words become one of the whole text stands in the model's own file.
params.embedding = options.embeds
# A page of its own, and what others' requests are, are nothing for those who ask a model.
params.ui = False
params.endpoint_slots = False
# No page of the web may ask it from a browser of whoever can reach it.
params.cors_origins = ""
params.cors_origins_explicit = True
params.cors_credentials = False

signal.signal(signal.SIGTERM, signal.SIG_DFL)
server = xllamacpp.Server(params)
while True:
    signal.pause()
