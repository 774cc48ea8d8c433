"""Measures streaming conversion (download --to mlx) of a model of the size of Z-Image-Turbo: the largest disk usage,
the program's memory, and the time. See README.md."""
import argparse
import hashlib
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import time

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests")
sys.path.insert(0, os.path.join(TESTS, "cli"))
from hub import Hub, Repo  # noqa: E402

BLOCKS = (128, 256, 512, 512)
VAE = dict(in_channels=3, out_channels=3, latent_channels=16, block_out_channels=BLOCKS, layers_per_block=2,
           down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
           norm_num_groups=32, act_fn="silu", use_quant_conv=False, use_post_quant_conv=False,
           scaling_factor=0.3611, shift_factor=0.1159)
TEXT = dict(vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
            num_attention_heads=32, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
            max_position_embeddings=40960, rope_theta=1000000)


def write_sparse_safetensors(path, tensors):
    """Writes a safetensors file whose data is a hole: zeros that use no disk space. tensors: name -> (dtype,
    shape, bytes)"""
    rows, at = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        rows[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(rows).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + at)


def write_component(folder, stem, shapes, dtype, max_bytes):
    """Writes the weights of a component, sharded as diffusers and transformers do. shapes: name -> shape"""
    width = {"F32": 4, "BF16": 2}[dtype]
    shards, room = [{}], max_bytes
    for name, shape in shapes.items():
        size = width * torch.Size(shape).numel()
        if size > room and shards[-1]:
            shards.append({})
            room = max_bytes
        shards[-1][name] = (dtype, list(shape), size)
        room -= size
    os.makedirs(folder)
    names = [f"{stem}.safetensors"] if len(shards) == 1 else [
        f"{stem}-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards):
        write_sparse_safetensors(f"{folder}/{name}", shard)
    if len(shards) > 1:
        with open(f"{folder}/{stem}.safetensors.index.json", "w", encoding="ascii") as file:
            json.dump({"weight_map": {key: n for n, shard in zip(names, shards) for key in shard}}, file)


def make_model(folder):
    """Writes a diffusers folder with the published shapes and data types."""
    small = os.path.join(TESTS, "data", "golden", "model")
    with torch.device("meta"):
        transformer, vae = ZImageTransformer2DModel(), AutoencoderKL(**VAE)
        text = Qwen3Model(Qwen3Config(**TEXT))

    def shapes(module, prefix=""):
        return {prefix + name: tensor.shape for name, tensor in module.state_dict().items()}
    for name in "tokenizer", "scheduler":
        shutil.copytree(f"{small}/{name}", f"{folder}/{name}")
    shutil.copy(f"{small}/model_index.json", folder)
    write_component(f"{folder}/transformer", "diffusion_pytorch_model", shapes(transformer), "F32", 9_990_000_000)
    write_component(f"{folder}/text_encoder", "model", shapes(text, "model."), "BF16", 4_000_000_000)
    write_component(f"{folder}/vae", "diffusion_pytorch_model", shapes(vae), "BF16", 10**12)
    transformer.save_config(f"{folder}/transformer")
    vae.save_config(f"{folder}/vae")
    with open(f"{folder}/text_encoder/config.json", "w", encoding="ascii") as file:
        file.write(text.config.to_json_string(use_diff=False))


def map_files(folder):
    """-> relative path: mmap, for each file below the folder"""
    files = {}
    for at, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(at, name), "rb") as file:
                files[os.path.relpath(file.name, folder)] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    return files


class MappedRepo(Repo):
    """A repository of the test hub whose files are mmaps: they are hashed without a copy, which Repo would make."""

    def __init__(self, name, files):
        super().__init__(name, {})
        self.files = files
        for file, data in files.items():
            large = file.endswith(".safetensors")
            self.blobs[file] = hashlib.sha1(b"blob %d\0" % len(data) + (b"" if large else data[:])).hexdigest()
            self.etags[file] = hashlib.sha256(data).hexdigest() if large else self.blobs[file]


def disk_usage(folder):
    """Bytes allocated on disk, without holes."""
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512
               for at, _, names in os.walk(folder) for name in names)


def anonymous_memory(pid):
    """Resident memory in kB that is not backed by files; 0 if the process has ended. Linux only."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("RssAnon")), 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("zimage")
    parser.add_argument("folder")
    parser.add_argument("--precision", default="q8")
    args = parser.parse_args()
    source, place = args.folder + "/source", args.folder + "/place"
    shutil.rmtree(args.folder, ignore_errors=True)
    os.makedirs(source)
    os.makedirs(place)
    make_model(source)
    with Hub() as hub:
        hub.repos["Tongyi-MAI/Z-Image-Turbo"] = MappedRepo("Tongyi-MAI/Z-Image-Turbo", map_files(source))
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": place + "/hf"}
        began, disk, memory = time.monotonic(), 0, 0
        process = subprocess.Popen([os.path.abspath(args.zimage), "download", "-q", "--to", "mlx",
                                    "--precision", args.precision], cwd=place, env=env)
        while process.poll() is None:
            try:
                disk, memory = max(disk, disk_usage(place)), max(memory, anonymous_memory(process.pid))
            except OSError:
                pass  # a file was removed meanwhile
            time.sleep(0.2)
        seconds = time.monotonic() - began
        print(f"exit code {process.returncode}: {hub.sent() / 1e9:.1f} GB sent in {seconds:.0f} s; on disk "
              f"at most {disk / 1e9:.1f} GB, at the end {disk_usage(place) / 1e9:.1f} GB; "
              f"{memory / 1e3:.0f} MB of anonymous memory")


if __name__ == "__main__":
    main()
