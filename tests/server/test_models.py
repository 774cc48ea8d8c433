"""The server's list of models: the same as the command line's; no thread that answers HTTP inspects models."""

import json
import os
import shutil
import struct
import threading
import time

from serving import MODEL, Case, Server, path, run
from support import write_safetensors

TURBO = "Tongyi-MAI/Z-Image-Turbo"


def zimage(folder, *args):
    done = run(*args, folder=folder)
    assert done.returncode == 0, done
    return done.stdout


def put_snapshot(repo, model=MODEL):
    """A model in the hub's cache, as huggingface_hub leaves it there."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    top = path(os.environ["HF_HOME"], "hub", "models--" + repo.replace("/", "--"))
    os.makedirs(path(top, "refs"))
    shutil.copytree(model, path(top, "snapshots", commit))
    with open(path(top, "refs", "main"), "w", encoding="ascii") as file:
        file.write(commit)
    return top


class Registry(Case):
    args = ("--models", "models")

    @classmethod
    def prepare(cls):
        os.makedirs(path(cls.dir, "models"))

    def setUp(self):
        self.addCleanup(self.clear)

    def clear(self):
        for name in os.listdir(path(self.dir, "models")):
            whole = path(self.dir, "models", name)
            (shutil.rmtree if os.path.isdir(whole) else os.remove)(whole)
        shutil.rmtree(path(os.environ["HF_HOME"], "hub"), True)

    def put(self, name):
        shutil.copytree(MODEL, path(self.dir, "models", name))

    def names(self):
        return [m["name"] for m in self.server.get("/api/models").json["models"]]

    def default(self):
        listed = self.server.get("/api/models").json["default"]
        self.assertEqual(self.server.get("/api/config").json["default_model"], listed or "")
        return listed

    def generate(self, **params):
        job = self.server.wait(self.server.submit(steps=1, width=64, height=64, **params))
        self.assertEqual(job["state"], "done", job)
        image = self.server.get("/api/images/" + job["images"][0]).json
        return job["params"]["model"], image["model"]

    def test_the_default_that_was_chosen(self):
        self.assertEqual(self.default(), "demo")
        self.put("mlx/one")
        self.assertEqual(self.default(), "mlx/one")
        self.put("pytorch/two")
        self.assertEqual(self.default(), None)
        body = {"kind": "generate", "params": {"prompt": "a"}}
        message = self.refused(self.server.request("POST", "/api/jobs", body), 400, "model")
        self.assertIn("mlx/one, pytorch/two", message)
        zimage(self.dir, "models", "default", "two")
        self.assertEqual(self.default(), "pytorch/two")
        self.assertEqual(self.generate(), ("pytorch/two", "two"))
        self.assertEqual(self.generate(model="mlx/one"), ("mlx/one", "one"))
        zimage(self.dir, "models", "default", "mlx/one")
        self.assertEqual(self.generate(), ("mlx/one", "one"))
        shutil.rmtree(path(self.dir, "models", "mlx", "one"))
        message = self.refused(self.server.request("POST", "/api/jobs", body), 400, "model")
        self.assertIn("not there any more", message)

    def test_the_hub_cache(self):
        put_snapshot(TURBO)
        put_snapshot("someone/else", self.other())
        put_snapshot("someone/half")
        commit = os.listdir(path(os.environ["HF_HOME"], "hub", "models--someone--half", "snapshots"))[0]
        os.remove(path(os.environ["HF_HOME"], "hub", "models--someone--half", "snapshots", commit, "vae",
                       "diffusion_pytorch_model.safetensors"))
        self.assertEqual(self.names(), [TURBO, "demo"])
        self.assertEqual(self.default(), TURBO)
        self.assertEqual(self.generate(), (TURBO, "Z-Image-Turbo"))
        model = self.server.get(f"/api/models/{TURBO}").json["model"]
        self.assertEqual((model["shelf"], model["kind"], model["health"]), ("hub", "image", "good"))
        self.put("mlx/one")
        self.assertEqual(self.generate(model=TURBO), (TURBO, "Z-Image-Turbo"))
        self.assertEqual(self.default(), "mlx/one")
        ids = [m["id"] for m in self.server.get("/v1/models").json["data"]]
        self.assertEqual(ids, ["mlx/one", TURBO, "demo"])

    def other(self):
        folder = path(self.dir, "other")
        os.makedirs(path(folder, "unet"), exist_ok=True)
        with open(path(folder, "model_index.json"), "w", encoding="ascii") as file:
            json.dump({"_class_name": "StableDiffusionPipeline"}, file)
        return folder

    def test_what_is_new_is_inspected(self):
        self.put("mlx/one")
        write_safetensors(path(self.dir, "models", "mlx", "flux.safetensors"),
                          {name: ["F32", [1], struct.pack("<f", 1)]
                           for name in ("double_blocks.0.x", "single_blocks.0.x")})
        models = {m["name"]: m for m in self.server.get("/api/models").json["models"]}
        self.assertEqual({name: m["health"] for name, m in models.items()},
                         {"mlx/one": "good", "mlx/flux.safetensors": "unsupported", "demo": "good"})
        os.truncate(path(self.dir, "models", "mlx", "one", "vae", "diffusion_pytorch_model.safetensors"), 5000)
        model = self.server.get("/api/models/mlx/one").json["model"]
        self.assertEqual((model["health"], model["usable"]), ("damaged", False))


class Many(Case):
    """A server that finds many models it has never seen."""

    COUNT = 150

    @classmethod
    def prepare(cls):
        os.makedirs(path(cls.dir, "models", "mlx"))
        for i in range(cls.COUNT):
            shutil.copytree(MODEL, path(cls.dir, "models", "mlx", f"m{i:03}"))

    def seconds(self, where):
        began = time.monotonic()
        reply = self.server.get(where)
        self.assertEqual(reply.status, 200)
        return time.monotonic() - began, reply.json

    def test_requests_do_not_wait_for_inspections(self):
        """While the list waits to be known, all else is answered at once; in the end all is known, and stays so."""
        lists = []
        threads = [threading.Thread(target=lambda: lists.append(self.seconds("/api/models"))) for _ in range(12)]
        for thread in threads:
            thread.start()
        others = [self.seconds("/api/health")[0] for _ in range(20)]
        for thread in threads:
            thread.join()
        for _, answer in lists:
            self.assertEqual(len(answer["models"]), self.COUNT + 1)
        end = time.monotonic() + 120
        while any(m["health"] is None for m in self.seconds("/api/models")[1]["models"]):
            self.assertLess(time.monotonic(), end)
        known = min(self.seconds("/api/models")[0] for _ in range(3))
        slowest = max(taken for taken, _ in lists)
        self.assertLess(sorted(others)[10], slowest / 4, (others, slowest))
        self.assertLess(known, slowest / 4)

        again = Server(self.dir, "--output", "again")
        began = time.monotonic()
        reply = again.get("/api/models").json
        taken = time.monotonic() - began
        self.assertEqual(again.stop(), 0)
        self.assertFalse([m for m in reply["models"] if m["health"] is None])
        self.assertLess(taken, slowest / 4)
