"""zimage generate --settings-from: generation parameters of an image."""

import json
import os
import struct
import unittest
import zlib

from support import MODEL, Case, png_chunks, png_infotext
from program import DATA

CALL = ["generate", "-m", MODEL, "-o", "again.png"]


class SettingsFrom(Case):
    def again(self, *args, code=0):
        result = self.zimage(*CALL, "--settings-from", "out.png", *args)
        self.assertEqual(result.returncode, code, result.stderr)
        return result.stderr.decode()

    def image_with(self, infotext):
        """out.png, with this infotext."""
        self.good(self.generate())
        data = b"\x89PNG\r\n\x1a\n"
        chunks = [chunk for chunk in png_chunks(self.read("out.png")) if chunk[0] not in (b"tEXt", b"iTXt")]
        chunks.insert(1, (b"iTXt", b"parameters\0\0\0\0\0" + infotext.encode()))
        for kind, body in chunks:
            data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        self.write("out.png", data)

    def test_the_same_image_again(self):
        for name in ("out.png", "out.jpg", "out.webp"):
            self.good(self.generate("--negative", "a: \"b\",\nc", "--guidance", "2.3", "--shift", "1.7", "--schedule", "mlx",
                                    "--max-tokens", "600", "-W", "80", "-s", "3", seed=2**64 - 1, output=name))
            result = self.good(self.zimage(*CALL, "--settings-from", name))
            self.assertEqual(result.stderr, b"")
            self.assertEqual(self.read("again.png"), self.read("out.png"), name)

    def test_options_win(self):
        self.good(self.generate("--negative", "blue", "--guidance", "2"))
        self.again("-s", "1", "-W", "48", "-H", "80", "--seed", "5", "-p", "a cat", "--guidance", "0.5")
        text = png_infotext(self.read("again.png"))
        for part in ("a cat\nNegative prompt: blue\n", "Steps: 1,", "Size: 48x80", "Seed: 5", "CFG scale: 1.5"):
            self.assertIn(part, text)
        self.again("--seed", "-1")
        self.assertNotIn("Seed: 1,", png_infotext(self.read("again.png")))

    def test_defaults_of_the_configuration_do_not(self):
        self.good(self.generate())
        env = {**os.environ, "ZIMAGE_STEPS": "7", "ZIMAGE_ASPECT": "1:2", "ZIMAGE_PROMPT": "a cow"}
        self.good(self.zimage(*CALL, "--settings-from", "out.png", env=env))
        self.assertEqual(self.read("again.png"), self.read("out.png"))

    def test_with_a_list_of_prompts(self):
        self.good(self.generate("-s", "3"))
        self.write("list", 'a cat\n{"prompt": "a dog", "steps": 1}\n')
        self.good(self.zimage(*CALL, "--settings-from", "out.png", "--prompts", "list"))
        texts = [png_infotext(self.read(f"again-{i}.png")) for i in (1, 2)]
        self.assertTrue(texts[0].startswith("a cat\nSteps: 3, ") and "Seed: 1," in texts[0], texts)
        self.assertTrue(texts[1].startswith("a dog\nSteps: 1, "), texts)

    def test_the_original_prompt_goes_along(self):
        self.image_with("a long prompt\nSteps: 2, Sampler: Euler, CFG scale: 1, Seed: 1, Size: 64x64, Original prompt: short")
        self.again()
        self.assertIn("Original prompt: short", png_infotext(self.read("again.png")))

    def test_what_cannot_be_taken_over_is_told(self):
        self.image_with("a cat\nNegative prompt: x\nSteps: 2, Sampler: DPM++ 2M, Schedule type: SGM Uniform, CFG scale: 0.5, "
                        "Seed: 1, Size: 100x64, Model hash: 0123456789, Model: nobody's, Clip skip: 2, Hires upscale: 2, Shift: 3, "
                        "Version: v1.10")
        told = self.again("-q", "-W64", "-H64")
        self.assertEqual(told, "")
        told = self.zimage("generate", "-W64", "-H64", "-o", "again.png", "--settings-from", "out.png").stderr.decode()
        line = [line for line in told.splitlines() if "these settings of out.png are not used, " in line]
        self.assertEqual(len(line), 1, told)
        for part in ("Sampler: DPM++ 2M", "Schedule type: SGM Uniform", "CFG scale: 0.5", "Model: nobody's", "Clip skip: 2",
                     "Hires upscale: 2"):
            self.assertIn(part, line[0])
        for part in ("Steps", "Seed", "Version", "Size", "hash", "Shift"):
            self.assertNotIn(part, line[0].split("their values: ")[1])
        told = self.zimage("generate", "-m", MODEL, "-s1", "-W", "64", "-H", "64", "-o", "b.png", "--settings-from", "out.png",
                           "--json").stderr.decode()
        self.assertIn("these settings of out.png are not used", " ".join(json.loads(line)["message"] for line in told.splitlines()))

    def test_names_of_samplers_and_schedules(self):
        for sampler, schedule in (("Heun", "Karras"), ("LCM", "Beta"), ("heun", "karras")):
            self.image_with(f"a cat\nSteps: 2, Sampler: {sampler}, Schedule type: {schedule}, CFG scale: 3, Seed: 1, Size: 64x64, "
                            "CFG normalization: 1, CFG truncation: 0.5")
            self.assertNotIn("are not used", self.again())
            text = png_infotext(self.read("again.png"))
            for part in (f"Sampler: {sampler.replace('heun', 'Heun')}, Schedule type: {schedule.title()}, CFG scale: 3,",
                         "CFG normalization: 1, CFG truncation: 0.5"):
                self.assertIn(part, text)

    def test_images_of_other_programs(self):
        path = os.path.join(DATA, "metadata", "comfyui.png")
        told = self.zimage(*CALL, "--settings-from", path, "-W64", "-H64", "-s1").stderr.decode()
        for part in ("Sampler: res_multistep", "Schedule type: simple", "Lora weights: style.safetensors: 0.8"):
            self.assertIn(part, told)
        self.assertNotIn("Source", told)
        text = png_infotext(self.read("again.png"))
        self.assertTrue(text.startswith("a cat, 猫 é\nSteps: 1, ") and "Seed: 18446744073709551615" in text, text)
        path = os.path.join(DATA, "metadata", "odd.png")  # its seed is -1
        told = self.zimage(*CALL, "--settings-from", path, "-W64", "-H64", "-s1").stderr.decode()
        self.assertRegex(told, r"zimage: seed \d+\n")
        self.assertIn("Seed: -1", told)

    def test_prompts_that_cannot_be_used(self):
        for text, words in (("a <lora:mine:1> cat\n", "the prompt in this image contains <lora:mine:1>: LoRAs are not supported yet; "
                                                      "give another one with --prompt"),
                            ("a\nNegative prompt: <lyco:b:1>\n", "the negative prompt in this image contains <lyco:b:1>: LyCORIS "
                                                                  "networks are not supported yet; give another one with --negative")):
            self.image_with(text + "Steps: 1, Sampler: Euler, CFG scale: 2, Seed: 1")
            self.assertEqual(self.again(code=2), f"zimage: out.png: {words}\n")
            self.again("-p", "a cat", "--negative", "b")
        self.again("--negative", "b")

    def test_the_size_of_the_image_itself(self):
        self.image_with("a cat\nSteps: 1, Sampler: Euler, CFG scale: 1, Seed: 1")
        self.again()
        self.assertIn("Size: 64x64", png_infotext(self.read("again.png")))
        self.again("-W", "48", "-H", "80")
        self.assertIn("Size: 48x80", png_infotext(self.read("again.png")))

    def test_the_model_by_its_name_in_the_image(self):
        """A name there has no folder and no extension of a file."""
        os.makedirs(self.path("mine/comfyui"))
        self.good(self.zimage("convert", "-q", MODEL, "mine/comfyui/small.one.safetensors", "--to", "comfyui"))
        call = ["generate", "-s1", "-o", "again.png", "--models", "mine", "--reference", MODEL, "--settings-from", "out.png"]
        for name, found in (("small.one", True), ("small.one.safetensors", True), ("sd/small.one.gguf", True), ("small", False)):
            self.image_with(f"a cat\nSteps: 1, Sampler: Euler, CFG scale: 1, Seed: 1, Size: 64x64, Model: {name}")
            told = self.good(self.zimage(*call)).stderr.decode()
            self.assertEqual(f"Model: {name}" in told, not found, told)
            self.assertIn(", Model: small.one, ", png_infotext(self.read("again.png")))

    def test_images_without_parameters(self):
        self.good(self.generate("--no-metadata"))
        self.assertIn("out.png: the image has no generation parameters", self.again("-p", "x", code=1))
        self.write("out.png", "no image")
        self.assertIn("out.png: is not a PNG, JPEG or WebP image", self.again("-p", "x", code=1))
        self.assertIn("none.png", self.zimage(*CALL, "--settings-from", "none.png").stderr.decode())
        self.assertNotIn("again.png", self.files())


if __name__ == "__main__":
    unittest.main()
