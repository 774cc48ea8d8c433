"""zimage generate: prompts from files and standard input, files of prompts, long prompts, <lora:...>."""

import json
import os
import struct
import subprocess
import unittest

from support import MODEL, ZIMAGE, Case, png_infotext, png_size, read_safetensors
from program import DATA

SMALL = ["-m", MODEL, "-W64", "-H64", "-s1"]


class Prompting(Case):
    def call(self, *args, stdin=None, **options):
        """generate with small images; stdin: bytes."""
        return subprocess.run([ZIMAGE, "generate", *SMALL, *args], cwd=self.dir, input=stdin or b"", timeout=60,
                              capture_output=True, **options)

    def prompt(self, name="out.png"):
        """The prompt in an image, which is all before the line of settings."""
        return png_infotext(self.read(name)).rsplit("\nSteps: ", 1)[0]

    def events(self, result):
        return [json.loads(line) for line in result.stdout.splitlines()]


class Sources(Prompting):
    def test_a_file(self):
        for text in ("a cat", "a cat\n", "a cat\r\n\n", "\ufeffa cat\n"):
            self.write("p.txt", text)
            self.good(self.call("--seed", "1", "-p", "@p.txt", "-o", "out.png"))
            self.assertEqual(self.prompt(), "a cat")
        self.write("p.txt", "two\nlines\n")
        self.good(self.call("--seed", "1", "-p", "@p.txt", "-o", "out.png"))
        self.assertEqual(self.prompt(), "two\nlines")

    def test_standard_input(self):
        self.good(self.call("--seed", "1", "-p", "-", "-o", "out.png", stdin="ein Bär\n".encode()))
        self.assertEqual(self.prompt(), "ein Bär")

    def test_a_prompt_that_begins_with_at(self):
        self.good(self.call("--seed", "1", "-p", "@@home", "-o", "out.png"))
        self.assertEqual(self.prompt(), "@home")

    def test_bad_files(self):
        self.write("bytes", b"a \xff cat")
        self.write("zero", b"a \0 cat")
        self.write("empty", b"\n\n")
        os.mkdir(self.path("folder"))
        for code, words, name in ((1, ["none.txt", "no such file", "@@"], "none.txt"), (2, ["zimage: bytes: is not UTF-8 text"], "bytes"),
                                  (1, ["zero: has a zero byte", "UTF-8"], "zero"),
                                  (2, ["zimage: empty: has no text; write the prompt into this file", "@@"], "empty"),
                                  (1, ["folder", "a folder"], "folder")):
            self.refused(self.call("--seed", "1", "-p", "@" + name, "-o", "out.png"), code, *words)
        self.refused(self.call("--seed", "1", "-p", "-", "-o", "out.png"), 2, "standard input: has no text; send the prompt there")
        self.refused(self.call("--seed", "1", "-p", "-", "-o", "out.png", stdin=b"\0"), 1, "standard input: has a zero byte", "UTF-8")
        self.assertNotIn("out.png", self.files())

    def test_too_much_on_standard_input(self):
        """More never comes to an end there."""
        with open("/dev/zero", "rb") as endless:
            result = subprocess.run([ZIMAGE, "generate", *SMALL, "-p", "-"], cwd=self.dir, stdin=endless, timeout=60,
                                    capture_output=True)
        self.refused(result, 1, "standard input: has more than 1048576 bytes, which is too long; send a shorter text")
        self.assertNotIn(b"@", result.stderr)
        self.write("long", b"a" * (2 << 20))
        self.refused(self.call("-p", "@long"), 1, "long", "@@")

    def test_one_source_only(self):
        self.write("list", "a\n")
        self.refused(self.call("--prompts", "list", "-p", "x"), 2, "--prompts: ", "cannot be used with --prompt;")
        self.refused(self.call("--prompts", "list", "--random-prompt"), 2, "--prompts", "--random-prompt")


class Lists(Prompting):
    def test_a_prompt_per_line(self):
        self.write("list", "a cat\n\n  a dog \r\na cow")
        result = self.good(self.call("--prompts", "list", "--seed", "7", "-o", "out-%04d.png"))
        self.assertEqual(result.stdout, b"out-0001.png\nout-0002.png\nout-0003.png\n")
        self.assertEqual([self.prompt(f"out-000{i}.png") for i in (1, 2, 3)], ["a cat", "a dog", "a cow"])
        self.assertIn("Seed: 7", png_infotext(self.read("out-0003.png")))

    def test_the_list_may_come_through_a_pipe(self):
        result = self.good(self.call("--prompts", "-", "--seed", "7", "-o", "out.png", stdin=b"a cat\na dog\n"))
        self.assertEqual(result.stdout, b"out-1.png\nout-2.png\n")

    def test_images_are_those_of_single_calls(self):
        self.write("list", 'a cat\n{"prompt": "a dog", "steps": 2, "seed": 5}\n')
        self.good(self.call("--prompts", "list", "--seed", "7", "-o", "o.png", "-n", "2"))
        for words, name in ((["-p", "a cat", "--seed", "8"], "o-2.png"),
                            (["-p", "a dog", "-s2", "--seed", "5"], "o-3.png")):
            self.good(self.call(*words, "-o", "single.png"))
            self.assertEqual(self.read("single.png"), self.read(name))

    def test_json_lines_take_every_parameter(self):
        row = {"prompt": "a {dog}", "negative": "no", "width": 48, "height": 80, "steps": 2, "seed": str(2**63 + 1),
               "count": 2, "shift": 1.5, "guidance": 2.5, "schedule": "mlx", "compute": "exact", "max_tokens": 40,
               "model": MODEL, "output": "mine-%d-%s.png"}
        self.write("list", 'x\n' + json.dumps(row) + "\n" + '{"prompt": "b", "aspect": null, "output": "b.png"}\n')
        result = self.good(self.call("--prompts", "list", "--seed", "1", "-o", "other.png", "-q"))
        names = [f"mine-1-{2**63 + 1}.png", f"mine-2-{2**63 + 2}.png", "b.png"]
        self.assertEqual(result.stdout.decode().split(), ["other-1.png", *names])
        text = png_infotext(self.read(names[1]))
        for part in ("a {dog}\nNegative prompt: no\n", "Steps: 2", "Schedule type: mlx", "CFG scale: 3.5",
                     f"Seed: {2**63 + 2}", "Size: 48x80", "Shift: 1.5", "Max tokens: 40"):
            self.assertIn(part, text)
        self.assertEqual(png_size(self.read("b.png")), (64, 64))

    def test_models_by_line(self):
        other = self.copy_model("other")
        self.write("list", f'x\n{{"prompt": "x", "model": "{other}"}}\nx\n')
        self.good(self.call("--prompts", "list", "--seed", "1", "-o", "%d.png"))
        texts = [png_infotext(self.read(f"{i}.png")) for i in (1, 2, 3)]
        self.assertEqual(["Model: other," in text for text in texts], [False, True, False])

    def test_an_aspect_ratio_takes_the_place_of_a_size(self):
        model = self.copy_model()
        config = json.loads(self.read("model/vae/config.json"))
        config["sample_size"] = 64
        self.write("model/vae/config.json", json.dumps(config))
        self.write("list", '{"prompt": "a", "aspect": "1:2"}\n{"prompt": "b", "width": 80, "height": 16}\nc\n')
        self.good(self.zimage("generate", "-m", model, "-s1", "--seed", "1", "--aspect", "2:1", "--prompts", "list",
                              "-o", "%d.png"))
        self.assertEqual([png_size(self.read(f"{i}.png")) for i in (1, 2, 3)], [(64, 128), (80, 16), (128, 64)])

    def test_a_broken_line_is_named_and_the_others_are_not_lost(self):
        lines = ["a cat", '{"prompt": "x", "steps": 0}', '{"prompt": "x"', '{"prompt": "x", "stepz": 3}', "",
                 '{"prompt": 5}', '{"steps": 2}', '{"prompt": "x", "seed": 9007199254740994}', '{"prompt": "x", "width": 100}',
                 '{"prompt": "x", "model": "nowhere"}', '{"prompt": "x", "aspect": "wide"}',
                 '{"prompt": "x", "output": "x.gif"}', "<lora:mine:1>", '{"prompt": "x", "steps": [1]}', "a dog",
                 '{"prompt": "x", "negative": "a\\u0000b"}']
        self.write("list", "\n".join(lines).encode() + b"\nbad \xff bytes\n")
        result = self.call("--prompts", "list", "--seed", "1", "-o", "out-%02d.png")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, b"out-01.png\nout-14.png\n")
        told = result.stderr.decode().splitlines()
        expected = [(2, "steps", "0"), (3, "JSON", "byte"), (4, "'stepz'", "max-tokens"), (6, "prompt", "quotes"),
                    (7, "prompt", "missing"), (8, "seed", "quotes"), (9, "width", "112"), (10, ": model: nowhere: no such file", "; see `zimage models`"),
                    (11, "aspect", "'wide'"), (12, "x.gif", ".png"), (13, "<lora:mine:1>", "not supported"),
                    (14, "steps", "number"), (16, '"negative"', "NUL"), (17, "UTF-8", "text")]
        self.assertEqual(len(told), len(expected), told)
        told.sort(key=lambda line: int(line.split("line ")[1].split(":")[0]))
        for line, (number, *words) in zip(told, expected):
            self.assertIn(f"list, line {number}: ", line)
            for word in words:
                self.assertIn(word, line)

    def test_broken_lines_as_events(self):
        self.write("list", 'a cat\n{"prompt": \na dog\n')
        result = self.call("--prompts", "list", "--seed", "1", "-o", "out.png", "--json")
        self.assertEqual((result.returncode, result.stderr), (1, b""))
        events = [event for event in self.events(result) if event["event"] in ("failed", "done", "start")]
        self.assertEqual([(event["event"], event["line"]) for event in events],
                         [("failed", 2), ("start", 1), ("done", 1), ("start", 3), ("done", 3)])
        self.assertEqual([event["file"] for event in events if event["event"] == "done"], ["out-1.png", "out-3.png"])
        self.assertEqual({event["pictures"] for event in events if "pictures" in event}, {3})

    def test_every_line_has_a_seed_of_its_own(self):
        self.write("list", "a cat\na cat\n")
        result = self.good(self.call("--prompts", "list", "-o", "out-%s.png"))
        self.assertEqual(result.stderr.count(b"zimage: seed "), 2)
        self.assertEqual(len(set(result.stdout.split())), 2)

    def test_a_failure_while_running_does_not_lose_the_others(self):
        os.mkdir(self.path("2.png"))
        self.write("list", "a\nb\nc\n")
        result = self.call("--prompts", "list", "--seed", "1", "-o", "%d.png")
        self.assertEqual((result.returncode, result.stdout), (1, b"1.png\n3.png\n"))
        self.assertIn(b"list, line 2: 2.png", result.stderr)

    def test_lists_without_prompts(self):
        self.write("list", "\n \n")
        self.refused(self.call("--prompts", "list"), 1, "list: has only empty lines")
        self.refused(self.call("--prompts", "none"), 1, "none", "no such file")


class LongPrompts(Prompting):
    """Longer than 512 tokens, against diffusers with max_sequence_length."""

    def setUp(self):
        super().setUp()
        with open(os.path.join(DATA, "golden", "long_prompt", "latents.json"), encoding="utf-8") as file:
            self.golden = json.load(file)
        self.text = self.golden["prompt"] * self.golden["times"]

    def test_agrees_with_the_reference(self):
        for limit, expected in self.golden["latents"].items():
            self.good(self.call("-p", self.text, "-s2", "--seed", "1", "--max-tokens", limit, "--compute", "exact",
                                "--trace", "t.safetensors", "-o", "out.png", "-q"))
            tensors = read_safetensors(self.path("t.safetensors"))
            self.assertEqual(tensors["input_ids"][1], [int(limit)])
            data = tensors["latents.2"][2]
            found = struct.unpack(f"<{len(data) // 4}f", data)
            off = sum((a - b) ** 2 for a, b in zip(found, expected)) ** 0.5
            self.assertLess(off / sum(b * b for b in expected) ** 0.5, 1e-4)

    def test_what_is_cut_is_told(self):
        result = self.good(self.call("-p", self.text, "--seed", "1", "-o", "out.png"))
        self.assertRegex(result.stderr.decode(), r"^zimage: the prompt has 2116 tokens, and only the first 512 are used; "
                                                 r"shorten it, or raise --max-tokens\n$")
        events = self.events(self.good(self.call("-p", self.text, "--seed", "1", "-o", "out.png", "--json")))
        for event in (events[0], events[-1]):
            self.assertGreater(event["tokens"], 1000)
            self.assertEqual(event["tokens_used"], 512)
        result = self.good(self.call("-p", "x", "--negative", self.text, "--guidance", "1", "--seed", "1", "-o", "out.png"))
        self.assertIn(b"the negative prompt has 2116", result.stderr)

    def test_nothing_is_told_of_what_fits(self):
        result = self.good(self.call("-p", self.text[:3000], "--seed", "1", "-o", "out.png", "--max-tokens", "1504"))
        self.assertEqual(result.stderr, b"")
        self.assertIn("Max tokens: 1504", png_infotext(self.read("out.png")))
        self.good(self.call("-p", "x", "--seed", "1", "-o", "out.png", "--max-tokens", "512"))
        self.assertNotIn("Max tokens", png_infotext(self.read("out.png")))

    def test_no_more_than_the_table_of_positions_takes(self):
        for limit, known in (("1505", "1504"), ("0", "16384"), ("99999", "16384")):
            self.refused(self.call("-p", "x", "--seed", "1", "--max-tokens", limit), 2, "--max-tokens", limit, known)


class Networks(Prompting):
    def test_are_refused_by_name(self):
        for text, name, kind in (("a cat <lora:film grain:0.8>, red", "<lora:film grain:0.8>", "LoRAs"),
                                 ("<LoRA:x>", "<LoRA:x>", "LoRAs"), ("a <lora:open", "<lora:open", "LoRAs"),
                                 ("<lyco:y:1>", "<lyco:y:1>", "LyCORIS"),
                                 ("<hypernet:z:1>", "<hypernet:z:1>", "hypernetworks")):
            self.refused(self.call("-p", text, "--seed", "1"), 2, "--prompt", name, kind, "not supported yet")
        self.refused(self.call("-p", "x", "--negative", "<lora:x:1>", "--seed", "1"), 2, "--negative", "<lora:x:1>")
        self.refused(self.call("-p", "<lora:x:1>", "--enhance=try", "--seed", "1"), 2, "--prompt", "<lora:x:1>")
        self.assertEqual(self.files(), [])

    def test_other_brackets_are_text(self):
        for text in ("a < b", "<loras>", "<lora >", "a <3 cat", "<"):
            self.good(self.call("-p", text, "--seed", "1", "-o", "out.png"))


if __name__ == "__main__":
    unittest.main()
