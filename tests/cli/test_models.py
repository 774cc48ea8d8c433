"""zimage models and import: listing, default, import and removal."""

import fcntl
import json
import os
import resource
import shutil
import struct
import subprocess
import tempfile
import unittest

from support import MODEL, ZIMAGE, png_infotext, write_safetensors
from test_download import REPO, HubCase



def write_foreign(path, *names):
    """A small checkpoint with tensors of these names."""
    write_safetensors(path, {name: ["F32", [1], struct.pack("<f", 1)] for name in names})


class ModelsCase(HubCase):
    def models(self, *args, **options):
        return self.zimage("models", *args, env=self.env, **options)

    def listed(self, *args):
        rows = json.loads(self.good(self.models("--json", *args)).stdout)["models"]
        return {row["name"]: row for row in rows}

    def put(self, name):
        path = self.path("models", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copytree(MODEL, path)
        return path

    def default(self):
        return self.read("models/default.txt").decode()

    def draw(self, *args):
        words = ["-p", "a", "-s1", "-W64", "-H64", "--seed", "1", "-o", "out.png"]
        result = self.good(self.zimage("generate", *words, *args, env=self.env))
        return png_infotext(self.read("out.png")), result.stderr.decode()


class Models(ModelsCase):
    def test_nothing(self):
        result = self.good(self.models())
        self.assertEqual(result.stdout, b"")
        for word in (b"no models", b"zimage download", b"GB"):
            self.assertIn(word, result.stderr)
        self.assertEqual(self.listed(), {})
        self.assertEqual(self.files(), [])

    def test_the_list(self):
        self.put("pytorch/whole")
        os.truncate(self.put("pytorch/broken") + "/vae/diffusion_pytorch_model.safetensors", 5000)
        self.good(self.zimage("convert", MODEL, "some.safetensors", "--to", "comfyui"))
        os.makedirs(self.path("models", "comfyui"))
        os.rename(self.path("some.safetensors"), self.path("models", "comfyui", "some.safetensors"))
        write_foreign(self.path("models", "comfyui", "other.safetensors"), "double_blocks.0.x",
                      "single_blocks.0.x")
        self.write("models/comfyui/notes.txt", "x")
        self.write("models/mlx/.hidden/x", "x")
        self.add_model()
        self.good(self.download())
        self.hub.add("stable/diffusion", {
            "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
            "unet/config.json": b"{}"})
        self.good(self.download("stable/diffusion"))
        rows = self.listed()
        self.assertEqual(sorted(rows), [REPO, "comfyui/other.safetensors", "comfyui/some.safetensors",
                                        "pytorch/broken", "pytorch/whole"])
        health = {name: row["health"] for name, row in rows.items()}
        self.assertEqual(health, {
            REPO: "good", "pytorch/whole": "good", "pytorch/broken": "damaged",
            "comfyui/other.safetensors": "unsupported", "comfyui/some.safetensors": "needs a reference"})
        self.assertIn("Flux", rows["comfyui/other.safetensors"]["architecture"])
        whole = rows["pytorch/whole"]
        size = sum(os.path.getsize(os.path.join(at, name))
                   for at, _, names in os.walk(MODEL) for name in names)
        self.assertEqual((whole["layout"], whole["precision"], whole["kind"], whole["bytes"]),
                         ("diffusers", "BF16", "image", size))
        text = self.good(self.models()).stdout.decode()
        self.assertEqual(len(text.splitlines()), 5)
        self.assertIn("damaged: models/pytorch/broken/vae/", text)

    def test_health(self):
        """What zimage inspect calls it: what another model helps against stands behind what is worse."""
        def inspected(path):
            return json.loads(self.good(self.zimage("inspect", "--json", path)).stdout)

        self.assertEqual(inspected(MODEL)["health"], "good")
        for part in ("vae/config.json", "text_encoder/config.json", "vae"):
            model = self.put(part.replace("/", "-"))
            if part == "vae":
                shutil.rmtree(os.path.join(model, part))
            else:
                os.remove(os.path.join(model, part))
            self.assertEqual(inspected(model)["health"], "incomplete", part)
        shutil.rmtree(os.path.join(model, "transformer"))
        result = inspected(model)
        self.assertEqual(result["health"], "damaged")
        self.assertIn("transformer", result["problems"][0])
        os.truncate(self.put("cut") + "/vae/diffusion_pytorch_model.safetensors", 5000)
        os.remove(self.path("models", "cut", "text_encoder", "config.json"))
        result = inspected(self.path("models", "cut"))
        self.assertEqual(result["health"], "damaged")
        self.assertEqual(len(result["problems"]), 2)
        self.assertIn("vae", result["problems"][0])
        write_foreign(self.path("flux.safetensors"), "double_blocks.0.x", "single_blocks.0.x")
        self.assertEqual(inspected(self.path("flux.safetensors"))["health"], "unsupported")
        self.good(self.zimage("convert", os.path.join(MODEL, "vae"), "vae.safetensors", "--to", "comfyui"))
        self.assertEqual(inspected(self.path("vae.safetensors"))["health"], "incomplete")

    def test_the_default(self):
        self.put("pytorch/one")
        self.put("mlx/two")
        words = ("2 image models are in the models folder (models)", "mlx/two, pytorch/one",
                 "choose a default; see --model, `zimage models default NAME`\n")
        self.refused(self.zimage("generate", "-p", "x", env=self.env), 1, *words)
        self.refused(self.models("default"), 1, words[0], words[1], "choose a default; see `zimage models default NAME`\n")
        self.good(self.models("default", "one"))
        self.assertEqual(self.default(), "pytorch/one\n")
        recipe, said = self.draw()
        self.assertIn("Model: one", recipe)
        self.assertIn("models/pytorch/one", said)
        self.assertEqual(self.good(self.models("default")).stdout, b"models/pytorch/one\n")
        self.good(self.models("default", "mlx/two"))
        self.assertIn("Model: two", self.draw()[0])
        self.assertTrue(self.listed()["mlx/two"]["default"])
        self.assertIn(b"* mlx/two", self.models().stdout)
        self.refused(self.models("default", "three"), 1, "three: there is no such model")
        self.assertEqual(self.default(), "mlx/two\n")
        shutil.rmtree(self.path("models", "mlx", "two"))
        self.refused(self.zimage("generate", "-p", "x", env=self.env), 1, "mlx/two",
                     "not there any more")
        self.add_model()
        self.good(self.download())
        self.good(self.models("default", REPO))
        self.assertIn("Model: Z-Image-Turbo", self.draw()[0])

    def answer(self, text, *args):
        """models with a terminal on which someone answers; the exit code."""
        ours, theirs = self.open_terminal()
        run = subprocess.Popen([ZIMAGE, "models", *args], cwd=self.dir, env=self.env, stdin=theirs,
                               stderr=subprocess.PIPE)
        os.write(ours, text)
        said = run.communicate(timeout=30)[1]
        os.close(ours)
        os.close(theirs)
        self.assertIn(b"remove models/pytorch/one? [y/N]", said)
        return run.returncode

    def test_removing(self):
        self.put("pytorch/one")
        outside = self.copy_model("outside")
        os.makedirs(self.path("models", "mlx"))
        os.symlink(outside, self.path("models", "mlx", "link"))
        self.refused(self.models("remove", "one"), 2, "--yes")
        self.good(self.models("remove", "-y", "link"))
        self.assertEqual(list(self.listed()), ["pytorch/one"])
        self.assertTrue(os.path.exists(outside + "/model_index.json"))
        self.refused(self.models("remove", "-y", "none"), 1, "none: there is no such model")
        self.refused(self.models("remove", "-y", "mlx/none"), 1,
                     "mlx/none: there is no such model, so name one that is in the list of models; see `zimage models`\n")
        self.refused(self.models("remove", "-y", "../outside"), 2,
                     "'../outside' cannot be the name of a model; name one that is in the list of models\n")
        self.refused(self.models("remove", "-y"), 2, "NAME is missing")

    def test_asking_before_removing(self):
        self.put("pytorch/one")
        self.good(self.models("default", "one"))
        for answer, code in ((b"n\n", 1), (b"\n", 1), (b"y\n", 0)):
            self.assertIn("pytorch/one", self.listed())
            self.assertEqual(self.answer(answer, "remove", "one"), code)
        self.assertEqual(os.listdir(self.path("models", "pytorch")), [])
        self.assertFalse(os.path.exists(self.path("models", "default.txt")))

    def test_only_what_is_there_needs_confirmation(self):
        self.refused(self.models("remove", "none"), 1,
                     "none: there is no such model, so name one that is in the list of models; see `zimage models`\n")
        self.refused(self.models("remove", ".incoming/none"), 1, "there is no unfinished download of this name")
        self.refused(self.models("remove", "owner/none"), 1, "owner/none: is not in the cache of Hugging Face, ",
                     "; name a model that is in the list of models; see `zimage models`\n")

    def test_the_question_names_what_is_removed(self):
        """Not a folder of that name in the current one, which other commands prefer."""
        self.put("pytorch/one")
        self.write("one/keep", "x")
        self.assertEqual(self.answer(b"y\n", "remove", "one"), 0)
        self.assertEqual(self.read("one/keep"), b"x")
        self.assertEqual(self.listed(), {})

    def test_names_are_text(self):
        """What would be a terminal's command is not."""
        self.write("models/mlx/a\x1b[31mb/x", "x")
        self.write("models/mlx/c\x1b[2J.part-1-0", "x")
        text = self.good(self.models()).stdout
        self.assertNotIn(b"\x1b", text)
        self.assertIn(b"mlx/a?[31mb", text)
        self.assertIn(b"mlx/c?[2J.part-1-0", text)

    def test_removing_from_the_cache(self):
        self.add_model()
        self.good(self.download())
        self.good(self.models("remove", "-y", REPO))
        self.assertEqual(self.listed(), {})
        self.refused(self.models("remove", "-y", REPO), 1, "not in the cache")

    def test_incomplete_ones_are_no_default(self):
        """A file of the transformer alone cannot generate: it is passed over, and that is said."""
        os.makedirs(self.path("models", "comfyui"))
        self.good(self.zimage("convert", MODEL, "models/comfyui/z.gguf", "--to", "gguf"))
        recipe, said = self.draw()
        self.assertIn("Model: demo-model", recipe)
        self.assertIn("comfyui/z.gguf is not used: parts of it are missing", said)
        self.assertIn("`zimage inspect comfyui/z.gguf`", said)
        told = self.good(self.models())
        self.assertIn(b"comfyui/z.gguf", told.stdout)
        self.assertEqual(told.stderr.decode().count("`zimage download --to mlx --precision "), 1)
        self.assertIn("no complete image model in " + os.path.realpath(self.path("models")), told.stderr.decode())
        self.assertEqual(self.good(self.models("-q")).stderr, b"")
        recipe, said = self.draw("--reference", MODEL)
        self.assertIn("Model: z,", recipe)
        self.assertNotIn("not used", said)
        self.put("pytorch/whole")
        self.assertEqual(self.good(self.models()).stderr, b"")
        recipe, said = self.draw()
        self.assertIn("Model: whole", recipe)
        self.assertNotIn("z.gguf", said)
        self.refused(self.zimage("generate", "-p", "x", "--reference", MODEL, env=self.env), 1, "2 image models",
                     "pytorch/whole, comfyui/z.gguf")
        self.refused(self.zimage("generate", "-p", "x", "-m", "z.gguf", env=self.env), 1, "see --text-encoder")

    def test_models_outside_of_the_sections(self):
        self.good(self.zimage("convert", MODEL, self.path("m"), "--to", "mlx"))
        os.makedirs(self.path("models"))
        os.rename(self.path("m"), self.path("models", "mlx-q8"))
        self.write("models/notes/x", "x")
        says = ("models/mlx-q8 is not found by its name, since it is not in one of the subfolders of the models folder, "
                "such as mlx or comfyui; `zimage models migrate` moves it there")
        self.assertIn(says, self.good(self.models()).stderr.decode())
        self.assertNotIn("notes", self.good(self.models()).stderr.decode())
        self.assertEqual(self.good(self.models("--json")).stderr, b"")
        self.assertEqual(self.good(self.models("-q")).stderr, b"")
        self.assertIn(says, self.draw()[1])
        os.rename(self.path("models"), self.path("other"))
        self.assertIn(says.replace("models/", "other/").replace("migrate`", "migrate --models other`"),
                      self.draw("--models", "other")[1])
        self.good(self.models("migrate", "--models", "other"))
        self.assertNotIn("not found by its name", self.draw("--models", "other")[1])

    def test_the_folder_of_every_command(self):
        self.put("pytorch/one")
        os.rename(self.path("models"), self.path("else"))
        recipe, said = self.draw("--models", "else")
        self.assertIn("Model: one", recipe)
        self.assertIn("else/pytorch/one", said)
        for words in (["tokenize", "-m", "one", "x"], ["tokenize", "x"], ["inspect", "one"], ["verify", "one"],
                      ["convert", "one", "two", "--to", "mlx"],
                      ["enhance", "-m", "one", "-p", "x", "--raw", "--max-tokens", "1"]):
            with self.subTest(words):
                self.good(self.zimage(*words, "--models", "else", env=self.env))
        self.refused(self.zimage("inspect", "one", env=self.env), 1, "no such file or folder")
        self.refused(self.zimage("enhance", "-p", "x", "--models", "else", "--llm", "two-words", env=self.env), 1,
                     "else/prompt_enhancer")

    def test_what_killed_calls_left(self):
        """It is no model, though its files may be whole; it is listed, and goes when asked or when its place is wanted."""
        left = ["comfyui/a.safetensors.part-1-0", "mlx/x.part-1-0", "mlx/x.part-2-7"]
        self.put(left[1])
        for name in left[0], left[2] + "/vae/x":
            self.write(f"models/{name}", b"x" * 10_000)
        self.put("pytorch/only")
        self.assertIn("Model: only", self.draw()[0])
        self.assertEqual(list(self.listed()), ["pytorch/only"])
        rows = json.loads(self.good(self.models("--json")).stdout)["incomplete"]
        self.assertEqual(sorted(row["name"] for row in rows), left)
        self.assertEqual({row["kind"] for row in rows}, {"leftover"})
        self.assertGreater(min(row["bytes"] for row in rows), 10_000)
        self.assertIn("mlx/x.part-1-0: ", self.good(self.models()).stdout.decode())

        writer = os.open(self.path("models", left[1]), os.O_RDONLY)
        self.addCleanup(os.close, writer)
        fcntl.flock(writer, fcntl.LOCK_EX)
        self.assertNotIn("x.part-1-0", self.good(self.models()).stdout.decode())
        self.refused(self.models("remove", "-y", left[1]), 1, "is being written")
        self.good(self.models("remove", "-y", left[0]))
        self.assertEqual(os.listdir(self.path("models", "comfyui")), [])
        for name in left[0], "mlx/y.part-1-0", "../models/mlx/x.part-2-7", "mlx/../mlx/x.part-2-7":
            self.refused(self.models("remove", "-y", name), 1, "there is no unfinished file of this name")
        self.good(self.zimage("convert", MODEL, "models/mlx/x", "--to", "mlx"))
        self.assertEqual(sorted(os.listdir(self.path("models", "mlx"))), ["x", "x.part-1-0"])

    def test_migrating(self):
        self.put("Z-Image-Turbo")
        self.good(self.zimage("convert", MODEL, "models/ZTI-MLX", "--to", "mlx"))
        self.good(self.zimage("convert", MODEL, "models/all.safetensors", "--to", "comfyui"))
        write_foreign(self.path("models", "flux.safetensors"), "double_blocks.0.x",
                      "single_blocks.0.x")
        self.put("pytorch/taken")
        self.put("taken")
        self.write("models/README.md", "x")
        before = self.files()
        for words in (["--dry-run"], []):
            self.assertEqual(self.files(), before)
            result = self.good(self.models("migrate", *words))
            self.assertEqual(sorted(result.stdout.decode().splitlines()), [
                "models/Z-Image-Turbo -> models/pytorch/Z-Image-Turbo",
                "models/ZTI-MLX -> models/mlx/ZTI-MLX",
                "models/all.safetensors -> models/comfyui/all.safetensors"])
            said = result.stderr.decode()
            self.assertEqual(said.count("not moved"), 2)
            self.assertIn("Flux", said)
            self.assertIn("models/pytorch/taken: is there already", said)
        self.assertEqual(sorted(self.listed()), ["comfyui/all.safetensors", "mlx/ZTI-MLX",
                                                 "pytorch/Z-Image-Turbo", "pytorch/taken"])
        shutil.rmtree(self.path("models"))
        self.refused(self.models("migrate"), 1, 
                     "models: this models folder does not exist; name the folder that has your models; see --models\n")
        self.write("models", "x")
        self.refused(self.models("migrate"), 1, "models: this models folder is a file; name the folder", "see --models")

    def test_another_folder(self):
        self.put("pytorch/one")
        os.rename(self.path("models"), self.path("elsewhere"))
        self.assertEqual(self.listed(), {})
        self.assertEqual(list(self.listed("--models", "elsewhere")), ["pytorch/one"])

    def test_calls_that_are_wrong(self):
        self.refused(self.models("dance"), 2, "dance", "migrate")
        self.refused(self.models("list", "a", "b"), 2)
        self.refused(self.models("list", "a"), 2, "takes no name")
        self.put("pytorch/one")
        self.refused(self.models("remove", "one", "--yes", "--dry-run"), 2, "--dry-run: ", "migrate")
        self.assertEqual(list(self.listed()), ["pytorch/one"])
        self.refused(self.zimage("import", MODEL, "--reference", MODEL), 2, "--reference: ", "--to")

    def test_the_first_run_says_how_to_get_a_model(self):
        recipe, said = self.draw()
        self.assertIn("Model: demo-model", recipe)
        (line,) = [line for line in said.splitlines() if "demo model" in line]
        self.assertIn("`zimage models` tells", line)
        self.assertIn(os.path.realpath(self.path("models")), line)
        told = self.good(self.models()).stderr.decode()
        for word in ("zimage download --to mlx --precision ", "GB to download", "memory", "disk",
                     os.path.realpath(self.path("models"))):
            self.assertIn(word, told)


class Import(ModelsCase):
    def add(self, *args, **options):
        return self.zimage("import", *args, env=self.env, **options)

    def imported(self, path, *args):
        self.assertEqual(self.good(self.add(*args)).stdout.decode(), path + "\n")
        return self.path(path)

    def same(self, a, b):
        for at, _, names in os.walk(a):
            for name in names:
                one = os.path.join(at, name)
                with open(one, "rb") as x, open(os.path.join(b, os.path.relpath(one, a)), "rb") as y:
                    self.assertEqual(x.read(), y.read())

    def test_folders(self):
        self.same(MODEL, self.imported("models/pytorch/model", MODEL))
        self.good(self.zimage("convert", MODEL, "m", "--to", "mlx"))
        self.same(self.path("m"), self.imported("models/mlx/m", "m/"))
        self.good(self.generate(model="m"))

    def test_a_snapshot_is_copied_as_files(self):
        self.add_model()
        folder = self.good(self.download()).stdout.decode().strip()
        copy = self.imported("models/pytorch/mine", folder, "--name", "mine")
        self.same(folder, copy)
        self.assertFalse(os.path.islink(os.path.join(copy, "model_index.json")))

    def test_files(self):
        self.good(self.zimage("convert", MODEL, "all.safetensors", "--to", "comfyui"))
        self.imported("models/comfyui/all.safetensors", "all.safetensors")
        self.assertTrue(os.path.exists(self.path("all.safetensors")))
        self.imported("models/comfyui/mine.safetensors", "all.safetensors", "--name", "mine")
        self.imported("models/comfyui/all-fp16.safetensors", "all.safetensors", "--precision", "fp16",
                      "--reference", MODEL)
        self.imported("models/comfyui/other.safetensors", "all.safetensors", "--precision", "fp16", "--name",
                      "other", "--reference", MODEL)
        self.assertEqual(sorted(self.listed()), ["comfyui/all-fp16.safetensors", "comfyui/all.safetensors",
                                                 "comfyui/mine.safetensors", "comfyui/other.safetensors"])

    def test_links_and_moves(self):
        self.copy_model("mine")
        link = self.imported("models/pytorch/mine", "mine", "--link")
        self.assertEqual(os.readlink(link), os.path.realpath(self.path("mine")))
        moved = self.imported("models/pytorch/moved", "mine", "--move", "--name", "moved")
        self.assertFalse(os.path.exists(self.path("mine")))
        self.same(MODEL, moved)
        self.refused(self.add(MODEL, "--link", "--move"), 2, "--link, --move and conversion (--to, --precision) cannot be used together")

    def test_a_move_to_another_disk(self):
        """Hidden files go along: the source is removed."""
        other = "/dev/shm"
        if not os.access(other, os.W_OK) or os.stat(other).st_dev == os.stat(self.dir).st_dev:
            self.skipTest("no second file system")
        source = tempfile.mkdtemp(dir=other)
        self.addCleanup(shutil.rmtree, source, ignore_errors=True)
        shutil.copytree(MODEL, source, dirs_exist_ok=True, copy_function=shutil.copy)
        for name in ".mine", "vae/.notes", ".hidden/x":
            os.makedirs(os.path.dirname(os.path.join(source, name)), exist_ok=True)
            with open(os.path.join(source, name), "w", encoding="utf-8") as file:
                file.write(name)
        moved = self.imported("models/pytorch/moved", source, "--move", "--name", "moved")
        self.assertFalse(os.path.exists(source))
        for name in ".mine", "vae/.notes", ".hidden/x":
            self.assertEqual(self.read(os.path.join("models/pytorch/moved", name)).decode(), name)
        self.same(MODEL, moved)

    def test_converting(self):
        self.imported("models/mlx/model-q4", MODEL, "--to", "mlx", "--precision", "q4")
        self.imported("models/comfyui/model-fp8.safetensors", MODEL, "--to", "comfyui",
                      "--precision", "fp8")
        self.imported("models/comfyui/mine.gguf", MODEL, "--to", "gguf", "--name", "mine")
        self.imported("models/pytorch/model-fp16", MODEL, "--precision", "fp16")
        self.assertEqual({row["health"] for row in self.listed().values()},
                         {"good", "needs a reference", "lacks text_encoder, vae, tokenizer"})
        self.imported("models/mlx/again", "models/comfyui/model-fp8.safetensors", "--to", "mlx",
                      "--name", "again", "--reference", MODEL)
        self.good(self.generate(model="again"))

    def test_names_that_are_taken(self):
        self.imported("models/pytorch/model", MODEL)
        before = self.files()
        self.refused(self.add(MODEL), 1, "models/pytorch/model: is there already", "as model-2;", "--name")
        self.assertEqual(self.files(), before)
        self.imported("models/pytorch/model-2", MODEL, "--name", "model-2")
        self.refused(self.add(MODEL), 1, "as model-3;", "--name")
        for name in ("../x", "a/b", ".x", ""):
            self.refused(self.add(MODEL, "--name", name), 2, "--name: ", "not a valid name for a model")

    def test_foreign_checkpoints(self):
        for names, word in ((["double_blocks.0.x", "single_blocks.0.x"], "Flux"),
                            (["conditioner.embedders.0.x"], "Stable Diffusion XL"),
                            (["a.lora_A.weight"], "LoRA"), (["what"], "unknown")):
            write_foreign(self.path("x.safetensors"), *names)
            self.refused(self.add("x.safetensors"), 1, word)
        self.write("sd/model_index.json", '{"_class_name": "StableDiffusionPipeline"}')
        self.refused(self.add("sd"), 1, "StableDiffusionPipeline")
        self.refused(self.add("nothing"), 1, "nothing")
        self.assertFalse(os.path.exists(self.path("models")))

    def test_a_language_model(self):
        shutil.copytree(os.path.join(MODEL, "text_encoder"), self.path("lm"))
        for name in os.listdir(os.path.join(MODEL, "tokenizer")):
            shutil.copy(os.path.join(MODEL, "tokenizer", name), self.path("lm"))
        path = self.imported("models/prompt_enhancer/lm", "lm")
        row = self.listed()["prompt_enhancer/lm"]
        self.assertEqual((row["kind"], row["health"]), ("language", "good"))
        self.refused(self.models("default", "lm"), 1, "language model", "image model (`zimage models` lists them)")
        self.refused(self.add("lm", "--to", "mlx"), 1, "lm: is a language model, which cannot be converted; import it "
                     "without conversion; see --to, --precision\n")
        words = ["enhance", "-p", "x", "--raw", "--ids", "--max-tokens", "2", "--temperature", "0"]
        found = self.good(self.zimage(*words, env=self.env))
        named = self.good(self.zimage(*words, "--llm", path, env=self.env))
        self.assertEqual(found.stdout, named.stdout)

    def test_a_full_disk(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        self.refused(self.add(MODEL, preexec_fn=limit), 1, "cannot write")
        self.assertEqual(self.files(), [])


if __name__ == "__main__":
    unittest.main()
