"""Writes random weights of Z-Image's shapes as the three files that stable-diffusion.cpp loads, 1.4 GB in all.

usage: weights.py FOLDER    (existing files are kept)

The transformer has one layer and no refiners; the text encoder has an embedding and no layers; the decoder is complete.
"""
import os
import sys

import torch
from diffusers import ZImageTransformer2DModel
from safetensors.torch import save_file

from torch_peer import vae_decoder

VOCABULARY, TEXT_DIM = 151936, 2560


def transformer():
    """In diffusers' names, except that query, key and value are one matrix, as the library expects."""
    state = ZImageTransformer2DModel(n_layers=1, n_refiner_layers=0, cap_feat_dim=TEXT_DIM).state_dict()
    for name in ("x_pad_token", "cap_pad_token"):  # diffusers leaves these uninitialized
        state[name] = torch.randn_like(state[name])
    attention = "layers.0.attention."
    parts = [state.pop(f"{attention}to_{part}.weight") for part in "qkv"]
    state[f"{attention}qkv.weight"] = torch.cat(parts)
    # Only the layer is timed. The rest stays f32, which the library multiplies faster than bf16.
    return {name: tensor.to(torch.bfloat16) if name.startswith("layers.") else tensor for name, tensor in state.items()}


def text_encoder():
    return {"model.embed_tokens.weight": torch.empty(VOCABULARY, TEXT_DIM, dtype=torch.bfloat16).normal_(),
            "model.norm.weight": torch.ones(TEXT_DIM, dtype=torch.bfloat16)}


def decoder():
    """In the published layout: 1 x 1 convolutions in place of the attention's linear layers."""
    state = vae_decoder().state_dict()
    return {name: tensor[..., None, None].contiguous() if ".attentions." in name and tensor.ndim == 2 else tensor
            for name, tensor in state.items()}


FILES = {"transformer.safetensors": transformer, "text.safetensors": text_encoder, "decoder.safetensors": decoder}


def write(folder):
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(1)
    for name, make in FILES.items():
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            save_file(make(), path + ".part")
            os.replace(path + ".part", path)


if __name__ == "__main__":
    write(sys.argv[1])
