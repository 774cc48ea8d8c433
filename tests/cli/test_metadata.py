"""Generation parameters of other programs in images (tests/data/make_metadata.py), and the model hash."""

import hashlib
import json
import os
import unittest

from support import MODEL, Case, png_infotext

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "metadata")
with open(os.path.join(DATA, "expected.json"), encoding="utf-8") as file:
    EXPECTED = json.load(file)


class Metadata(Case):
    def inspect(self, path):
        return json.loads(self.good(self.zimage("inspect", "--json", path)).stdout)

    def agrees(self, found, expected, where):
        """Objects may have more than is expected; all else is equal."""
        if isinstance(expected, dict) and isinstance(found, dict):
            for key, value in expected.items():
                self.assertIn(key, found, where)
                self.agrees(found[key], value, f"{where}: {key}")
        else:
            self.assertEqual(found, expected, where)

    def test_samples(self):
        self.assertGreater(len(EXPECTED), 35)
        for name, expected in EXPECTED.items():
            found = self.inspect(os.path.join(DATA, name))
            self.agrees(found, expected, name)
            if found["source"] not in (None, "infotext") and found["recipe"]:
                self.assertIn("Steps: ", found["recipe"].splitlines()[-1], name)
                self.assertLess(len(found["recipe"]), 1 << 20, name)

    def test_as_text(self):
        out = self.good(self.zimage("inspect", os.path.join(DATA, "comfyui.png"))).stdout.decode()
        for words in "ComfyUI graph", "猫", "res_multistep", "Lora weights", "workflow", "kB":
            self.assertIn(words, out)
        self.assertNotIn("class_type", out)  # but the size of the graph
        out = self.good(self.zimage("inspect", os.path.join(DATA, "odd.png"))).stdout.decode()
        self.assertIn("Seed: -1", out.split("unread")[1])

    def test_control_characters_of_texts(self):
        out = self.good(self.zimage("inspect", os.path.join(DATA, "a1111.png"))).stdout
        self.assertFalse([b for b in out if b < 32 and b != 10])


class ModelHash(Case):
    def generate(self, model):
        self.good(self.zimage("generate", "-q", "-m", model, "-p", "a red circle", "--steps", "1", "-o", "out.png"))
        return png_infotext(self.read("out.png"))

    def test_hash_and_stem(self):
        folder = os.path.join(MODEL, "transformer")
        first = sorted(name for name in os.listdir(folder) if name.endswith(".safetensors"))[0]
        with open(os.path.join(folder, first), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        self.assertIn(f", Model hash: {digest[:10]}, Model: {os.path.basename(MODEL)}, ", self.generate(MODEL))
        self.good(self.zimage("convert", "-q", MODEL, "my.model.safetensors", "--to", "comfyui"))
        with open(self.path("my.model.safetensors"), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        self.good(self.zimage("generate", "-q", "-m", "my.model.safetensors", "--reference", MODEL,
                              "-p", "a red circle", "--steps", "1", "-o", "file.png"))
        text = png_infotext(self.read("file.png"))
        self.assertIn(f", Model hash: {digest[:10]}, Model: my.model, ", text)


if __name__ == "__main__":
    unittest.main()
