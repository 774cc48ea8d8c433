"""Writes a GGUF file with the shapes of Qwen2.5-1.5B, random Q8_0 weights and a byte tokenizer.

usage: random_llm.py FILE
"""
import os
import sys

import gguf
import numpy

LAYERS, HIDDEN, FFN, HEADS, KV_HEADS, VOCAB = 28, 1536, 8960, 12, 2, 151936
END = "<|endoftext|>"
ROWS = 4096  # of random values; a larger matrix repeats them


def blocks(random, rows, columns):
    """Q8_0 blocks: an f16 scale and 32 signed bytes each. The values are uniform with an RMS of about 0.02."""
    some = min(rows, ROWS)
    data = random.integers(0, 256, (some, columns // 32, 34), dtype=numpy.uint8)
    data[..., :2] = numpy.array([0.02 / 73], numpy.float16).view(numpy.uint8)
    return numpy.resize(data.reshape(some, -1), (rows, columns // 32 * 34))


def tensors():
    """Names and shapes of all tensors. Those with one dimension are f32, the others Q8_0."""
    yield "token_embd.weight", (VOCAB, HIDDEN)
    kv = HIDDEN // HEADS * KV_HEADS
    for layer in range(LAYERS):
        for name, shape in (("attn_norm.weight", (HIDDEN,)), ("ffn_norm.weight", (HIDDEN,)),
                            ("attn_q.weight", (HIDDEN, HIDDEN)), ("attn_q.bias", (HIDDEN,)),
                            ("attn_k.weight", (kv, HIDDEN)), ("attn_k.bias", (kv,)),
                            ("attn_v.weight", (kv, HIDDEN)), ("attn_v.bias", (kv,)),
                            ("attn_output.weight", (HIDDEN, HIDDEN)), ("ffn_gate.weight", (FFN, HIDDEN)),
                            ("ffn_up.weight", (FFN, HIDDEN)), ("ffn_down.weight", (HIDDEN, FFN))):
            yield f"blk.{layer}.{name}", shape
    yield "output_norm.weight", (HIDDEN,)


def vocabulary():
    """GPT-2's byte alphabet, one merged token, and placeholders up to VOCAB tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    tokens = letters + ["th"]
    return tokens + [f"<|{i}|>" for i in range(len(tokens), VOCAB - 1)] + [END]


def add_metadata(writer):
    writer.add_context_length(32768)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    tokens = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (VOCAB - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(VOCAB - 1)
    writer.add_add_bos_token(False)


def write(path):
    """Writes the file atomically."""
    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(path + ".part", "qwen2")
    add_metadata(writer)
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    for name, shape in tensors():
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, numpy.dtype(numpy.float32), 4 * shape[0])
        else:
            size = shape[0] * shape[1] // 32 * 34
            stored = (shape[0], shape[1] // 32 * 34)
            writer.add_tensor_info(name, stored, numpy.dtype(numpy.uint8), size, raw_dtype=q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in tensors():
        if len(shape) == 2:
            writer.write_tensor_data(blocks(random, *shape))
        else:
            writer.write_tensor_data(numpy.full(shape, 0 if name.endswith("bias") else 1, numpy.float32))
    writer.close()
    os.replace(path + ".part", path)


if __name__ == "__main__":
    write(sys.argv[1])
