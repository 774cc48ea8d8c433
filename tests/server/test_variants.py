"""Z-Image base and Turbo in the server: defaults, the limit of guidance, and what APIs say of samplers."""

import json
import shutil
import subprocess
import unittest

from serving import MODEL, PROMPT, SCHEMAS, Case, path

SMALL = {"width": 32, "height": 32, "seed": "1"}


def put_base_model(folder):
    """The demo model with the shift of Z-Image base, as pytorch/base."""
    target = path(folder, "models", "pytorch", "base")
    shutil.copytree(MODEL, target, copy_function=shutil.copy)
    subprocess.run(["chmod", "-R", "u+w", target], check=True)
    config = path(target, "scheduler", "scheduler_config.json")
    with open(config, encoding="utf-8") as file:
        fields = json.load(file)
    with open(config, "w", encoding="utf-8") as file:
        json.dump(dict(fields, shift=6.0), file)


class Shared(Case):
    def image(self, **params):
        """The row of the one image of a job."""
        job = self.server.wait(self.server.submit(**dict(SMALL, **params)))
        self.assertEqual(job["state"], "done", job["error"])
        row = self.server.get(f"/api/images/{job['images'][0]}").json
        self.conforms(row, SCHEMAS["Image"])
        return row


class Variants(Shared):
    @classmethod
    def prepare(cls):
        put_base_model(cls.dir)

    def test_defaults_are_listed(self):
        models = {model["name"]: model for model in self.server.get("/api/models").json["models"]}
        self.assertEqual(models["pytorch/base"]["defaults"], {"steps": 28, "guidance": 4, "shift": 6})
        self.assertEqual(models["demo"]["defaults"], {"steps": 9, "guidance": 0, "shift": 3})
        seen = self.server.get("/api/models/pytorch/base").json["inspect"]
        self.assertEqual((seen["architecture"], seen["variant"]), ("Z-Image (base)", "base"))

    def test_defaults_are_used(self):
        row = self.image(model="pytorch/base")
        self.assertEqual([row[name] for name in ("steps", "guidance", "shift")], [28, 4, 6])
        row = self.image(model="demo")
        self.assertEqual([row[name] for name in ("steps", "guidance", "shift")], [9, 0, 3])
        row = self.image(model="pytorch/base", steps=2, guidance=0, shift=2)
        self.assertEqual([row[name] for name in ("steps", "guidance", "shift")], [2, 0, 2])

    def test_other_apis(self):
        body = {"prompt": PROMPT, "width": 32, "height": 32, "seed": 1, "steps": 2,
                "override_settings": {"sd_model_checkpoint": "pytorch/base"}}
        for scale, used in ((None, 5), (1, 1), (3.5, 3.5)):
            reply = self.server.request("POST", "/sdapi/v1/txt2img", dict(body, cfg_scale=scale))
            self.assertEqual(reply.status, 200, reply.body[:300])
            self.assertEqual(json.loads(reply.json["info"])["cfg_scale"], used)

    def test_samplers(self):
        names = ("sampler", "schedule", "cfg_normalization", "cfg_truncation", "max_tokens")
        row = self.image(model="demo", steps=2, sampler="heun", schedule="beta", guidance=2, cfg_normalization=1,
                         cfg_truncation=0.5, max_tokens=1000)
        self.assertEqual([row[name] for name in names], ["heun", "beta", 1, 0.5, 1000])
        row = self.image(model="demo", steps=2)
        self.assertEqual([row[name] for name in names], ["euler", "diffusers", 0, 1, 512])
        self.assertIn("Sampler: Euler, Schedule type: diffusers,", row["recipe"])

    def test_refused(self):
        for field, value in (("sampler", "dpmpp"), ("sampler", 1), ("cfg_truncation", 0), ("cfg_truncation", 1.1),
                             ("cfg_normalization", -1), ("cfg_normalization", True), ("schedule", "simple")):
            reply = self.server.request("POST", "/api/jobs", {"kind": "generate",
                                                              "params": {"prompt": PROMPT, field: value}})
            self.assertIn(field, self.refused(reply, 400, field))


class Limit(Shared):
    args = ("--max-guidance", "1.5")

    @classmethod
    def prepare(cls):
        put_base_model(cls.dir)

    def test_guidance_is_lowered_for_turbo(self):
        self.assertEqual(self.image(model="demo", steps=2, guidance=6)["guidance"], 1.5)
        self.assertIn("guidance 6 was lowered to 1.5",
                      " ".join(line["text"] for line in self.server.get("/api/log").json["lines"]))
        self.assertEqual(self.image(model="demo", steps=2, guidance=1)["guidance"], 1)
        self.assertEqual(self.image(model="demo", steps=2)["guidance"], 0)
        self.assertEqual(self.image(model="pytorch/base", steps=2, guidance=6)["guidance"], 6)

    def test_a1111(self):
        reply = self.server.request("POST", "/sdapi/v1/txt2img", {
            "prompt": PROMPT, "width": 32, "height": 32, "steps": 2, "cfg_scale": 7,
            "override_settings": {"sd_model_checkpoint": "demo"}})
        self.assertEqual(json.loads(reply.json["info"])["cfg_scale"], 2.5)


class NoGuidance(Shared):
    args = ("--max-guidance", "0")

    def test_no_guidance(self):
        row = self.image(model="demo", steps=2, guidance=6)
        self.assertEqual(row["guidance"], 0)
        self.assertEqual(row["recipe"], self.image(model="demo", steps=2)["recipe"])


if __name__ == "__main__":
    unittest.main()
