#!/usr/bin/env python3
"""Makes a tiny language model with random weights, as a GGUF file that llama.cpp loads.

It knows a few hundred words and says them in no order: whoever wants to see a model node at work, and has no weights at hand, gets a real
server with real tokens, in a file of some hundred kilobytes. The same seed makes the same file. It needs PyPI's `gguf` (MIT):

    python3 -m venv /tmp/tiny && /tmp/tiny/bin/pip install gguf==0.19.0
    /tmp/tiny/bin/python3 tests/models/tiny.py /tmp/tiny.gguf
"""

import argparse

import gguf
import numpy

# The shape: large enough for every kind of tensor that the architecture has, and not larger.
LAYERS, WIDTH, HEADS, HIDDEN = 2, 64, 4, 128

WORDS = """a about after again all also an and any are as at away back be because been before began both but by call came can cloud cold come
could day deep did do does door down each earth even every eye far few find fire first for found from full game garden gave get give go gold good
great green had half hand harbour has have he head her here high him his home hope house how if in into is it its just keep kind king know land
last late left letter life light like line little long look made make man many may me mean might more morning most mother mountain much must my
name near never new night no north not now of off old on once one only open or other our out over own part people place play point port quiet
rain read red right river road rock round run said sail same sand saw say sea see set ship shore should side silver sing sky sleep small snow so
some song soon south spring star stay still stone such summer sun take tell than that the their them then there these they thing think this those
thought through time to too took tower town tree true turn two under until up upon us very voice walk wall want warm was watch water way we well
went were west what wheel when where which while white who why wide wild will wind winter with word work world would year yes you young your"""

# What is said before a model of this kind: who speaks, and what.
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def vocabulary():
    """Tokens with their scores and types. Every byte is one, so that any text at all can be read."""
    tokens = [(b"<unk>", 0.0, gguf.TokenType.UNKNOWN)]
    tokens += [(mark, 0.0, gguf.TokenType.CONTROL) for mark in (b"<s>", b"</s>")]
    tokens += [(b"<0x%02X>" % byte, 0.0, gguf.TokenType.BYTE) for byte in range(256)]
    # A word is put together from its beginnings: each of them must be a token, and the longer one the better one.
    beginnings = {"\u2581" + word[:length] for word in WORDS.split() for length in range(len(word) + 1)}
    beginnings |= {letter for word in WORDS.split() for letter in word}
    words = sorted(beginnings, key=lambda text: (len(text), text))
    tokens += [(text.encode(), float(len(text)), gguf.TokenType.NORMAL) for text in words]
    return tokens


def speakable(tokens):
    """Which tokens it says: whole words. The others are only heard."""
    whole = {("\u2581" + word).encode() for word in WORDS.split()}
    return numpy.array([[text in whole] for text, _score, _kind in tokens], dtype=numpy.float32)


def tensors(random, tokens):
    """Each tensor's name and its values."""

    def of(*shape):
        return random.normal(0.0, 0.2, shape).astype(numpy.float32)

    yield "token_embd.weight", of(len(tokens), WIDTH)
    yield "output_norm.weight", numpy.ones(WIDTH, dtype=numpy.float32)
    # What is never said has the logit 0, far below what is said most.
    yield "output.weight", 5 * of(len(tokens), WIDTH) * speakable(tokens)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            yield f"{block}.{norm}.weight", numpy.ones(WIDTH, dtype=numpy.float32)
        for square in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}.{square}.weight", of(WIDTH, WIDTH)
        for up in ("ffn_gate", "ffn_up"):
            yield f"{block}.{up}.weight", of(HIDDEN, WIDTH)
        yield f"{block}.ffn_down.weight", of(WIDTH, HIDDEN)


def write(path, seed, context_length):
    """Writes the model to `path`."""
    tokens = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny, with random weights")
    writer.add_context_length(context_length)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _score, _kind in tokens])
    writer.add_token_scores([score for _text, score, _kind in tokens])
    writer.add_token_types([kind for _text, _score, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    # Served as a model of vectors, it gives a text the mean of its words'.
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_chat_template(TEMPLATE)
    for name, values in tensors(numpy.random.default_rng(seed), tokens):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description="Makes a tiny language model with random weights.")
    parser.add_argument("path", help="the file to write, such as tiny.gguf")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same file")
    parser.add_argument("--context-length", type=int, default=8192, help="how many tokens it says it was trained on")
    options = parser.parse_args()
    write(options.path, options.seed, options.context_length)


if __name__ == "__main__":
    main()
