"""zimage generate: output files, events, progress."""

import base64
import json
import os
import subprocess
import unittest

from support import MODEL, ZIMAGE, Case, png_infotext, png_size, read_safetensors


class Pictures(Case):
    def test_writes_an_image_and_prints_its_name(self):
        result = self.good(self.generate())
        self.assertEqual(result.stdout, b"out.png\n")
        self.assertEqual(result.stderr, b"")
        self.assertEqual(self.files(), ["out.png"])
        self.assertEqual(png_size(self.read("out.png")), (64, 64))

    def test_size_need_not_be_square(self):
        self.good(self.generate("-W", "96", "--height=48"))
        self.assertEqual(png_size(self.read("out.png")), (96, 48))

    def test_replaces_the_named_output(self):
        self.write("out.png", b"old")
        self.good(self.generate())
        self.assertEqual(png_size(self.read("out.png")), (64, 64))

    def test_other_formats_by_extension(self):
        for name, magic in (("a.jpg", b"\xff\xd8"), ("b.JPEG", b"\xff\xd8"), ("c.webp", b"RIFF")):
            self.good(self.generate(output=name))
            self.assertTrue(self.read(name).startswith(magic), name)

    def test_quality_makes_a_difference(self):
        self.good(self.generate("--quality", "20", output="low.jpg"))
        self.good(self.generate("--quality", "95", output="high.jpg"))
        self.assertLess(len(self.read("low.jpg")), len(self.read("high.jpg")))

    def test_carries_its_infotext(self):
        self.good(self.generate("--negative", "noise", "--guidance", "2", seed=5))
        recipe = png_infotext(self.read("out.png"))
        self.assertTrue(recipe.startswith("a red circle\nNegative prompt: noise\n"), recipe)
        for part in ("Steps: 2", "Seed: 5", "Size: 64x64"):
            self.assertIn(part, recipe)

    def test_an_infotext_in_chinese(self):
        self.good(self.generate("-p", "红色的圆"))
        self.assertTrue(png_infotext(self.read("out.png")).startswith("红色的圆\n"))

    def test_file_rights_are_those_of_any_new_file(self):
        self.good(self.generate(preexec_fn=lambda: os.umask(0o027)))
        self.assertEqual(os.stat(self.path("out.png")).st_mode & 0o777, 0o640)


class Determinism(Case):
    def bytes_of(self, name, *args, **options):
        self.good(self.generate(*args, output=name, **options))
        return self.read(name)

    def test_same_seed_same_bytes(self):
        self.assertEqual(self.bytes_of("a.png"), self.bytes_of("b.png"))

    def test_other_seed_other_image(self):
        self.assertNotEqual(self.bytes_of("a.png"), self.bytes_of("b.png", seed=2))

    def test_threads_do_not_matter(self):
        one = self.bytes_of("a.png", "--threads", "1", size=160)
        for threads in ("2", "3"):
            self.assertEqual(one, self.bytes_of("b.png", "--threads", threads, size=160))

    def test_options_reach_the_engine(self):
        plain = self.bytes_of("a.png")
        for args in (["--shift", "1.5"], ["--schedule", "mlx"], ["-s", "3"],
                     ["-p", "a blue square"], ["--guidance", "3"]):
            self.assertNotEqual(plain, self.bytes_of("b.png", *args), args)

    def test_the_named_defaults_are_the_defaults(self):
        plain = self.bytes_of("a.png", "-s", "9")
        words = ["-m", MODEL, "-p", "a red circle", "-W64", "-H64", "--seed", "1", "-o", "b.png"]
        self.good(self.zimage("generate", *words, "--shift", "3", "--schedule", "diffusers",
                              "--guidance=0", "--compute", "auto"))
        self.assertEqual(plain, self.read("b.png"))

    def test_largest_seed(self):
        self.good(self.generate("--seed", str(2**64 - 1)))
        self.assertIn(f"Seed: {2**64 - 1}", png_infotext(self.read("out.png")))


class Several(Case):
    def test_numbered_names_and_successive_seeds(self):
        result = self.good(self.generate("-n", "2", seed=7))
        self.assertEqual(result.stdout, b"out-1.png\nout-2.png\n")
        self.assertEqual(self.files(), ["out-1.png", "out-2.png"])
        self.good(self.generate(seed=8, output="single.png"))
        self.assertEqual(self.read("out-2.png"), self.read("single.png"))

    def test_traces_are_numbered_too(self):
        self.good(self.generate("-n", "2", "--trace", "t.safetensors"))
        self.assertIn("t-2.safetensors", self.files())

    def test_dots_in_folders_are_no_extensions(self):
        os.mkdir(self.path("a.b"))
        self.good(self.generate("-n", "2", output="a.b/x.png"))
        self.assertEqual(self.files(), ["a.b/x-1.png", "a.b/x-2.png"])

    def test_default_names_tell_the_seed_and_spare_what_is_there(self):
        for expected in ("zimage-3.png", "zimage-3-2.png", "zimage-3-3.png"):
            result = self.good(self.generate(seed=3, output=None))
            self.assertEqual(result.stdout.decode(), expected + "\n")
        self.assertEqual(len(self.files()), 3)
        self.good(self.generate("-n", "2", seed=4, output=None))
        self.assertEqual(self.files()[-2:], ["zimage-4.png", "zimage-5.png"])

    def test_a_drawn_seed_is_reported_and_repeats(self):
        words = ["-m", MODEL, "-p", "x", "-W", "64", "-H", "64", "-s", "1"]
        first = self.good(self.zimage("generate", *words, "-o", "a.png"))
        second = self.good(self.zimage("generate", *words, "-o", "b.png"))
        self.assertNotEqual(first.stderr, second.stderr)
        seed = first.stderr.decode().split("seed ")[1].strip()
        self.good(self.zimage("generate", *words, "--seed", seed, "-o", "c.png"))
        self.assertEqual(self.read("a.png"), self.read("c.png"))


class Aspect(Case):
    def test_the_shorter_side_is_the_native_one(self):
        # 1024 px take long here; the long side of 16:1 tells the same by being refused.
        words = ["-m", MODEL, "-p", "x", "--seed", "1", "-o", "out.png"]
        self.refused(self.zimage("generate", *words, "--aspect", "16:1"), 2, "--aspect", "16384")
        self.assertEqual(self.files(), [])

    def test_rounds_to_sixteen(self):
        model = self.copy_model()
        config = json.loads(self.read("model/vae/config.json"))
        config["sample_size"] = 64
        self.write("model/vae/config.json", json.dumps(config))
        words = ["-m", model, "-p", "x", "-s", "1", "--seed", "1", "-o", "out.png"]
        for aspect, size in (("16:9", (112, 64)), ("3:4", (64, 80)), ("1:1", (64, 64)), ("16x9", (112, 64)),
                             ("16/9", (112, 64)), ("1.85:1", (112, 64)), ("1:2.39", (64, 160)), ("0.5X1.0", (64, 128))):
            self.good(self.zimage("generate", *words, "--aspect", aspect))
            self.assertEqual(png_size(self.read("out.png")), size)
        self.good(self.zimage("generate", *words))
        self.assertEqual(png_size(self.read("out.png")), (64, 64))


class Reports(Case):
    def test_json_events(self):
        result = self.good(self.generate("--json", seed=2**63 + 1))
        events = [json.loads(line) for line in result.stdout.splitlines()]
        start, done = events[0], events[-1]
        self.assertEqual([event["event"] for event in events if event["event"] not in ("progress", "step")],
                         ["start", "done"])
        self.assertEqual(start, {"event": "start", "picture": 1, "pictures": 1, "seed": 2**63 + 1, "width": 64,
                                 "height": 64, "steps": 2, "model": "model", "tokens": start["tokens"],
                                 "tokens_used": start["tokens"], "prompt": "a red circle"})
        told = [event for event in events if event["event"] == "step"]
        self.assertEqual([(event["step"], event["steps"]) for event in told], [(1, 2), (2, 2)])
        progress = [event for event in events if event["event"] == "progress"]
        stages = [event["stage"] for event in progress]
        self.assertEqual(sorted(set(stages), key=stages.index), ["encode", "step", "decode"])
        steps = [event["step"] for event in progress if event["stage"] == "step"]
        self.assertEqual(steps, sorted(steps))
        self.assertTrue(all(event["steps"] == 2 for event in progress if event["stage"] == "step"))
        for stage in stages:
            fractions = [event["stage_fraction"] for event in progress if event["stage"] == stage]
            self.assertEqual(fractions, sorted(fractions), stage)
            self.assertTrue(0 <= fractions[0] and fractions[-1] <= 1)
        first = [event for event in progress if event["stage"] == "step" and event["step"] == 0]
        self.assertTrue(all(event["stage_fraction"] <= 0.5 for event in first))
        seconds = done.pop("seconds")
        self.assertGreater(seconds, 0)
        times = done.pop("timings")
        self.assertEqual(set(times), {"encode", "sample", "decode", "save"})
        self.assertLessEqual(sum(times.values()), seconds * 1.01)
        self.assertEqual(done, {"event": "done", "file": "out.png", "seed": 2**63 + 1, "width": 64, "height": 64,
                                "tokens": start["tokens"], "tokens_used": start["tokens"], "picture": 1,
                                "pictures": 1})

    def test_json_fractions_are_of_the_whole_and_never_fall(self):
        result = self.good(self.generate("--json", "-n", "3", "-s", "4"))
        events = [json.loads(line) for line in result.stdout.splitlines()]
        fractions = [event["fraction"] for event in events if "fraction" in event]
        self.assertEqual(fractions, sorted(fractions))
        self.assertEqual(fractions[-1], 1)
        ends = [event["fraction"] for event in events if event["event"] == "step" and event["step"] == 4]
        for i, end in enumerate(ends):
            self.assertTrue(i / 3 < end < (i + 1) / 3, ends)

    def test_json_previews_on_request(self):
        self.good(self.generate("-s", "3"))
        plain = self.read("out.png")
        result = self.good(self.generate("--json", "--preview", "on", "-s", "3"))
        previews = [e for e in map(json.loads, result.stdout.splitlines()) if e["event"] == "preview"]
        self.assertEqual([event["step"] for event in previews], [1, 2, 3])
        for event in previews:
            self.assertEqual(png_size(base64.b64decode(event["png"])), (8, 8))
            self.assertEqual((event["width"], event["height"]), (8, 8))
        self.assertEqual(self.read("out.png"), plain)

    def all_json(self, result):
        """The events on stdout and stderr, which have nothing else."""
        return [[json.loads(line) for line in stream.splitlines()] for stream in (result.stdout, result.stderr)]

    def test_json_failures_are_events(self):
        for code, words, args in (
            (1, ["nowhere"], ["-m", "nowhere"]),
            (2, ["--width: 100", "112"], ["-W", "100"]),
            (2, ["unknown option"], ["--frobnicate"]),
            (2, ["--steps"], ["-s", "many"]),
            (1, ["nowhere/x.png"], ["-o", "nowhere/x.png"]),
        ):
            with self.subTest(args):
                result = self.zimage("generate", "-m", MODEL, "-p", "x", "--seed", "1", "-o", "x.png", *args, "--json")
                self.assertEqual(result.returncode, code)
                events, notes = self.all_json(result)
                self.assertEqual([event["event"] for event in events], ["failed"])
                self.assertEqual(notes, [])
                for word in words:
                    self.assertIn(word, events[0]["message"])
                self.assertTrue(events[0]["code"])

    def test_json_of_names_that_are_not_utf8(self):
        events, _ = self.all_json(self.generate("--json", model=b"\xff\xe4here"))
        self.assertIn("??here: no such file", events[0]["message"])
        events, _ = self.all_json(self.good(self.generate("--json", output=b"o\xff.png")))
        self.assertEqual(events[-1]["file"], "o\ufffd.png")

    def test_json_is_not_seen_in_a_prompt(self):
        self.refused(self.zimage("generate", "-m", "nowhere", "-p", "--json"), 1, "nowhere")

    def test_json_notes(self):
        result = self.good(self.zimage("generate", "-m", MODEL, "-p", "x", "-W64", "-H64", "-s1", "--json", "--negative",
                                       "y", "-o", "x.png"))
        events, notes = self.all_json(result)
        self.assertEqual([note["event"] for note in notes], ["note", "note"])
        self.assertIn(f"seed {events[-1]['seed']}", notes[0]["message"])
        self.assertIn("--negative has no effect", notes[1]["message"])

    def test_json_tells_images_apart(self):
        result = self.good(self.generate("--json", "-n", "2"))
        events = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([e["file"] for e in events if e["event"] == "done"],
                         ["out-1.png", "out-2.png"])
        self.assertEqual({e["picture"] for e in events if e["event"] == "progress"}, {1, 2})
        self.assertEqual([e["picture"] for e in events if e["event"] == "start"], [1, 2])

    def test_quiet_is_silent(self):
        words = ["-m", MODEL, "-p", "x", "-W", "64", "-H", "64", "-s", "1", "--negative", "y", "-q"]
        result = self.good(self.zimage("generate", *words))
        self.assertEqual(result.stderr, b"")
        self.assertEqual(len(self.files()), 1)

    def test_negative_without_guidance_is_remarked(self):
        result = self.good(self.generate("--negative", "noise"))
        self.assertEqual(result.stderr.count(b"\n"), 1)
        self.assertIn(b"--negative has no effect", result.stderr)

    def test_trace(self):
        self.good(self.generate("--trace", "t.safetensors"))
        tensors = read_safetensors(self.path("t.safetensors"))
        shapes = {name: row[1] for name, row in tensors.items()}
        self.assertEqual(shapes["sigmas"], [3])
        self.assertEqual(shapes["image"], [3, 64, 64])
        self.assertEqual(shapes["latents.2"], [16, 8, 8])
        self.assertEqual(tensors["input_ids"][0], "I64")

    def test_bar_on_a_terminal_only(self):
        for extra, drawn in ((["-p", "x"], True), (["-q"], False), (["--json"], False)):
            master, terminal = self.open_terminal()
            self.good(self.on_terminal(terminal, *extra))
            os.close(terminal)
            seen = b""
            try:
                while True:
                    part = os.read(master, 4096)
                    if not part:
                        break
                    seen += part
            except OSError:  # how Linux tells that the other end is closed
                pass
            os.close(master)
            self.assertEqual(b"step 1 of 2" in seen, drawn, seen)
            if drawn:
                self.assertTrue(seen.endswith(b"\r\x1b[K"), seen)

    def on_terminal(self, terminal, *extra):
        words = ["-m", MODEL, "-p", "x", "-W64", "-H64", "-s2", "--seed", "1", "-o", "out.png"]
        return subprocess.run([ZIMAGE, "generate", *words, *extra], cwd=self.dir, timeout=60,
                              stdout=subprocess.PIPE, stderr=terminal, check=False)


if __name__ == "__main__":
    unittest.main()
