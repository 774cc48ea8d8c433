"""Weights with which no model works: pad tokens that are missing, values that are not finite, tensors that are missing."""

import json
import os
import struct
import subprocess
import unittest

from support import MODEL, Case, change_tensor, read_safetensors, write_safetensors

GOLDEN = os.path.dirname(MODEL)
NAN = {"F32": struct.pack("<I", 0x7fc00000), "BF16": b"\xc0\x7f", "F16": b"\x00\x7e"}
INFINITY = {"F32": struct.pack("<I", 0x7f800000), "BF16": b"\x80\xff", "F16": b"\x00\xfc"}
PADS = ("x_pad_token", "cap_pad_token")


def pixels(data):
    return data.split(b"IDAT", 1)[1]


class Converted(Case):
    def convert(self, *args):
        return self.zimage("convert", *args)

    def inspected(self, path):
        return json.loads(self.good(self.zimage("inspect", "--json", path)).stdout)

    def draw(self, *args, **options):
        result = self.good(self.generate(*args, **options))
        return pixels(self.read("out.png")), result.stderr.decode()


class PadTokens(Converted):
    """As in folders of a converter that lost them."""

    def without_pads(self, name="m"):
        self.good(self.convert("-q", MODEL, name, "--to", "mlx"))
        path = self.path(name, "weights.safetensors")
        tensors = read_safetensors(path)
        for pad in PADS:
            del tensors[pad]
        write_safetensors(path, tensors)

    def test_they_come_from_the_reference(self):
        self.without_pads()
        wanted, told = self.draw(model=MODEL)
        self.assertNotIn("pad tokens", told)
        zeros, told = self.draw(model="m")
        self.assertIn("replaced by zeros", told)
        self.assertNotEqual(zeros, wanted)
        taken, told = self.draw("--reference", MODEL, model="m")
        self.assertIn(f"m: the pad tokens are missing, and are taken from {MODEL}", told)
        self.assertEqual(taken, wanted)

    def test_one_of_two(self):
        """What is there stays, and the reference has the other one."""
        self.good(self.convert("-q", MODEL, "m", "--to", "mlx"))
        path = self.path("m", "weights.safetensors")
        tensors = read_safetensors(path)
        tensors["x_pad_token"][2] = bytes(len(tensors["x_pad_token"][2]))
        write_safetensors(path, tensors)
        wanted, _ = self.draw(model="m")
        del tensors["cap_pad_token"]
        write_safetensors(path, tensors)
        got, told = self.draw("--reference", MODEL, model="m")
        self.assertEqual(got, wanted)
        self.assertIn("taken from", told)

    def test_a_reference_of_another_width_lends_none(self):
        self.without_pads()
        self.copy_model()
        odd = self.path("model", "transformer")
        for name in os.listdir(odd):
            if name.endswith(".safetensors"):
                tensors = read_safetensors(os.path.join(odd, name))
                for pad in PADS:
                    if pad in tensors:
                        tensors[pad] = ["BF16", [1, 64], bytes(128)]
                write_safetensors(os.path.join(odd, name), tensors)
        zeros, _ = self.draw(model="m")
        got, told = self.draw("--reference", "model", model="m")
        self.assertEqual(got, zeros)
        self.assertIn("replaced by zeros", told)

    def test_conversion_with_a_reference(self):
        self.without_pads()
        wanted, _ = self.draw(model=MODEL)
        for layout, name in (("diffusers", "d"), ("mlx", "x"), ("gguf", "g.gguf"), ("comfyui", "c.safetensors")):
            with self.subTest(layout):
                result = self.good(self.convert("m", name, "--to", layout, "--reference", MODEL))
                self.assertIn(f"taken from {MODEL}", result.stderr.decode())
                got, told = self.draw("--reference", MODEL, model=name)
                self.assertEqual(got, wanted)
                self.assertNotIn("pad tokens", told)
                self.assertEqual(self.inspected(name)["problems"] if layout == "diffusers" else [], [])
        self.good(self.zimage("verify", "d"))

    def test_conversion_without_one(self):
        """It draws what the source draws: zeros, which is said; an MLX folder stays without them."""
        self.without_pads()
        wanted, _ = self.draw(model="m")
        for layout, name in (("diffusers", "d"), ("gguf", "g.gguf"), ("comfyui", "c.safetensors")):
            with self.subTest(layout):
                result = self.good(self.convert("m", name, "--to", layout))
                self.assertIn("written as zeros", result.stderr.decode())
                self.assertEqual(self.draw("--reference", MODEL, model=name)[0], wanted)
        self.good(self.zimage("verify", "d"))
        result = self.good(self.convert("m", "x", "--to", "mlx"))
        self.assertIn("left out", result.stderr.decode())
        got, told = self.draw(model="x")
        self.assertEqual(got, wanted)
        self.assertIn("replaced by zeros", told)
        self.assertEqual(self.good(self.convert("-q", "m", "y", "--to", "diffusers")).stderr, b"")
        result = self.good(self.zimage("import", "m", "--to", "diffusers", "--name", "z"))
        self.assertIn("written as zeros", result.stderr.decode())

    def test_other_layouts(self):
        """A diffusers folder without one is no model; with a reference it draws."""
        self.copy_model()
        for pad in PADS:
            change_tensor(self.path("model", "transformer"), pad, lambda row: None)
        # the index names what is there
        index = self.path("model", "transformer", "diffusion_pytorch_model.safetensors.index.json")
        with open(index, encoding="utf-8") as file:
            listed = json.load(file)
        for pad in PADS:
            del listed["weight_map"][pad]
        self.write(index, json.dumps(listed))
        self.refused(self.generate(model="model"), 1, "pad_token is missing", "see --reference")
        self.assertEqual(self.inspected("model")["health"], "incomplete")
        self.assertEqual(self.draw("--reference", MODEL, model="model")[0], self.draw(model=MODEL)[0])
        result = self.convert("model", "d", "--to", "diffusers")
        self.refused(result, 1, "pad_token is missing", "reference model")
        self.assertFalse(os.path.exists(self.path("d")))
        self.good(self.convert("model", "d", "--to", "diffusers", "--reference", MODEL))
        self.good(self.zimage("verify", "d"))


class Values(Converted):
    def damage(self, tensor, code, component="transformer", at=0):
        """The model with one value of a tensor replaced; at: which, or None for all."""
        if not os.path.exists(self.path("model")):
            self.copy_model()

        def change(row):
            kind, shape, data = row
            size = len(code[kind])
            count = len(data) // size
            if at is None:
                return [kind, shape, code[kind] * count]
            place = at % count * size
            return [kind, shape, data[:place] + code[kind] + data[place + size:]]

        self.damaged = change_tensor(self.path("model", component), tensor, change)

    def refuses_to_convert(self, tensor, *args):
        before = self.files()
        result = self.convert("model", *args)
        self.refused(result, 1, tensor, "not finite", os.path.basename(self.damaged))
        self.assertEqual(self.files(), before)

    def test_a_checkpoint_full_of_nan(self):
        """Whatever is written, and whether values are copied or computed."""
        self.damage("layers.0.attention.to_k.weight", NAN, at=None)
        for args in (["g.gguf", "--to", "gguf", "--precision", "q8"], ["g.gguf", "--to", "gguf", "--precision", "q4"],
                     ["g.gguf", "--to", "gguf"], ["d", "--to", "diffusers"],
                     ["d", "--to", "diffusers", "--precision", "fp8"], ["m", "--to", "mlx", "--precision", "q4"],
                     ["c.safetensors", "--to", "comfyui", "--precision", "fp8"],
                     ["c.safetensors", "--to", "comfyui", "--precision", "fp16"]):
            with self.subTest(args):
                self.refuses_to_convert("layers.0.attention.to_k.weight", *args)
        found = self.inspected("model")
        self.assertEqual(found["health"], "damaged")
        self.assertIn("layers.0.attention.to_k.weight", found["problems"][0])
        self.assertIn("first or last row", found["problems"][0])
        result = self.zimage("verify", "model")
        self.assertEqual(result.returncode, 1)
        self.assertIn("layers.0.attention.to_k.weight", result.stdout.decode())

    def test_one_value(self):
        """inspect looks at the ends of matrices and all of vectors; verify and convert at everything."""
        for component, tensor, place, seen in (
                ("transformer", "layers.1.feed_forward.w2.weight", 5000, False),
                ("transformer", "layers.1.attention_norm1.weight", 77, True),
                ("text_encoder", "model.layers.1.mlp.up_proj.weight", -1, True),
                ("vae", "decoder.conv_out.bias", 2, True)):
            with self.subTest(tensor):
                self.damage(tensor, INFINITY, component, place)
                for args in (["c.safetensors", "--to", "comfyui"], ["m", "--to", "mlx"]):
                    self.refuses_to_convert(tensor, *args)
                self.assertEqual(self.inspected("model")["health"], "damaged" if seen else "good")
                self.assertEqual(self.zimage("verify", "model").returncode, 1)
                subprocess.run(["rm", "-r", self.path("model")], check=True)

    def test_scales(self):
        """Values that are quantized are finite if their scales are."""
        self.good(self.convert("-q", MODEL, "m", "--to", "mlx", "--precision", "q8"))
        path = self.path("m", "weights.safetensors")
        for what in "scales", "biases":
            tensors = read_safetensors(path)
            name = "layers.0.attention.to_q." + what
            kept = tensors[name][2]
            tensors[name][2] = kept[:-2] + NAN["F16"]
            write_safetensors(path, tensors)
            with self.subTest(what):
                for args in (["x", "--to", "mlx"], ["x.safetensors", "--to", "comfyui"]):
                    self.refused(self.convert("m", *args), 1, "layers.0.attention.to_q", "not finite")
                self.assertEqual(self.inspected("m")["health"], "damaged")
            tensors[name][2] = kept
            write_safetensors(path, tensors)
        self.good(self.convert("-q", MODEL, "f.safetensors", "--to", "comfyui", "--precision", "fp8"))
        tensors = read_safetensors(self.path("f.safetensors"))
        scale = next(name for name in tensors if name.endswith(".weight_scale"))
        tensors[scale][2] = INFINITY["F32"]
        write_safetensors(self.path("f.safetensors"), tensors)
        self.refused(self.convert("f.safetensors", "g.safetensors", "--to", "comfyui"), 1, "not finite",
                     scale.rsplit(".", 1)[0])

    def test_blocks(self):
        """The scale of a block of a GGUF file is a half, too."""
        self.damage("layers.0.attention.to_out.0.weight", {"BF16": b"\x7a\x44"})  # 1000
        for model, name in ((MODEL, "q8.gguf"), ("model", "other.gguf")):
            self.good(self.convert("-q", model, name, "--to", "gguf", "--precision", "q8"))
        data, other = bytearray(self.read("q8.gguf")), self.read("other.gguf")
        at = next(i for i, byte in enumerate(data) if byte != other[i])  # the scale of the first block
        data[at:at + 2] = NAN["F16"]
        self.write("q8.gguf", bytes(data))
        self.refused(self.convert("q8.gguf", "x.gguf", "--to", "gguf"), 1, "q8.gguf", "not finite")
        self.refused(self.convert("q8.gguf", "m", "--to", "mlx", "--reference", MODEL), 1, "q8.gguf", "not finite")

    def test_a_type_that_is_too_small(self):
        """Values that are finite here, and would not be there."""
        name = "layers.0.attention.to_out.0.weight"
        self.damage(name, {"BF16": b"\x80\x4b"})  # 2^24
        for args, words in ((["g.gguf", "--to", "gguf", "--precision", "q4"], ["Q4_0", "choose the precision fp32"]),
                            (["g.gguf", "--to", "gguf", "--precision", "q8"], ["Q8_0", "choose the precision fp32"]),
                            (["m", "--to", "mlx", "--precision", "fp16"], ["65504", "bf16"])):
            with self.subTest(args):
                self.refused(self.convert("model", *args), 1, name, *words)
        self.good(self.convert("model", "m", "--to", "diffusers"))


class WhatVerifyRejects(Converted):
    """convert does not write it."""

    def test_tensors(self):
        whole = {}
        folder = os.path.join(MODEL, "transformer")
        for name in os.listdir(folder):
            if name.endswith(".safetensors"):
                whole.update(read_safetensors(os.path.join(folder, name)))
        norm = "layers.1.ffn_norm2.weight"
        bias = "cap_embedder.1.bias"
        cases = {
            "missing": ({key: row for key, row in whole.items() if key != norm}, norm, "missing"),
            "shape": ({**whole, bias: ["BF16", [64], bytes(128)]}, bias, "by the other tensors of the model it must have [128];"),
            "too many": ({**whole, "layers.9.ffn_norm1.weight": whole[norm]}, "layers.9.ffn_norm1.weight", "has no place in the model that the other tensors make"),
            "zeros": ({**whole, norm: [*whole[norm][:2], bytes(len(whole[norm][2]))]}, norm, "all zeros"),
        }
        for case, (tensors, *words) in cases.items():
            write_safetensors(self.path("t.safetensors"), tensors)
            for layout, name in (("comfyui", "x.safetensors"), ("gguf", "x.gguf"), ("mlx", "x")):
                with self.subTest(case=case, layout=layout):
                    self.refused(self.convert("t.safetensors", name, "--to", layout), 1, *words)
                    self.assertEqual(self.files(), ["t.safetensors"])

    def test_embeddings_of_zeros(self):
        self.copy_model()
        change_tensor(self.path("model", "text_encoder"), "model.embed_tokens.weight",
                      lambda row: [row[0], row[1], bytes(len(row[2]))])
        self.refused(self.convert("model", "x", "--to", "mlx"), 1, "embed_tokens.weight", "all zeros")

    def test_components_that_do_not_fit(self):
        """An encoder of half the width."""
        self.copy_model()
        folder = self.path("model", "text_encoder")
        for name in os.listdir(folder):
            if not name.endswith(".safetensors"):
                continue
            tensors = read_safetensors(os.path.join(folder, name))
            for key, (kind, shape, data) in tensors.items():
                small = [48 if side == 96 else side for side in shape]
                if small != shape:
                    size = 4 if kind == "F32" else 2
                    for side in small:
                        size *= side
                    tensors[key] = [kind, small, data[:size]]
            write_safetensors(os.path.join(folder, name), tensors)
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        config["hidden_size"] = 48
        self.write(os.path.join(folder, "config.json"), json.dumps(config))
        result = self.convert(MODEL, "x", "--to", "mlx", "--text-encoder", "model/text_encoder")
        self.refused(result, 1, "width 96", "used with it has width 48", "see --text-encoder")

    def test_a_tokenizer_that_cannot_be_read(self):
        self.copy_model()
        self.write("model/tokenizer/tokenizer.json", "{")
        self.refused(self.convert("model", "x", "--to", "mlx"), 1, "tokenizer.json")
        self.assertFalse(os.path.exists(self.path("x")))


if __name__ == "__main__":
    unittest.main()
