"""Batched modules for training, with the state-dict names of Qwen3Model and ZImageTransformer2DModel.

All images of a batch have one size and all captions are padded to one length,
so that no lists and masks are needed. As in the reference, attention includes
the padding tokens of both sequences.

usage: model.py FOLDER   compares the modules with diffusers and transformers on an exported model
"""
import math
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

TEXT = dict(vocab_size=640, hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, head_dim=32, intermediate_size=256)
IMAGE = dict(dim=192, n_heads=3, n_layers=6, n_refiner_layers=1, cap_feat_dim=128,
             in_channels=16, axes_dims=[16, 24, 24], axes_lens=[1536, 512, 512])
MULTIPLE = 32   # both sequences are padded to a multiple of this
BFLOAT16 = torch.cpu._is_avx512_bf16_supported()   # without it, bf16 products are many times slower than f32


class Normalize(torch.autograd.Function):
    """RMS norm of x, times w (broadcast), with a gradient that makes few passes over memory."""

    @staticmethod
    def forward(ctx, x, w, eps):
        x = x.float()
        r = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + eps)
        x = x * r
        ctx.save_for_backward(x, r, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        x, r, w = ctx.saved_tensors
        gx = g.float() * x
        along = (gx * w).mean(-1, keepdim=True)
        return torch.addcmul(g * w, x, along, value=-1).mul_(r), gx.sum_to_size(w.shape), None


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x, scale=None):
        """scale: factor of the weight, [b, 1, dim], or None"""
        return Normalize.apply(x, self.weight if scale is None else self.weight * scale, self.eps)


def to_product_dtype(x):
    """bf16 under autocast, else x itself: converts once for all products with x."""
    return x.bfloat16() if torch.is_autocast_enabled("cpu") else x


def attend(q, k, v, hidden=None):
    """Attention, q, k, v [b, heads, n, d]. hidden: mask, True where not attended to.

    On the CPU its gradient is much faster than that of scaled_dot_product_attention.
    """
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    return to_product_dtype(scores.softmax(-1)) @ v


def linear(i, o, bias=False):
    layer = nn.Linear(i, o, bias=bias)
    nn.init.normal_(layer.weight, std=i ** -0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


# ------------------------------------------------------------ text encoder

class TextAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv, self.dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.q_proj = linear(c["hidden_size"], self.heads * self.dim)
        self.k_proj = linear(c["hidden_size"], self.kv * self.dim)
        self.v_proj = linear(c["hidden_size"], self.kv * self.dim)
        self.o_proj = linear(self.heads * self.dim, c["hidden_size"])
        self.q_norm, self.k_norm = RMSNorm(self.dim, 1e-6), RMSNorm(self.dim, 1e-6)

    def forward(self, x, cos, sin):
        b, n, _ = x.shape

        def rotate(y):                                # rotate-half rope
            y1, y2 = y.chunk(2, -1)
            return y * cos + torch.cat([-y2, y1], -1) * sin

        q = rotate(self.q_norm(self.q_proj(x).view(b, n, self.heads, self.dim))).transpose(1, 2)
        k = rotate(self.k_norm(self.k_proj(x).view(b, n, self.kv, self.dim))).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.kv, self.dim).transpose(1, 2)
        k, v = (y.repeat_interleave(self.heads // self.kv, 1) for y in (k, v))
        y = attend(to_product_dtype(q), to_product_dtype(k), v, torch.ones(n, n, dtype=torch.bool).triu(1))
        return self.o_proj(y.transpose(1, 2).reshape(b, n, -1))


class TextMLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = linear(c["hidden_size"], c["intermediate_size"])
        self.up_proj = linear(c["hidden_size"], c["intermediate_size"])
        self.down_proj = linear(c["intermediate_size"], c["hidden_size"])

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class TextBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self_attn, self.mlp = TextAttention(c), TextMLP(c)
        self.input_layernorm = RMSNorm(c["hidden_size"], 1e-6)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], 1e-6)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(to_product_dtype(self.input_layernorm(x)), cos, sin)
        return x + self.mlp(to_product_dtype(self.post_attention_layernorm(x)))


class TextEncoder(nn.Module):
    """Returns hidden_states[-2]. The last layer and the norm exist for the checkpoint format and are not used."""

    def __init__(self, c=TEXT):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        self.layers = nn.ModuleList(TextBlock(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], 1e-6)
        rates = 1e6 ** -(torch.arange(0, c["head_dim"], 2).float() / c["head_dim"])
        angles = torch.arange(512).float()[:, None] * rates
        angles = torch.cat([angles, angles], -1)[:, None]            # [n, 1, head_dim]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        n = ids.shape[1]
        for layer in self.layers[:-1]:
            x = layer(x, self.cos[:n], self.sin[:n])
        return x


# ------------------------------------------------------------- transformer

class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = linear(dim, dim), linear(dim, dim), linear(dim, dim)
        self.to_out = nn.ModuleList([linear(dim, dim)])
        self.norm_q, self.norm_k = RMSNorm(dim // heads, 1e-5), RMSNorm(dim // heads, 1e-5)

    def forward(self, x, rope):
        b, n, dim = x.shape
        x = F.linear(x, torch.cat([self.to_q.weight, self.to_k.weight, self.to_v.weight]))
        x = x.view(b, n, 3, self.heads, -1)
        weight = torch.stack([self.norm_q.weight, self.norm_k.weight])[:, None]
        y = Normalize.apply(x[:, :, :2], weight, self.norm_q.eps)
        y = torch.view_as_complex(y.unflatten(-1, (-1, 2))) * rope       # rope on interleaved pairs
        q, k = to_product_dtype(torch.view_as_real(y).flatten(-2)).permute(2, 0, 3, 1, 4)
        y = attend(q, k, x[:, :, 2].transpose(1, 2))
        return self.to_out[0](y.transpose(1, 2).reshape(b, n, dim))


class FeedForward(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.w1, self.w2, self.w3 = linear(dim, hidden), linear(hidden, dim), linear(dim, hidden)

    def forward(self, x):
        a, b = F.linear(x, torch.cat([self.w1.weight, self.w3.weight])).chunk(2, -1)
        return self.w2(F.silu(a) * b)


class Block(nn.Module):
    def __init__(self, dim, heads, modulation):
        super().__init__()
        self.attention, self.feed_forward = Attention(dim, heads), FeedForward(dim, int(dim / 3 * 8))
        self.attention_norm1, self.attention_norm2 = RMSNorm(dim, 1e-5), RMSNorm(dim, 1e-5)
        self.ffn_norm1, self.ffn_norm2 = RMSNorm(dim, 1e-5), RMSNorm(dim, 1e-5)
        self.modulation = modulation
        if modulation:
            self.adaLN_modulation = nn.Sequential(nn.Linear(min(dim, 256), 4 * dim))
            nn.init.zeros_(self.adaLN_modulation[0].weight)
            with torch.no_grad():                     # gates start at 0.3, so that all blocks learn from the beginning
                self.adaLN_modulation[0].bias.view(4, dim).copy_(torch.tensor([0, 0.3, 0, 0.3])[:, None])

    def forward(self, x, rope, c=None):
        s1 = g1 = s2 = g2 = None
        if self.modulation:
            s1, g1, s2, g2 = self.adaLN_modulation(c).float()[:, None].chunk(4, -1)
            s1, g1, s2, g2 = 1 + s1, g1.tanh(), 1 + s2, g2.tanh()
        y = self.attention(to_product_dtype(self.attention_norm1(x, s1)), rope)
        x = x + self.attention_norm2(y, g1)
        y = self.feed_forward(to_product_dtype(self.ffn_norm1(x, s2)))
        return x + self.ffn_norm2(y, g2)


class FinalLayer(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.linear = nn.Linear(dim, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(min(dim, 256), dim))
        nn.init.zeros_(self.adaLN_modulation[1].weight)
        nn.init.zeros_(self.adaLN_modulation[1].bias)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x, c):
        x = F.layer_norm(x.float(), x.shape[-1:], eps=1e-6)
        return self.linear(x * (1 + self.adaLN_modulation(c))[:, None])


class TimeEmbedder(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, 1024), nn.SiLU(), nn.Linear(1024, out))

    def forward(self, t):
        rates = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
        angles = t.float()[:, None] * rates
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1))


def patchify(x):
    """[b, c, h, w] -> [b, h/2 * w/2, 4 c], channels last in a patch"""
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(b, h * w // 4, 4 * c)


def unpatchify(p, h, w):
    """The inverse of patchify. h, w: size of the result"""
    return p.view(p.shape[0], h // 2, w // 2, 2, 2, -1).permute(0, 5, 1, 3, 2, 4).reshape(p.shape[0], -1, h, w)


class Transformer(nn.Module):
    def __init__(self, c=IMAGE):
        super().__init__()
        dim, heads, patch = c["dim"], c["n_heads"], 4 * c["in_channels"]
        self.axes = c["axes_dims"]
        self.all_x_embedder = nn.ModuleDict({"2-1": nn.Linear(patch, dim)})
        self.all_final_layer = nn.ModuleDict({"2-1": FinalLayer(dim, patch)})
        self.noise_refiner = nn.ModuleList(Block(dim, heads, True) for _ in range(c["n_refiner_layers"]))
        self.context_refiner = nn.ModuleList(Block(dim, heads, False) for _ in range(c["n_refiner_layers"]))
        self.layers = nn.ModuleList(Block(dim, heads, True) for _ in range(c["n_layers"]))
        self.t_embedder = TimeEmbedder(min(dim, 256))
        self.cap_embedder = nn.Sequential(RMSNorm(c["cap_feat_dim"], 1e-5), linear(c["cap_feat_dim"], dim, True))
        self.x_pad_token = nn.Parameter(torch.randn(1, dim) * 0.5)
        self.cap_pad_token = nn.Parameter(torch.randn(1, dim) * 0.5)
        self.start_as_identity()
        self.tables = {}

    def start_as_identity(self):
        """Makes the initial output minus the input (scaled), which already removes most of the noise."""
        into, out = self.all_x_embedder["2-1"], self.all_final_layer["2-1"].linear
        nn.init.orthogonal_(into.weight)
        nn.init.zeros_(into.bias)
        with torch.no_grad():
            out.weight.copy_(-into.weight.T * (into.in_features / into.out_features) ** 0.5)

    def table(self, cap, rows, columns):
        """-> rope factors of image, image padding and caption tokens, complex [n, 1, 1, 32]; count of padding tokens"""
        key = (cap, rows, columns)
        if key not in self.tables:
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            at = torch.stack([torch.full_like(x, cap + 1), y, x], -1).reshape(-1, 3)
            pads = -len(at) % MULTIPLE
            words = torch.zeros(cap, 3, dtype=torch.long)
            words[:, 0] = torch.arange(1, cap + 1)
            at = torch.cat([at, torch.zeros(pads, 3, dtype=torch.long), words]).double()
            angles = [at[:, i:i + 1] * 256.0 ** -(torch.arange(0, d, 2).double() / d) for i, d in enumerate(self.axes)]
            angles = torch.cat(angles, -1).float()[:, None, None]
            self.tables[key] = torch.polar(torch.ones_like(angles), angles), pads
        return self.tables[key]

    def forward(self, x, t, text, valid):
        """x [b, 16, h, w], t [b] from 0 (noise) to 1, text [b, n, cap_feat_dim] with n % 32 = 0,
        valid [b, n] true at the caption's own tokens -> clean latent minus noise, [b, 16, h, w]"""
        b, _, h, w = x.shape
        cap = text.shape[1]
        rope, pads = self.table(cap, h // 2, w // 2)
        c = self.t_embedder(t * 1000.0)
        x = self.all_x_embedder["2-1"](patchify(x)).float()
        if pads:
            x = torch.cat([x, self.x_pad_token.expand(b, pads, -1)], 1)
        for block in self.noise_refiner:
            x = block(x, rope[:-cap], c)
        y = torch.where(valid[..., None], self.cap_embedder(text).float(), self.cap_pad_token)
        for block in self.context_refiner:
            y = block(y, rope[-cap:])
        x = torch.cat([x, y], 1)
        for block in self.layers:
            x = block(x, rope, c)
        x = self.all_final_layer["2-1"](x[:, :h * w // 4], c)
        return unpatchify(x.float(), h, w)


class Model(nn.Module):
    """Text encoder and transformer."""

    def __init__(self):
        super().__init__()
        self.text, self.image = TextEncoder(), Transformer()

    def forward(self, x, t, ids, valid):
        return self.image(x, t, self.text(ids).float(), valid)


def load_exported(model, folder):
    """Loads the weights of an exported model, as f32."""
    text = load_file(f"{folder}/text_encoder/model.safetensors")
    model.text.load_state_dict({k.removeprefix("model."): v.float() for k, v in text.items()})
    image = load_file(f"{folder}/transformer/diffusion_pytorch_model.safetensors")
    model.image.load_state_dict({k: v.float() for k, v in image.items()})


@torch.no_grad()
def sample(model, ids, valid, noise, steps=9, shift=3.0):
    """Euler sampler from noise [b, 16, h, w] to latents, with the pipeline's schedule."""
    u = torch.linspace(1, 1 / steps, steps)
    sigmas = torch.cat([shift * u / (1 + (shift - 1) * u), torch.zeros(1)])
    text, x = model.text(ids).float(), noise
    for now, then in zip(sigmas[:-1], sigmas[1:]):
        x = x + (now - then) * model.image(x, torch.full((len(x),), 1 - now.item()), text, valid)
    return x


@torch.no_grad()
def check(folder):
    """Asserts that these modules and those of diffusers and transformers give equal results."""
    from diffusers import ZImageTransformer2DModel
    from transformers import Qwen3Model
    encoder = Qwen3Model.from_pretrained(f"{folder}/text_encoder", torch_dtype=torch.float32)
    reference = ZImageTransformer2DModel.from_pretrained(f"{folder}/transformer", torch_dtype=torch.float32)
    model = Model()
    model.text.load_state_dict(encoder.state_dict())
    model.image.load_state_dict(reference.state_dict())
    torch.manual_seed(0)
    for count, h, w in ((19, 16, 16), (24, 20, 16), (32, 12, 24), (40, 32, 16)):
        ids = torch.randint(0, 600, (1, count))
        padded = F.pad(ids, (0, -count % MULTIPLE))
        valid = (torch.arange(padded.shape[1]) < count)[None]
        x, t = torch.randn(1, 16, h, w), torch.tensor([0.3])
        text = encoder(ids, output_hidden_states=True).hidden_states[-2]
        ours_text = model.text(padded)[:, :count]
        theirs = reference([x[0][:, None]], t, [text[0]], return_dict=False)[0][0][:, 0]
        ours = model(x, t, padded, valid)[0]
        gap = max(((ours_text - text).abs().max() / text.abs().max()).item(), (ours - theirs).abs().max().item())
        print(count, h, w, f"largest difference {gap:.1e}")
        assert gap < 1e-4


if __name__ == "__main__":
    check(sys.argv[1])
