"""The peer torch with diffusers: one transformer block and the VAE's decoder, at full size, with random weights.

usage: torch_peer.py f32|bf16|int8    (then requests on standard input, see peer.py)
"""
import copy
import sys
import time
import warnings

import torch
from diffusers import AutoencoderKL
from diffusers.models.transformers.transformer_z_image import RopeEmbedder, ZImageTransformerBlock

from peer import TEXT_TOKENS, serve, tokens

DIM, HEADS, MODULATION = 3840, 30, 256
INT8_ENGINES = ("fbgemm", "onednn")  # "x86" is one of these two, by the processor


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def positions(width, height):
    """Position ids in ZImageTransformer2DModel's order: image tokens at (time, row, column), padding, caption."""
    rows, columns = height // 16, width // 16
    padding = tokens(width, height) - TEXT_TOKENS - rows * columns
    image = torch.cartesian_prod(torch.tensor([TEXT_TOKENS + 1]), torch.arange(rows), torch.arange(columns))
    caption = torch.zeros(TEXT_TOKENS, 3, dtype=torch.int64)
    caption[:, 0] = torch.arange(1, TEXT_TOKENS + 1)
    return torch.cat([image, torch.zeros(padding, 3, dtype=torch.int64), caption])


class Block:
    def __init__(self, kind):
        block = ZImageTransformerBlock(0, DIM, HEADS, HEADS, 1e-5, True, modulation=True).eval()
        self.rope = RopeEmbedder(256.0, [32, 48, 48], [1536, 512, 512])
        self.dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        self.engine, self.block = "", block.to(self.dtype)
        if kind == "int8":
            self.engine, self.block = self.faster_int8(block)
        self.run(64, 64)  # warm-up

    def faster_int8(self, block):
        tried = []
        for self.engine in INT8_ENGINES:
            self.block = quantized(block, self.engine)
            self.run(64, 64)
            tried.append((self.run(256, 256), self.engine, self.block))
        return min(tried, key=lambda engine: engine[0])[1:]

    def run(self, width, height):
        """-> seconds"""
        if self.engine:
            torch.backends.quantized.engine = self.engine
        x = torch.randn(1, tokens(width, height), DIM, dtype=self.dtype)
        modulation = torch.randn(1, MODULATION, dtype=self.dtype)
        rope = self.rope(positions(width, height))[None]
        return seconds(lambda: self.block(x, None, rope, modulation))


def quantized(block, engine):
    """A copy with int8 weights; inputs are quantized at each call. Works only while this engine is set."""
    torch.backends.quantized.engine = engine
    return torch.ao.quantization.quantize_dynamic(copy.deepcopy(block), {torch.nn.Linear}, torch.qint8)


def vae_decoder():
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=16, norm_num_groups=32,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        mid_block_add_attention=True, use_quant_conv=False, use_post_quant_conv=False).eval()
    del vae.encoder
    return vae


class Decoder:
    def __init__(self):
        self.vae = vae_decoder()
        self.run(64, 64)

    def run(self, width, height):
        latents = torch.randn(1, 16, height // 8, width // 8)
        return seconds(lambda: self.vae.decode(latents))


def main(kind):
    warnings.simplefilter("ignore")  # torch.ao.quantization warns about its deprecation for each layer
    torch.set_grad_enabled(False)
    block = Block(kind)
    decoder = Decoder() if kind == "f32" else None

    def measure(threads, width, height):
        torch.set_num_threads(threads)
        stages = {"block": [block.run(width, height)]}
        if decoder:
            stages["decode"] = [decoder.run(width, height)]
        return stages, block.engine

    serve(measure)


if __name__ == "__main__":
    main(sys.argv[1])
