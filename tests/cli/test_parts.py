"""Components from elsewhere: named by options, in ComfyUI's folders, and the tokenizer of the hub."""

import json
import os
import shutil
import unittest

from comfyui import DIFFUSION, ENCODER, VAE, make_tree, put_tokenizer, write_encoder, write_vae
from support import LIMIT, MODEL, png_infotext, program, read_safetensors, write_safetensors
from test_download import REPO, HubCase, model_files

TOKENIZER = os.path.join(MODEL, "tokenizer")


def pixels(data):
    return data.split(b"IDAT", 1)[1]


class PartsCase(HubCase):
    def run_zimage(self, *args, **options):
        return self.zimage(*args, env=self.env, **options)

    def draw(self, *args):
        """Pixels and what was said."""
        words = ["-p", "a red circle", "-s", "1", "-W", "64", "-H", "64", "--seed", "1", "-o", "out.png"]
        result = self.good(self.run_zimage("generate", *words, *args))
        return pixels(self.read("out.png")), result.stderr.decode()

    def fails_to_draw(self, words, *args):
        words_of_call = ["-p", "a", "-s", "1", "-W", "64", "-H", "64", "--seed", "1", "-o", "no.png"]
        self.refused(self.run_zimage("generate", *words_of_call, *args), 1, *words)
        self.assertFalse(os.path.exists(self.path("no.png")))

    def listed(self, *args):
        rows = json.loads(self.good(self.run_zimage("models", "--json", *args)).stdout)["models"]
        return {row["name"]: row for row in rows}

    def put_model(self, name):
        shutil.copytree(MODEL, self.path("models", name))

    def put_file(self, source, name):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        shutil.copyfile(source, self.path(name))


class Names(PartsCase):
    """--reference, --vae and --text-encoder take what -m takes."""

    def setUp(self):
        super().setUp()
        self.put_file(DIFFUSION, "t.safetensors")
        self.wanted, _ = self.draw("-m", "t.safetensors", "--reference", MODEL)

    def test_in_the_models_folder(self):
        self.put_model("pytorch/whole")
        for name in "whole", "pytorch/whole", "models/pytorch/whole":
            with self.subTest(name):
                self.assertEqual(self.draw("-m", "t.safetensors", "--reference", name)[0], self.wanted)
                got, _ = self.draw("-m", "t.safetensors", "--reference", name, "--vae", name, "--text-encoder", name)
                self.assertEqual(got, self.wanted)

    def test_in_the_hub_cache(self):
        self.add_model()
        self.good(self.download())
        self.assertEqual(self.draw("-m", "t.safetensors", "--reference", REPO)[0], self.wanted)
        got, _ = self.draw("-m", "t.safetensors", "--reference", REPO, "--vae", REPO, "--text-encoder", REPO)
        self.assertEqual(got, self.wanted)

    def test_a_file_of_the_models_folder(self):
        self.put_file(VAE, "models/comfyui/some_vae.safetensors")
        got, _ = self.draw("-m", "t.safetensors", "--reference", MODEL, "--vae", "some_vae.safetensors")
        self.assertEqual(got, self.wanted)

    def test_every_command(self):
        self.put_model("pytorch/whole")
        ids = self.good(self.run_zimage("tokenize", "-m", MODEL, "a fox")).stdout
        parts = ["--text-encoder", "whole", "--reference", "whole"]
        self.assertEqual(self.good(self.run_zimage("tokenize", "-m", "t.safetensors", "--reference", "whole", "a fox")).stdout,
                         ids)
        self.assertEqual(self.good(self.run_zimage("tokenize", "-m", "t.safetensors", *parts, "a fox")).stdout, ids)
        self.good(self.run_zimage("verify", "t.safetensors", *parts, "--vae", "whole"))
        self.good(self.run_zimage("convert", "t.safetensors", "mlx", "--to", "mlx", *parts, "--vae", "whole"))
        self.good(self.run_zimage("quantize", "t.safetensors", "q.safetensors", "--precision", "fp8", *parts,
                                  "--vae", "whole"))
        self.good(self.run_zimage("import", "t.safetensors", "--to", "diffusers", "--name", "new", "--reference", "whole"))
        self.good(self.run_zimage("inspect", "new"))
        self.good(self.run_zimage("enhance", "-m", "t.safetensors", "--reference", "whole", "--raw", "--max-tokens", "2",
                                  "-p", "a"))

    def test_names_that_are_none(self):
        for option in "--vae", "--text-encoder", "--reference":
            with self.subTest(option):
                self.fails_to_draw(["nothing", "no such file or folder", "in the models folder models"], "-m", MODEL, option, "nothing")
                self.fails_to_draw(["some/repo", "zimage download some/repo"], "-m", MODEL, option, "some/repo")
        self.put_file(VAE, "models/comfyui/some_vae.safetensors")
        self.fails_to_draw(["no text encoder in it"], "-m", MODEL, "--text-encoder", "some_vae.safetensors")


class Tokenizers(PartsCase):
    def setUp(self):
        super().setUp()
        self.put_file(DIFFUSION, "alone/t.safetensors")
        write_encoder(self.path("alone", "encoder.safetensors"))
        self.parts = ["-m", "alone/t.safetensors", "--text-encoder", "alone/encoder.safetensors",
                      "--vae", os.path.join(MODEL, "vae")]

    def test_a_folder_with_just_one(self):
        self.fails_to_draw(["no tokenizer", "--reference"], *self.parts)
        put_tokenizer(self.path("flat"))
        put_tokenizer(self.path("deep", "tokenizer"))
        wanted, _ = self.draw(*self.parts, "--reference", MODEL)
        for reference in "flat", "deep":
            with self.subTest(reference):
                self.assertEqual(self.draw(*self.parts, "--reference", reference)[0], wanted)

    def test_beside_the_text_encoder(self):
        put_tokenizer(self.path("alone"))
        _, told = self.draw(*self.parts)
        self.assertNotIn("tokenizer", told)
        for name in os.listdir(TOKENIZER):
            os.remove(self.path("alone", name))
        put_tokenizer(self.path("alone", "tokenizer"))
        self.draw(*self.parts)

    def test_in_the_folder_of_the_only_file(self):
        """Of any name: such a folder is read as the file, and has the tokenizer that lies in it."""
        os.makedirs(self.path("one"))
        os.rename(self.path("alone", "encoder.safetensors"), self.path("one", "any_name.safetensors"))
        shutil.copy(os.path.join(ENCODER, "config.json"), self.path("one"))
        put_tokenizer(self.path("one"))
        found = json.loads(self.good(self.run_zimage("inspect", "--json", "one")).stdout)
        self.assertTrue(found["components"]["tokenizer"]["present"])
        self.assertEqual(self.good(self.run_zimage("tokenize", "-m", "one", "a fox")).stdout,
                         self.good(self.run_zimage("tokenize", "-m", MODEL, "a fox")).stdout)
        self.good(self.run_zimage("convert", "one", "encoder.gguf", "--to", "gguf"))
        parts = ["-m", "alone/t.safetensors", "--vae", os.path.join(MODEL, "vae")]
        self.draw(*parts, "--text-encoder", "one")
        self.draw(*parts, "--text-encoder", "encoder.gguf")
        data = self.read("encoder.gguf")
        self.assertEqual(data.count(b"qwen2"), 1)
        self.write("encoder.gguf", data.replace(b"qwen2", b"other"))
        found = json.loads(self.good(self.run_zimage("inspect", "--json", "encoder.gguf")).stdout)
        self.assertTrue(found["components"]["tokenizer"]["present"])
        self.assertIn("as other does", " ".join(found["problems"]))

    def test_in_a_conversion(self):
        """The files of the tokenizer go along, and not the weights beside them."""
        put_tokenizer(self.path("alone"))
        for name in "model.ckpt", "MODEL.PT", "pytorch_model.bin", "pytorch_model.bin.index.json", "x.safetensors.index.json", \
                "y.safetensors.index.fp16.json":
            self.write("alone/" + name, "weights")
        self.good(self.run_zimage("convert", "alone/t.safetensors", "m", "--to", "mlx", *self.parts[2:]))
        self.assertEqual(sorted(os.listdir(self.path("m", "tokenizer"))), sorted(os.listdir(TOKENIZER)))
        self.good(self.run_zimage("verify", "m"))

    def test_a_damaged_one(self):
        os.makedirs(self.path("bad"))
        self.write("bad/tokenizer.json", "{")
        self.fails_to_draw(["bad/tokenizer.json"], *self.parts, "--reference", "bad")
        os.makedirs(self.path("empty"))
        self.fails_to_draw(["empty", "no model folder"], *self.parts, "--reference", "empty")

    def test_download(self):
        """Only the tokenizer's files; a model without one finds it."""
        files = self.add_model()
        result = self.good(self.download("tokenizer"))
        folder = result.stdout.decode().strip()
        self.assertEqual(folder, os.path.join(self.snapshot(), "tokenizer"))
        wanted = sorted(name for name in files if name.startswith("tokenizer/"))
        self.assertEqual(sorted("tokenizer/" + name for name in os.listdir(folder)), wanted)
        self.assertEqual(self.hub.sent(), sum(len(files[name]) for name in wanted))
        got, told = self.draw(*self.parts)
        self.assertIn(f"alone/t.safetensors: the tokenizer is that of {folder}", told)
        self.assertEqual(got, self.draw(*self.parts, "--reference", MODEL)[0])
        # by name, too
        for name in "tokenizer", REPO:
            with self.subTest(name):
                got_by_name, told = self.draw(*self.parts, "--reference", name)
                self.assertEqual(got_by_name, got)
                self.assertNotIn("the tokenizer is", told)
        self.assertEqual(self.good(self.run_zimage("tokenize", *self.parts[:4], "a fox")).stdout,
                         self.good(self.run_zimage("tokenize", "-m", MODEL, "a fox")).stdout)
        self.good(self.run_zimage("convert", "alone/t.safetensors", "m", "--to", "mlx", *self.parts[2:]))
        self.assertEqual(sorted(os.listdir(self.path("m", "tokenizer"))), sorted(os.listdir(TOKENIZER)))

    def test_the_tokenizer_is_no_model(self):
        """The repository with it alone is not listed, and no default; a download of the model completes it."""
        files = self.add_model()
        self.good(self.download("tokenizer"))
        self.assertEqual(self.listed(), {})
        self.assertIn("demo", self.draw()[1])
        self.fails_to_draw(["nor a whole one in the cache", f"zimage download {REPO}"], "-m", REPO)
        before = self.hub.sent()
        self.good(self.download())
        self.assertEqual(self.hub.sent() - before,
                         sum(len(data) for name, data in files.items() if not name.startswith("tokenizer/")))
        self.assertEqual(list(self.listed()), [REPO])
        self.assertNotIn("tokenizer is that", self.draw(*self.parts, "--reference", MODEL)[1])

    def test_a_download_with_conversion(self):
        """A repository without a tokenizer gets the cached one, as an import with conversion does."""
        files = {name: data for name, data in self.add_model().items() if not name.startswith("tokenizer/")}
        index = json.loads(files["model_index.json"])
        del index["tokenizer"]
        files["model_index.json"] = json.dumps(index).encode()
        self.hub.add("some/model", files)
        self.refused(self.download("some/model", "--to", "mlx"), 1, "has no tokenizer")
        self.good(self.download("tokenizer"))
        for layout, section in ("mlx", "mlx"), ("gguf", "comfyui"):
            with self.subTest(layout):
                folder = self.good(self.download("some/model", "--to", layout)).stdout.decode().strip()
                self.assertIn(section, folder)
                self.good(self.run_zimage("verify", folder, *self.parts[2:] if layout == "gguf" else []))
        self.assertEqual(sorted(os.listdir(self.path("models", "mlx", "model", "tokenizer"))),
                         sorted(os.listdir(TOKENIZER)))

    def test_download_again_and_offline(self):
        self.add_model()
        folder = self.good(self.download("tokenizer")).stdout
        sent = self.hub.sent()
        self.assertEqual(self.good(self.download("tokenizer")).stdout, folder)
        self.assertEqual(self.hub.sent(), sent)
        result = self.good(self.download("tokenizer", HF_HUB_OFFLINE="1"))
        self.assertEqual(result.stdout, folder)
        shutil.rmtree(self.cache)
        self.refused(self.download("tokenizer", HF_HUB_OFFLINE="1"), 1, REPO, "HF_HUB_OFFLINE")

    def test_a_download_into_a_folder(self):
        self.add_model()
        folder = self.good(self.download("tokenizer", "--local-dir", "here")).stdout.decode().strip()
        self.assertEqual(folder, "here/tokenizer")
        self.draw(*self.parts, "--reference", "here")

    def test_an_incomplete_one_in_the_cache(self):
        """It is no tokenizer, and a download completes it."""
        self.add_model()
        folder = self.good(self.download("tokenizer")).stdout.decode().strip()
        wanted, _ = self.draw(*self.parts)
        for name in "tokenizer.json", "vocab.json":
            if os.path.lexists(os.path.join(folder, name)):
                os.remove(os.path.join(folder, name))
        self.fails_to_draw(["no tokenizer", "--reference"], *self.parts)
        self.refused(self.download("tokenizer", HF_HUB_OFFLINE="1"), 1, REPO, "HF_HUB_OFFLINE")
        self.good(self.download("tokenizer"))
        self.assertEqual(self.draw(*self.parts)[0], wanted)

    def test_wrong_downloads(self):
        self.hub.add(REPO, {name: data for name, data in model_files().items() if not name.startswith("tokenizer/")})
        self.refused(self.download("tokenizer"), 1, "no folder tokenizer with its files")
        self.refused(self.download("tokenizer", "--file", "tokenizer/tokenizer.json"), 2, "--file", REPO)
        self.refused(self.download("tokenizer", "--to", "mlx"), 2, "--to", "does not apply to a tokenizer")

    def test_one_of_another_model(self):
        """It has more tokens than the text encoder knows."""
        self.add_model()
        self.good(self.download("tokenizer"))
        tensors = read_safetensors(self.path("alone", "encoder.safetensors"))
        kind, (_, width), data = tensors["model.embed_tokens.weight"]
        tensors["model.embed_tokens.weight"] = [kind, [300, width], data[:300 * width * 2]]
        write_safetensors(self.path("alone", "encoder.safetensors"), tensors)
        self.fails_to_draw(["tokenizer", "not fit its text encoder", "300", "; see --reference\n"], *self.parts)
        result = self.run_zimage("convert", "alone/t.safetensors", "m", "--to", "mlx", *self.parts[2:])
        self.refused(result, 1, "not fit its text encoder", "; see --reference\n")


class ComfyUI(PartsCase):
    """The folder models of ComfyUI."""

    def setUp(self):
        super().setUp()
        make_tree(self.path("comfy"))
        self.model = "comfy/diffusion_models/z_image_turbo.safetensors"
        shutil.copytree(self.path("comfy"), self.path("elsewhere"))
        plain = ["-m", "t.safetensors", "--text-encoder", "elsewhere/text_encoders/qwen_3_4b.safetensors", "--vae",
                 "elsewhere/vae/ae.safetensors"]
        self.put_file(DIFFUSION, "t.safetensors")
        self.wanted, _ = self.draw(*plain)

    def test_a_file_in_it(self):
        got, told = self.draw("-m", self.model)
        self.assertEqual(got, self.wanted)
        self.assertIn("zimage: using text encoder text_encoders/qwen_3_4b.safetensors, VAE vae/ae.safetensors in comfy\n",
                      told)
        # from the folder itself, too
        words = ["-m", "z_image_turbo.safetensors", "-p", "a red circle", "-s", "1", "-W", "64", "-H", "64", "--seed", "1"]
        result = self.good(program.run("generate", "-q", *words, "-o", "../../out.png", timeout=LIMIT, env=self.env,
                                       cwd=self.path("comfy", "diffusion_models")))
        self.assertEqual(pixels(self.read("out.png")), self.wanted)
        self.assertEqual(result.stderr, b"")

    def test_the_folder(self):
        got, _ = self.draw("-m", "comfy")
        self.assertEqual(got, self.wanted)
        self.assertIn("Model: z_image_turbo,", png_infotext(self.read("out.png")))
        self.put_file(DIFFUSION, "comfy/unet/other.safetensors")
        self.fails_to_draw(["comfy", "2 diffusion models", "diffusion_models/z_image_turbo.safetensors",
                            "unet/other.safetensors"], "-m", "comfy")
        for i in range(1, 9):  # not all are told
            self.put_file(DIFFUSION, f"comfy/unet/a{i}.safetensors")
        self.fails_to_draw(["10 diffusion models", "unet/a1.safetensors, ", "unet/a7.safetensors and 2 more; "], "-m", "comfy")
        shutil.rmtree(self.path("comfy", "unet"))
        os.remove(self.path(self.model))
        self.fails_to_draw(["comfy", "no diffusion model of Z-Image"], "-m", "comfy")

    def test_a_file_in_subfolders(self):
        """Up to five."""
        deep = "comfy/diffusion_models/1/2/3/4/5/"
        self.put_file(DIFFUSION, deep + "x.safetensors")
        self.put_file(DIFFUSION, deep + "6/x.safetensors")
        got, told = self.draw("-m", deep + "x.safetensors")
        self.assertEqual(got, self.wanted)
        self.assertIn("using text encoder text_encoders/qwen_3_4b.safetensors, VAE vae/ae.safetensors in comfy\n", told)
        self.fails_to_draw(["no text encoder"], "-m", deep + "6/x.safetensors")

    def test_other_models_do_not_count(self):
        flux = {"double_blocks.0.a": ["F16", [1], bytes(2)], "single_blocks.0.a": ["F16", [1], bytes(2)]}
        os.makedirs(self.path("comfy", "checkpoints"))
        write_safetensors(self.path("comfy", "checkpoints", "flux.safetensors"), flux)
        write_safetensors(self.path("comfy", "text_encoders", "clip_l.safetensors"),
                          {"text_model.encoder.layers.0.layer_norm1.weight": ["F16", [4], bytes(8)]})
        whole = {"model.diffusion_model." + name: tensor for name, tensor in read_safetensors(DIFFUSION).items()}
        for folder, prefix, name in (("vae", "vae.", "ae"), ("text_encoders", "text_encoders.qwen3_4b.transformer.", "qwen_3_4b")):
            part = read_safetensors(self.path("comfy", folder, name + ".safetensors"))
            whole.update({prefix + name: tensor for name, tensor in part.items()})
        for folder in "vae", "text_encoders":
            write_safetensors(self.path("comfy", folder, "a_whole_model.safetensors"), whole)
        got, told = self.draw("-m", "comfy")
        self.assertEqual(got, self.wanted)
        self.assertNotIn("that fit", told)

    def test_what_options_name_comes_first(self):
        write_vae(self.path("other_vae.safetensors"))
        _, told = self.draw("-m", "comfy", "--vae", "other_vae.safetensors")
        self.assertIn("using text encoder text_encoders/qwen_3_4b.safetensors in comfy", told)
        _, told = self.draw("-m", "comfy", "--vae", MODEL, "--text-encoder", MODEL)
        self.assertNotIn("using", told)
        got, told = self.draw("-m", "comfy", "--reference", MODEL)
        self.assertNotIn("using", told)
        self.assertEqual(got, self.draw("-m", "t.safetensors", "--reference", MODEL)[0])

    def test_several_that_fit(self):
        """The usual name, else the first; always the same one, and it is said."""
        for name in "aaa.safetensors", "sub/zzz.safetensors":
            os.makedirs(os.path.dirname(self.path("comfy", "vae", name)), exist_ok=True)
            write_vae(self.path("comfy", "vae", name))
        for name in "clip/qwen_3_4b_fp8.safetensors", "text_encoders/b.safetensors":
            os.makedirs(os.path.dirname(self.path("comfy", name)), exist_ok=True)
            write_encoder(self.path("comfy", name))
        got, told = self.draw("-m", "comfy")
        self.assertEqual(got, self.wanted)
        self.assertIn("text encoder text_encoders/qwen_3_4b.safetensors (of 3 that fit), VAE vae/ae.safetensors (of 3 that "
                      "fit)", told)
        os.remove(self.path("comfy", "vae", "ae.safetensors"))
        os.remove(self.path("comfy", "text_encoders", "qwen_3_4b.safetensors"))
        _, told = self.draw("-m", "comfy", "--reference", TOKENIZER)
        self.assertIn("text encoder clip/qwen_3_4b_fp8.safetensors (of 2 that fit), VAE vae/aaa.safetensors (of 2 that fit)",
                      told)

    def test_none_that_fits(self):
        write_encoder(self.path("comfy", "text_encoders", "qwen_3_4b.safetensors"), width=48)
        self.fails_to_draw(["no text encoder", "--text-encoder"], "-m", "comfy")
        write_encoder(self.path("comfy", "text_encoders", "qwen_3_4b.safetensors"))
        write_vae(self.path("comfy", "vae", "ae.safetensors"), latent=4)
        self.fails_to_draw(["no VAE", "--vae"], "-m", "comfy")

    def test_damaged_parts_are_passed_over(self):
        tensors = read_safetensors(self.path("comfy", "vae", "ae.safetensors"))
        tensors["decoder.conv_in.bias"] = ["BF16", [32], b"\xc0\x7f" * 32]
        write_safetensors(self.path("comfy", "vae", "ae.safetensors"), tensors)
        write_vae(self.path("comfy", "vae", "good.safetensors"))
        got, told = self.draw("-m", "comfy")
        self.assertEqual(got, self.wanted)
        self.assertIn("VAE vae/good.safetensors in", told)

    def test_the_list(self):
        for folder in "loras", "upscale_models", "controlnet":
            os.makedirs(self.path("comfy", folder, "deep"))
        write_safetensors(self.path("comfy", "loras", "deep", "style.safetensors"),
                          {"transformer.layers.0.attention.to_q.lora_A.weight": ["F16", [1, 2], bytes(4)]})
        write_safetensors(self.path("comfy", "upscale_models", "x4.safetensors"), {"conv_first.weight": ["F16", [1], bytes(2)]})
        write_safetensors(self.path("comfy", "controlnet", "c.safetensors"),
                          {"control_layers.0.adaLN_modulation.0.weight": ["F16", [4, 4], bytes(32)]})
        self.put_file(VAE, "comfy/vae/needs_config.safetensors")
        self.write("comfy/vae/put_vae_here", "")
        rows = self.listed("--models", "comfy")
        kinds = {name: row["kind"] for name, row in rows.items()}
        self.assertEqual(kinds, {
            "diffusion_models/z_image_turbo.safetensors": "image", "text_encoders/qwen_3_4b.safetensors": "text_encoder",
            "vae/ae.safetensors": "vae", "vae/needs_config.safetensors": "vae", "loras/deep/style.safetensors": "lora",
            "upscale_models/x4.safetensors": "upscaler", "controlnet/c.safetensors": "control_net"})
        health = {name: row["health"] for name, row in rows.items()}
        self.assertEqual(health["vae/ae.safetensors"], "good")
        self.assertEqual(health["text_encoders/qwen_3_4b.safetensors"], "good")
        self.assertEqual(health["vae/needs_config.safetensors"], "needs a reference")
        self.assertIn("with text_encoders/qwen_3_4b.safetensors, vae/ae.safetensors",
                      health["diffusion_models/z_image_turbo.safetensors"])
        text = self.good(self.run_zimage("models", "--models", "comfy")).stdout.decode()
        self.assertEqual(len(text.splitlines()), 7)
        os.remove(self.path("comfy", "vae", "ae.safetensors"))
        self.assertEqual(self.listed("--models", "comfy")["diffusion_models/z_image_turbo.safetensors"]["health"],
                         "lacks vae")

    def test_as_the_models_folder(self):
        os.rename(self.path("comfy"), self.path("models"))
        got, told = self.draw()
        self.assertEqual(got, self.wanted)
        self.assertIn("the only complete model", told)
        for name in "z_image_turbo.safetensors", "diffusion_models/z_image_turbo.safetensors":
            self.assertEqual(self.draw("-m", name)[0], self.wanted)
        got, _ = self.draw("-m", "t.safetensors", "--vae", "ae.safetensors", "--text-encoder", "qwen_3_4b.safetensors")
        self.assertEqual(got, self.wanted)
        self.put_file(DIFFUSION, "models/unet/deep/second.safetensors")
        self.fails_to_draw(["2 image models", "diffusion_models/z_image_turbo.safetensors", "unet/deep/second.safetensors",
                            "zimage models default"])
        self.good(self.run_zimage("models", "default", "second.safetensors"))
        self.assertEqual(self.read("models/default.txt"), b"unet/deep/second.safetensors\n")
        self.refused(self.run_zimage("models", "default", "vae/ae.safetensors"), 1, "folder vae")
        self.assertEqual(self.draw()[0], self.wanted)
        self.good(self.run_zimage("models", "remove", "unet/deep/second.safetensors", "--yes"))
        self.assertFalse(os.path.exists(self.path("models", "unet", "deep", "second.safetensors")))
        result = self.good(self.run_zimage("models", "migrate"))
        self.assertIn(b"nothing to move", result.stderr)

    def test_models_option(self):
        """Models and components by name in the folder of --models; without -m its only complete model."""
        there = ["--models", "comfy"]
        parts = ["--text-encoder", "qwen_3_4b.safetensors", "--vae", "ae.safetensors"]
        got, told = self.draw(*there)
        self.assertEqual(got, self.wanted)
        self.assertIn("the only complete model", told)
        self.assertIn("using text encoder text_encoders/qwen_3_4b.safetensors, VAE vae/ae.safetensors in comfy", told)
        self.assertEqual(self.draw("-m", "t.safetensors", *there, *parts)[0], self.wanted)
        ids = self.good(self.run_zimage("tokenize", "-m", MODEL, "a fox")).stdout
        self.assertEqual(self.good(self.run_zimage("tokenize", *there, "a fox")).stdout, ids)
        self.assertEqual(self.good(self.run_zimage("tokenize", "-m", "t.safetensors", *there, *parts[:2], "a fox")).stdout, ids)
        self.good(self.run_zimage("verify", "t.safetensors", *there, *parts))
        self.good(self.run_zimage("inspect", "z_image_turbo.safetensors", *there))
        self.good(self.run_zimage("convert", "t.safetensors", "mlx", "--to", "mlx", *there, *parts))
        self.good(self.run_zimage("enhance", *there, "--raw", "--max-tokens", "2", "-p", "a"))
        self.good(self.run_zimage("import", "t.safetensors", "--to", "mlx", *there, "--reference", MODEL))

    def test_incomplete_ones_are_passed_over(self):
        there = ["--models", "comfy"]
        self.put_file(DIFFUSION, "comfy/comfyui/alone.safetensors")  # no folder of ComfyUI's: it gets no parts
        self.assertEqual(self.draw(*there)[0], self.wanted)
        os.remove(self.path("comfy", "comfyui", "alone.safetensors"))
        os.remove(self.path("comfy", "vae", "ae.safetensors"))
        _, told = self.draw(*there)
        self.assertIn("using the small demo model", told)
        self.assertIn("diffusion_models/z_image_turbo.safetensors is not used: parts of it are missing", told)
        write_vae(self.path("vae.safetensors"))
        self.assertEqual(self.draw(*there, "--vae", "vae.safetensors")[0], self.wanted)

    def test_a_link_to_its_model(self):
        """Such a model is complete in the list, too, and used when it is the only one."""
        os.makedirs(self.path("models", "comfyui"))
        os.symlink(self.path(self.model), self.path("models", "comfyui", "link.safetensors"))
        self.assertIn("with text_encoders/qwen_3_4b.safetensors, vae/ae.safetensors, ",
                      self.listed()["comfyui/link.safetensors"]["health"])
        got, told = self.draw()
        self.assertEqual(got, self.wanted)
        self.assertIn("the only complete model", told)

    def test_equal_names(self):
        """--vae looks among the VAEs first."""
        os.rename(self.path("comfy"), self.path("models"))
        for old, new in (("diffusion_models/z_image_turbo", "diffusion_models/z"), ("vae/ae", "vae/z"),
                         ("text_encoders/qwen_3_4b", "text_encoders/z")):
            os.rename(self.path("models", old + ".safetensors"), self.path("models", new + ".safetensors"))
        names = ["-m", "z.safetensors", "--vae", "z.safetensors", "--text-encoder", "z.safetensors"]
        self.assertEqual(self.draw(*names)[0], self.wanted)
        for folder in "vae", "text_encoders":
            os.makedirs(self.path("models", folder, "sub"))
            os.rename(self.path("models", folder, "z.safetensors"), self.path("models", folder, "sub", "z.safetensors"))
        self.assertEqual(self.draw(*names, "--reference", TOKENIZER)[0], self.wanted)

    def test_whole_names_come_first(self):
        """Then, in one folder, the file that is in no subfolder of it."""
        os.rename(self.path("comfy"), self.path("models"))
        for folder in "vae/a", "diffusion_models/vae":
            os.makedirs(self.path("models", folder))
            write_vae(self.path("models", folder, "ae.safetensors"), latent=4)
        for name in "vae/ae.safetensors", "ae.safetensors":
            with self.subTest(name):
                self.assertEqual(self.draw("-m", "z_image_turbo.safetensors", "--vae", name)[0], self.wanted)
        self.refused(self.run_zimage("models", "default", "vae/ae.safetensors"), 1, "folder vae")

    def test_other_commands(self):
        self.good(self.run_zimage("verify", "comfy"))
        result = self.good(self.run_zimage("convert", "comfy", "mlx", "--to", "mlx"))
        self.assertIn("using text encoder", result.stderr.decode())
        self.good(self.run_zimage("verify", "mlx"))
        self.good(self.run_zimage("convert", "comfy", "g.gguf", "--to", "gguf"))
        result = self.good(self.run_zimage("convert", self.model, "part.safetensors", "--to", "comfyui"))
        self.assertEqual(result.stderr, b"")
        self.assertFalse(any(name.startswith("vae.") for name in read_safetensors(self.path("part.safetensors"))))
        self.assertEqual(self.good(self.run_zimage("tokenize", "-m", "comfy", "a fox")).stdout,
                         self.good(self.run_zimage("tokenize", "-m", MODEL, "a fox")).stdout)
        found = json.loads(self.good(self.run_zimage("inspect", "--json", "comfy")).stdout)
        self.assertEqual(found["path"], self.model)


class Default(PartsCase):
    """The demo model is used only where there is no other."""

    def add(self, name, files=None):
        self.hub.add(name, files or model_files())
        self.good(self.download(name))

    def test_models_of_the_hub_cache(self):
        self.add("stable/diffusion", {"model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
                                      "unet/config.json": b"{}"})
        self.assertIn("demo", self.draw()[1])
        # loading knows it by the same name, and rejects it
        self.add("stable/control", {**model_files(), "model_index.json": b'{"_class_name": "ZImageControlNetPipeline"}'})
        self.assertIn("demo", self.draw()[1])
        self.add("someone/Z-Image")
        _, told = self.draw()
        self.assertNotIn("demo", told)
        self.assertIn("models--someone--Z-Image", told)
        self.add("someone/other")
        self.fails_to_draw(["the cache of Hugging Face has 2 image models", "someone/Z-Image, someone/other", "zimage models default"])
        self.good(self.run_zimage("models", "default", "someone/other"))
        self.assertIn("someone--other", self.draw()[1])
        os.remove(self.path("models", "default.txt"))
        self.add(REPO)
        self.assertIn("Z-Image-Turbo", self.draw()[1])
        self.put_model("mlx/mine")
        self.assertIn("models/mlx/mine", self.draw()[1])


if __name__ == "__main__":
    unittest.main()
