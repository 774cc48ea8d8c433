"""Makes golden/gguf_blocks.safetensors, golden/gguf_iq4.safetensors, golden/gguf_quantized.safetensors, golden/tokenizer-*.gguf and
golden/tokenizer_gguf.json, with gguf 0.19.0, torch 2.13.0, tokenizers 0.23.3, numpy 2.4.6 and safetensors 0.8.0: `python3 make_gguf.py`."""

import json
import pathlib

import gguf
import numpy as np
import tokenizers
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file
from tokenizers import pre_tokenizers

HERE = pathlib.Path(__file__).parent
ROWS, COLUMNS = 3, 512

# Where the halves of a block stand: any other bytes are numbers and small scales.
HALVES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}
IQ4_HALVES = {Type.IQ4_NL: [0], Type.IQ4_XS: [0]}


def random_blocks(rng, type, rows=ROWS):
    """Random bytes, with finite halves of all sizes, subnormal ones and zeros among them."""
    block, size = gguf.GGML_QUANT_SIZES[type]
    blocks = rng.integers(0, 256, (rows * COLUMNS // block, size), dtype=np.uint8)
    for at in (HALVES | IQ4_HALVES)[type]:
        half = rng.integers(0, 0x7c00, len(blocks)).astype(np.uint16)
        half |= rng.integers(0, 2, len(blocks)).astype(np.uint16) << 15
        half[0], half[1] = 0x8000, 0x0001
        blocks[:, at:at + 2] = half.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def rounding_inputs(rng):
    """Numbers that show how f8_e4m3 rounds: codes, the middles between them, their neighbours."""
    codes = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    middles = (codes[:-1] + codes[1:]) / 2
    near = np.concatenate([np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(1e9))])
    more = np.float32([448, 449, 464, 464.1, 480, 1e9, np.inf, np.nan, 1e-30, 2**-10, 2**-11])
    x = np.concatenate([codes, middles, near, more, rng.standard_normal(500).astype(np.float32)])
    return np.concatenate([x, -x]).astype(np.float32)


def q8_0_inputs(rng):
    x = rng.standard_normal((40, 32)).astype(np.float32)
    x *= np.exp2(rng.integers(-40, 20, (40, 1))).astype(np.float32)
    x[0] = 0
    x[1] = np.arange(32) / 2 * 127 / 15.5  # many halves
    x[2] = 1e-40
    x[3, 5] = -1e30  # a scale larger than any half
    return x


def vectors():
    rng = np.random.default_rng(20251201)
    out = {}
    for type in HALVES:
        blocks = random_blocks(rng, type)
        out[f"{type.name}.blocks"] = blocks
        out[f"{type.name}.values"] = gguf.quants.dequantize(blocks, type)
    every = torch.arange(256, dtype=torch.int64).to(torch.uint8)
    out["F8_E4M3.all"] = every.view(torch.float8_e4m3fn).float().numpy()
    out["F8_E5M2.all"] = every.view(torch.float8_e5m2).float().numpy()
    out["F8_E4M3.x"] = rounding_inputs(rng)
    out["F8_E4M3.codes"] = torch.from_numpy(out["F8_E4M3.x"]).to(torch.float8_e4m3fn).view(torch.uint8).numpy()
    out["Q8_0.x"] = q8_0_inputs(rng)
    out["Q8_0.quantized"] = gguf.quants.quantize(out["Q8_0.x"], Type.Q8_0)
    out["Q4_0.x"] = np.concatenate([out["Q8_0.x"][3:], np.zeros((1, 32), np.float32), np.float32([[0.5, -0.5] * 16, [-0.5, 0.5] * 16])])
    out["Q4_0.quantized"] = gguf.quants.quantize(out["Q4_0.x"], Type.Q4_0)
    save_file(out, HERE / "golden/gguf_blocks.safetensors")


def quantized_vectors():
    """What gguf-py's quantize gives for the other types of 32 that it has a quantizer for."""
    rng = np.random.default_rng(20261201)
    x = q8_0_inputs(rng)[3:]
    x = np.concatenate([x, np.zeros((1, 32), np.float32), np.full((1, 32), 0.25, np.float32),
                        np.float32([[0.5, -0.5] * 16, [-0.5, 0.5] * 16]), np.abs(x[:4]), -np.abs(x[4:8])])
    out = {"x": x}
    for type in (Type.Q4_1, Type.Q5_0, Type.Q5_1):
        out[f"{type.name}.quantized"] = gguf.quants.quantize(x, type)
    save_file(out, HERE / "golden/gguf_quantized.safetensors")


def iq4_vectors():
    """Blocks of the types whose codes number the values of a table; every code and every scale of
    six bits is there."""
    rng = np.random.default_rng(20261130)
    out = {}
    for type in IQ4_HALVES:
        blocks = random_blocks(rng, type, 12)
        out[f"{type.name}.blocks"] = blocks
        out[f"{type.name}.values"] = gguf.quants.dequantize(blocks, type)
    save_file(out, HERE / "golden/gguf_iq4.safetensors")


QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")


def by_pattern(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


# As in the tokenizer.json of Qwen2.5, Llama 3 and SmolLM2: how words are split, whether texts are
# normalized, whether a word that is a token is taken whole.
SPLITTERS = {
    "qwen2": (by_pattern(QWEN), True, False),
    "llama-bpe": (by_pattern(LLAMA), False, True),
    "smollm": (pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]), False, False),
}

# Tokens that no merges make.
WHOLE = ["\u0120quick", "supercalifragilisticexpialidocious", "\u0120"]

MORE_TEXTS = [
    "a  1", "1234567 89", "it's 5's, IT'S they'll", "x \n 12\n\n3", "  \t7", "\n\n  a\n 1 \n", "12  34   ", "  12",
    "1 a  b   c    ", "\u0661\u0662\u0663 \u00bd \u2167 \u4e8c", "e\u0301 \u00e9", " quick quickly  quick", "\u00a0\u00a01\u00a0b",
]


def whole_tokenizer(whole, pre, extra):
    splitter, nfc, whole_words = SPLITTERS[pre]
    vocab = dict(whole["model"]["vocab"]) | extra
    if pre == "smollm":  # the real one lacks tokens for bytes, too
        for text in "\u0104*j":
            del vocab[text]
            vocab[f"[unused {text}]"] = whole["model"]["vocab"][text]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in whole["model"]["merges"]]
    out = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges, ignore_merges=whole_words))
    out.pre_tokenizer = splitter
    if nfc:
        out.normalizer = tokenizers.normalizers.NFC()
    for token in whole["added_tokens"]:
        # Each in a call of its own: the ids follow from the vocabulary's size.
        out.add_special_tokens([tokenizers.AddedToken(token["content"], normalized=False)])
    return out, merges


def write_tokenizer(pre, whole, reference, merges):
    kinds = {t["content"]: gguf.TokenType.CONTROL if t["special"] else gguf.TokenType.USER_DEFINED
             for t in whole["added_tokens"]}
    names = {id: text for text, id in reference.get_vocab(with_added_tokens=True).items()}
    count = max(names) + 3  # two that no text gives
    end = {text: id for id, text in names.items()}
    out = gguf.GGUFWriter(HERE / f"golden/tokenizer-{pre}.gguf", "qwen3")
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list([names.get(i, f"[PAD{i}]") for i in range(count)])
    out.add_token_types([kinds.get(names[i], gguf.TokenType.NORMAL) if i in names else gguf.TokenType.UNUSED
                         for i in range(count)])
    out.add_token_merges([" ".join(pair) for pair in merges])
    out.add_bos_token_id(end["<|endoftext|>"])
    out.add_eos_token_id(end["<|im_end|>"])
    out.add_add_bos_token(pre == "llama-bpe")
    out.add_chat_template("{{ messages }}")
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def tokenizer_files():
    """The small model's tokenizer with each way of splitting, as llama.cpp's converter would write it,
    and what the Rust tokenizers make of texts."""
    whole = json.loads((HERE / "golden/model/tokenizer/tokenizer.json").read_text())
    cases = json.loads((HERE / "tokenizer/cases.json").read_text())["tiny"]["cases"]
    texts = [bytes.fromhex(case["utf8_hex"]).decode() if "utf8_hex" in case else case["text"] for case in cases]
    found = {}
    for pre in SPLITTERS:
        first = max(whole["model"]["vocab"].values()) + 1
        extra = {text: first + i for i, text in enumerate(WHOLE) if text not in whole["model"]["vocab"]}
        reference, merges = whole_tokenizer(whole, pre, extra)
        write_tokenizer(pre, whole, reference, merges)
        found[pre] = [{"utf8_hex": text.encode().hex(), "ids": reference.encode(text).ids}
                      for text in texts + MORE_TEXTS if len(text) < 300]
    lines = json.dumps(found).replace("{\"utf8", "\n{\"utf8")
    (HERE / "golden/tokenizer_gguf.json").write_text(lines + "\n")


if __name__ == "__main__":
    vectors()
    iq4_vectors()
    quantized_vectors()
    tokenizer_files()
