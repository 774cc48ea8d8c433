"""Config fields that change an image, and Z-Image base: used as the model says, or refused by name."""

import json
import os
import shutil
import unittest

from support import MODEL, Case, png_infotext


class Variants(Case):
    def edited(self, name, file, **fields):
        """A copy of the model with other fields in a config; None removes a field."""
        folder = self.copy_model(name)
        path = os.path.join(folder, file)
        with open(path, encoding="utf-8") as config:
            json_ = json.load(config)
        for field, value in fields.items():
            json_.pop(field, None)
            if value is not None:
                json_[field] = value
        with open(path, "w", encoding="utf-8") as config:
            json.dump(json_, config)
        return folder

    def scheduler(self, name, **fields):
        return self.edited(name, "scheduler/scheduler_config.json", **fields)

    def encoder(self, name, **fields):
        return self.edited(name, "text_encoder/config.json", **fields)

    def pixels(self, name, *args, **options):
        """The pixels of an image: those of a PPM would do, but infotexts differ only in what is asked for."""
        self.good(self.generate(*args, output=name, steps=3, **options))
        data, at, found = self.read(name), 8, b""
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if data[at + 4 : at + 8] == b"IDAT":
                found += data[at + 8 : at + 8 + size]
            at += size + 12
        return found

    def infotext(self, name="out.png"):
        return png_infotext(self.read(name))


class Configs(Variants):
    def test_rope_parameters(self):
        rope = {"rope_type": "default", "rope_theta": 5000000}
        nested = self.encoder("nested", rope_theta=None, rope_scaling=None, rope_parameters=rope)
        top = self.encoder("top", rope_theta=5000000)
        wanted = self.pixels("top.png", model=top)
        self.assertEqual(self.pixels("nested.png", model=nested), wanted)
        self.assertNotEqual(self.pixels("plain.png"), wanted)

    def test_refused_by_name(self):
        for i, (file, field, value, words) in enumerate((
                ("text_encoder/config.json", "rope_parameters", {"rope_type": "yarn", "factor": 4}, ["rope_type", "yarn"]),
                ("text_encoder/config.json", "rope_scaling", {"type": "linear", "factor": 2}, ["rope_scaling", "linear"]),
                ("text_encoder/config.json", "rope_scaling", "linear", ["rope_scaling", "an object"]),
                ("text_encoder/config.json", "hidden_act", "gelu", ["hidden_act", "gelu", "silu"]),
                ("text_encoder/config.json", "use_sliding_window", True, ["use_sliding_window", "true", "false"]),
                ("text_encoder/config.json", "layer_types", ["sliding_attention"], ["layer_types", "sliding_attention"]),
                ("transformer/config.json", "qk_norm", False, ["qk_norm", "false", "true"]),
                ("vae/config.json", "act_fn", "relu", ["act_fn", "relu", "silu"]),
                ("vae/config.json", "out_channels", 4, ["out_channels", "4", "3"]),
                ("scheduler/scheduler_config.json", "invert_sigmas", True, ["invert_sigmas", "true", "false"]),
                ("scheduler/scheduler_config.json", "num_train_timesteps", 500, ["num_train_timesteps", "500", "1000"]),
                ("scheduler/scheduler_config.json", "shift_terminal", 2, ["shift_terminal", "2"]),
                ("scheduler/scheduler_config.json", "_class_name", "UniPCMultistepScheduler",
                 ["_class_name", "UniPCMultistepScheduler", "FlowMatchHeunDiscreteScheduler"]))):
            model = self.edited(f"model{i}", file, **{field: value})
            with self.subTest(field=field, value=value):
                self.refused(self.generate(model=model, output=None), 1, file, *words)
            shutil.rmtree(model)

    def test_schedules(self):
        """What a scheduler config says equals the options for it, and differs from the plain schedule."""
        plain = self.pixels("plain.png")
        for i, (fields, options) in enumerate((
                ({"use_karras_sigmas": True}, ["--schedule", "karras"]),
                ({"use_exponential_sigmas": True}, ["--schedule", "exponential"]),
                ({"use_beta_sigmas": True}, ["--schedule", "beta"]),
                ({"stochastic_sampling": True}, ["--sampler", "lcm"]),
                ({"_class_name": "FlowMatchLCMScheduler"}, ["--sampler", "lcm"]),
                ({"_class_name": "FlowMatchHeunDiscreteScheduler"}, ["--sampler", "heun"]),
                ({"shift": 4.5}, ["--shift", "4.5"]),
                ({"shift_terminal": 0.2}, None))):
            model = self.scheduler(f"model{i}", **fields)
            image = self.pixels(f"model{i}.png", model=model)
            with self.subTest(fields=fields):
                self.assertNotEqual(image, plain)
                if options:
                    self.assertEqual(image, self.pixels(f"options{i}.png", *options))
                    # The options win over the config.
                    self.assertEqual(plain, self.pixels("back.png", "--schedule", "diffusers", "--sampler", "euler",
                                                        "--shift", "3", model=model))
            shutil.rmtree(model)

    def test_dynamic_shifting(self):
        """mu for 64 x 64: 16 tokens on the line through (256, 0.5) and (4096, 1.15)."""
        model = self.scheduler("dynamic", use_dynamic_shifting=True)
        image = self.pixels("dynamic.png", model=model)
        shift = float(self.infotext("dynamic.png").split("Shift: ")[1].split(",")[0])
        self.assertAlmostEqual(shift, 2.718281828459045 ** (0.5 - 240 * 0.65 / 3840), 9)
        self.assertEqual(image, self.pixels("fixed.png", "--shift", repr(shift)))
        linear = self.scheduler("linear", use_dynamic_shifting=True, time_shift_type="linear", base_shift=-3)
        self.refused(self.generate(model=linear, output=None), 1, "linear: ", "\"base_shift\"", "64 x 64", "see --shift")

    def test_a_class_that_contradicts_the_index(self):
        model = self.scheduler("model", _class_name="FlowMatchLCMScheduler")
        with open(self.path("model", "model_index.json"), encoding="utf-8") as file:
            self.assertIn("FlowMatchEulerDiscreteScheduler", file.read())
        text = self.good(self.generate(model=model)).stderr.decode()
        self.assertIn("FlowMatchEulerDiscreteScheduler as scheduler", text)
        self.assertIn("FlowMatchLCMScheduler, which is used", text)

    def test_unknown_fields_are_remarks(self):
        model = self.edited("model", "vae/config.json", flavour=1, colour="red")
        seen = json.loads(self.good(self.zimage("inspect", "--json", model)).stdout)
        self.assertEqual((seen["health"], len(seen["remarks"])), ("good", 1))
        self.assertIn("vae/config.json: these fields are unknown and ignored: flavour, colour", seen["remarks"][0])
        said = self.good(self.zimage("verify", model, "--json")).stdout.decode()
        self.assertIn("flavour, colour", said)
        self.good(self.generate(model=model))
        plain = json.loads(self.good(self.zimage("inspect", "--json", MODEL)).stdout)
        self.assertEqual(plain["remarks"], [])


class Samplers(Variants):
    def test_infotext(self):
        self.good(self.generate("--sampler", "heun", "--schedule", "karras", "--guidance", "2", "--cfg-normalization", "1",
                                "--cfg-truncation", "0.5"))
        self.assertIn("Steps: 2, Sampler: Heun, Schedule type: Karras, CFG scale: 3,", self.infotext())
        self.assertIn("CFG normalization: 1, CFG truncation: 0.5,", self.infotext())
        seen = json.loads(self.good(self.zimage("inspect", "--json", "out.png")).stdout)["fields"]
        self.assertEqual([seen[name] for name in ("sampler", "schedule", "cfg_normalization", "cfg_truncation")],
                         ["heun", "karras", 1, 0.5])

    def test_they_differ(self):
        images = {self.pixels(f"{i}.png", *words, "--guidance", "3") for i, words in enumerate((
            [], ["--sampler", "heun"], ["--sampler", "lcm"], ["--cfg-normalization", "0.9"], ["--cfg-truncation", "0.1"]))}
        self.assertEqual(len(images), 5)

    def test_progress_of_heun(self):
        """3 steps are 5 calls; events say 3 steps, and the fraction never falls."""
        result = self.good(self.generate("--sampler", "heun", "--json", steps=3))
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        steps = [row for row in rows if row.get("stage") == "step"]
        self.assertEqual({row["steps"] for row in steps}, {3})
        self.assertEqual([row["fraction"] for row in steps], sorted(row["fraction"] for row in steps))
        self.assertLessEqual({row["step"] for row in steps}, {0, 1, 2, 3})

    def test_refused(self):
        for words, says in ((["--sampler", "dpmpp"], "dpmpp"), (["--schedule", "simple"], "simple"),
                            (["--cfg-truncation", "2"], "0.001 to 1"), (["--cfg-normalization", "-1"], "0 to 10")):
            self.refuses(2, [words[0], says], *words)

    def test_notes(self):
        for words in (["--cfg-normalization", "1"], ["--cfg-truncation", "0.5"], ["--negative", "x"]):
            text = self.good(self.generate(*words)).stderr.decode()
            self.assertEqual(text, f"zimage: {words[0]} has no effect, because the guidance is 0; leave it out, or "
                             "set --guidance to a number above 0\n")


class Base(Variants):
    def run_small(self, *args, **options):
        return self.good(self.zimage("generate", "-p", "a red circle", "-W", "32", "-H", "32", "--seed", "1", "-o",
                                     "out.png", *args, **options))

    def test_defaults(self):
        base = self.scheduler("base", shift=6.0)
        text = self.run_small("-m", base).stderr.decode()
        self.assertEqual(text, "zimage: this is Z-Image, the base model: using 28 steps, guidance 4 and shift 6\n")
        self.assertIn("Steps: 28, ", self.infotext())
        self.assertIn("CFG scale: 5, ", self.infotext())
        self.assertIn("Shift: 6,", self.infotext())
        text = self.run_small("-m", base, "-s", "2").stderr.decode()
        self.assertEqual(text, "zimage: this is Z-Image, the base model: using guidance 4 and shift 6\n")
        text = self.run_small("-m", base, "-s", "2", "--guidance", "0", "--shift", "3").stderr.decode()
        self.assertEqual(text, "")
        self.assertIn("Steps: 2, Sampler: Euler, Schedule type: diffusers, CFG scale: 1, ", self.infotext())
        self.assertEqual(self.run_small("-m", base, "-q").stderr, b"")
        text = self.run_small("-m", MODEL).stderr.decode()
        self.assertEqual(text, "")
        self.assertIn("Steps: 9, Sampler: Euler, Schedule type: diffusers, CFG scale: 1, ", self.infotext())

    def test_lists_of_prompts_and_events(self):
        """Lines have the model's defaults, too, which the events name; the note is printed once per model."""
        base = self.scheduler("base", shift=6.0)
        self.write("list", f'a\n{{"prompt": "b", "steps": 2}}\n{{"prompt": "c", "steps": 2, "model": "{MODEL}"}}\n')
        result = self.good(self.zimage("generate", "--prompts", "list", "-m", base, "-W", "32", "-H", "32", "--seed", "1", "-o",
                                       "out.png", "--json"))
        events = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([event["steps"] for event in events if event["event"] == "start"], [28, 2, 2])
        notes = [json.loads(line)["message"] for line in result.stderr.splitlines()]
        self.assertEqual(notes, ["this is Z-Image, the base model: using 28 steps, guidance 4 and shift 6"])
        texts = [self.infotext(f"out-{i}.png") for i in (1, 2, 3)]
        self.assertEqual([("CFG scale: 5," in text, "Model: base," in text) for text in texts],
                         [(True, True), (True, True), (False, False)])

    def inspected(self, path):
        seen = json.loads(self.good(self.zimage("inspect", "--json", path)).stdout)
        return seen["architecture"], seen.get("variant"), seen.get("shift")

    def test_inspect(self):
        self.assertEqual(self.inspected(MODEL), ("Z-Image-Turbo", "turbo", 3))
        self.assertEqual(self.inspected(self.scheduler("base", shift=6.0)), ("Z-Image (base)", "base", 6))

    def single_file(self, name):
        self.good(self.zimage("convert", MODEL, self.path(name), "--to", "comfyui"))
        return self.path(name)

    def test_single_files_by_name(self):
        self.assertEqual(self.inspected(self.single_file("z_image_bf16.safetensors"))[1:], ("base", 6))
        turbo = self.single_file("z_image_turbo_bf16.safetensors")
        self.assertEqual(self.inspected(turbo), ("Z-Image-Turbo checkpoint (all in one)", "turbo", 3))
        other = self.single_file("painting.safetensors")
        self.assertEqual(self.inspected(other), ("Z-Image checkpoint (all in one)", None, None))

    def test_a_scheduler_of_the_other_kind(self):
        file = self.single_file("z_image_bf16.safetensors")
        text = self.run_small("-m", file, "-s", "2", "--guidance", "0", "--reference", MODEL).stderr.decode()
        self.assertEqual(text.count("\n"), 1, text)
        for word in ("reference", "Z-Image-Turbo (shift 3)", "Z-Image (base)", "its shift, 6, is used"):
            self.assertIn(word, text)
        self.assertIn("Shift: 6,", self.infotext())
        base = self.scheduler("base", shift=6.0)
        text = self.run_small("-m", file, "-s", "2", "--guidance", "0", "--reference", base).stderr.decode()
        self.assertEqual(text, "")
        unknown = self.single_file("painting.safetensors")
        self.run_small("-m", unknown, "-s", "2", "--reference", base)
        self.assertIn("Shift: 6,", self.infotext())
        self.assertIn("CFG scale: 5,", self.infotext())


if __name__ == "__main__":
    unittest.main()
