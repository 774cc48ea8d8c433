"""Writes the trained components as a folder that ZImagePipeline.from_pretrained loads.

Matrices are stored in BF16; vectors and the two pad tokens in F32.

usage: export.py FOLDER OUT
Reads tokenizer/, last.pt, decoder.pt and encoder.pt in FOLDER.  OUT is replaced when all files have been written.
"""
import argparse
import json
import os
import shutil

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

import vae as autoencoder
from model import IMAGE, TEXT


def store(tensors, path):
    """Writes a safetensors file: 1-D tensors and pad tokens as F32, others as BF16."""
    out = {k: v.float() if v.ndim == 1 or k.endswith("pad_token") else v.bfloat16() for k, v in tensors.items()}
    save_file({k: v.contiguous() for k, v in out.items()}, path, metadata={"format": "pt"})


def write_json(path, **values):
    with open(path, "w") as f:
        json.dump(values, f, indent=1)
        f.write("\n")


def submodule(state, prefix):
    """The tensors of a submodule, without the prefix of their names."""
    return {k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)}


def text_encoder(state, tokens, folder):
    os.makedirs(folder)
    tensors = submodule(state, "text.")
    last = TEXT["num_hidden_layers"] - 1      # not used by the pipeline: filled with a copy of the layer before
    for key in [k for k in tensors if k.startswith(f"layers.{last}.")]:
        tensors[key] = tensors[key.replace(f"layers.{last}.", f"layers.{last - 1}.")].clone()
    store({"model." + k: v for k, v in tensors.items()}, f"{folder}/model.safetensors")
    write_json(f"{folder}/config.json", architectures=["Qwen3ForCausalLM"], model_type="qwen3", **TEXT,
               attention_bias=False, attention_dropout=0.0, hidden_act="silu", initializer_range=0.02,
               max_position_embeddings=40960, max_window_layers=TEXT["num_hidden_layers"], rms_norm_eps=1e-6,
               rope_scaling=None, rope_theta=1000000.0, sliding_window=None, tie_word_embeddings=True,
               bos_token_id=tokens["<|endoftext|>"], eos_token_id=tokens["<|im_end|>"],
               torch_dtype="bfloat16", use_cache=True, use_sliding_window=False)


def transformer(state, folder):
    os.makedirs(folder)
    store(submodule(state, "image."), f"{folder}/diffusion_pytorch_model.safetensors")
    write_json(f"{folder}/config.json", _class_name="ZImageTransformer2DModel", **IMAGE, n_kv_heads=IMAGE["n_heads"],
               all_patch_size=[2], all_f_patch_size=[1], norm_eps=1e-5, qk_norm=True, rope_theta=256.0, t_scale=1000.0)


def vae(source, folder):
    os.makedirs(folder)
    model = AutoencoderKL(**autoencoder.CONFIG)
    model.decoder.load_state_dict(torch.load(f"{source}/decoder.pt"))
    if os.path.exists(f"{source}/encoder.pt"):
        model.encoder.load_state_dict(torch.load(f"{source}/encoder.pt"))
    store(model.state_dict(), f"{folder}/diffusion_pytorch_model.safetensors")
    write_json(f"{folder}/config.json", _class_name="AutoencoderKL", **autoencoder.CONFIG)


def export(source, out, weights="ema"):
    fresh = out.rstrip("/") + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(f"{source}/tokenizer", f"{fresh}/tokenizer")
    with open(f"{fresh}/tokenizer/tokenizer_config.json") as f:
        tokens = {t["content"]: int(i) for i, t in json.load(f)["added_tokens_decoder"].items()}
    state = torch.load(f"{source}/last.pt")[weights]
    text_encoder(state, tokens, f"{fresh}/text_encoder")
    transformer(state, f"{fresh}/transformer")
    vae(source, f"{fresh}/vae")
    os.makedirs(f"{fresh}/scheduler")
    write_json(f"{fresh}/scheduler/scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler",
               num_train_timesteps=1000, use_dynamic_shifting=False, shift=3.0)
    write_json(f"{fresh}/model_index.json", _class_name="ZImagePipeline",
               scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"], text_encoder=["transformers", "Qwen3Model"],
               tokenizer=["transformers", "Qwen2Tokenizer"], transformer=["diffusers", "ZImageTransformer2DModel"],
               vae=["diffusers", "AutoencoderKL"])
    shutil.rmtree(out, ignore_errors=True)
    os.rename(fresh, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    args = parser.parse_args()
    export(args.folder, args.out)
