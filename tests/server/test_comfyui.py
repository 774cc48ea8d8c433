"""A server whose models folder is ComfyUI's: its lists, images of a diffusion model with the parts that fit it, and names
of components in jobs."""

import json
import os
import shutil
import time
import unittest

from serving import LIMIT, MODEL, SCHEMAS, Case, Server, path, temporary_folder
from comfyui import DIFFUSION, make_tree, write_vae
from hub import Hub
from support import read_safetensors, read_safetensors_bytes, safetensors_bytes, write_safetensors
from test_download import REPO, model_files

NAME = "diffusion_models/z_image_turbo.safetensors"


class Tree(Case):
    args = ("--models", "comfy")

    @classmethod
    def prepare(cls):
        folder = path(cls.dir, "comfy")
        make_tree(folder)
        os.makedirs(path(folder, "loras"))
        write_safetensors(path(folder, "loras", "style.safetensors"),
                          {"transformer.layers.0.attention.to_q.lora_A.weight": ["F16", [1, 2], bytes(4)]})
        make_tree(path(cls.dir, "outside"))
        os.symlink(path(cls.dir, "outside", "vae", "ae.safetensors"), path(folder, "vae", "a_link_out.safetensors"))

    def listed(self):
        reply = self.server.get("/api/models").json
        self.conforms(reply, SCHEMAS["ModelList"])
        return {model["name"]: model for model in reply["models"]}, reply["default"]

    def generate(self, **params):
        job = self.server.wait(self.server.submit(steps=1, width=64, height=64, seed=1, **params))
        self.assertEqual(job["state"], "done", job)
        return self.server.get("/api/images/" + job["images"][0] + "/file").body

    def test_the_list(self):
        models, default = self.listed()
        self.assertEqual({name: (m["shelf"], m["kind"]) for name, m in models.items()},
                         {NAME: ("diffusion_models", "image"),
                          "text_encoders/qwen_3_4b.safetensors": ("text_encoders", "text_encoder"),
                          "vae/ae.safetensors": ("vae", "vae"), "loras/style.safetensors": ("loras", "lora"),
                          "demo": ("demo", "image")})
        self.assertEqual(default, NAME)
        model = models[NAME]
        self.assertTrue(model["usable"])
        self.assertEqual(model["parts"], {"text_encoder": "text_encoders/qwen_3_4b.safetensors",
                                          "vae": "vae/ae.safetensors", "tokenizer": True})
        self.assertIn("vae", model["missing"])
        for name in "vae/ae.safetensors", "loras/style.safetensors":
            self.assertFalse(models[name]["usable"])
        ids = [row["id"] for row in self.server.get("/v1/models").json["data"]]
        self.assertEqual(ids, [NAME, "demo"])
        self.assertEqual(len(self.server.get("/sdapi/v1/sd-models").json), 2)

    def test_an_image(self):
        first = self.generate()
        self.assertEqual(self.generate(model="z_image_turbo.safetensors"), first)
        log = self.server.log()
        self.assertIn("using text encoder text_encoders/qwen_3_4b.safetensors, VAE vae/ae.safetensors", log)
        job = self.server.wait(self.server.submit("verify", model=NAME))
        self.assertTrue(job["result"]["passed"], job)

    def test_names_of_components(self):
        job = self.server.wait(self.server.submit("convert", source=NAME, destination="whole", layout="mlx",
                                                  vae="ae.safetensors", text_encoder="qwen_3_4b.safetensors"))
        self.assertEqual(job["state"], "done", job)
        self.assertEqual(job["result"]["model"], "mlx/whole")
        job = self.server.wait(self.server.submit("verify", model="mlx/whole"))
        self.assertTrue(job["result"]["passed"], job)
        shutil.rmtree(path(self.dir, "comfy", "mlx"))
        body = {"kind": "convert", "params": {"source": NAME, "destination": "x", "layout": "mlx", "vae": "none"}}
        self.refused(self.server.request("POST", "/api/jobs", body), 404, "vae")
        for outside in ("a_link_out.safetensors", "../outside/vae/ae.safetensors",
                        path(self.dir, "outside", "vae", "ae.safetensors")):
            body["params"]["vae"] = outside
            with self.subTest(outside):
                self.refused(self.server.request("POST", "/api/jobs", body), 404, "vae")

    def test_a_second_vae(self):
        """It is chosen as on the command line: the usual name first."""
        write_vae(path(self.dir, "comfy", "vae", "aaa.safetensors"))
        self.addCleanup(os.remove, path(self.dir, "comfy", "vae", "aaa.safetensors"))
        models, _ = self.listed()
        self.assertEqual(models[NAME]["parts"]["vae"], "vae/ae.safetensors")


class EnhanceProblem(unittest.TestCase):
    """Whether prompts can be expanded, by the list of models."""

    def problem(self, folder, *args):
        server = Server(folder, "--models", "comfy", *args)
        try:
            end = time.monotonic() + LIMIT
            while True:  # what was inspected in the background counts
                reply = server.get("/api/models").json
                if all(model["health"] for model in reply["models"]) or time.monotonic() > end:
                    return reply["enhance_problem"]
                time.sleep(0.05)
        finally:
            self.assertEqual(server.stop(), 0)

    def test_text_encoders(self):
        folder = temporary_folder(self)
        self.assertIn("there is no language model, and the demo model cannot write prompts", self.problem(folder))
        make_tree(path(folder, "comfy"))
        self.assertIsNone(self.problem(folder))
        encoder = path(folder, "encoder.safetensors")
        os.rename(path(folder, "comfy", "text_encoders", "qwen_3_4b.safetensors"), encoder)
        given = "--model", NAME
        self.assertIn("the default model has no text encoder and cannot write prompts", self.problem(folder, *given))
        for option, value in ("--text-encoder", encoder), ("--reference", MODEL):
            self.assertIsNone(self.problem(folder, *given, option, value), option)


class WithHub(Case):
    """A server with a hub and a cache of its own."""

    @classmethod
    def setUpClass(cls):
        cls.hub = Hub()
        cls.addClassCleanup(cls.hub.close)
        cls.before = {name: os.environ.get(name) for name in ("HF_ENDPOINT", "HF_HOME")}
        super().setUpClass()

    @classmethod
    def prepare(cls):
        os.environ["HF_ENDPOINT"], os.environ["HF_HOME"] = cls.hub.url, path(cls.dir, "hf")

    @classmethod
    def tearDownClass(cls):
        os.environ.update(cls.before)
        super().tearDownClass()


class PadTokens(WithHub):
    """A repository that lacks pad tokens is converted with those of --reference, when all of it is there."""

    args = ("--reference", MODEL)

    def test_download(self):
        files = model_files(MODEL)
        index = "transformer/diffusion_pytorch_model.safetensors.index.json"
        listed = json.loads(files[index])
        for name in [name for name in files if name.startswith("transformer/") and name.endswith(".safetensors")]:
            tensors = read_safetensors_bytes(files[name])
            for pad in "x_pad_token", "cap_pad_token":
                tensors.pop(pad, None)
                listed["weight_map"].pop(pad, None)
            files[name] = safetensors_bytes(tensors)
        files[index] = json.dumps(listed).encode()
        self.hub.add("some/model", files)
        job = self.server.wait(self.server.submit("download", repo="some/model", to="mlx"))
        self.assertEqual(job["state"], "done", job)
        self.assertIn("pad tokens are missing, and are taken from", self.server.log())
        tensors = read_safetensors(path(self.dir, "models", job["result"]["model"], "weights.safetensors"))
        self.assertIn("x_pad_token", tensors)
        job = self.server.wait(self.server.submit("verify", model=job["result"]["model"]))
        self.assertTrue(job["result"]["passed"], job)


class Tokenizer(WithHub):
    """A tree without a tokenizer: the one that is downloaded makes its model usable."""

    args = ("--models", "comfy")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.hub.add(REPO, model_files(MODEL))
        make_tree(path(cls.dir, "comfy"), tokenizer=False)

    def test_download(self):
        def usable():
            models = {model["name"]: model for model in self.server.get("/api/models").json["models"]}
            return models[NAME]["usable"], models[NAME]["parts"]["tokenizer"], len(models)

        self.assertEqual(usable(), (False, False, 4))
        job = self.server.wait(self.server.submit(model=NAME, steps=1, width=64, height=64))
        self.assertEqual(job["state"], "failed")
        self.assertIn("tokenizer", job["error"]["message"])
        job = self.server.wait(self.server.submit(steps=1, width=64, height=64))
        self.assertEqual((job["state"], job["params"]["model"]), ("done", "demo"), job)
        job = self.server.wait(self.server.submit("download", repo="tokenizer"))
        self.assertEqual(job["state"], "done", job)
        self.assertIsNone(job["result"])
        self.assertEqual(usable(), (True, True, 4))
        job = self.server.wait(self.server.submit(steps=1, width=64, height=64))
        self.assertEqual((job["state"], job["params"]["model"]), ("done", NAME), job)
        self.assertIn("the tokenizer is that of", self.server.log())
        job = self.server.wait(self.server.submit("download", repo="tokenizer", to="mlx"))
        self.assertEqual(job["state"], "failed")
        self.assertIn("does not apply to a tokenizer", job["error"]["message"])


class Options(Case):
    """--vae, --text-encoder and --reference by name, and the folder as the model."""

    @classmethod
    def prepare(cls):
        make_tree(path(cls.dir, "comfy"))
        os.makedirs(path(cls.dir, "models", "comfyui"))
        shutil.copytree(MODEL, path(cls.dir, "models", "pytorch", "whole"))
        shutil.copyfile(DIFFUSION, path(cls.dir, "models", "comfyui", "t.safetensors"))
        cls.args = ("-m", "t.safetensors", "--vae", "whole", "--text-encoder", "whole", "--reference", "whole")

    def image(self, server):
        job = server.wait(server.submit(steps=1, width=64, height=64, seed=1))
        self.assertEqual(job["state"], "done", job)
        return job["params"]["model"]

    def test_names(self):
        usable, parts = self.usable_and_parts(self.server, "comfyui/t.safetensors")
        self.assertEqual((usable, parts["text_encoder"], parts["vae"]), (True, None, None))
        self.assertEqual(self.image(self.server), "comfyui/t.safetensors")

    def usable_and_parts(self, server, name):
        """Of the model in a list without rows that are not inspected yet."""
        while any(row["health"] is None for row in server.get("/api/models").json["models"]):
            time.sleep(0.05)
        rows = {row["name"]: row for row in server.get("/api/models").json["models"]}
        return rows[name]["usable"], rows[name]["parts"]

    def test_a_folder(self):
        """The list says of its model what holds for a job, before any ran."""
        other = Server(self.dir, "--output", "other", "-m", "comfy")
        try:
            self.assertEqual(self.usable_and_parts(other, "named/z_image_turbo.safetensors"),
                             (True, {"text_encoder": "text_encoders/qwen_3_4b.safetensors", "vae": "vae/ae.safetensors",
                                     "tokenizer": True}))
            self.assertIn("named/z_image_turbo.safetensors",
                          [row["id"] for row in other.get("/v1/models").json["data"]])
            self.assertEqual(self.image(other), "named/z_image_turbo.safetensors")
            self.assertIn("using text encoder text_encoders/qwen_3_4b.safetensors", other.log())
        finally:
            self.assertEqual(other.stop(), 0)


if __name__ == "__main__":
    unittest.main()
