"""Imports by path and downloads from the mock hub into the models folder."""

import filecmp
import json
import os
import shutil
import signal
import struct
import subprocess
import threading
import time

from serving import MODEL, SCHEMAS, ZIMAGE, Case, Server, Stream, path
import test_enhance  # found by way of serving
from hub import Hub
from support import safetensors_bytes, write_safetensors


def write_foreign(name, *tensors):
    """A small checkpoint with tensors of these names."""
    write_safetensors(name, {tensor: ["F32", [1], struct.pack("<f", 1)] for tensor in tensors})


class Arrivals(Case):
    def setUp(self):
        self.models = path(self.dir, "models")
        for folder in os.listdir(self.models):
            shutil.rmtree(path(self.models, folder))

    def follow(self, kind, **params):
        """All events of a job."""
        stream = Stream(self.server, f"/api/jobs/{self.server.submit(kind, **params)}/events")
        events = list(stream)
        stream.close()
        for event in events:
            self.conforms(event.data, SCHEMAS["Event_" + event.name])
        return events

    def ends(self, kind, state, **params):
        """The job when it has ended so."""
        job = self.server.wait(self.server.submit(kind, **params))
        self.conforms(job, SCHEMAS["JobWithPreview"])
        self.assertEqual(job["state"], state, job)
        return job

    def no(self, kind, field, *words, **params):
        reply = self.server.request("POST", "/api/jobs", {"kind": kind, "params": params})
        message = self.refused(reply, 400, field)
        for word in words:
            self.assertIn(word, message)
        return message

    def listed(self):
        return [m["name"] for m in self.server.get("/api/models").json["models"]]

    def left(self):
        """All files in the models folder."""
        return sorted(path(at, name)[len(self.models) + 1:] for at, _, names in os.walk(self.models)
                      for name in names)

    def same(self, folder):
        for at, _, names in os.walk(MODEL):
            for name in names:
                whole = path(at, name)
                self.assertTrue(filecmp.cmp(whole, path(folder, os.path.relpath(whole, MODEL)), False))


class Import(Arrivals):
    @classmethod
    def prepare(cls):
        cls.outside = path(cls.dir, "outside")
        shutil.copytree(MODEL, cls.outside)

    def test_flat_layout(self):
        """What lies where models once lay."""
        shutil.copytree(MODEL, path(self.models, "old"))
        events = self.follow("import", source="old", name="new")
        self.assertEqual(events[-1].data["result"], {"model": "pytorch/new"})
        self.assertIn("copy", [e.data["progress"]["stage"] for e in events if e.name == "progress"])
        self.same(path(self.models, "pytorch", "new"))
        job = self.ends("import", "done", source=path(self.models, "old"), mode="link")
        self.assertEqual(job["result"]["model"], "pytorch/old")
        self.assertEqual(self.listed(), ["pytorch/new", "pytorch/old", "demo"])
        job = self.ends("import", "done", source="old", layout="mlx", precision="q8")
        self.assertEqual(job["result"]["model"], "mlx/old-q8")
        shutil.rmtree(path(self.models, "pytorch"))
        self.ends("import", "done", source="old", mode="move")
        self.assertFalse(os.path.exists(path(self.models, "old")))
        self.same(path(self.models, "pytorch", "old"))
        self.assertEqual(self.listed(), ["mlx/old-q8", "pytorch/old", "demo"])

    def test_nothing_from_elsewhere(self):
        os.makedirs(path(self.models, "below"))
        said = {self.no("import", "source", "zimage import PATH", "--import DIR", source=source)
                for source in (self.outside, "../outside", "below/../../outside", "/", "/etc/passwd",
                               "none", self.models, ".", self.dir, "/none/at/all",
                               path(self.models, "..", "outside"))}
        self.assertEqual(len(said), 1)  # nor does the answer say what is there
        self.no("import", "source", source="")
        self.no("import", "source", source="x" * 1001)
        self.assertEqual(self.left(), [])

    def test_links_that_lead_out(self):
        os.symlink(self.outside, path(self.models, "whole"))
        shutil.copytree(MODEL, path(self.models, "part"))
        inner = path(self.models, "part", "vae", "config.json")
        os.remove(inner)
        os.symlink(path(self.outside, "vae", "config.json"), inner)
        shutil.copytree(MODEL, path(self.models, "folder"))
        shutil.rmtree(path(self.models, "folder", "vae"))
        os.symlink(path(self.outside, "vae"), path(self.models, "folder", "vae"))
        os.makedirs(path(self.models, "round"))
        os.symlink(".", path(self.models, "round", "again"))
        try:
            for source in "whole", "whole/vae", "part", "folder", "folder/vae", "round":
                self.no("import", "source", "zimage import PATH", source=source)
        finally:
            os.remove(path(self.models, "whole"))

    def test_links_within(self):
        shutil.copytree(MODEL, path(self.models, "part"))
        os.rename(path(self.models, "part", "vae"), path(self.models, "elsewhere"))
        os.symlink("../elsewhere", path(self.models, "part", "vae"))
        self.ends("import", "done", source="part")
        self.same(path(self.models, "pytorch", "part"))

    def test_wrong_fields(self):
        shutil.copytree(MODEL, path(self.models, "old"))
        for name in "../x", "a/b", ".x", "a\\b", "a\nb":
            self.no("import", "name", source="old", name=name)
        self.no("import", "mode", "mode move cannot be used with layout or precision", source="old", mode="move", precision="fp8")
        self.no("import", "mode", source="old", mode="steal")
        self.no("import", "precision", source="old", layout="diffusers", precision="q4")
        self.no("import", "source")
        self.no("import", "reference", source="old", reference="demo")

    def test_foreign_and_taken(self):
        folder = path(self.models, "old")
        os.makedirs(folder)
        write_foreign(path(folder, "x.safetensors"), "double_blocks.0.x", "single_blocks.0.x")
        job = self.ends("import", "failed", source="old/x.safetensors")
        self.assertIn("Flux", job["error"]["message"])
        self.assertEqual(self.left(), ["old/x.safetensors"])
        shutil.copytree(MODEL, path(self.models, "pytorch", "golden"))
        job = self.ends("import", "failed", source="pytorch/golden")
        self.assertIn("golden-2", job["error"]["message"])

    def test_cancel(self):
        """At any time: the model is there as a whole, or not at all."""
        shutil.copytree(MODEL, path(self.models, "old"))
        for params in {}, {"layout": "mlx"}, {"precision": "fp8"}:
            job = self.server.submit("import", source="old", name="x", **params)
            self.server.request("DELETE", f"/api/jobs/{job}")
            state = self.server.wait(job)["state"]
            self.assertIn(state, ("cancelled", "done"))
            new = [name for name in self.left() if not name.startswith("old/")]
            self.assertEqual(bool(new), state == "done", new)
            shutil.rmtree(path(self.models, "pytorch"), ignore_errors=True)
            shutil.rmtree(path(self.models, "mlx"), ignore_errors=True)


class ImportFrom(Arrivals):
    """A server that was started with a folder to import from."""

    args = ("--import", "shared")

    @classmethod
    def prepare(cls):
        cls.shared = path(cls.dir, "shared")
        shutil.copytree(MODEL, path(cls.shared, "team", "golden"))
        shutil.copytree(MODEL, path(cls.dir, "shared-not"))
        os.symlink("../shared-not", path(cls.shared, "out"))

    def test_from_there(self):
        for source in "team/golden", path(self.shared, "team", "golden"):
            self.ends("import", "done", source=source)
            self.same(path(self.models, "pytorch", "golden"))
            shutil.rmtree(path(self.models, "pytorch"))
        self.no("import", "mode", "copy or move", source="team/golden", mode="link")
        for source in "out", "../shared-not", self.shared, path(self.dir, "shared-not"):
            self.no("import", "source", "zimage import PATH", source=source)


REPO = "Tongyi-MAI/Z-Image-Turbo"


def files_of(folder):
    files = {}
    for at, _, names in os.walk(folder):
        for name in names:
            with open(path(at, name), "rb") as file:
                files[os.path.relpath(path(at, name), folder)] = file.read()
    return files


class FromHub(Arrivals):
    """Servers whose hub is a double."""

    @classmethod
    def setUpClass(cls):
        cls.hub = Hub()
        cls.addClassCleanup(cls.hub.close)
        os.environ["HF_ENDPOINT"] = cls.hub.url
        super().setUpClass()

    @classmethod
    def prepare(cls):
        os.environ["HF_HOME"] = path(cls.dir, "hf")
        os.environ["HF_HUB_DOWNLOAD_TIMEOUT"] = "2"

    def setUp(self):
        super().setUp()
        self.hub.repos.clear()
        self.hub.requests.clear()
        self.hub.rate, self.hub.gated, self.hub.token = None, False, None
        self.repo = self.hub.add(REPO, files_of(MODEL))


class Download(FromHub):
    def test_as_it_is(self):
        self.hub.rate = 1 << 20
        events = self.follow("download")
        self.assertEqual(events[-1].data["result"], {"model": "pytorch/Z-Image-Turbo"})
        seen = [e.data["progress"] for e in events if e.name == "progress"]
        known = [p for p in seen if p["bytes"]]
        self.assertTrue(known, seen)
        self.assertEqual({p["bytes"] for p in known}, {sum(map(len, self.repo.files.values()))})
        self.assertTrue({p["file"] for p in known} - {None} <= set(self.repo.files))
        done = [p["bytes_done"] for p in known]
        self.assertEqual(done, sorted(done))
        self.same(path(self.models, "pytorch", "Z-Image-Turbo"))
        self.assertEqual(self.listed(), ["pytorch/Z-Image-Turbo", "demo"])
        job = self.ends("generate", "done", model="pytorch/Z-Image-Turbo", prompt="a", steps=1,
                        width=32, height=32)
        self.assertEqual(len(job["images"]), 1)

    def test_converted(self):
        events = self.follow("download", repo=REPO, to="mlx", precision="q8", name="small")
        self.assertEqual(events[-1].data["result"], {"model": "mlx/small"})
        parts = [e.data["progress"]["fraction"] for e in events if e.name == "progress"]
        self.assertEqual(parts, sorted(parts))
        self.assertTrue(all(name.startswith("mlx/small/") for name in self.left()), self.left())

    def test_language_model(self):
        maker = test_enhance.Enhancing()
        maker.dir = self.dir
        os.makedirs(path(self.models, "prompt_enhancer"))
        self.hub.add("Qwen/Qwen2.5-1.5B-Instruct", files_of(maker.chain()))
        shutil.rmtree(self.models)
        os.makedirs(self.models)
        job = self.ends("download", "done", repo="prompt-enhancer")
        self.assertEqual(job["result"]["model"], "prompt_enhancer/Qwen2.5-1.5B-Instruct")
        self.assertEqual(self.listed(), ["prompt_enhancer/Qwen2.5-1.5B-Instruct", "demo"])
        job = self.ends("enhance", "done", prompt="a cow", temperature=0)
        self.assertEqual(job["text"], "Big-cow,dusk.")
        job = self.ends("download", "failed", repo="prompt-enhancer")
        self.assertIn("there already", job["error"]["message"])

    def test_cancel_and_resume(self):
        self.cancel_and_resume("Z-Image-Turbo")

    def test_cancel_and_resume_under_a_name(self):
        self.cancel_and_resume("mine", name="mine")

    def cancel_and_resume(self, folder, **params):
        self.hub.rate = 200000
        job = self.server.submit("download", **params)
        stream = Stream(self.server, f"/api/jobs/{job}/events")
        for event in stream:
            if event.name == "progress" and (event.data["progress"]["bytes_done"] or 0) > 100000:
                break
        stream.close()
        self.server.request("DELETE", f"/api/jobs/{job}")
        self.assertEqual(self.server.wait(job)["state"], "cancelled")
        self.assertEqual(self.listed(), ["demo"])
        self.hub.rate = None
        before = self.hub.sent()
        self.assertGreater(before, 100000)
        self.ends("download", "done", **params)
        self.same(path(self.models, "pytorch", folder))
        whole = sum(map(len, self.repo.files.values()))
        self.assertLess(self.hub.sent(), whole + before)  # some of it was not sent again

    def test_another_model_is_not_fetched(self):
        files = {name: data for name, data in self.repo.files.items() if "transformer" not in name}
        files["transformer/diffusion_pytorch_model.safetensors"] = safetensors_bytes(
            {"double_blocks.0.img_attn.qkv.weight": ["BF16", [3 << 10, 1 << 10], bytes(6 << 20)]})
        files["transformer/config.json"] = b'{"_class_name": "FluxTransformer2DModel"}'
        self.hub.add("flux/dev", files)
        job = self.ends("download", "failed", repo="flux/dev")
        self.assertIn("Flux", job["error"]["message"])
        self.assertLess(self.hub.sent(cdn=True), 6 << 20)
        self.assertEqual(self.left(), [])

    def test_another_wish(self):
        """Of a conversion that did not end nothing stays in the model as it is."""
        self.hub.rate = 500_000
        job = self.server.submit("download", to="mlx", precision="q8")
        work = path(self.models, ".incoming", "Z-Image-Turbo", ".cache", "zimage")
        while not os.path.exists(work):
            self.assertIn(self.server.get(f"/api/jobs/{job}").json["state"], ("queued", "running"))
        self.server.request("DELETE", f"/api/jobs/{job}")
        self.server.wait(job)
        self.hub.rate = None
        self.ends("download", "done")
        self.same(path(self.models, "pytorch", "Z-Image-Turbo"))
        self.assertFalse(os.path.exists(
            path(self.models, "pytorch", "Z-Image-Turbo", ".cache", "zimage")))

    def test_failures(self):
        for repo in "x", "../x", "a/b/c", "a/..", "http://127.0.0.1/x", "a/b@../c":
            self.no("download", "repo", repo=repo)
        self.no("download", "name", name="../x")
        self.no("download", "precision", "fp8 is not possible in the layout GGUF; choose one of original, fp16, bf16, q8, q4", to="gguf", precision="fp8")
        self.no("download", "layout", layout="mlx")
        self.assertEqual(self.hub.requests, [])
        job = self.ends("download", "failed", repo="no/body")
        self.assertIn("no/body", job["error"]["message"])
        self.hub.gated, self.hub.token = True, "secret"
        job = self.ends("download", "failed")
        self.assertIn(REPO, job["error"]["message"])
        self.assertNotIn("secret", json.dumps(job))
        self.hub.gated, self.hub.token = False, None
        shutil.copytree(MODEL, path(self.models, "pytorch", "Z-Image-Turbo"))
        self.hub.requests.clear()
        job = self.ends("download", "failed")
        self.assertIn("there already", job["error"]["message"])
        self.assertEqual(self.hub.sent(), 0)
        self.assertEqual(self.listed(), ["pytorch/Z-Image-Turbo", "demo"])

    def test_from_the_cache(self):
        """What is there as a whole is not fetched, also where the hub is not to be asked."""
        subprocess.run([ZIMAGE, "download", REPO], check=True, capture_output=True)
        self.hub.requests.clear()
        offline = Server(self.dir, "--models", "models", "--output", "other",
                         env={**os.environ, "HF_HUB_OFFLINE": "1"})
        self.addCleanup(offline.stop)
        job = offline.wait(offline.submit("download", name="cached"))
        self.assertEqual(job["state"], "done", job)
        self.assertEqual(self.hub.requests, [])
        self.same(path(self.models, "pytorch", "cached"))
        self.assertTrue(os.path.exists(path(self.dir, "hf", "hub")))
        job = offline.wait(offline.submit("download", repo="no/body"))
        self.assertIn("HF_HUB_OFFLINE", job["error"]["message"])
        shutil.rmtree(path(self.dir, "hf"))


SMALL = {"model": "demo", "steps": 1, "width": 32, "height": 32}
LONG = {"model": "demo", "steps": 100, "width": 256, "height": 256, "count": 16}  # minutes, if left alone


class Lanes(FromHub):
    """Downloads go on beside all else, one at a time."""

    def setUp(self):
        super().setUp()
        self.hub.rate = 5000  # bytes a second: minutes, if left alone

    def tearDown(self):
        for job in self.server.get("/api/jobs").json["jobs"]:
            if job["state"] in ("queued", "running"):
                self.cancel(job["id"])
                self.server.wait(job["id"])

    def get(self, job):
        return self.server.get(f"/api/jobs/{job}").json

    def state(self, job):
        return self.get(job)["state"]

    def cancel(self, job):
        self.assertEqual(self.server.request("DELETE", f"/api/jobs/{job}").status, 200)

    def begun(self, server=None, **params):
        """A download that is getting bytes."""
        server = server or self.server
        job = server.submit("download", **params)
        stream = Stream(server, f"/api/jobs/{job}/events")
        for event in stream:
            if event.name == "progress" and event.data["progress"]["bytes_done"]:
                break
        stream.close()
        return job

    def drawing(self, server=None):
        """An image that is in its steps."""
        server = server or self.server
        job = server.submit(**LONG)
        stream = Stream(server, f"/api/jobs/{job}/events")
        stream.until("step")
        stream.close()
        return job

    def test_drawing_meanwhile(self):
        download = self.begun()
        for _ in range(2):
            self.ends("generate", "done", **SMALL)
        self.ends("verify", "done", model="demo")
        self.assertEqual(self.state(download), "running")
        began = time.monotonic()
        self.cancel(download)
        self.assertEqual(self.server.wait(download)["state"], "cancelled")
        self.assertLess(time.monotonic() - began, 10 if "san" in ZIMAGE else 2)
        self.assertEqual(self.listed(), ["demo"])

    def test_both_are_told_of(self):
        download, picture = self.begun(), self.drawing()
        jobs = self.server.get("/api/jobs").json
        self.conforms(jobs, SCHEMAS["JobList"])
        self.assertEqual([job["id"] for job in jobs["jobs"][:2]], [picture, download])
        stream = Stream(self.server, "/api/events")  # as after a reload
        events = iter(stream)
        first = {job["id"]: job["state"] for job in next(events).data["jobs"]}
        self.assertEqual((first[picture], first[download]), ("running", "running"))
        wanted = {picture: "step", download: "progress"}
        for event in events:
            self.assertNotEqual(event.name, "done")
            if wanted.get(event.data.get("job")) == event.name:
                del wanted[event.data["job"]]
            if not wanted:
                break
        stream.close()
        health = self.server.get("/api/health").json
        self.assertEqual((health["running"], health["queued"]), (True, 0))
        self.assertIn(b"\nzimage_running 2\n", self.server.get("/api/metrics").body)
        self.cancel(picture)
        self.server.wait(picture)
        self.assertEqual(self.state(download), "running")
        self.assertIs(self.server.get("/api/health").json["running"], True)
        self.assertIn(b"\nzimage_running 1\n", self.server.get("/api/metrics").body)

    def test_one_behind_the_other(self):
        first = self.begun()
        second, third = (self.server.submit("download", name=name) for name in "ab")
        picture = self.drawing()
        waits = self.server.submit(**SMALL)
        self.assertEqual([self.get(job)["position"] for job in (first, second, third, picture, waits)],
                         [None, 1, 2, None, 1])
        self.assertEqual(self.server.get("/api/health").json["queued"], 3)
        self.cancel(picture)
        self.assertEqual(self.server.wait(waits)["state"], "done")
        self.assertEqual([self.state(job) for job in (first, second, third)],
                         ["running", "queued", "queued"])
        self.cancel(second)
        self.assertEqual(self.get(third)["position"], 1)
        self.hub.rate = None
        self.cancel(first)
        ended = [self.server.wait(job) for job in (first, second, third)]
        self.assertEqual([job["state"] for job in ended], ["cancelled", "cancelled", "done"])
        self.assertGreaterEqual(ended[2]["started"], ended[0]["finished"])

    def test_a_full_lane(self):
        """Who fills one leaves the other free."""
        self.begun()
        order = {"kind": "download", "params": {}}
        replies = [self.server.request("POST", "/api/jobs", order) for _ in range(65)]
        self.assertEqual([reply.status for reply in replies], [202] * 64 + [429])
        self.refused(replies[-1], 429)
        self.ends("generate", "done", **SMALL)
        self.assertEqual(self.get(replies[63].json["id"])["position"], 64)

    def test_arrival_while_drawing(self):
        """The new model is there at once, for the next image."""
        self.hub.rate = None
        picture = self.drawing()
        waits = self.server.submit(**SMALL)
        self.ends("download", "done", name="whole")
        self.ends("download", "done", to="mlx", precision="q8", name="small")
        self.assertEqual((self.state(picture), self.state(waits)), ("running", "queued"))
        self.assertEqual(self.listed(), ["mlx/small", "pytorch/whole", "demo"])
        after = [self.server.submit(**{**SMALL, "model": model}) for model in ("pytorch/whole", "mlx/small")]
        self.cancel(picture)
        for job in waits, *after:
            self.assertEqual(self.server.wait(job)["state"], "done")

    def test_others_see_drawing_only(self):
        """To clients of A1111's API a download is nothing that they could watch or interrupt."""
        download = self.begun()
        for _ in range(2):
            progress = self.server.get("/sdapi/v1/progress").json
            self.assertEqual((progress["progress"], progress["state"]["job"]), (0, ""))
            for what in "interrupt", "skip":
                self.assertEqual(self.server.request("POST", f"/sdapi/v1/{what}", {}).status, 200)
            self.assertEqual(self.state(download), "running")
            body = {"prompt": "a", "steps": 100, "width": 256, "height": 256, "n_iter": 16, "cfg_scale": 1}
            replies = []
            thread = threading.Thread(target=lambda: replies.append(self.server.request("POST", "/sdapi/v1/txt2img", body)))
            thread.start()
            while not (progress := self.server.get("/sdapi/v1/progress").json)["progress"]:
                time.sleep(0.02)
            self.assertEqual(progress["state"]["sampling_steps"], 100)
            self.server.request("POST", "/sdapi/v1/interrupt", {})
            thread.join()
            self.assertEqual(replies[0].status, 200)
        self.assertEqual(self.state(download), "running")

    def test_the_server_ends(self):
        """In the midst of both, with more of both waiting, and of a download alone."""
        for draws in True, False:
            server = Server(self.dir, "--models", "models", "--output", "other")
            self.begun(server)
            server.submit("download", name="x")
            if draws:
                self.drawing(server)
                server.submit(**SMALL)
            began = time.monotonic()
            self.assertEqual(server.stop(signal.SIGINT), 0, server.log())
            self.assertLess(time.monotonic() - began, 10 if "san" in ZIMAGE else 2)
            self.assertEqual(self.listed(), ["demo"])


if __name__ == "__main__":
    import unittest

    unittest.main()
