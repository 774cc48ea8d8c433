"""Scores an exported model on prompts for held-out scenes.

An image is right if the colour of each thing and of the background is nearest to
the right one of the twelve, the mask of each thing is nearest to its own one of
the ten shapes, and the overlap (intersection over union) is at least 0.75.

usage: evaluate.py MODEL [--count 100] [--sizes 128x128,...] [--pictures OUT] [--pipeline] [--list LIST.json]
--pictures writes PNGs, contact sheets and lists of the prompts to a folder; --pipeline uses diffusers' ZImagePipeline.
--list LIST.json only generates images for the rows {prompt, file, width, height, seed} of a list, into --pictures,
for another checker.
"""
import argparse
import json
import os
import random

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from tokenizers import Tokenizer

import scenes
from model import Model, load_exported, sample
from train import encode

SIZES = "128x128,192x128,128x192,160x128,192x192,256x256,144x208,256x160"


def held_out_scene(rng, things):
    """-> a held-out scene of one or two things, a caption that names the background"""
    while True:
        scene = scenes.random_scene(rng, 0.0 if things == 1 else 1.0)
        if scenes.held_out(scene):
            return scene, scenes.caption(rng, scene, open_share=0)[0]


class BatchedModel:
    """Generates with the batched modules of model.py and the exported weights."""

    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer/tokenizer.json")
        self.vae = AutoencoderKL.from_pretrained(f"{folder}/vae", torch_dtype=torch.float32)
        self.model = Model().eval()
        load_exported(self.model, folder)

    @torch.no_grad()
    def generate(self, prompts, width, height, seeds):
        """-> uint8 [b, height, width, 3]"""
        noise = torch.cat([torch.randn(1, 16, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
                           for seed in seeds])
        z = sample(self.model, *encode(self.tokenizer, prompts), noise)
        x = self.vae.decode(z / self.vae.config.scaling_factor + self.vae.config.shift_factor).sample
        return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


class Pipeline:
    """Generates one image at a time with diffusers."""

    def __init__(self, folder):
        from diffusers import ZImagePipeline
        self.pipe = ZImagePipeline.from_pretrained(folder).to(torch.float32)
        self.pipe.set_progress_bar_config(disable=True)

    def generate(self, prompts, width, height, seeds):
        out = [self.pipe(prompt=p, width=width, height=height, num_inference_steps=9, guidance_scale=0.0,
                         generator=torch.Generator().manual_seed(seed)).images[0] for p, seed in zip(prompts, seeds)]
        return np.stack([np.asarray(x) for x in out])


def nearest_colour(rgb):
    return min(scenes.COLOURS, key=lambda c: np.linalg.norm(np.array(scenes.COLOURS[c]) - rgb))


def judge(scene, image):
    """-> list of faults (background, colour, shape, overlap), mean overlap"""
    height, width, _ = image.shape
    wrong, overlaps = [], []
    masks = [scenes.mask(t, width, height) > 0.5 for t in scene.things]
    far = ~np.logical_or.reduce(masks)
    ground = np.median(image[far], 0)
    if nearest_colour(ground) != scene.background:
        wrong.append("background")
    differs = np.abs(image.astype(int) - ground).max(-1) > 24
    for i, (thing, mask) in enumerate(zip(scene.things, masks)):
        if nearest_colour(np.median(image[mask], 0)) != thing.colour:
            wrong.append("colour")
        seen = differs.copy()
        for other in masks[:i] + masks[i + 1:]:   # only pixels nearer to this thing than to the other
            y, x = np.mgrid[0:height, 0:width]
            (ay, ax), (by, bx) = (np.argwhere(m).mean(0) for m in (mask, other))
            seen &= (y - ay) ** 2 + (x - ax) ** 2 < (y - by) ** 2 + (x - bx) ** 2
        score = {}
        for shape in scenes.SHAPES:
            m = scenes.mask(scenes.Thing(thing.colour, shape, thing.size, thing.place), width, height) > 0.5
            score[shape] = (m & seen).sum() / max(1, (m | seen).sum())
        overlaps.append(score[thing.shape])
        if max(score, key=score.get) != thing.shape:
            wrong.append("shape")
        elif score[thing.shape] < 0.75:
            wrong.append("overlap")
    return wrong, float(np.mean(overlaps))


def write_contact_sheet(images, path, columns=10, cell=132):
    """Writes a contact sheet, each image scaled down to its cell."""
    out = Image.new("RGB", (columns * cell, -(-len(images) // columns) * cell), (90, 90, 90))
    for i, p in enumerate(images):
        image = Image.fromarray(p)
        image.thumbnail((cell - 4, cell - 4))
        out.paste(image, (i % columns * cell + 2, i // columns * cell + 2))
    out.save(path)


def evaluate(generate, things, count, sizes, seed=0):
    """-> rows of (prompt, size, faults, overlap, image)"""
    rng = random.Random(1000 * things + seed)
    rows, groups = [], {}
    for i in range(count):
        groups.setdefault(sizes[i % len(sizes)], []).append(held_out_scene(rng, things))
    for (width, height), items in groups.items():
        images = generate([text for _, text in items], width, height, range(seed, seed + len(items)))
        for (scene, text), image in zip(items, images):
            rows.append((text, f"{width}x{height}", *judge(scene, image), image))
    return rows


def generate_list(generate, rows, out):
    """Writes the images of the list's rows and the list itself, LIST.json, to the folder out."""
    os.makedirs(out, exist_ok=True)
    for width, height in sorted({(r["width"], r["height"]) for r in rows}):
        group = [r for r in rows if (r["width"], r["height"]) == (width, height)]
        for i in range(0, len(group), 16):
            some = group[i:i + 16]
            images = generate([r["prompt"] for r in some], width, height, [r["seed"] for r in some])
            for r, image in zip(some, images):
                Image.fromarray(image).save(f"{out}/{r['file']}")
    with open(f"{out}/LIST.json", "w") as f:
        json.dump(rows, f, indent=1, ensure_ascii=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--pictures")
    parser.add_argument("--pipeline", action="store_true")
    parser.add_argument("--list")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sizes = [tuple(map(int, s.split("x"))) for s in args.sizes.split(",")]
    generate = (Pipeline if args.pipeline else BatchedModel)(args.model).generate
    if args.list:
        return generate_list(generate, json.load(open(args.list)), args.pictures)
    for things in (1, 2):
        rows = evaluate(generate, things, args.count, sizes)
        print(f"{things} thing(s): {sum(not r[2] for r in rows)} of {len(rows)} right, "
              f"mean overlap {np.mean([r[3] for r in rows]):.3f}")
        for text, size, wrong, overlap, _ in rows:
            if wrong:
                print(f"  {size} {text}: {', '.join(wrong)} (overlap {overlap:.2f})")
        if args.pictures:
            os.makedirs(args.pictures, exist_ok=True)
            for i, row in enumerate(rows):
                Image.fromarray(row[4]).save(f"{args.pictures}/{things}-{i:03d}.png")
            write_contact_sheet([r[4] for r in rows], f"{args.pictures}/sheet-{things}.png")
            with open(f"{args.pictures}/prompts-{things}.json", "w") as f:
                json.dump([dict(file=f"{things}-{i:03d}.png", prompt=r[0], size=r[1], wrong=r[2])
                           for i, r in enumerate(rows)], f, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
