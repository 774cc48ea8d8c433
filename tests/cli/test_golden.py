"""The program against diffusers: the trace's tensors, and the pixels of the image."""

import array
import json
import math
import os
import sys
import unittest
import zlib

from support import MODEL, Case, png_chunks, png_size, read_safetensors

GOLDEN = os.path.dirname(MODEL)

# Relative L2 error of all values; the image's is a largest difference.
EMBEDS, LATENTS, SIGMAS, IMAGE = 2e-5, 1e-4, 3e-7, 1e-3


def floats(row):
    dtype, _, data = row
    assert dtype == "F32", dtype
    values = array.array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def rel_l2(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b))


def paeth(a, b, c):
    distances = [(abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c)]
    return min(distances)[2]


def png_pixels(data):
    """The samples of an RGB image, 8 bits each, not interlaced."""
    width, height = png_size(data)
    raw = zlib.decompress(b"".join(body for kind, body in png_chunks(data) if kind == b"IDAT"))
    stride, pixels = 3 * width, bytearray()
    above = bytearray(stride)
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 :][:stride])
        for i in range(stride):
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            add = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
            row[i] = (row[i] + add) & 255
        pixels += row
        above = row
    return pixels


class Golden(Case):
    def draw(self, run):
        args = ["-p", run["prompt"], "-W", str(run["width"]), "-H", str(run["height"])]
        args += ["-s", str(run["steps"]), "--seed", str(run["seed"]), "--compute", "exact"]
        if "negative" in run:
            args += ["--negative", run["negative"], "--guidance", str(run["guidance_scale"])]
        self.good(self.zimage("generate", "-m", MODEL, "-o", "out.png", "--trace",
                              "out.safetensors", *args))
        return read_safetensors(self.path("out.safetensors"))

    def compare(self, run):
        golden = read_safetensors(os.path.join(GOLDEN, "pipeline.safetensors"))
        trace = self.draw(run)
        wanted = {n[len(run["name"]) + 1 :]: floats(t) for n, t in golden.items()
                  if n.startswith(run["name"] + ".")}
        self.assertEqual(trace["input_ids"][0], "I64")
        self.assertLess(rel_l2(floats(trace["prompt_embeds"]), wanted["prompt_embeds"]), EMBEDS)
        for name in ["sigmas", "image"]:
            most = max(abs(a - b) for a, b in zip(floats(trace[name]), wanted[name]))
            self.assertLess(most, {"sigmas": SIGMAS, "image": IMAGE}[name], name)
            self.assertEqual(len(floats(trace[name])), len(wanted[name]))
        for step in range(run["steps"] + 1):
            name = f"latents.{step}"
            self.assertEqual(len(floats(trace[name])), len(wanted[name]))
            self.assertLess(rel_l2(floats(trace[name]), wanted[name]), LATENTS, name)

    def compare_pixels(self, run):
        with open(os.path.join(GOLDEN, run["png"]), "rb") as file:
            wanted = png_pixels(file.read())
        mine = png_pixels(self.read("out.png"))
        self.assertEqual(len(mine), len(wanted))
        differing = [abs(a - b) for a, b in zip(mine, wanted) if a != b]
        self.assertLessEqual(max(differing, default=0), 1)
        self.assertLessEqual(len(differing), len(wanted) / 200)

    def test_every_text_to_image_run(self):
        with open(os.path.join(GOLDEN, "pipeline.json"), encoding="utf-8") as file:
            runs = [run for run in json.load(file) if "strength" not in run]
        self.assertEqual(len(runs), 4)
        for run in runs:
            with self.subTest(run["name"]):
                self.compare(run)
                self.compare_pixels(run)


if __name__ == "__main__":
    unittest.main()
