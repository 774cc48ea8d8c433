"""Makes golden/gguf_blocks.safetensors and golden/tokenizer.gguf, with gguf 0.19.0, torch 2.13.0,
numpy 2.4.6 and safetensors 0.8.0: `python3 make_gguf.py`."""

import json
import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
ROWS, COLUMNS = 3, 512

# Where the halves of a block stand: any other bytes are numbers and small scales.
HALVES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}


def random_blocks(rng, type):
    """Random bytes, with finite halves of all sizes, subnormal ones and zeros among them."""
    block, size = gguf.GGML_QUANT_SIZES[type]
    blocks = rng.integers(0, 256, (ROWS * COLUMNS // block, size), dtype=np.uint8)
    for at in HALVES[type]:
        half = rng.integers(0, 0x7c00, len(blocks)).astype(np.uint16)
        half |= rng.integers(0, 2, len(blocks)).astype(np.uint16) << 15
        half[0], half[1] = 0x8000, 0x0001
        blocks[:, at:at + 2] = half.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


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
    save_file(out, HERE / "golden/gguf_blocks.safetensors")


def tokenizer():
    """The small model's tokenizer, as llama.cpp's converter would write it."""
    folder = HERE / "golden/model/tokenizer"
    whole = json.loads((folder / "tokenizer.json").read_text())
    names, types = {}, {}
    for text, id in whole["model"]["vocab"].items():
        names[id], types[id] = text, gguf.TokenType.NORMAL
    for token in whole["added_tokens"]:
        names[token["id"]] = token["content"]
        types[token["id"]] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    count = max(names) + 3  # two that no text gives
    merges = [m if isinstance(m, str) else " ".join(m) for m in whole["model"]["merges"]]
    end = {text: id for id, text in names.items()}
    out = gguf.GGUFWriter(HERE / "golden/tokenizer.gguf", "qwen3")
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list([names.get(i, f"[PAD{i}]") for i in range(count)])
    out.add_token_types([types.get(i, gguf.TokenType.UNUSED) for i in range(count)])
    out.add_token_merges(merges)
    out.add_bos_token_id(end["<|endoftext|>"])
    out.add_eos_token_id(end["<|im_end|>"])
    out.add_add_bos_token(False)
    out.add_chat_template("{{ messages }}")
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    vectors()
    tokenizer()
