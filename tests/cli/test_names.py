"""Names that people's files have: of tensors behind wrappers and prefixes, of files (variants, shards, pickles) and of
pipeline classes; and models of other kinds, which are refused by their right names."""

import io
import json
import os
import pickle
import shutil
import struct
import unittest
import zipfile

from support import (MODEL, Case, change_json, png_chunks, read_safetensors, write_safetensors)

GOLDEN = os.path.dirname(MODEL)
AE = os.path.join(GOLDEN, "comfyui", "split_ae.safetensors")
SINGLE = os.path.join(GOLDEN, "comfyui", "seed_single_file.safetensors")


def component(name):
    """All tensors of a component of the reference model."""
    tensors, folder = {}, os.path.join(MODEL, name)
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors"):
            tensors.update(read_safetensors(os.path.join(folder, file)))
    return tensors


def zeros(*shape):
    count = 1
    for side in shape:
        count *= side
    return ["F16", list(shape), bytes(2 * count)]


def ones(*names):
    return {name: ["F32", [1], struct.pack("<f", 1)] for name in names}


def gguf(tensors, **values):
    """A GGUF file of BF16 and F32 tensors; values: metadata, text or whole numbers of 16 bits."""

    def text(string):
        return struct.pack("<Q", len(string)) + string.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, value in values.items():
        key = key.replace("_", ".")
        head += text(key) + (struct.pack("<I", 8) + text(value) if isinstance(value, str)
                             else struct.pack("<IH", 2, value))
    at, body = 0, b""
    for name, (kind, shape, data) in tensors.items():
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", side) for side in reversed(shape))
        head += struct.pack("<IQ", {"F32": 0, "BF16": 30}[kind], at)
        padded = data + bytes(-len(data) % 32)
        at, body = at + len(padded), body + padded
    return head + bytes(-len(head) % 32) + body


class Names(Case):
    def pixels(self, *args, **options):
        """The compressed pixels of a small image: the same for the same image."""
        self.good(self.generate("-q", *args, output="pixels.png", steps=1, **options))
        return [data for kind, data in png_chunks(self.read("pixels.png")) if kind == b"IDAT"]

    def inspect(self, path):
        return json.loads(self.good(self.zimage("inspect", "--json", path)).stdout)

    def takes(self, part, tensors):
        """A file of one component of these tensors is read without problems."""
        write_safetensors(self.path("made.safetensors"), tensors)
        says = self.inspect("made.safetensors")
        # The reference model's VAE has other settings than a file without config stands for.
        self.assertEqual([text for text in says["problems"] if "norm_num_groups" not in text], [])
        self.assertTrue(says["components"][part]["present"])
        self.assertEqual(says["components"][part]["parameters"], self.parameters[part])

    @classmethod
    def setUpClass(cls):
        cls.transformer, cls.encoder, cls.vae = map(component, ("transformer", "text_encoder", "vae"))
        count = {"transformer": cls.transformer, "text_encoder": cls.encoder, "vae": cls.vae}
        cls.parameters = {}
        for part, tensors in count.items():
            sides = [shape for _, shape, _ in tensors.values()]
            cls.parameters[part] = 0
            for shape in sides:
                n = 1
                for side in shape:
                    n *= side
                cls.parameters[part] += n


class Tensors(Names):
    def test_wrapped_prefixes(self):
        for prefix in ("module.", "_orig_mod.", "net.", "model.model.", "module._orig_mod.", "_orig_mod.module.",
                       "module.module.", "net.module.", "model._orig_mod.", "model.net.",
                       "module.model.diffusion_model.", "model.diffusion_model._orig_mod.", "net.diffusion_model.",
                       "_fsdp_wrapped_module.", "model.module.transformer."):
            with self.subTest(prefix):
                self.takes("transformer", {prefix + name: row for name, row in self.transformer.items()})

    def test_wrapped_parts(self):
        """Blocks that were compiled or wrapped one by one."""
        for wrapper in ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module._orig_mod."):
            with self.subTest(wrapper):
                self.takes("transformer", {name.replace("layers.0.", "layers.0." + wrapper): row
                                           for name, row in self.transformer.items()})
                self.takes("vae", {name.replace("up_blocks.1.", "up_blocks.1." + wrapper): row
                                   for name, row in self.vae.items()})

    def test_other_components_wrapped(self):
        for prefix in ("module.", "_orig_mod.", "net.", "model.", "text_encoder.module.", "module.text_encoder."):
            with self.subTest(prefix):
                self.takes("text_encoder", {prefix + name: row for name, row in self.encoder.items()})
        for prefix in ("module.", "_orig_mod.", "net.", "vae.module.", "module.first_stage_model.", "model.vae."):
            with self.subTest(prefix):
                self.takes("vae", {prefix + name: row for name, row in self.vae.items()})

    def test_the_image_is_the_same(self):
        wanted = self.pixels()
        for prefix in ("module.", "model.model."):
            write_safetensors(self.path("w.safetensors"), {prefix + n: row for n, row in self.transformer.items()})
            self.assertEqual(self.pixels("--reference", MODEL, model="w.safetensors"), wanted)
        write_safetensors(self.path("t.safetensors"),
                          {"qwen3_4b.transformer." + n: row for n, row in self.encoder.items()})
        self.assertEqual(self.pixels("--text-encoder", "t.safetensors"), wanted)

    def test_clip_save(self):
        """ComfyUI's CLIPSave leaves the encoder's prefix, and a scale that is not used."""
        for prefix in ("qwen3_4b.transformer.", "qwen3_4b.", "text_encoders.qwen3_4b.transformer."):
            root = prefix.split("transformer.")[0]
            with self.subTest(prefix):
                self.takes("text_encoder", {**{prefix + name: row for name, row in self.encoder.items()},
                                            root + "logit_scale": ["F32", [], struct.pack("<f", 4.6)]})

    def test_the_seeds_mappings(self):
        """Every norm_final.weight is skipped; the blocks' modulation may be numbered 0 or 1, or not at all."""
        wanted = self.pixels()
        norm = ["BF16", [128], bytes(256)]
        made = {
            "final_layer": {**self.transformer, "final_layer.norm_final.weight": norm},
            "all_final_layer": {**self.transformer, "all_final_layer.2-1.norm_final.weight": norm},
            "bare": {**self.transformer, "norm_final.weight": norm},
            "one": {name.replace(".adaLN_modulation.0.", ".adaLN_modulation.1."): row
                    for name, row in self.transformer.items()},
            "some": {name.replace("layers.0.adaLN_modulation.0.", "layers.0.adaLN_modulation.1."): row
                     for name, row in self.transformer.items()},
            "none": {name.replace(".adaLN_modulation.0.", ".adaLN_modulation."): row
                     for name, row in self.transformer.items()},
        }
        for name, tensors in made.items():
            with self.subTest(name):
                self.takes("transformer", tensors)
                self.assertEqual(self.pixels("--reference", MODEL, model="made.safetensors"), wanted)

    def test_unknown_prefixes(self):
        """What is Z-Image is never said to be none of it."""
        for prefix in ("ema.", "student.", "pipe.dit.", "model_ema.", "generator.main."):
            write_safetensors(self.path("odd.safetensors"), {prefix + n: row for n, row in self.transformer.items()})
            with self.subTest(prefix):
                self.refuses(1, ["odd.safetensors", f"begins with {prefix}, which names of a Z-Image model do not",
                                 "save the tensors without this beginning"],
                             "--reference", MODEL, model="odd.safetensors")
        mixed = {**self.transformer, "ema.layers.0.attention.to_q.weight": zeros(128, 128)}
        write_safetensors(self.path("odd.safetensors"), mixed)
        self.refuses(1, ["begins with ema., which zimage does not know"], "--reference", MODEL, model="odd.safetensors")

    def test_twice(self):
        """Under two names that mean the same."""
        name = "layers.0.attention.to_q.weight"
        for prefix in ("module.", "net.", "model."):
            write_safetensors(self.path("odd.safetensors"),
                              {**self.transformer, prefix + name: self.transformer[name]})
            self.refuses(1, ["stand for the same part of the model", "fetch the file again", prefix + name], "--reference", MODEL, model="odd.safetensors")


class Variants(Names):
    """Files of diffusers' variants, such as model.bf16.safetensors."""

    def setUp(self):
        super().setUp()
        self.copy_model()
        for part, stem in (("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")):
            self.join(part, stem)

    def join(self, part, stem):
        """One file in place of the shards."""
        tensors = component(part)
        for name in os.listdir(self.path("model", part)):
            if name.endswith((".safetensors", ".index.json")):
                os.remove(self.path("model", part, name))
        write_safetensors(self.path("model", part, stem + ".safetensors"), tensors)

    def rename(self, part, variant):
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        os.rename(self.path("model", part, stem + ".safetensors"),
                  self.path("model", part, f"{stem}.{variant}.safetensors"))

    def split(self, part, stem, shard, index):
        """Two shards, named shard % 1 and 2, with this index, in place of the one file."""
        path = self.path("model", part, stem + ".safetensors")
        tensors = read_safetensors(path)
        names, where = list(tensors), {}
        os.remove(path)
        for number, some in enumerate((names[:20], names[20:]), 1):
            write_safetensors(self.path("model", part, shard % number), {name: tensors[name] for name in some})
            where.update({name: shard % number for name in some})
        self.write(os.path.join("model", part, index), json.dumps({"metadata": {}, "weight_map": where}))

    def test_alone(self):
        wanted = self.pixels(model="model")
        for variants in (("bf16", "bf16", "bf16"), ("fp16", "bf16", "fp32"), ("fp32", "fp16", "fp16")):
            self.rename("transformer", variants[0])
            self.rename("text_encoder", variants[1])
            self.rename("vae", variants[2])
            with self.subTest(variants):
                self.assertEqual(self.pixels(model="model"), wanted)
                self.assertTrue(self.inspect("model")["usable"])
                self.good(self.zimage("verify", "model"))
            for part, stem, variant in (("transformer", "diffusion_pytorch_model", variants[0]),
                                        ("text_encoder", "model", variants[1]),
                                        ("vae", "diffusion_pytorch_model", variants[2])):
                os.rename(self.path("model", part, f"{stem}.{variant}.safetensors"),
                          self.path("model", part, stem + ".safetensors"))

    def test_in_shards(self):
        wanted = self.pixels(model="model")
        self.split("text_encoder", "model", "model.bf16-0000%d-of-00002.safetensors",
                   "model.safetensors.index.bf16.json")
        self.split("transformer", "diffusion_pytorch_model",
                   "diffusion_pytorch_model-0000%d-of-00002.fp16.safetensors",
                   "diffusion_pytorch_model.fp16.safetensors.index.json")
        self.assertEqual(self.pixels(model="model"), wanted)
        self.good(self.zimage("convert", "-q", "model", "mlx", "--to", "mlx"))
        self.assertTrue(self.inspect("mlx")["usable"])
        os.remove(self.path("model", "text_encoder", "model.bf16-00002-of-00002.safetensors"))
        self.refuses(1, ["model.bf16-00002-of-00002.safetensors: is missing, but model.safetensors.index.bf16.json names it"],
                     model="model")

    def test_the_plain_one_wins(self):
        wanted = self.pixels(model="model")
        for variant in ("bf16", "fp16"):
            for part in ("transformer", "vae"):
                self.write(os.path.join("model", part, f"diffusion_pytorch_model.{variant}.safetensors"), "damaged")
            self.write("model/text_encoder/model.safetensors.index.%s.json" % variant, "damaged")
        self.assertEqual(self.pixels(model="model"), wanted)

    def test_the_best_of_several_wins(self):
        self.rename("vae", "bf16")
        self.write("model/vae/diffusion_pytorch_model.fp16.safetensors", "damaged")
        self.pixels(model="model")

    def test_folders_of_one_component(self):
        self.rename("vae", "fp16")
        self.pixels("--vae", os.path.join("model", "vae"))
        self.good(self.zimage("convert", "-q", "model/vae", "vae.safetensors", "--to", "comfyui"))

    def test_a_variant_that_is_not_read(self):
        self.rename("vae", "non_ema")
        self.refuses(1, ["vae/diffusion_pytorch_model.safetensors is missing"], model="model")


class Files(Names):
    def folder(self, *names):
        os.makedirs(self.path("folder"), exist_ok=True)
        for name in names:
            shutil.copy(AE, self.path("folder", name))

    def test_a_folder_with_one_file(self):
        self.folder("ae.safetensors")
        self.write("folder/readme.md", "#")
        self.write("folder/.hidden.safetensors", "x")
        self.write("folder/config.json", self.read(os.path.join(MODEL, "vae", "config.json")))
        wanted = self.pixels()
        self.assertEqual(self.pixels("--vae", "folder"), wanted)
        self.assertEqual(self.inspect("folder")["problems"], [])

    def test_several_files_of_one_component(self):
        self.folder("ae.safetensors", "z_ae.safetensors")
        self.refuses(1, ["folder", "ae.safetensors and z_ae.safetensors", "name one of"], "--vae", "folder")
        self.refuses(1, ["several files of weights"], model="folder")
        self.write("folder/model.gguf", "x")
        self.refuses(1, ["ae.safetensors and model.gguf"], "--vae", "folder")

    def test_no_weights(self):
        os.makedirs(self.path("folder"))
        self.refuses(1, ["no model folder"], model="folder")
        self.write("folder/config.json", "{}")
        self.refuses(1, ["no model folder"], "--vae", "folder")

    def test_pipeline_classes(self):
        self.copy_model()
        wanted = self.pixels()
        for name in ("ZImageImg2ImgPipeline", "ZImageInpaintPipeline"):
            change_json(self.path("model", "model_index.json"), _class_name=name)
            self.assertEqual(self.pixels(model="model"), wanted)
            self.assertTrue(self.inspect("model")["usable"])
        for name, word in (("ZImageControlNetPipeline", "ControlNets are not supported"),
                           ("ZImageControlNetInpaintPipeline", "ControlNets are not supported"),
                           ("ZImageOmniPipeline", "only ZImagePipeline"), ("FluxPipeline", "only ZImagePipeline"),
                           ("ZImage", "only ZImagePipeline"),
                           ("zimagepipeline", "correct this name")):
            change_json(self.path("model", "model_index.json"), _class_name=name)
            self.refuses(1, ["model_index.json", name, word], model="model")


class Pickles(Names):
    def zipped(self):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps({"a": 1}, 2))
        return made.getvalue()

    def test_files(self):
        old = pickle.dumps(0x1950a86a20f9469cfc6c, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
        for name, data in (("a.ckpt", self.zipped()), ("a.pt", self.zipped()), ("a.pth", old), ("a.bin", old),
                           ("a.safetensors", self.zipped()), ("a.CKPT", self.zipped()), ("b.pt", pickle.dumps([1], 4)),
                           ("b.bin", pickle.dumps({"x": [1]}, 3)), ("c.bin", b""), ("c.ckpt", b"anything else"),
                           ("c.pth", b"\x80")):
            self.write(name, data)
            with self.subTest(name):
                for args in (["-m", name], ["--vae", name], ["--text-encoder", name], ["--reference", name]):
                    self.refuses(1, [name, "pickle", f"save it as {name[0]}.safetensors", "save_file"], *args)
                self.refused(self.zimage("inspect", name), 1, name, "pickle")
                self.refused(self.zimage("convert", "-q", name, "out", "--to", "mlx"), 1, name, "pickle")

    def test_a_safetensors_file_by_another_name(self):
        shutil.copy(AE, self.path("vae.pt"))
        self.assertTrue(self.inspect("vae.pt")["components"]["vae"]["present"])

    def test_only_pickles_in_a_folder(self):
        self.copy_model()
        for part, stem in (("vae", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model"),
                           ("transformer", "diffusion_pytorch_model")):
            folder = os.path.join("model", part)
            for name in os.listdir(self.path(folder)):
                if name.endswith((".safetensors", ".index.json")):
                    os.remove(self.path(folder, name))
            file = stem + (".bin" if part == "vae" else "-00001-of-00002.bin")
            self.write(os.path.join(folder, file), self.zipped())
            save = "one of 2 that belong together" if "-of-" in file else f"save it as {stem}.safetensors in"
            with self.subTest(part):
                where = f"{folder}/{file}"
                if part != "transformer":
                    self.good(self.generate("--reference", MODEL, model="model"))
                    self.refuses(1, [file, "pickle"], model="model")
                self.refuses(1, [where, "pickle", save], "--vae" if part == "vae" else "--text-encoder", folder)
                self.refused(self.zimage("convert", "-q", "model", "out", "--to", "mlx"), 1, "pickle")
                self.assertIn("pickle", self.inspect("model")["problems"][0])

    def test_a_pickle_beside_the_weights(self):
        self.copy_model()
        self.write("model/vae/diffusion_pytorch_model.bin", self.zipped())
        self.pixels(model="model")


class Shards(Names):
    """GGUF models in several files."""

    def setUp(self):
        super().setUp()
        names = list(self.transformer)
        for number in 1, 2, 3:
            some = {name: self.transformer[name] for name in names[(number - 1) * 25 : number * 25]}
            first = {"general_architecture": "lumina2"} if number == 1 else {}
            self.write(f"z-0000{number}-of-00003.gguf", gguf(some, split_no=number - 1, split_count=3, **first))

    def test_the_image(self):
        wanted = self.pixels()
        for number in 1, 3:
            self.assertEqual(self.pixels("--reference", MODEL, model=f"z-0000{number}-of-00003.gguf"), wanted)
        self.assertEqual(self.inspect("z-00002-of-00003.gguf")["components"]["transformer"]["files"], 3)
        self.good(self.zimage("convert", "-q", "z-00001-of-00003.gguf", "one.gguf", "--to", "gguf"))
        self.assertEqual(self.pixels("--reference", MODEL, model="one.gguf"), wanted)

    def test_a_folder_of_shards(self):
        os.makedirs(self.path("folder"))
        for number in 1, 2, 3:
            os.rename(self.path(f"z-0000{number}-of-00003.gguf"), self.path("folder", f"z-0000{number}-of-00003.gguf"))
        self.pixels("--reference", MODEL, model="folder")

    def test_a_missing_one(self):
        os.remove(self.path("z-00002-of-00003.gguf"))
        self.refuses(1, ["z-00002-of-00003.gguf is missing", "file 2 of the 3"][1:] + ["z-00002-of-00003.gguf"],
                     "--reference", MODEL, model="z-00001-of-00003.gguf")

    def test_another_name(self):
        os.rename(self.path("z-00001-of-00003.gguf"), self.path("z.gguf"))
        self.refuses(1, ["z.gguf", "one of 3 files", "-00001-of-00003.gguf"], "--reference", MODEL, model="z.gguf")

    def test_import_and_list(self):
        result = self.zimage("import", "--models", "models", "z-00001-of-00003.gguf")
        self.refused(result, 1, "z-00001-of-00003.gguf", "3 files")
        os.makedirs(self.path("models", "comfyui"))
        for number in 1, 2, 3:
            os.rename(self.path(f"z-0000{number}-of-00003.gguf"),
                      self.path("models", "comfyui", f"z-0000{number}-of-00003.gguf"))
        listed = json.loads(self.good(self.zimage("models", "--models", "models", "--json")).stdout)["models"]
        self.assertEqual([row["name"] for row in listed if row["name"].startswith("comfyui/")],
                         ["comfyui/z-00001-of-00003.gguf"])
        self.assertGreater(listed[0]["bytes"], 2800000)  # of all files
        os.remove(self.path("models", "comfyui", "z-00003-of-00003.gguf"))
        listed = json.loads(self.good(self.zimage("models", "--models", "models", "--json")).stdout)["models"]
        self.assertIn("z-00003-of-00003.gguf", json.dumps(listed[0]))
        self.good(self.zimage("models", "remove", "-y", "--models", "models", "comfyui/z-00001-of-00003.gguf"))
        self.assertEqual(self.files(), [])


class Others(Names):
    """Models of other kinds, as the model and in place of the VAE or text encoder."""

    def refuses_file(self, tensors, *words):
        write_safetensors(self.path("odd.safetensors"), tensors)
        with self.subTest(words[0]):
            for args in (["-m", "odd.safetensors"], ["--vae", "odd.safetensors"]):
                self.refuses(1, ["odd.safetensors", *words], *args)
            says = self.inspect("odd.safetensors")
            self.assertIn(words[0], says["architecture"])
            self.assertEqual(says["health"], "unsupported")

    def test_autoencoders(self):
        self.refuses_file({"bn.running_mean": zeros(128), "decoder.conv_in.weight": zeros(32, 32, 3, 3),
                           "decoder.post_quant_conv.weight": zeros(32, 32, 1, 1)}, "FLUX.2", "32", "FLUX.1", "see --vae")
        result = self.zimage("inspect", "odd.safetensors")
        self.assertNotIn(b"--vae", result.stdout + result.stderr)
        self.refused(self.zimage("import", "odd.safetensors", "--to", "mlx"), 1, "such as ae.safetensors\n")
        self.refuses_file({"decoder.conv_in.weight": zeros(64, 32, 3, 3), "post_quant_conv.weight": zeros(32, 32, 1, 1),
                           "decoder.mid_block.resnets.0.conv1.weight": zeros(64, 64, 3, 3)}, "FLUX.2", "32")
        for prefix in ("first_stage_model.", "", "vae."):
            self.refuses_file({prefix + "decoder.conv_in.weight": zeros(64, 4, 3, 3),
                               prefix + "encoder.conv_in.weight": zeros(16, 3, 3, 3),
                               prefix + "post_quant_conv.weight": zeros(4, 4, 1, 1)}, "Stable Diffusion", "4 latent")
        self.refuses_file({"decoder.conv_in.conv.weight": zeros(64, 3, 3, 4),  # MLX
                           "encoder.conv_in.conv2d.weight": zeros(64, 3, 3, 3)}, "Stable Diffusion", "4 latent")
        self.refuses_file({"decoder.middle.0.residual.0.gamma": zeros(8)}, "Wan or Qwen-Image")

    def test_tiny_autoencoders(self):
        for channels, name in (16, "TAEF1"), (4, "TAESD"), (32, "tiny autoencoder"):
            self.refuses_file({"1.weight": zeros(64, channels, 3, 3), "1.bias": zeros(64),
                               "3.conv.0.weight": zeros(64, 64, 3, 3)}, name, "tiny autoencoder", "as the VAE use a whole one")
            self.refuses_file({"decoder.layers.0.weight": zeros(64, channels, 3, 3),
                               "decoder.layers.2.conv.0.weight": zeros(64, 64, 3, 3),
                               "encoder.layers.0.weight": zeros(64, 3, 3, 3)}, name, "tiny autoencoder")
        self.refuses_file({"0.weight": zeros(64, 3, 3, 3), "1.conv.0.weight": zeros(64, 64, 3, 3)}, "tiny autoencoder")
        self.refuses_file({"decoder.1.weight": zeros(64, 16, 3, 3), "decoder.3.conv.0.weight": zeros(64, 64, 3, 3)},
                          "TAEHV")

    def test_relatives(self):
        for names, word in ((("__x0__", "layers.0.attention.qkv.weight"), "Zeta-Chroma"),
                            (("dec_net.cond_embed.weight",), "Zeta-Chroma"),
                            (("siglip_embedder.0.weight", "cap_pad_token"), "Omni"),
                            (("siglip_pad_token",), "Omni"), (("t_embedder_2.mlp.0.weight",), "TwinFlow"),
                            (("model.diffusion_model.t_embedder_2.mlp.0.weight",), "TwinFlow")):
            self.refuses_file(ones(*names), word, "use Z-Image-Turbo or Z-Image")

    def test_adapters(self):
        for name in ("layers.0.attention.to_q.lora_A.weight", "transformer.layers.0.attention.to_q.lora_A.default.weight",
                     "lora_unet_layers_0_attention_qkv.lora_down.weight", "unet.x.lora.down.weight",
                     "layers.0.attention.to_q_lora.down.weight", "lycoris_layers_0_attention_qkv.lokr_w2_a",
                     "diffusion_model.layers.0.attention.qkv.lokr_w1", "lora_unet__layers_0_x.hada_w1_a",
                     "diffusion_model.layers.0.attention.qkv.diff_b", "x.oft_blocks"):
            self.refuses_file(ones(name), "LoRA")
        for name in ("control_layers.14.adaLN_modulation.0.weight", "control_all_x_embedder.2-1.weight",
                     "control_noise_refiner.0.before_proj.weight"):
            self.refuses_file(ones(name), "ControlNet for Z-Image", "additions to a model are not supported")
        for name in ("controlnet_blocks.0.weight", "input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight"):
            self.refuses_file(ones(name), "ControlNet for another model")

    def test_other_models(self):
        for names, word in ((("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"), "Flux"),
                            (("double_blocks.0.x", "single_blocks.0.x", "double_stream_modulation_img.lin.weight"),
                             "FLUX.2"),
                            (("double_blocks.0.x", "single_blocks.0.x", "distilled_guidance_layer.in_proj.weight"),
                             "Chroma"),
                            (("joint_blocks.0.x",), "Stable Diffusion 3"), (("input_blocks.0.0.weight",), "Stable"),
                            (("patch_embedding.weight", "blocks.0.cross_attn.q.weight"), "Wan"),
                            (("visual.blocks.0.x", "model.layers.0.mlp.gate_proj.weight"), "Qwen-VL"),
                            (("model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight"),
                             "language model other than Qwen3"),
                            (("text_model.encoder.layers.0.mlp.fc1.weight",), "CLIP text"),
                            (("vision_model.encoder.layers.0.mlp.fc1.weight",), "CLIP image"),
                            (("conv_first.weight", "body.0.rdb1.conv1.weight"), "ESRGAN"),
                            (("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"), "ESRGAN"),
                            (("emb_params",), "textual inversion"), (("ip_adapter.1.to_k_ip.weight",), "IP-Adapter")):
            self.refuses_file(ones(*names), word)
        self.refuses_file(ones("SelfAttention.q.weight"), "T5", "Qwen3-4B", "see --text-encoder")

    def test_quantization_formats(self):
        name = "layers.0.attention.to_q"
        for suffix, word in ((".qweight", "Nunchaku"), (".wscales", "Nunchaku"), (".smooth_factor", "Nunchaku"),
                             (".proj_down", "Nunchaku"), (".zero_point", "SDNQ"), (".svd_up", "SDNQ"),
                             (".weight.absmax", "bitsandbytes"), (".weight.quant_map", "bitsandbytes"),
                             (".SCB", "bitsandbytes"), (".weight._data", "quanto")):
            write_safetensors(self.path("odd.safetensors"), {**self.transformer, name + suffix: zeros(1)})
            with self.subTest(suffix):
                self.refuses(1, [name + suffix, word, "not supported"], "--reference", MODEL, model="odd.safetensors")


if __name__ == "__main__":
    unittest.main()
