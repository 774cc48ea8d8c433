"""Parsing of the command line: subcommands, help, wrong calls."""

import json
import os
import subprocess
import unittest

from support import LONG_FORM, MODEL, ZIMAGE, Case, png_chunks, png_infotext

SUBCOMMANDS = ("generate", "serve", "gallery", "enhance", "convert", "quantize", "download", "import", "models",
               "inspect", "verify", "tokenize", "bench", "config", "docs")


class Program(Case):
    def test_help(self):
        for args in (["--help"], ["-h"], ["help"]):
            text = self.good(self.zimage(*args)).stdout.decode()
            for name in SUBCOMMANDS:
                self.assertIn(f"\n  {name} ", text)

    def test_help_of_subcommands(self):
        for name in SUBCOMMANDS:
            for option in ("--help", "-h"):
                result = self.good(self.zimage(name, option))
                self.assertIn(f"usage: zimage {name} ".encode(), result.stdout)
                self.assertEqual(result.stderr, b"")

    def test_help_of_generate_lists_the_contract(self):
        text = self.good(self.zimage("generate", "--help")).stdout.decode()
        for option in ("-m", "-p", "-o", "-W", "-H", "--aspect", "-s", "--steps", "--seed", "-n",
                       "--shift", "--schedule", "--guidance", "--negative", "--compute",
                       "--threads", "--cpu", "--trace", "--json", "-q", "--quality", "--llm", "--template",
                       "--enhance", "--random-prompt"):
            self.assertRegex(text, rf"(?m)^  .*{option}\b")

    def test_help_is_in_columns(self):
        """Names that are too long for theirs have a line of their own; tiers and files are named."""
        for name in SUBCOMMANDS:
            for line in self.good(self.zimage(name, "--help")).stdout.decode().splitlines():
                if line.startswith(("  -", "      --")) and len(line) > 34 and "|" not in line[:34]:
                    self.assertTrue(line[34] == " " and line[35] != " ", line)
                self.assertNotRegex(line, r"\|\w+ \w")
        text = self.good(self.zimage("generate", "--help")).stdout.decode()
        self.assertRegex(text, r"--cpu TIER +kernel tier: ref, ")
        self.assertRegex(text, r"--count COUNT +.*NAME-1.png, NAME-2.png")

    def test_help_has_all_choices(self):
        """On lines that are not too long for a terminal."""
        for name in "convert", "quantize", "download", "import":
            lines = self.good(self.zimage(name, "--help")).stdout.decode().splitlines()
            first = next(i for i, line in enumerate(lines) if line.startswith("      --precision "))
            last = next(i for i in range(first, len(lines)) if not lines[i].endswith("|"))
            self.assertLess(max(map(len, lines[first:last + 1])), 80)
            words = "".join(line.strip() for line in lines[first:last + 1]).removeprefix("--precision ").split("|")
            self.assertTrue({"original", "fp16", "q8", "q4_k", "q5_k", "q6_k", "iq4_xs"} <= set(words), words)

    def test_readers_that_leave(self):
        """`| head` is no failure worth a line."""
        for args in (["--help"], ["tokenize", "-m", MODEL, "x"], ["docs", "man"]):
            ours, theirs = os.pipe()
            os.close(ours)
            result = subprocess.run([ZIMAGE, *args], stdout=theirs, stderr=subprocess.PIPE, check=False)
            os.close(theirs)
            self.assertEqual((result.returncode, result.stderr), (1, b""))

    def test_help_by_its_own_word(self):
        for name in SUBCOMMANDS:
            self.assertEqual(self.good(self.zimage("help", name)).stdout,
                             self.good(self.zimage(name, "--help")).stdout)
        self.refused(self.zimage("help", "paint"), 2, "paint", "no such subcommand")

    def test_version(self):
        for word in ("--version", "-V", "version"):
            self.assertRegex(self.good(self.zimage(word)).stdout, rb"^zimage \d+\.\d+\.\d+\n$")

    def test_nothing_asked(self):
        result = self.zimage()
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stdout, b"")
        self.assertIn(b"usage: zimage", result.stderr)

    def test_unknown_subcommand(self):
        self.refused(self.zimage("paint"), 2, "paint", *SUBCOMMANDS)

    def test_results_that_cannot_be_written(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full on this system")
        for args in (["--help"], ["tokenize", "-m", MODEL, "x"]):
            with open("/dev/full", "wb") as full:
                result = subprocess.run([ZIMAGE, *args], stdout=full, stderr=subprocess.PIPE,
                                        check=False)
            self.assertEqual(result.returncode, 1)
            self.assertIn(b"standard output: cannot write", result.stderr)


class Memory(Case):
    def test_bench(self):
        result = json.loads(self.good(self.zimage("bench", "--memory", "--json")).stdout)
        self.assertGreater(result["memory_gb_per_second"], 0)
        self.assertEqual([row["type"] for row in result["products"]], ["F16", "BF16", "Q8_0"])
        for row in result["products"]:
            self.assertGreater(row["gb_per_second"], 0)
            self.assertGreater(row["share"], 0)
        self.refused(self.zimage("bench", "--precision", "q7"), 2, "--precision: ", "q7", "nvfp4",
                     "convrot")
        self.refused(self.zimage("bench", "--memory", "--cpu", "xyz"), 2, "--cpu: ", "\"xyz\" is no set of processor instructions")


class Speed(Case):
    """An image's time is the last line, unless layers were left out. Precisions are those of convert."""

    WORDS = ["bench", "--size", "16x16"]

    def test_one_layer(self):
        words = [*self.WORDS, "--layers", "1", "--precision", "q8", "--json"]
        result = json.loads(self.good(self.zimage(*words)).stdout)
        self.assertEqual((result["precision"], result["compute"], result["image"]), ("q8", "fast", None))
        lines = self.good(self.zimage(*self.WORDS, "--layers", "1", "--precision", "q8")).stdout.decode().splitlines()
        self.assertEqual([line.split()[0] for line in lines if "(integer arithmetic" in line], ["step", "block"])
        self.assertNotIn("image", lines[-1])

    @unittest.skipUnless(LONG_FORM, "takes half a minute")
    def test_an_image(self):
        for precision in "original", "fp32", "fp16", "bf16", "fp8", "q4":
            self.good(self.zimage(*self.WORDS, "--layers", "1", "--precision", precision))
        result = json.loads(self.good(self.zimage(*self.WORDS, "--precision", "q8", "--json")).stdout)
        seconds = {stage["name"]: stage["seconds"] for stage in result["stages"]}
        self.assertEqual(result["image"]["steps"], 9)
        self.assertAlmostEqual(result["image"]["seconds"],
                               seconds["encode"] + 9 * seconds["step"] + seconds["decode"], places=3)
        lines = self.good(self.zimage(*self.WORDS, "--precision", "fp8")).stdout.decode().splitlines()
        self.assertRegex(lines[-1], r"^image \(9 steps\): [\d.]+ (seconds|minutes)$")


class WrongCalls(Case):
    """Exit code 2 and a line that names the option."""

    def test_unknown_options(self):
        for word in ("--frobnicate", "--vea=x", "-x", "--widt", "--widthy"):
            self.refuses(2, [word, "unknown option", "zimage generate --help"], word)

    def test_value_missing(self):
        self.refuses(2, ["--seed: needs a value; write --seed N"], "--seed")

    def test_flag_with_value(self):
        self.refuses(2, ["--json", "no value"], "--json=yes")

    def test_stray_word(self):
        self.refuses(2, ["'circle'", "quote"], "circle")

    def test_prompt_missing(self):
        self.refused(self.zimage("generate", "-m", MODEL), 2, "--prompt", "-p")
        self.assertEqual(self.files(), [])

    def test_seed(self):
        for seed in ("-2", "-01", str(2**64), "1" * 40, "garbage", "", "1.5", "0x10", " 1", "1e3", "+1"):
            self.refuses(2, ["--seed", f"'{seed}'", "18446744073709551615"], "--seed", seed)

    def test_seeds_past_the_end(self):
        self.refuses(2, ["--count", "above the largest one, 18446744073709551615"], "-n", "2", "--seed", str(2**64 - 1))

    def test_sizes_that_are_no_numbers(self):
        for text in ("wide", "", "64px", "6 4", "1e2", "64.0"):
            self.refuses(2, ["--width", f"'{text}'", "whole number"], "-W", text)

    def test_sizes_out_of_range(self):
        for text in ("0", "-64", "8", "8208", "99999999999999999999", "1000000"):
            self.refuses(2, ["--width", text, "16 to 8192"], "--width", text)
            self.refuses(2, ["--height", text, "16 to 8192"], "-H", text)

    def test_sizes_that_are_no_multiples(self):
        self.refuses(2, ["--width: 100", "96", "112", "multiple of 16"], "-W", "100")
        self.refuses(2, ["--height: 65", "64", "80", "multiple of 16"], "-H", "65")

    def test_aspect(self):
        words = ["generate", "-m", MODEL, "-p", "x", "--seed", "1"]
        for text in ("wide", "16", "16:", ":9", "0:9", "16:0", "-1:1", "16:9:1", "16:9x", ".5:1", "1.:", "1e2:1", "0.001:1", "99999:1", ""):
            self.refused(self.zimage(*words, "--aspect", text), 2, "--aspect", f"'{text}'")
        self.refuses(2, ["--aspect: cannot be used with --width or --height; keep only --aspect, or leave --aspect out"],
                     "--aspect", "1:1")
        self.assertEqual(self.files(), ["out.png"])

    def test_other_numbers(self):
        for option, low, high in (("--steps", "0", "1001"), ("--count", "0", "10001"),
                                  ("--threads", "0", "1025"), ("--quality", "0", "101"),
                                  ("--shift", "0", "101"), ("--guidance", "-0.1", "1e9")):
            for text in (low, high):
                self.refuses(2, [option, text, "out of range"], option, text)
            for text in ("x", "", "nan", "inf", "0x1", "1,5"):
                self.refuses(2, [option, f"'{text}'", "number"], option, text)

    def test_choices(self):
        for option, word in (("--schedule", "mlx"), ("--compute", "exact")):
            self.refuses(2, [option, "'xyz'", word], option, "xyz")
            self.refuses(2, [option, "is empty", word], option, "")
            self.refuses(2, [option, word], option, word[:2])
        self.refuses(2, ["--cpu: ", "\"xyz\" is no set of processor instructions", "ref"], "--cpu", "xyz")

    def test_prompts(self):
        self.refuses(2, ["--prompt", "empty"], "-p", "")
        for text in (b"\xff", b"a \xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80",
                     b"cut \xe4\xb8"):
            self.refuses(2, ["--prompt", "UTF-8"], "-p", text)
        self.refuses(2, ["--negative", "UTF-8"], "--guidance", "1", "--negative", b"\xff")

    def test_errors_stand_alone(self):
        for words, args in ((["--width: 100", "112"], ["-W", "100"]), (["a.gif"], ["-o", "a.gif"]),
                            (["--aspect", "8192"], ["--aspect", "999:1"]),
                            (["\"xyz\" is no set of processor instructions"], ["--cpu", "xyz"])):
            self.refused_alone(2, words, "-p", "x", "--negative", "y", *args)
        self.refused_alone(1, ["nowhere/x.png"], "-p", "x", "-o", "nowhere/x.png")
        self.refused_alone(1, ["nowhere"], "-p", "x", "-m", "nowhere")

    def test_a_name_without_a_format(self):
        for name in ("picture", "picture.gif", "picture.png.bak", "a.png/"):
            self.refuses(2, ["--output", name], "-o", name)


class Forms(Case):
    """The ways to write an option all mean the same."""

    def test_forms(self):
        pictures = []
        for words in (["-W", "48"], ["-W48"], ["--width", "48"], ["--width=48"],
                      ["-W", "32", "-W", "48"]):
            self.good(self.generate(*words))
            pictures.append(self.read("out.png"))
        self.assertEqual(len(set(pictures)), 1)

    def test_short_options_in_groups(self):
        self.good(self.generate())
        image = self.read("out.png")
        for words in (["-qp", "a red circle"], ["-qpa red circle"], ["-vpa red circle"], ["-qs", "2"], ["-qs2"]):
            self.good(self.generate(*words))
            self.assertEqual(self.read("out.png"), image, words)
        result = self.good(self.generate("-qp", "x", "-n2"))
        self.assertEqual((result.stdout, result.stderr), (b"out-1.png\nout-2.png\n", b""))

    def test_wrong_groups(self):
        self.refuses(2, ["-qZ: Z is no option"], "-qZ")
        self.refuses(2, ["--quiet", "takes no value", "-q5"], "-q5")
        self.refuses(2, ["--prompt: needs a value behind -qp, the last argument; write -qp TEXT"], "-qp")

    def test_a_random_seed_by_its_usual_number(self):
        seeds = set()
        for words in (["--seed", "-1"], ["--seed=-1"]):
            text = self.good(self.generate(*words)).stderr.decode()
            seeds.add(text.split("seed ")[1].strip())
        self.assertEqual(len(seeds), 2)

    def test_a_prompt_may_look_like_an_option(self):
        self.good(self.generate("-p", "--seed"))


class Tokenize(Case):
    def ids(self, *args):
        return json.loads(self.good(self.zimage("tokenize", "-m", MODEL, *args)).stdout)

    def test_ids(self):
        ids = self.ids("a red circle")
        self.assertTrue(ids and all(isinstance(i, int) for i in ids))
        self.assertEqual(self.ids("--", "--chat"), self.ids("--", "--chat"))
        self.assertEqual(self.ids(""), [])

    def test_chat_is_longer_and_cut(self):
        plain, chat = self.ids("red"), self.ids("--chat", "red")
        self.assertGreater(len(chat), len(plain))
        self.assertEqual(len(self.ids("--chat", "red circle " * 600)), 512)
        self.assertGreater(len(self.ids("red circle " * 600)), 512)

    def test_agrees_with_the_reference(self):
        with open(os.path.join(os.path.dirname(MODEL), "..", "tokenizer", "cases.json"),
                  encoding="utf-8") as file:
            cases = json.load(file)["tiny"]["cases"]
        for case in cases[:40]:
            text = bytes.fromhex(case["utf8_hex"])
            if b"\0" not in text:
                self.assertEqual(self.ids("--", text), case["ids"], text)

    def test_wrong_calls(self):
        self.refused(self.zimage("tokenize", "-m", MODEL), 2, "TEXT", "missing")
        self.refused(self.zimage("tokenize", "-m", MODEL, "a", "b"), 2, "'b'", "quote")
        self.refused(self.zimage("tokenize", "-m", MODEL, b"\xff"), 2, "UTF-8")
        self.refused(self.zimage("tokenize", "-m", "nowhere", "a"), 1, "nowhere")


class Inspect(Case):
    def test_json_and_table(self):
        result = self.good(self.zimage("inspect", "--json", MODEL))
        self.assertIsInstance(json.loads(result.stdout), dict)
        table = self.good(self.zimage("inspect", MODEL)).stdout.decode()
        for word in ("diffusers", "transformer", "vae", "BF16"):
            self.assertIn(word, table)
        self.assertNotIn("{", table)

    def test_says_what_is_missing(self):
        model = self.copy_model()
        os.remove(self.path("model", "vae", "diffusion_pytorch_model.safetensors"))
        os.remove(self.path("model", "transformer", "config.json"))
        lines = self.good(self.zimage("inspect", model)).stdout.decode().splitlines()
        problems = [line for line in lines if "missing" in line or "there is no such file" in line]
        self.assertTrue(any("model/vae" in line for line in problems), lines)
        self.assertTrue(any("model/transformer/config.json" in line for line in problems), lines)

    def test_other_families_are_named(self):
        self.write("sd/model_index.json", json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
        self.assertIn(b"StableDiffusionXL", self.good(self.zimage("inspect", "sd")).stdout)

    def test_control_characters_stay_away_from_the_terminal(self):
        name = "\x1b[31mZImagePipeline\x07"
        self.write("odd/model_index.json", json.dumps({"_class_name": name}))
        result = self.zimage("inspect", "odd")
        self.assertNotIn(b"\x1b", result.stdout + result.stderr)

    def test_refusals(self):
        self.refused(self.zimage("inspect", "nowhere"), 1, "nowhere")
        self.refused(self.zimage("inspect"), 2, "PATH", "missing")
        os.mkdir(self.path("empty"))
        self.refused(self.zimage("inspect", "empty"), 1, "empty")
        self.write("noise.bin", b"\x01\x02\x03" * 100)
        self.refused(self.zimage("inspect", "noise.bin"), 1, "noise.bin")


class Models(Case):
    def test_names_in_the_models_folder(self):
        for shelf in ("mlx", "pytorch", "comfyui"):
            os.makedirs(self.path("models", shelf))
            os.symlink(MODEL, self.path("models", shelf, "mine-" + shelf))
            self.good(self.generate(model="mine-" + shelf, output=shelf + ".png"))
        self.good(self.generate(output="path.png"))
        pictures = [png_chunks(self.read(name)) for name in ("mlx.png", "comfyui.png", "path.png")]
        pixels = [[body for kind, body in chunks if kind == b"IDAT"] for chunks in pictures]
        self.assertTrue(pixels[0] == pixels[1] == pixels[2])

    def test_a_path_comes_before_a_name(self):
        os.makedirs(self.path("models", "pytorch", "same"))
        os.symlink(MODEL, self.path("same"))
        self.good(self.generate(model="same"))

    def unnamed(self, *extra):
        """stderr's lines of a call that names no model."""
        words = ["-p", "a red circle", "-W64", "-H64", "-s1", "--seed", "1", "-o", "out.png"]
        result = self.good(self.zimage("generate", *words, *extra))
        return result.stderr.decode().splitlines()

    def test_the_only_model_is_taken(self):
        for shelf in ("mlx", "pytorch", "comfyui"):
            os.makedirs(self.path("models", shelf))
        os.symlink(MODEL, self.path("models", "pytorch", "mine"))
        # What no model is does not count.
        self.write("models/pytorch/.DS_Store", "x")
        self.write("models/pytorch/README.md", "x")
        os.makedirs(self.path("models", "mlx", ".cache"))
        lines = self.unnamed()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("models/pytorch/mine", lines[0])
        self.assertIn("Model: mine", png_infotext(self.read("out.png")))
        self.assertEqual(self.unnamed("-q"), [])
        self.assertEqual(self.good(self.zimage("tokenize", "red")).stdout,
                         self.good(self.zimage("tokenize", "-m", MODEL, "red")).stdout)

    def test_an_only_file_is_taken_too(self):
        self.write("models/comfyui/mine.safetensors", b"no model")
        words = ["generate", "-p", "x", "--seed", "1", "-q", "-o", "out.png"]
        self.refused(self.zimage(*words), 1, "models/comfyui/mine.safetensors")

    def test_of_several_models_none_is_taken(self):
        os.makedirs(self.path("models", "mlx"))
        for i in range(10):
            os.symlink(MODEL, self.path("models", "mlx", f"m{i}"))
        self.refused(self.zimage("generate", "-p", "x"), 1, "10 image models", "mlx/m0, mlx/m1", "mlx/m7 and 2 more",
                     "zimage models default NAME")

    def test_without_models_the_demo_model_draws(self):
        lines = self.unnamed()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("demo model", lines[0])
        self.assertIn("Model: demo-model", png_infotext(self.read("out.png")))

    def test_neither_path_nor_name(self):
        self.refuses(1, ["nobody", "the models folder models"], model="nobody")
        self.refuses(2, ["--model: is empty; name a model"], model="")
        for option in "--vae", "--text-encoder", "--reference":
            self.refuses(2, [option + ": is empty; give a model's path or its name in `zimage models`"], option, "")


if __name__ == "__main__":
    unittest.main()
