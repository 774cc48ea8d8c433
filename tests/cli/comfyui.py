"""A folder like ComfyUI's models, with the small model in it: a diffusion model, a text encoder and a VAE as single files."""

import os
import shutil

from support import MODEL, read_safetensors, write_safetensors

GOLDEN = os.path.dirname(MODEL)
DIFFUSION = os.path.join(GOLDEN, "comfyui", "split_diffusion_model_fp8_e4m3fn.safetensors")
VAE = os.path.join(GOLDEN, "comfyui", "split_ae.safetensors")
ENCODER = os.path.join(MODEL, "text_encoder")


def write_vae(path, latent=16):
    """A VAE whose shapes alone tell its config, as those of the real one do: all its blocks are 32 wide."""
    wide = {}
    for name, (kind, shape, data) in read_safetensors(VAE).items():
        if ".nin_shortcut." in name:
            continue  # no block changes its width
        new = [32 if side == 16 else side for side in shape]
        if name == "decoder.conv_in.weight":
            new[1] = latent
        if name.startswith("encoder.conv_out."):
            new[0] = 2 * latent
        size = len(data)
        for side in new:
            size *= side
        for side in shape:
            size //= side
        wide[name] = [kind, new, (data * (size // len(data) + 1))[:size]]
    write_safetensors(path, wide)


def write_encoder(path, width=None):
    """The text encoder; with a width, one of that width, which fits no diffusion model here."""
    tensors = {}
    for name in sorted(os.listdir(ENCODER)):
        if name.endswith(".safetensors"):
            tensors.update(read_safetensors(os.path.join(ENCODER, name)))
    for name, (kind, shape, data) in tensors.items() if width else ():
        new = [width if side == 96 else side for side in shape]
        size = len(data)
        for side, other in zip(new, shape):
            size = size * side // other
        tensors[name] = [kind, new, data[:size]]
    write_safetensors(path, tensors)


def make_tree(folder, tokenizer=True, diffusion="diffusion_models/z_image_turbo.safetensors",
              encoder="text_encoders/qwen_3_4b.safetensors", vae="vae/ae.safetensors"):
    """Files by these names; with the tokenizer's files beside the text encoder."""
    for name in (diffusion, encoder, vae):
        os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
    shutil.copyfile(DIFFUSION, os.path.join(folder, diffusion))
    write_encoder(os.path.join(folder, encoder))
    write_vae(os.path.join(folder, vae))
    if tokenizer:
        put_tokenizer(os.path.join(folder, os.path.dirname(encoder)))


def put_tokenizer(folder):
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(os.path.join(MODEL, "tokenizer")):
        shutil.copyfile(os.path.join(MODEL, "tokenizer", name), os.path.join(folder, name))
