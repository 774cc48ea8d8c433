"""Models that come into the models folder: imported by path."""

import filecmp
import os
import shutil
import struct

from serving import MODEL, SCHEMAS, Case, Stream, path
from support import write_safetensors


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
        os.rename(path(self.models, "part", "vae"), path(self.models, "lent"))
        os.symlink("../lent", path(self.models, "part", "vae"))
        self.ends("import", "done", source="part")
        self.same(path(self.models, "pytorch", "part"))

    def test_wrong_fields(self):
        shutil.copytree(MODEL, path(self.models, "old"))
        for name in "../x", "a/b", ".x", "a\\b", "a\nb":
            self.no("import", "name", source="old", name=name)
        self.no("import", "mode", "leave the mode out", source="old", mode="move", precision="fp8")
        self.no("import", "mode", source="old", mode="steal")
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


if __name__ == "__main__":
    import unittest

    unittest.main()
