"""A row more in the table of generation parameters is an option, a field that is checked, and described to clients and
to the page. ZIMAGE is the program that is built with tests/more_parameters.def."""

import json
import os
import re
import subprocess

from serving import PROMPT, ZIMAGE, Case, errors_of, path, run


class Row(Case):
    """test_steps, which is steps by another name."""

    def generate(self, *args):
        return run("generate", "-m", "demo-model", "-p", PROMPT, "-W", "64", "-H", "64", "--seed", "1", "-q",
                   "-o", "out.png", *args, folder=self.dir)

    @classmethod
    def prepare(cls):
        share = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "share", "demo-model")
        os.symlink(os.path.abspath(share), path(cls.dir, "demo-model"))

    def image(self, *args):
        run = self.generate(*args)
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(path(self.dir, "out.png"), "rb") as file:
            return file.read()

    def test_command_line(self):
        run = subprocess.run([ZIMAGE, "generate", "--help"], capture_output=True, text=True, check=True)
        self.assertRegex(run.stdout, r"(?m)^ +--test-steps N +steps by another name \(as --steps\)$")
        self.assertRegex(run.stdout, r"(?m)^ +--test-flag +the seed counts")
        self.assertEqual(self.image("--test-steps", "3"), self.image("--steps", "3"))
        self.assertNotEqual(self.image("--test-steps=2"), self.image("--steps", "3"))
        for value, says in (("51", "51 is out of range; it must be from 1 to 50"), ("0", "0 is out of range"),
                            ("x", "'x' is not a whole number")):
            run = self.generate("--test-steps", value)
            self.assertEqual((run.returncode, run.stdout), (2, ""))
            self.assertIn(f"--test-steps: {says}", run.stderr)

    def test_jobs(self):
        params = {"prompt": PROMPT, "model": "demo", "width": 64, "height": 64, "seed": "1", "test_steps": 3}
        job = self.server.wait(self.server.submit(**params))
        self.assertEqual((job["state"], job["params"], job["progress"]["steps"]), ("done", params, 3))
        for value, says in ((41, "41 is out of range; it must be from 1 to 40"), (0, "0 is out of range"),
                            (1.5, "1.5 is not a whole number"), ("3", "must be a whole number from 1 to 40")):
            reply = self.server.request("POST", "/api/jobs", {"kind": "generate", "params": dict(params, test_steps=value)})
            self.assertIn(f"test_steps: {says}", self.refused(reply, 400, "test_steps"))

    def test_config(self):
        row = [row for row in self.server.get("/api/config").json["parameters"] if row["name"] == "test_steps"]
        self.assertEqual(row, [{
            "name": "test_steps", "type": "integer", "label": "Test steps", "help": "steps by another name",
            "note": "A note on test steps.", "required": False, "default": 4, "default_text": "as --steps",
            "zero_off": False, "min": 1, "max": 40, "multiple": None, "choices": None, "place": "main", "low": 1,
            "high": 10, "step": 1}])

    def test_openapi(self):
        schema = self.server.get("/api/openapi.json").json["components"]["schemas"]["GenerateParams"]
        self.assertEqual(schema["properties"]["test_steps"], {
            "type": ["integer", "null"], "minimum": 1, "maximum": 40,
            "description": "Steps by another name; null: as --steps."})
        self.assertEqual(errors_of({"prompt": "a", "test_steps": 3}, schema), [])
        self.assertNotEqual(errors_of({"prompt": "a", "test_steps": 41}, schema), [])

    def test_page(self):
        """tests/web finds its control in a browser."""
        page = self.server.get("/").body.decode()
        rows = json.loads(re.search('<script type="application/json" id="parameters">(.*)</script>', page)[1])
        self.assertEqual(rows, self.server.get("/api/config").json["parameters"])
        self.assertIn("test_steps", [row["name"] for row in rows])


class Others(Case):
    def test_all_types(self):
        """Numbers, texts and flags reach the library as well."""
        trace = path(self.dir, "trace.safetensors")
        params = {"prompt": PROMPT, "model": "demo", "width": 64, "height": 64, "steps": 2, "test_number": 5.5,
                  "test_path": trace, "test_flag": True}
        job = self.server.wait(self.server.submit(**params))
        self.assertEqual((job["state"], job["params"]), ("done", dict(params, seed="0")))
        image = self.server.get(f"/api/images/{job['images'][0]}").json
        self.assertEqual((image["shift"], image["seed"]), (5.5, "0"))
        self.assertTrue(os.path.exists(trace))
        for field, value, says in (("test_flag", 1, "must be true or false"), ("test_path", "", "is empty"),
                                   ("test_path", "x" * 201, "has 201 bytes, but at most 200 are possible"),
                                   ("test_number", 0, "0 is out of range; it must be from 0.5 to 20")):
            reply = self.server.request("POST", "/api/jobs", {"kind": "generate", "params": dict(params, **{field: value})})
            self.assertIn(f"{field}: {says}", self.refused(reply, 400, field))


if __name__ == "__main__":
    import unittest

    unittest.main()
