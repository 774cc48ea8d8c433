"""Models in every layout: components taken from another model, missing components, unsupported formats."""

import json
import os
import shutil
import struct
import unittest

from support import (MODEL, Case, change_json, change_tensor, read_safetensors, write_safetensors)

GOLDEN = os.path.dirname(MODEL)
MLX = os.path.join(GOLDEN, "mlx", "FP8")
SINGLE = os.path.join(GOLDEN, "comfyui", "seed_single_file.safetensors")
SPLIT = os.path.join(GOLDEN, "comfyui", "split_diffusion_model_fp8_e4m3fn.safetensors")
MIXED = os.path.join(GOLDEN, "lowbit", "diffusion_model_mixed.safetensors")
VAE = os.path.join(GOLDEN, "comfyui", "split_ae.safetensors")
ENCODER = os.path.join(MODEL, "text_encoder")
QUERY = "layers.0.attention.to_q"
FUSED = "layers.0.attention.qkv"


def half(*shape):
    count = 1
    for side in shape:
        count *= side
    return ["F16", list(shape), bytes(2 * count)]


def marker(says):
    """A tensor comfy_quant."""
    text = json.dumps(says).encode()
    return ["U8", [len(text)], text]


class Good(Case):
    def test_layouts(self):
        for args in (["-m", MLX], ["-m", SINGLE, "--reference", MODEL],
                     ["-m", SINGLE, "--reference", MLX],
                     ["-m", SPLIT, "--vae", VAE, "--text-encoder", ENCODER, "--reference", MODEL],
                     ["-m", SPLIT, "--vae", os.path.join(MODEL, "vae"), "--text-encoder", ENCODER],
                     ["-m", os.path.join(MODEL, "transformer"), "--reference", MLX]):
            with self.subTest(args):
                self.good(self.generate(*args))

    def test_missing_pad_tokens_are_told(self):
        told = self.good(self.generate(model=MLX)).stderr.decode()
        self.assertIn("pad tokens are missing", told)
        self.assertIn(MLX, told)
        self.assertEqual(self.good(self.generate("-q", model=MLX)).stderr, b"")
        self.assertNotIn(b"pad", self.good(self.generate()).stderr)

    def test_files_of_the_models_folder(self):
        os.makedirs(self.path("models", "comfyui"))
        os.symlink(SINGLE, self.path("models", "comfyui", "z.safetensors"))
        self.good(self.generate("--reference", MODEL, model="z.safetensors"))

    def test_tokenizers(self):
        wanted = self.good(self.zimage("tokenize", "-m", MODEL, "a fox")).stdout
        for args in (["-m", MLX], ["-m", os.path.join(MODEL, "tokenizer")],
                     ["-m", SINGLE, "--reference", MODEL],
                     ["-m", SINGLE, "--text-encoder", ENCODER]):
            with self.subTest(args):
                self.assertEqual(self.good(self.zimage("tokenize", *args, "a fox")).stdout, wanted)


class Missing(Case):
    def test_parts_and_the_options_that_supply_them(self):
        vae = os.path.join(MODEL, "vae")
        for words, args in (
            (["text encoder", "--text-encoder", "--reference"], ["-m", SPLIT]),
            (["VAE", "--vae", "--reference"], ["-m", SPLIT, "--text-encoder", ENCODER]),
            (["tokenizer", "--reference"],
             ["-m", SPLIT, "--vae", vae, "--text-encoder", self.lonely_encoder()]),
            (["transformer", "-m"], ["-m", VAE, "--reference", MODEL]),
            (["a number of channels, 16", "norm_num_groups", "--reference"],
             ["-m", SPLIT, "--vae", VAE, "--text-encoder", ENCODER]),
            (["no VAE in it", "--vae"], ["--vae", SPLIT]),
            (["no text encoder in it", "--text-encoder"], ["--text-encoder", VAE]),
            (["nowhere"], ["--vae", "nowhere"]),
            (["nowhere"], ["--reference", "nowhere"]),
        ):
            with self.subTest(args):
                self.refuses(1, words, *args)

    def lonely_encoder(self):
        """A text encoder with nothing beside it."""
        os.makedirs(self.path("alone", "encoder"), exist_ok=True)
        for name in os.listdir(ENCODER):
            shutil.copy(os.path.join(ENCODER, name), self.path("alone", "encoder", name))
        return self.path("alone", "encoder")

    def test_parts_of_an_mlx_folder(self):
        for part, option in (("vae.safetensors", "--vae"),
                             ("text_encoder.safetensors", "--text-encoder"),
                             ("config.json", "--reference"), ("vae_config.json", "--reference"),
                             ("text_encoder_config.json", "--reference")):
            with self.subTest(part):
                shutil.copytree(MLX, self.path("mlx"), copy_function=shutil.copy)
                os.chmod(self.path("mlx"), 0o755)
                os.remove(self.path("mlx", part))
                self.refuses(1, [part, option], model="mlx")
                self.good(self.generate("--reference", MODEL, model="mlx"))
                shutil.rmtree(self.path("mlx"))

    def test_parts_that_do_not_fit(self):
        demo = os.path.join(GOLDEN, "enhancer", "gguf", "q8_0.gguf")
        self.refuses(1, ["language model"], "--text-encoder", demo)


class Foreign(Case):
    """Files that are recognised, and refused by name."""

    def setUp(self):
        super().setUp()
        self.tensors = read_safetensors(SPLIT)

    def refuses_file(self, tensors, *words):
        write_safetensors(self.path("odd.safetensors"), tensors)
        self.refuses(1, ["odd.safetensors", *words], "--reference", MODEL, model="odd.safetensors")

    def test_lora(self):
        for names in (("transformer.layers.0.attention.to_q.lora_A.weight",),
                      ("lora_unet_layers_4_attention_to_out_0.lora_down.weight",),
                      ("lycoris_layers_0_attention_qkv.lokr_w1",)):
            self.refuses_file({name: half(4, 8) for name in names}, "LoRA")

    def test_controlnet_and_omni(self):
        self.refuses_file({"control_layers.14.adaLN_modulation.0.weight": half(4, 4)}, "ControlNet")
        self.refuses_file({**self.tensors, "siglip_embedder.0.weight": half(4)}, "Omni")

    def test_formats(self):
        for suffix, name in ((".pre_quant_scale", "NVFP4"), (".qweight", "Nunchaku"), (".zero_point", "SDNQ"),
                             (".weight.absmax", "bitsandbytes"), (".weight_codebook", "4-bit")):
            with self.subTest(suffix):
                self.refuses_file({**self.tensors, FUSED + suffix: half(1)}, name,
                                  "not supported")
        self.refuses_file({**self.tensors, FUSED + ".weight_scale_2": half(1)},
                          "NVFP4", "the file does not say that " + FUSED + ".weight is in that format")
        for says, name in (({"format": "convrot_w4a4"}, "convrot_w4a4"),
                           ({"format": "asym_w4a8_int8"}, "asym_w4a8_int8"),
                           ({"format": "nvfp4"}, "nvfp4, with weights of type U8"),
                           ({"format": "mxfp8"}, "the tensor weight_scale that belongs to it is missing"),
                           ({"format": "int8_tensorwise", "convrot": True}, "I8"),
                           ({"format": "float8_e4m3fn", "convrot": True}, "convrot"),
                           ({"format": "int4_tensorwise"}, "not supported"),
                           ({"format": "int8_tensorwise"}, "I8")):
            with self.subTest(says):
                self.refuses_file({**self.tensors, FUSED + ".comfy_quant": marker(says)}, name)

    def test_scales_that_do_not_fit(self):
        one = struct.pack("<f", 1)
        for shape in ([2], [127], [384, 2]):
            data = one * shape[0] * (shape[1] if len(shape) > 1 else 1)
            with self.subTest(shape):
                self.refuses_file({**self.tensors, FUSED + ".weight_scale": ["F32", shape, data]},
                                  FUSED + ".weight_scale", "shape")
        norm = "layers.0.attention.q_norm"
        self.refuses_file({**self.tensors, norm + ".weight_scale": ["F32", [], one]},
                          norm + ".weight_scale", "F32, but only weights of type F8_E4M3, F8_E5M2 (fp8) or I8 can have scales")
        self.refuses_file({**self.tensors, FUSED + ".scale_weight": ["I32", [], one]}, "I32")

    def test_int8_without_its_scale(self):
        name = FUSED + ".weight"
        odd = {**self.tensors, name: ["I8", *self.tensors[name][1:]]}
        self.refuses_file(odd, name, "the tensor weight_scale that belongs to it is missing")

    def test_tensors_missing_and_too_many(self):
        name = FUSED + ".weight"
        without = {key: row for key, row in self.tensors.items() if key != name}
        self.refuses_file(without, name, "missing")
        without = {key: row for key, row in self.tensors.items() if key != "x_pad_token"}
        write_safetensors(self.path("odd.safetensors"), without)
        self.refuses(1, ["odd.safetensors", "x_pad_token", "missing", "reference model"], "--vae", MODEL,
                     "--text-encoder", MODEL + "/text_encoder", model="odd.safetensors")
        # One that fits the names but not the model: a layer without its others.
        self.refuses_file({**self.tensors, "layers.7.attention_norm1.weight": half(128)},
                          "layers.7.attention_norm1.weight", "is not part of the model that " + MODEL)
        self.refuses_file({**self.tensors, QUERY + ".weight": half(128, 128)},
                          "stand for the same part of the model", QUERY + ".weight")

    def test_mlx_groups(self):
        tensors = read_safetensors(os.path.join(MLX, "weights.safetensors"))
        name = QUERY + ".scales"
        for shape in ([128, 3], [64, 2]):
            kind, _, data = tensors[name]
            size = shape[0] * shape[1] * 2
            odd = {**tensors, name: [kind, shape, (data * 2)[:size]]}
            with self.subTest(shape):
                self.refuses_file(odd, QUERY)
        without = {key: row for key, row in tensors.items() if key != QUERY + ".biases"}
        self.refuses_file(without, name, "biases")

    def test_a_reference_of_another_family(self):
        self.write("sd/model_index.json", json.dumps({"_class_name": "StableDiffusionPipeline"}))
        self.refuses(1, ["StableDiffusionPipeline"], "--reference", "sd", model=SINGLE)

    def test_config_of_a_mlx_folder(self):
        shutil.copytree(MLX, self.path("mlx"), copy_function=shutil.copy)
        os.chmod(self.path("mlx"), 0o755)
        os.chmod(self.path("mlx", "config.json"), 0o644)
        config = self.path("mlx", "config.json")
        for field, value in (("hidden_size", -1), ("num_attention_heads", 3),
                             ("num_hidden_layers", 3), ("text_embed_dim", 95),
                             ("axes_dims", [16, 24, 22]), ("intermediate_size", 340),
                             ("quantization", {"group_size": 48})):
            with self.subTest(field):
                kept = self.read("mlx/config.json")
                change_json(config, **{field: value})
                words = ["in diffusers: ", "but by mlx/config.json it must have"] if field == "text_embed_dim" else ["mlx"]
                self.refuses(1, words, model="mlx")
                self.write("mlx/config.json", kept)


class LowBit(Case):
    """Files of few bits: used, described, and refused with one line where they are damaged."""

    def setUp(self):
        super().setUp()
        self.tensors = read_safetensors(MIXED)
        for name in list(self.tensors):  # what the metadata say, which are lost here
            if name.endswith(".weight_scale_2"):
                self.tensors[name[:-15] + ".comfy_quant"] = marker({"format": "nvfp4"})

    def refuses_file(self, change, *words):
        """With these tensors instead of the file's; None: without."""
        tensors = {**self.tensors, **change}
        write_safetensors(self.path("odd.safetensors"),
                          {name: row for name, row in tensors.items() if row})
        self.refuses(1, ["odd.safetensors", *words], "--reference", MODEL, model="odd.safetensors")

    def test_generate_convert_and_inspect(self):
        self.good(self.generate("--reference", MODEL, model=MIXED))
        self.good(self.zimage("convert", "-q", "--to", "comfyui", MIXED, "kept.safetensors"))
        self.good(self.zimage("convert", "-q", "--to", "diffusers", "--reference", MODEL, MIXED,
                              "plain"))
        types = {}
        for path in (MIXED, "kept.safetensors", "plain"):
            says = json.loads(self.good(self.zimage("inspect", "--json", path)).stdout)
            self.assertEqual(says["problems"], [])
            types[path] = says["components"]["transformer"]["types"]
        self.assertEqual(types[MIXED], types["kept.safetensors"])
        self.assertEqual({"I8 scaled, ConvRot 64", "I8 scaled", "MXFP8", "NVFP4", "F8_E4M3 scaled",
                          "F32", "BF16"}, set(types[MIXED]))
        self.assertEqual({"F32", "BF16"}, set(types["plain"]))
        self.assertEqual(types[MIXED]["NVFP4"], 305664)  # without padding
        self.assertEqual(sum(types[MIXED].values()), sum(types["plain"].values()))

    def test_metadata(self):
        write_safetensors(self.path("no.safetensors"), read_safetensors(MIXED))
        self.refuses(1, ["no.safetensors", "the file does not say which format it is (a tensor comfy_quant or the metadata"],
                     "--reference", MODEL, model="no.safetensors")

    def test_damaged(self):
        layer, turned = "layers.0.attention.qkv", "noise_refiner.0.attention.qkv"
        eight = "layers.0.adaLN_modulation.0"
        scales = self.tensors[layer + ".weight_scale"]
        for change, words in (
            ({layer + ".weight_scale": ["F8_E4M3", [384, 4], bytes(384 * 4)]},
             [layer + ".weight_scale", "[384, 4]", "[384, 8]"]),
            ({layer + ".weight_scale": ["U8", *scales[1:]]}, [".weight_scale is U8", "F8_E4M3"]),
            ({layer + ".weight_scale": None}, ["the tensor weight_scale that belongs to it is missing"]),
            ({layer + ".weight_scale_2": None}, ["the tensor weight_scale_2 that belongs to it is missing"]),
            ({layer + ".weight_scale_2": ["F32", [2], bytes(8)]}, [".weight_scale_2", "one value"]),
            ({layer + ".comfy_quant": marker({"format": "int4_awq"})}, ["int4_awq", "nvfp4"]),
            ({eight + ".weight_scale": ["F32", [512, 4], bytes(512 * 16)]}, [eight, "F32", "U8"]),
            ({eight + ".weight": ["F8_E4M3", [512, 100], bytes(51200)]}, [eight, "multiple of 32"]),
            ({turned + ".comfy_quant": rotated(48)}, ["convrot_groupsize", "48", "power of four"]),
            ({turned + ".comfy_quant": rotated(32)}, ["convrot_groupsize", "32", "power of four"]),
            ({turned + ".comfy_quant": rotated(256)}, ["needs a matrix with a multiple of 256 columns", "[384, 128]"]),
            ({turned + ".comfy_quant": rotated("64")}, ["convrot_groupsize", '"64"', "power of four"]),
            ({turned + ".comfy_quant": marker({"format": "nvfp4"})}, ["nvfp4", "U8", "I8"])):
            with self.subTest(words):
                self.refuses_file(change, *words)

    def test_mlx_modes(self):
        # The codes of a folder of 4 bits, under scales of one: what they mean does not matter.
        self.good(self.zimage("convert", "-q", "--to", "mlx", "--precision", "q4", MODEL, "q4"))
        plain = read_safetensors(self.path("q4", "weights.safetensors"))
        said = json.loads(self.read("q4/config.json"))
        for mode, group, one in (("mxfp4", 32, 127), ("nvfp4", 16, 0x38)):
            tensors = {}
            for name, (kind, shape, data) in plain.items():
                if name.endswith(".scales"):
                    count = shape[0] * shape[1] * (64 // group)
                    kind, shape, data = "U8", [shape[0], shape[1] * (64 // group)], bytes([one]) * count
                if not name.endswith(".biases"):
                    tensors[name] = [kind, shape, data]
            write_safetensors(self.path("q4", "weights.safetensors"), tensors)
            for mode_said, group_said, words in ((mode, group, None), (mode, 64, ["group_size", mode]),
                                                 ("mxfp6", 32, ["mxfp6", "mxfp4"]),
                                                 (4, group, ['"mode"', "text"])):
                said["quantization"] = {"group_size": group_said, "bits": 4, "mode": mode_said}
                self.write("q4/config.json", json.dumps(said))
                if words:
                    self.refuses(1, ["config.json", *words], model="q4")
                    continue
                self.good(self.generate("--compute", "exact", model="q4"))
                inspected = json.loads(self.good(self.zimage("inspect", "--json", "q4")).stdout)
                self.assertEqual(inspected["precision"], "MLX " + mode)
                self.assertEqual(inspected["problems"], [])


def rotated(size):
    return marker({"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": size})


class Inspect(Case):
    def inspect(self, path):
        return json.loads(self.good(self.zimage("inspect", "--json", path)).stdout)

    def test_layouts(self):
        for path, layout, precision, usable in (
            (MODEL, "diffusers", "BF16", True), (MLX, "MLX", "8-bit MLX groups of 64", True),
            (SPLIT, "ComfyUI file", "F8_E4M3", False), (SINGLE, "ComfyUI file", "BF16", False)):
            with self.subTest(path):
                says = self.inspect(path)
                self.assertEqual([says["layout"], says["precision"], says["usable"]],
                                 [layout, precision, usable])
        # However they are packed; the folder lacks two rows of 128.
        count = {path: self.inspect(path)["components"]["transformer"]["parameters"]
                 for path in (MODEL, MLX, SPLIT, SINGLE)}
        self.assertEqual(count, {MODEL: 1426848, MLX: 1426592, SPLIT: 1426848, SINGLE: 1426848})

    def test_what_is_missing(self):
        self.assertEqual(self.inspect(SPLIT)["missing"], ["text_encoder", "vae", "tokenizer"])
        self.assertEqual(self.inspect(VAE)["missing"], ["transformer", "text_encoder", "tokenizer"])
        self.assertEqual(self.inspect(MODEL)["missing"], [])
        self.assertIn("pad tokens", self.inspect(MLX)["remarks"][0])

    def test_types_keep_their_names(self):
        table = self.good(self.zimage("inspect", SPLIT)).stdout.decode()
        self.assertIn("F8_E4M3", table)
        self.assertNotIn("F8 E4M3", table)


class Verify(Case):
    def verify(self, *args):
        result = self.zimage("verify", "--json", *args)
        says = json.loads(result.stdout)
        self.assertEqual(result.returncode, 0 if says["passed"] else 1)
        return {row["name"]: (row["passed"], row["says"]) for row in says["checks"]}

    def fails(self, name, *words):
        passed, says = self.verify("model")[name]
        self.assertFalse(passed)
        for word in words:
            self.assertIn(word, says)

    def test_good_models(self):
        self.assertTrue(all(passed for passed, _ in self.verify(MODEL).values()))
        checks = self.verify(MLX, "--against", MODEL)
        self.assertEqual(len(checks), 8)
        self.assertTrue(all(passed for passed, _ in checks.values()), checks)
        table = self.good(self.zimage("verify", MODEL)).stdout.decode().splitlines()
        self.assertEqual([line[:4] for line in table], ["pass"] * 7)

    def test_does_not_load(self):
        self.copy_model()
        os.remove(self.path("model", "vae", "config.json"))
        self.assertEqual(list(self.verify("model")), ["loads"])
        self.fails("loads", "vae/config.json")

    def test_not_finite(self):
        self.copy_model()
        name = "encoder.conv_in.weight"  # drawing does not need it
        change_tensor(self.path("model", "vae"), name,
                      lambda t: [t[0], t[1], b"\xc0\x7f" + t[2][2:]])
        self.fails("weights are finite", name, "not finite")

    def test_norms_of_zeros(self):
        self.copy_model()
        name = "layers.1.ffn_norm2.weight"
        change_tensor(self.path("model", "transformer"), name,
                      lambda t: [t[0], t[1], bytes(len(t[2]))])
        self.fails("weights are finite", name, "zeros")

    def test_embeddings_of_zeros(self):
        self.copy_model()
        change_tensor(self.path("model", "text_encoder"), "model.embed_tokens.weight",
                      lambda t: [t[0], t[1], bytes(len(t[2]))])
        self.fails("a prompt is read", "magnitude")

    def test_checkerboard(self):
        """The last enlarging becomes a mixed difference: single pixels of four."""
        self.copy_model()

        def differences(tensor):
            kind, (out, into, high, wide), _ = tensor
            data = bytearray(2 * out * into * high * wide)
            for c in range(min(out, into)):
                for tap, value in ((0, 40), (1, -40), (3, -40), (4, 40)):
                    at = 2 * ((c * into + c) * 9 + tap)
                    data[at : at + 2] = struct.pack("<f", value)[2:]
            return [kind, [out, into, high, wide], bytes(data)]

        change_tensor(self.path("model", "vae"), "decoder.up_blocks.2.upsamplers.0.conv.weight",
                      differences)
        self.fails("the VAE decodes", "checkerboard")

    def test_another_source(self):
        self.copy_model()
        name = "layers.0.feed_forward.w2.weight"
        change_tensor(self.path("model", "transformer"), name,
                      lambda t: [t[0], t[1], t[2][len(t[2]) // 2 :] + t[2][: len(t[2]) // 2]])
        passed, says = self.verify(MODEL, "--against", "model")["like its source"]
        self.assertFalse(passed)
        self.assertIn("correlation", says)

    def test_wrong_calls(self):
        self.refused(self.zimage("verify"), 2, "PATH", "missing")
        self.refused(self.zimage("verify", "nowhere"), 1, "nowhere")
        self.refused(self.zimage("verify", MODEL, "--against", "nowhere"), 1, "nowhere")


if __name__ == "__main__":
    unittest.main()
