"""Defaults from the configuration file and ZIMAGE_* variables, and zimage config."""

import json
import os
import unittest

from support import MODEL, Case, png_infotext


class Configured(Case):
    def setUp(self):
        super().setUp()
        self.env = {**os.environ, "XDG_CONFIG_HOME": self.path("conf")}
        del self.env["ZIMAGE_DEVICE"]  # of all tests

    def configure(self, text):
        self.write("conf/zimage/config", text)

    def run_with(self, *args, variables=None, **options):
        return self.zimage(*args, env={**self.env, **(variables or {})}, **options)

    def text(self, *args, **options):
        """The infotext of an image that these words make."""
        self.good(self.run_with("generate", "-m", MODEL, "-p", "x", "--seed", "1", "-o", "out.png", *args, **options))
        return png_infotext(self.read("out.png"))

    def settings(self, **options):
        return json.loads(self.good(self.run_with("config", "--json", **options)).stdout)["settings"]


class Precedence(Configured):
    SMALL = "width = 64\nheight=64\nsteps = 3\n"

    def test_command_line_then_variables_then_file(self):
        self.configure(self.SMALL)
        self.assertIn("Steps: 3,", self.text())
        self.assertIn("Steps: 2,", self.text(variables={"ZIMAGE_STEPS": "2"}))
        self.assertIn("Steps: 1,", self.text("-s", "1", variables={"ZIMAGE_STEPS": "2"}))
        self.assertIn("Steps: 3,", self.text(variables={"ZIMAGE_STEPS": ""}))

    def test_sections(self):
        self.configure("steps = 5\n[generate]\nsteps = 2\nwidth=64\nheight=64\n[tokenize]\nchat = yes\n")
        self.assertIn("Steps: 2,", self.text())
        chat = self.good(self.run_with("tokenize", "-m", MODEL, "red")).stdout
        self.assertEqual(chat, self.good(self.zimage("tokenize", "-m", MODEL, "--chat", "red")).stdout)

    def test_variables_of_a_subcommand(self):
        self.configure(self.SMALL)
        self.assertIn("Steps: 2,", self.text(variables={"ZIMAGE_STEPS": "1", "ZIMAGE_GENERATE_STEPS": "2"}))

    def test_forms_of_lines(self):
        self.configure("\n# a remark\n ; another\n\t width=64 \nheight = 64\r\n steps\t=\t2\n--max_tokens = 100\n"
                       "negative = \"  # kept \"\nguidance = 1\n")
        text = self.text()
        self.assertIn("Negative prompt:   # kept \n", text)
        self.assertIn("Max tokens: 100", text)

    def test_flags_and_levels(self):
        self.configure(self.SMALL + "no-metadata = yes\nquiet = 1\n")
        self.assertIsNone(self.text())
        self.assertIn("Steps: 3", self.text(variables={"ZIMAGE_NO_METADATA": "off"}))
        for value in ("no", "false", "0", "OFF"):
            self.configure(self.SMALL + f"enhance = {value}\n")
            self.assertIn("Steps: 3", self.text())

    def test_the_last_line_counts(self):
        self.configure(self.SMALL + "steps = 2\n")
        self.assertIn("Steps: 2,", self.text())

    def test_what_excludes_each_other_gives_way(self):
        self.configure("aspect = 1:2\nsteps = 1\n")
        self.assertIn("Size: 64x80", self.text("-W64", "-H80"))
        self.assertIn("Size: 64x80", self.text("-W64", variables={"ZIMAGE_HEIGHT": "80"}))
        self.configure(self.SMALL + "prompt = a cat\n")
        words = ["generate", "-m", MODEL, "--seed", "1", "-o", "out.png"]
        self.good(self.run_with(*words))
        self.assertTrue(png_infotext(self.read("out.png")).startswith("a cat\n"))
        self.good(self.run_with(*words, "--random-prompt"))
        self.assertFalse(png_infotext(self.read("out.png")).startswith("a cat\n"))
        self.configure(self.SMALL + "json = yes\n")
        self.assertTrue(self.good(self.run_with("generate", "-m", MODEL, "-p", "x", "--seed", "1", "-o", "-"))
                        .stdout.startswith(b"\x89PNG"))
        self.assertIn(b"\x1b_G", self.good(self.run_with(*words, "-p", "x", "--preview", "kitty")).stdout)
        for setting in ("output = -\n", "preview = kitty\n", "preview = iterm2\n", "preview = sixel\n"):
            self.configure(self.SMALL + setting)
            lines = self.good(self.run_with("generate", "-m", MODEL, "-p", "x", "--seed", "1", "--json")).stdout.splitlines()
            self.assertEqual(json.loads(lines[-1])["event"], "done")
        self.configure(self.SMALL + "verbose = yes\n")
        self.assertIn(b"step 1 of 3", self.good(self.run_with(*words, "-p", "x", variables={"ZIMAGE_QUIET": "no"})).stderr)
        self.configure("link = yes\nprecision = q8\n")
        moved = self.good(self.run_with("import", self.copy_model(), "--move")).stdout.decode().strip()
        self.assertEqual((os.path.islink(self.path(moved)), os.path.exists(self.path("model"))), (False, False))

    def test_what_excludes_a_conversion_gives_way(self):
        for option in "link", "move":
            self.configure(option + " = yes\n")
            for i, args in enumerate((["--to", "mlx"], ["--precision", "fp16"])):
                model = self.copy_model(f"{option}-{i}")
                made = self.good(self.run_with("import", model, *args)).stdout.decode().strip()
                self.assertEqual((os.path.islink(self.path(made)), os.path.exists(self.path(model))), (False, True))
        self.configure("local-dir = here\n")
        for args in ["--to", "mlx"], ["--precision", "q8"]:
            self.refused(self.run_with("download", "a/b", *args), 1, "127.0.0.1")  # nobody listens there

    def test_what_has_no_effect_is_ignored(self):
        """Settings that many subcommands share, where one has no use for them in this call."""
        self.configure("models = mine\nname = mine\nreference = nowhere\n")
        hub = self.run_with("download", "a/b")
        self.assertEqual(hub.returncode, 1)  # nobody listens there
        self.assertIn(b"127.0.0.1", hub.stderr)
        self.good(self.run_with("import", MODEL, "--link"))
        self.assertEqual(self.run_with("models", "list", variables={"ZIMAGE_DRY_RUN": "yes"}).returncode, 0)

    def test_json(self):
        self.configure(self.SMALL + "json = yes\n")
        result = self.run_with("generate", "-m", "nowhere", "-p", "x")
        self.assertEqual((result.returncode, result.stderr), (1, b""))
        self.assertEqual(json.loads(result.stdout)["event"], "failed")

    def test_home(self):
        os.makedirs(self.path("home", ".config", "zimage"))
        self.write("home/.config/zimage/config", "[generate]\nmodel = ~/mine\nwidth=64\nheight=64\nsteps=1\n")
        os.symlink(MODEL, self.path("home", "mine"))
        env = {name: value for name, value in self.env.items() if name != "XDG_CONFIG_HOME"}
        for more in ({}, {"XDG_CONFIG_HOME": "relative"}):
            self.good(self.zimage("generate", "-p", "x", "--seed", "1", "-o", "out.png",
                                  env={**env, **more, "HOME": self.path("home")}))
            self.assertIn("Model: mine", png_infotext(self.read("out.png")))
        self.write("home/.config/zimage/config", "[verify]\nagainst = ~/none\n[generate]\nmodel = ~\n")
        for words in (["verify", MODEL], ["generate", "-p", "x"]):
            result = self.zimage(*words, env={**env, "HOME": self.path("home")})
            self.assertEqual(result.returncode, 1)
            self.assertIn(self.path("home"), result.stderr.decode())

    def test_another_file(self):
        self.configure(self.SMALL)
        self.write("mine", "steps = 1\nwidth=64\nheight=64\n")
        self.assertIn("Steps: 1,", self.text(variables={"ZIMAGE_CONFIG": self.path("mine")}))
        self.assertIn("Steps: 9,", self.text("-W64", "-H64", variables={"ZIMAGE_CONFIG": ""}))

    def test_without_a_file(self):
        self.assertIn("Steps: 9,", self.text("-W64", "-H64"))


class Wrong(Configured):
    """One clear line, which names the file and the line in it."""

    def refuses_file(self, words, text):
        self.configure(text)
        self.refused(self.run_with("generate", "-m", MODEL, "-p", "x", "--seed", "1"), 1, *words)

    def test_lines(self):
        for number, words, text in (
            (2, ["'stepz'", "no option"], "# first\nstepz = 3\n"),
            (1, ["the line has no =; write OPTION = VALUE"], "steps 3\n"),
            (2, ["no option of generate"], "[generate]\nport = 3\n"),
            (1, ["]"], "[generate\n"),
            (2, ["no subcommand", "paint"], "[paint]\nsteps = 3\n"),
            (1, ["steps", "'many'"], "steps = many\n"),
            (1, ["steps", "0", "1 to 1000"], "steps = 0\n"),
            (1, ["quiet", "'perhaps'"], "quiet = perhaps\n"),
            (1, ["schedule", "'xyz'", "mlx"], "schedule = xyz\n"),
            (1, ["enhance", "'often' is not possible; write yes, no or try"], "enhance = often\n"),
        ):
            with self.subTest(text):
                self.refuses_file([f"conf/zimage/config: line {number}: ", *words], text)

    def test_files(self):
        self.refuses_file(["conf/zimage/config", "UTF-8"], b"steps = \xff\n")
        self.refuses_file(["conf/zimage/config", "has a zero byte, so it is no plain text; save it as UTF-8 text"], b"steps = 3\0\n")
        os.remove(self.path("conf", "zimage", "config"))
        os.mkdir(self.path("conf", "zimage", "config"))
        self.refused(self.run_with("inspect", MODEL), 1, "conf/zimage/config", "a folder")
        self.refused(self.run_with("generate", "-p", "x", variables={"ZIMAGE_CONFIG": "none"}), 1, "none", "no such file")

    def test_no_right_to_read(self):
        self.configure("steps = 3\n")
        os.chmod(self.path("conf", "zimage", "config"), 0)
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        self.refused(self.run_with("generate", "-p", "x"), 1, "conf/zimage/config", "permission")

    def test_variables(self):
        for name, value, word in (("ZIMAGE_STEPS", "x", "'x'"), ("ZIMAGE_GENERATE_STEPS", "0", "out of range"),
                                  ("ZIMAGE_QUIET", "maybe", "'maybe'")):
            self.refused(self.run_with("generate", "-m", MODEL, "-p", "x", variables={name: value}), 2,
                         f"zimage: environment variable {name}: ", word)

    def test_help_is_there_all_the_same(self):
        self.configure("nonsense\n")
        for words in (["help"], ["help", "generate"], ["generate", "--help"], ["version"], ["docs", "man"]):
            self.good(self.run_with(*words))


class Show(Configured):
    def test_origins(self):
        self.configure("steps = 3\n[serve]\nport = 8000\napi-key = secret\n[generate]\nwidth = 64\n")
        variables = {"ZIMAGE_STEPS": "2", "ZIMAGE_SERVE_PORT": "9000", "ZIMAGE_COLOUR": "red"}
        found = {(row.get("option"), row["origin"]): row for row in self.settings(variables=variables)}
        self.assertEqual(found["steps", "file"], {"option": "steps", "value": "3", "origin": "file", "line": 1,
                                                  "overridden_by": "ZIMAGE_STEPS"})
        self.assertEqual(found["port", "file"]["overridden_by"], "ZIMAGE_SERVE_PORT")
        self.assertEqual(found["port", "variable"], {"option": "port", "value": "9000", "origin": "variable",
                                                     "subcommand": "serve", "variable": "ZIMAGE_SERVE_PORT"})
        self.assertEqual(found["api-key", "file"]["value"], "(hidden)")
        self.assertEqual(found["width", "file"]["line"], 6)
        self.assertEqual(found[None, "variable"]["variable"], "ZIMAGE_COLOUR")
        result = self.good(self.run_with("config", variables=variables))
        text = result.stdout.decode()
        self.assertNotIn("secret", text)
        for line in ("configuration file: " + self.path("conf", "zimage", "config"), "steps = 3 .* line 1, overridden by "
                     "ZIMAGE_STEPS", r"steps = 2 .* ZIMAGE_STEPS", r"\[generate\] width = 64 .* line 6",
                     "ZIMAGE_COLOUR .* ignored"):
            self.assertRegex(text, "(?m)^" + line)

    def test_a_line_that_a_section_overrides(self):
        self.configure("chat = yes\n[tokenize]\nchat = no\n")
        rows = self.settings()
        self.assertEqual(rows[0]["overridden_by"], "line 3")
        self.assertNotIn("overridden_by", rows[1])

    def test_what_gives_way_to_what_excludes_it(self):
        self.configure("aspect = 1:2\npreview = on\n[generate]\nquiet = yes\nverbose = yes\n")
        rows = self.settings(variables={"ZIMAGE_WIDTH": "64", "ZIMAGE_JSON": "yes"})
        self.assertEqual([row.get("overridden_by") for row in rows], ["ZIMAGE_WIDTH", None, "line 5", None, None, None])
        self.configure("preview = kitty\noverwrite = yes\noutput = -\n")
        rows = self.settings(variables={"ZIMAGE_GENERATE_JSON": "yes", "ZIMAGE_NO_CLOBBER": "no"})
        self.assertEqual([row.get("overridden_by") for row in rows[:3]], ["ZIMAGE_GENERATE_JSON", None, None])
        self.configure("[generate]\noutput = -\n")
        self.assertEqual(self.settings(variables={"ZIMAGE_JSON": "yes"})[0]["overridden_by"], "ZIMAGE_JSON")

    def test_nothing_configured(self):
        self.assertEqual(self.settings(), [])
        self.assertIn(b"conf/zimage/config", self.good(self.run_with("config")).stdout)
        self.assertEqual(self.good(self.run_with("config", variables={"ZIMAGE_CONFIG": ""})).stdout,
                         b"configuration file: none\n")

    def test_wrong_settings(self):
        self.configure("[generate]\nsteps = many\n")
        result = self.run_with("config", variables={"ZIMAGE_WIDTH": "x"})
        self.assertEqual(result.returncode, 1)
        self.assertIn(self.path("conf", "zimage", "config") + ": line 2: generate: steps: 'many'", result.stderr.decode())
        self.assertIn(b"environment variable ZIMAGE_WIDTH: generate: width: 'x'", result.stderr)
        self.configure("stepz = 3\n")
        result = self.run_with("config")
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"line 1: 'stepz'", result.stderr)


if __name__ == "__main__":
    unittest.main()
