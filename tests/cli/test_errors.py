"""Error messages of the command line: option names, hints, exit codes."""

import glob
import os
import re
import shutil
import socket
import unittest

from support import MODEL, Case

GOLDEN = os.path.dirname(MODEL)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SPLIT = os.path.join(GOLDEN, "comfyui", "split_diffusion_model_fp8_e4m3fn.safetensors")
ENCODER = os.path.join(MODEL, "text_encoder")
OPTION = re.compile(r"--[a-z]|[ (]-[a-zA-Z]\b|zimage (generate|models|download|import|serve|convert)")


class Fields(Case):
    """What is wrong with a field of the library's is said of the option that sets it: exit code 2."""

    def refuses_call(self, words, *args):
        self.refused(self.zimage(*args), 2, *words)
        self.assertEqual(self.files(), [])

    def test_fields_are_options(self):
        generate = ["generate", "-m", MODEL, "-p", "x", "--seed", "1"]
        for words, args in (
            (["zimage: --width: 100 is not"], [*generate, "-W", "100"]),
            (["zimage: --height: 24 is not"], [*generate, "-H", "24"]),
            (["zimage: --cpu: ", "sse9"], [*generate, "--cpu", "sse9"]),
            (["zimage: --size: 100 x 64 pixels"], ["bench", "--size", "100x64"]),
            (["zimage: --layers: 31 is"], ["bench", "--layers", "31"]),
            (["zimage: --precision: \"int2\""], ["bench", "--precision", "int2"]),
            (["zimage: --max-tokens: 501 is"], ["enhance", "-m", MODEL, "-p", "x", "--max-tokens", "501"]),
            (["zimage: --to: ", "VAE"], ["convert", os.path.join(MODEL, "vae"), "y", "--to", "gguf"]),
            (["zimage: --precision: q4 is not"], ["convert", MODEL, "y", "--to", "diffusers", "--precision", "q4"]),
            (["zimage: --name: '.x'"], ["import", MODEL, "--name", ".x"]),
            (["zimage: --api-key: is empty"], ["serve", "--api-key", ""]),
            (["zimage: --api-key: has 501 bytes"], ["serve", "--api-key", 501 * "k"]),
            (["zimage: --host: 0.0.0.0 can", "see --api-key, --insecure"], ["serve", "--host", "0.0.0.0"]),
        ):
            with self.subTest(args):
                self.refuses_call(words, *args)

    def test_fields_without_an_option(self):
        self.refuses_call(["zimage: source and destination are the same"], "convert", MODEL, MODEL, "--to", "mlx")
        self.refuses_call(["zimage: 'x' is not a repository", "z-image-turbo, prompt-enhancer or tokenizer"], "download", "x")


class Files(Case):
    """Files that are no models are called that."""

    def test_neither_model_nor_image(self):
        text = self.write("notes.txt", "Some notes on models.\n")
        for command in "inspect", "verify":
            result = self.zimage(command, text)
            self.assertEqual(result.returncode, 1)
            self.assertIn(b"notes.txt: is neither a model nor an image", result.stdout + result.stderr)
        self.good(self.generate())
        self.refused(self.zimage("generate", "-p", "x", "-m", "out.png"), 1, "out.png: is an image and no model")

    def test_figures_of_verify(self):
        text = self.good(self.zimage("verify", MODEL, "--threads", "2", "--against", MODEL)).stdout.decode()
        for words in ("(any above 0 is good)", "(below 1 % is good)", "and with 1 thread\n", "1.00000 (1 is equal)"):
            self.assertIn(words, text)


class Hints(Case):
    """What the library asks for is there by an option of the running command, or another call."""

    def test_what_another_model_lends(self):
        alone = self.alone()
        for hint, args in (
            ("; see --text-encoder, --reference\n", ["generate", "-p", "x", "-m", SPLIT]),
            ("; see --vae, --reference\n", ["generate", "-p", "x", "-m", SPLIT, "--text-encoder", ENCODER]),
            ("; see --vae, --reference\n", ["generate", "-p", "x", "-m", MODEL, "--vae", SPLIT]),
            ("; see --model\n", ["generate", "-p", "x", "-m", os.path.join(MODEL, "vae"), "--reference", MODEL]),
            ("; see --reference\n", ["generate", "-p", "x", "-m", self.without("vae/config.json")]),
            ("; see --reference\n", ["generate", "-p", "x", "-m",
                                     self.without("scheduler/scheduler_config.json")]),
            ("; see --reference, `zimage download tokenizer`\n", ["tokenize", "-m", alone, "x"]),
            ("; see --vae, --reference\n", ["convert", MODEL, "y", "--to", "mlx", "--vae", SPLIT]),
            ("; see --reference, `zimage download tokenizer`\n", ["import", self.without("tokenizer"), "--to", "mlx"]),
        ):
            with self.subTest(args):
                result = self.zimage(*args)
                self.refused(result, 1, "; see ")
                self.assertTrue(result.stderr.decode().endswith(hint), result.stderr)

    def test_hints_are_options_of_the_command(self):
        """import has no --vae, inspect has neither."""
        lacking = self.without("vae")
        result = self.zimage("import", lacking, "--to", "mlx")
        self.refused(result, 1, "has no VAE, which the new model needs", "; see --reference\n")
        self.assertNotIn("--vae", result.stderr.decode())
        text = self.good(self.zimage("inspect", lacking)).stdout.decode()
        self.assertIn("name a VAE, or a reference model (a complete Z-Image model)", text)
        self.assertNotIn("--", text)

    def test_other_calls(self):
        self.refused(self.zimage("generate", "-p", "x", "-m", "none"), 1, "none: no such", "; see `zimage models`")
        self.refused(self.zimage("generate", "-p", "x", "-m", "a/b"), 1, "a/b: no such", "`zimage download a/b`")
        self.refused(self.zimage("models", "default", "none"), 1,
                     "none: there is no such model, so name one that is in the list of models; see `zimage models`\n")
        self.refused(self.zimage("models", "remove", "none", "--yes"), 1,
                     "none: there is no such model, so name one that is in the list of models; see `zimage models`\n")
        self.write("models/default.txt", "mlx/gone\n")
        self.refused(self.zimage("generate", "-p", "x"), 1, "mlx/gone", "; see --model, `zimage models default NAME`")
        self.write("models/prompt_enhancer/a/config.json", "{}")
        self.write("models/prompt_enhancer/b/config.json", "{}")
        self.refused(self.zimage("enhance", "-m", MODEL, "-p", "x"), 1, "2 language models", "; see --llm")
        self.refused(self.zimage("gallery", "-o", "none"), 1, "none: ", "; see --output")

    def test_a_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            self.refused(self.zimage("serve", "--port", port), 1, "port " + port, "; see --port")
        self.refused(self.zimage("serve", "--host", "no.such.host.invalid", "--api-key", "k"), 1,
                     "no.such.host.invalid", "; see --host")

    def without(self, part):
        self.copy_model("lacking")
        path = self.path("lacking", part)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)
        os.rename(self.path("lacking"), self.path("no-" + os.path.basename(part)))
        return self.path("no-" + os.path.basename(part))

    def alone(self):
        """A text encoder with nothing beside it."""
        shutil.copytree(ENCODER, self.path("alone", "encoder"))
        return self.path("alone", "encoder")


class Library(unittest.TestCase):
    def test_no_message_names_an_option(self):
        """Front ends add their own: what the library says is true in all of them."""
        found = []
        for file in glob.glob(os.path.join(ROOT, "src", "**", "*.[ch]"), recursive=True):
            with open(file, encoding="utf-8") as source:
                text = re.sub(r"/\*.*?\*/", "", source.read(), flags=re.S)
            for literal in re.findall(r'"(?:[^"\\\n]|\\.)*"', text):
                if OPTION.search(literal):
                    found.append((os.path.relpath(file, ROOT), literal))
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
