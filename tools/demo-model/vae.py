"""Trains the autoencoder for the fixed latents of latents.py.

decoder   trains the decoder: from latents with a little noise to images
encoder   trains the encoder: from images to latents
sample    generates latents with the trained transformer, and renders the images they should decode to
polish    continues to train the decoder on those, for crisp edges on the transformer's output

usage: vae.py start FOLDER MODEL
       vae.py decoder|encoder|sample|polish FOLDER [--minutes 30] [--threads 1]
start writes decoder.pt and encoder.pt from an exported model, to continue from.
Reads latents.npz in FOLDER (sample also tokenizer/ and last.pt); writes
decoder.pt, encoder.pt and sampled.pt there.
"""
import argparse
import itertools
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tokenizers import Tokenizer

import scenes
from latents import SCALING, SHIFT, Latents
from model import Model, sample
from train import encode

CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=16, block_out_channels=(16, 32, 64, 64),
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=1, norm_num_groups=2, act_fn="silu", mid_block_add_attention=True,
    use_quant_conv=False, use_post_quant_conv=False, force_upcast=True, sample_size=128,
    scaling_factor=SCALING, shift_factor=SHIFT)
CROP = 64


# -------------------------------------------------------------------- data

def collage(rng, width, height):
    """An image of overlapping shapes in random colours, so that the autoencoder does not overfit to the twelve."""
    def colour():
        return np.array([rng.uniform(-1, 1) for _ in range(3)], np.float32)

    y, x = np.mgrid[0:height, 0:width] + 0.5
    image = np.broadcast_to(colour(), (height, width, 3))
    for _ in range(rng.randint(1, 4)):
        r = rng.uniform(0.12, 0.5) * min(width, height)
        d = scenes.distance(rng.choice(scenes.SHAPES), x - rng.uniform(0, width), y - rng.uniform(0, height), r)
        image = image + np.clip(0.5 - d, 0, 1)[..., None] * (colour() - image)
    return image.astype(np.float32)


def crop(rng, share_other):
    """A crop of a scene, most with an edge, or a collage: [64, 64, 3]. share_other: probability of a collage"""
    if rng.random() < share_other:
        return collage(rng, CROP, CROP)
    scene = scenes.random_scene(rng)
    width, height = rng.randint(12, 32) * 8, rng.randint(12, 32) * 8
    cx, cy, r = scenes.centre(rng.choice(scene.things), width, height)
    if rng.random() < 0.1:
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
    left, top = (min(max(int((c + rng.uniform(-r, r) - CROP / 2) // 8 * 8), 0), side - CROP)
                 for c, side in ((cx, width), (cy, height)))
    return scenes.render(scene, width, height)[top:top + CROP, left:left + CROP]


def batch(rng, share_other=0.15):
    """Crops or, with a probability of 1/3, whole images: [b, H, W, 3]."""
    if rng.random() < 0.67:
        return np.stack([crop(rng, share_other) for _ in range(12)])
    width, height = rng.choice(((128, 128), (128, 128), (192, 128), (128, 192), (192, 192), (256, 256), (160, 144)))
    return np.stack([collage(rng, width, height) if rng.random() < share_other
                     else scenes.render(scenes.random_scene(rng), width, height)
                     for _ in range(max(1, 3 * 128 * 128 // (width * height)))])


def to_vae_latents(z):
    """Sampler latents -> autoencoder latents."""
    return z / SCALING + SHIFT


def planes(images):
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


# ------------------------------------------------------------------ losses

def image_loss(out, want):
    """L1 for flat colours, squared errors for the worst pixels, errors of neighbour differences for crisp edges.

    Errors are divided by the image's contrast: otherwise edges of orange on yellow stay soft.
    """
    contrast = (want.amax((2, 3)) - want.amin((2, 3))).amax(1).clamp(min=0.25)[:, None, None, None]
    e = (out - want) / contrast
    dx, dy = e[..., 1:] - e[..., :-1], e[..., 1:, :] - e[..., :-1, :]
    return e.abs().mean() + e.square().mean() + dx.abs().mean() + dy.abs().mean()


def decoder_loss(vae, latents, rng, generator):
    images = batch(rng)
    z = torch.from_numpy(latents.of_image(images).astype(np.float32))
    level = torch.rand(len(z), 1, 1, 1, generator=generator) * 0.05
    z = z + level * torch.randn(z.shape, generator=generator)
    return image_loss(decode(vae, z), planes(images))


def decode(vae, z):
    return vae.decoder(to_vae_latents(z))


def encoder_loss(vae, latents, rng, generator):
    images = batch(rng, share_other=0.4)
    z = torch.from_numpy(latents.of_image(images).astype(np.float32))
    mean = (vae.encoder(planes(images).contiguous())[:, :16] - SHIFT) * SCALING
    return (mean - z).square().mean() + 0.3 * (mean - z).abs().mean()


# ---------------------------------------------------- the transformer's latents

SAMPLE_SIZES = ((128, 128), (192, 192), (192, 128), (128, 128), (192, 192), (128, 192), (256, 256), (256, 192))
TOLERANCE = 0.25     # max squared error / variance; samples above it show another scene and are dropped


def generate_samples(folder, count):
    """Writes sampled.pt: a list of (latents [b, 16, h, w], images uint8 [b, H, W, 3])."""
    model = Model().eval()
    model.load_state_dict(torch.load(f"{folder}/last.pt")["ema"])
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer/tokenizer.json")
    latents, rng, groups = Latents(f"{folder}/latents.npz"), random.Random(3), []
    torch.manual_seed(3)
    for width, height in itertools.cycle(SAMPLE_SIZES):
        if sum(len(z) for z, _ in groups) >= count:
            break
        sampled = [scenes.random_scene(rng) for _ in range(32)]
        prompts = [scenes.caption(rng, s, open_share=0)[0] for s in sampled]
        z = sample(model, *encode(tokenizer, prompts), torch.randn(32, 16, height // 8, width // 8))
        want = torch.from_numpy(np.stack([latents.of_scene(s, width, height) for s in sampled]))
        spread = (want - want.mean((2, 3), keepdim=True)).square().mean((1, 2, 3))
        good = ((z - want).square().mean((1, 2, 3)) < TOLERANCE * spread).tolist()
        images = [scenes.render(s, width, height) for s, g in zip(sampled, good) if g]
        if images:
            groups.append((z[good], np.round((np.stack(images) + 1) * 127.5).astype(np.uint8)))
        print(f"{width} x {height}: {sum(good)} of 32 accepted", flush=True)
    torch.save(groups, f"{folder}/sampled.pt")


class Sampled:
    """The loss on sampled latents in half of the steps, on clean ones in the others."""

    def __init__(self, path):
        self.groups = torch.load(path, weights_only=False)

    def __call__(self, vae, latents, rng, generator):
        if rng.random() < 0.5:
            return decoder_loss(vae, latents, rng, generator)
        z, images = rng.choice(self.groups)
        count = max(1, 3 * 128 * 128 * 3 // images[0].size)
        pick = rng.sample(range(len(z)), min(count, len(z)))
        want = planes(images[pick].astype(np.float32) / 127.5 - 1)
        return image_loss(decode(vae, z[pick]), want)


# ---------------------------------------------------------------- training

def quiet_variance(vae):
    """Makes the encoder's log variances constant and small, so that sampling from it adds no visible noise."""
    with torch.no_grad():
        vae.encoder.conv_out.weight[16:] = 0
        vae.encoder.conv_out.bias[16:] = -12


def train(part, folder, loss_of, minutes, threads, top, seed):
    """part: 'decoder' or 'encoder'; minutes: CPU time per thread; top: peak learning rate; continues from FOLDER/PART.pt."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(**CONFIG)
    model = getattr(vae, part)
    path = f"{folder}/{part}.pt"
    ema = None
    if os.path.exists(path):
        model.load_state_dict(torch.load(path))
    if part == "encoder":
        quiet_variance(vae)
    latents = Latents(f"{folder}/latents.npz")
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=top, betas=(0.9, 0.99), weight_decay=0.0)
    began, saved, step, total = time.process_time(), time.time(), 0, 0.0
    progress = 0.0
    while progress < 1:
        progress = (time.process_time() - began) / (60 * minutes * threads)
        scale = min(1, (step + 1) / 100) * min(1, max(0, 1 - progress) / 0.5)
        optimizer.param_groups[0]["lr"] = top * scale
        loss = loss_of(vae, latents, rng, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        total += loss.item()
        with torch.no_grad():
            if ema is None:
                ema = {k: v.clone() for k, v in model.state_dict().items()}
            for key, value in model.state_dict().items():
                ema[key].lerp_(value, 1 - min(0.995, step / (step + 10)))
        if step % 100 == 0:
            print(f"{part} step {step} progress {progress:.3f} loss {total / 100:.4f}", flush=True)
            total = 0.0
        if time.time() - saved > 120 or progress >= 1:
            torch.save(ema, path + ".tmp")
            os.replace(path + ".tmp", path)
            saved = time.time()


def start(folder, exported):
    vae = AutoencoderKL.from_pretrained(f"{exported}/vae", torch_dtype=torch.float32)
    for part in ("decoder", "encoder"):
        torch.save(getattr(vae, part).state_dict(), f"{folder}/{part}.pt")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("start", "decoder", "encoder", "sample", "polish"))
    parser.add_argument("folder")
    parser.add_argument("model", nargs="?", help="for start: an exported model")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--count", type=int, default=1500, help="number of latents that sample generates")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "start":
        start(args.folder, args.model)
    elif args.what == "sample":
        generate_samples(args.folder, args.count)
    elif args.what == "polish":
        train("decoder", args.folder, Sampled(f"{args.folder}/sampled.pt"), args.minutes, args.threads, 7e-4, args.seed)
    else:
        loss = decoder_loss if args.what == "decoder" else encoder_loss
        train(args.what, args.folder, loss, args.minutes, args.threads, 2e-3, args.seed)


if __name__ == "__main__":
    main()
